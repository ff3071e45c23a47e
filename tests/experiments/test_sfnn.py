"""The stochastic network on the inverse problem, as a user runs it, and the Gaussian MLP beside it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from experiments import sfnn
from genjax import data, gradients, runs
from genjax.runs import auxiliary
from genjax.training.fit import fit


@pytest.mark.slow
def test_the_gaussian_mlp_of_each_seed_is_trained_once(tmp_path, monkeypatch):
    flags = sfnn.Flags(
        num_steps=3, batch_size=50, hidden=(3,), num_stochastic=2, num_deterministic=2, num_seeds=2, seed=4
    )
    dataset = data.load("inverse_sine")
    built = sfnn.build(flags, dataset, gradients.device_mean)  # which only a mesh of devices could run
    parts, params = sfnn.prepare(flags, dataset, built, tmp_path).auxiliaries
    assert parts.num_stochastic == 0 and built.parts.num_stochastic == 2
    plain = sfnn.build_network(flags, (1,), 1, 0, gradients.whole_batch)
    shapes = jax.tree.map(jax.numpy.shape, params[4])
    assert shapes == jax.tree.map(jax.numpy.shape, jax.eval_shape(built.model.init, jax.random.key(0)).params)
    for seed in (4, 5):
        state = fit(plain.model, runs.read_shuffled(flags, dataset), seed=seed, num_steps=3, eval_every=0)
        jax.tree.map(np.testing.assert_array_equal, params[seed], state.params)

    def never(*args, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(auxiliary, "fit", never)
    alone = flags.replace(num_seeds=1, seed=5, num_draws=3, log_every=1, shards=2)  # of no concern to it
    _, found = sfnn.prepare(alone, dataset, built, tmp_path).auxiliaries
    jax.tree.map(np.testing.assert_array_equal, found, {5: params[5]})
    for other in ({"seed": 6}, {"batch_size": 25}, {"hidden": (4,)}, {"num_deterministic": 3}, {"learning_rate": 0.1}):
        with pytest.raises(AssertionError, match="trained again"):
            sfnn.prepare(alone.replace(**other), dataset, built, tmp_path)


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    """A shorter run than the default: (workdir, its metrics)."""
    workdir = tmp_path_factory.mktemp("sfnn") / "run"
    flags = ("--num_steps=800", "--num_stochastic=5", "--num_draws=10", "--batch_size=50", "--eval_every=400")
    return workdir, train("sfnn", workdir, *flags)["metrics"]


@pytest.mark.slow
def test_it_beats_the_gaussian_and_not_the_truth(run):
    workdir, metrics = run
    exact, gaussian, truth = (metrics[f"{name}_negative_log_likelihood"] for name in ("exact", "gaussian_mlp", "true"))
    assert exact < gaussian - 0.1 and truth < exact
    # what it trains on is the importance estimate, which lies above the exact value
    assert exact < metrics["negative_log_likelihood"] < exact + 0.3
    assert (workdir / "samples.png").stat().st_size > 10_000


@pytest.mark.slow
def test_labels_that_are_classes_are_refused(finish, tmp_path):
    status, out, err = finish("sfnn", "--dataset=digits", f"--workdir={tmp_path / 'run'}")
    assert status == 2 and not out
    assert "--dataset: digits has no vectors of real numbers as labels" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
