"""The page of masked autoencoders: what it refuses, and what a run of it measures, leaves and computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import apply, masked_autoencoder
from genjax import data, gradients, runs
from genjax.errors import BadInput
from genjax.models import masked_autoencoder as model

SMALL = dict(num_steps=4, width=8, num_layers=1, decoder_width=8, num_draws=2, eval_every=2, log_every=2)

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.mark.parametrize(
    ("given", "dataset", "said"),
    [
        (dict(patch=3), "digits", r"^patch: images of 8 x 8 pixels are not cut into several patches of 3 x 3$"),
        (dict(patch=8), "digits", r"^patch: images of 8 x 8 pixels are not cut into several patches"),
        (
            dict(decoder_width=6),
            "digits",
            r"^num_heads: the number of heads must divide `width`, 8, and `decoder_width`, 6$",
        ),
        (dict(labels_per_class=500), "digits", r"^labels_per_class: the smallest class has 1\d\d training examples"),
        ({}, "ring", r"^dataset: ring has no images to cut into patches$"),
    ],
)
def test_flags_that_do_not_fit_are_named(given, dataset, said):
    with pytest.raises(BadInput, match=said):
        masked_autoencoder.build(masked_autoencoder.Flags(**SMALL | given), data.load(dataset), gradients.whole_batch)


@pytest.mark.slow
def test_a_run_measures_hidden_pixels_alone_and_gives_codes(tmp_path, monkeypatch):
    monkeypatch.setenv("NPROC", "4")
    flags = masked_autoencoder.Flags(**SMALL)
    run = runs.train(masked_autoencoder.EXPERIMENT, flags, workdir=tmp_path / "run")
    assert (run.directory / "completions.png").exists()
    assert {"probe_accuracy", "raw_probe_accuracy", "gain_over_raw"} <= run.metrics.keys()
    digits = data.load("digits")
    x = np.asarray(digits.test.x / 16, np.float32)  # all 500 are examined
    hidden = np.random.RandomState(0).rand(*x.shape[:1], 4, 4).repeat(2, 1).repeat(2, 2)[..., None] < 0.5
    away = np.square(x - digits.train.x.mean(axis=0, dtype=np.float64) / 16)
    # errors on other draws of hidden pixels, which differ by chance alone
    assert run.metrics["mean_rmse"] == pytest.approx(np.sqrt(away.mean()), rel=0.03)
    assert run.metrics["mean_rmse"] == pytest.approx(np.sqrt(away[hidden].mean()), rel=0.03)
    places = masked_autoencoder.draw_visible(flags, run.parts, len(x), jax.random.key(3))
    filled = np.asarray(model.fill(run.params, jnp.asarray(x), places, parts=run.parts))
    wrong = np.square(filled - x)[~np.asarray(model.visible_pixels(places, parts=run.parts))]
    assert run.metrics["rmse"] == pytest.approx(np.sqrt(wrong.mean()), rel=0.03)

    np.save(tmp_path / "given.npy", digits.test.x[:7])
    for to in ("codes", "completed"):
        out = tmp_path / f"{to}.npz"
        apply.main(apply.Flags(run=str(run.directory), input=str(tmp_path / "given.npy"), out=str(out), to=to))
    codes = model.encode(run.params, jnp.asarray(x[:7]), parts=run.parts)
    np.testing.assert_allclose(np.load(tmp_path / "codes.npz")["codes"], codes, atol=1e-4)
    completed = np.load(tmp_path / "completed.npz")["completed"]
    assert completed.shape == (7, 8, 8, 1) and 0.3 < np.isclose(completed, x[:7]).mean() < 0.9
