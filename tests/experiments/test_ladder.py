"""The page of ladder VAEs: its networks, its warm-up, and what it draws and computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import apply, ladder
from genjax import data, gradients, runs
from genjax.errors import BadInput
from genjax.models import ladder as ladder_model
from genjax.training.determinism import DEFAULT_CPU_THREADS
from genjax.types import Batch

SMALL = dict(num_steps=2, latent_dims=(4, 3, 2), hidden=(8, 7, 6), eval_every=2, log_every=2)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_layers_are_as_wide_as_the_flags(digits, key):
    parts = ladder.build(ladder.Flags(**SMALL), digits, gradients.whole_batch).parts
    params = jax.eval_shape(lambda key: ladder_model.init_params(key, parts=parts), key)
    x = jax.ShapeDtypeStruct((5, 8, 8, 1), jnp.float32)
    drawn = jax.eval_shape(lambda p, x, k: ladder_model.forward(p, x, k, parts=parts), params, x, key)
    assert [z.shape for z in drawn.z] == [(5, 4), (5, 3), (5, 2)] and drawn.output.shape == x.shape
    widths = [params["encoder"][f"layer_{i}"]["proposal"]["layer_1"]["kernel"].shape for i in (1, 2, 3)]
    assert widths == [(8, 8), (7, 6), (6, 4)]
    with pytest.raises(BadInput, match=r"^hidden: expected 3 widths, one for each of `latent_dims`, not 2"):
        ladder.build(ladder.Flags(**SMALL | dict(hidden=(8, 7))), digits, gradients.whole_batch)


@pytest.mark.parametrize(("warm_up", "weight"), [pytest.param(0, 0.8, marks=pytest.mark.slow), (4, 0.2)])
def test_the_rate_is_warmed_up(digits, key, warm_up, weight):
    flags = ladder.Flags(**SMALL, warm_up_steps=warm_up, rate_weight=0.8)
    model = ladder.build(flags, digits, gradients.whole_batch).model
    state = jax.jit(model.init)(key)._replace(step=jnp.asarray(1, jnp.int32))
    found = jax.jit(model.evaluate)(state, Batch(jnp.float32(digits.test.x[:5] / 16)), key)
    np.testing.assert_allclose(found["loss"], found["distortion"] + weight * found["rate"], rtol=1e-5)
    np.testing.assert_allclose(found["rate"], sum(found[f"rate_{i}"] for i in (1, 2, 3)), rtol=1e-5)


@pytest.mark.slow
def test_a_run_draws_measures_and_is_applied(tmp_path, monkeypatch, digits):
    monkeypatch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
    flags = ladder.Flags(**SMALL, num_importance_samples=3)
    run = runs.train(ladder.EXPERIMENT, flags, workdir=tmp_path / "run")
    pictures = {path.name for path in (tmp_path / "run").glob("*.png")}
    assert {"reconstructions.png", "samples.png", "samples_given_top.png", "curves.png"} <= pictures
    assert {"rate_1", "rate_2", "rate_3", "negative_log_likelihood"} <= run.metrics.keys()
    assert np.isfinite(list(run.metrics.values())).all()
    np.save(tmp_path / "x.npy", digits.test.x[:4])
    for to, shape in (("codes", (4, 9)), ("reconstructions", (4, 8, 8, 1)), ("scores", (4,))):
        out = tmp_path / f"{to}.npz"
        apply.main(
            apply.Flags(run=str(tmp_path / "run"), input=str(tmp_path / "x.npy"), to=to, out=str(out), scale=16.0)
        )
        found = np.load(out)
        assert found["negative_elbo" if to == "scores" else to].shape == shape
