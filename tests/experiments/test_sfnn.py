"""The inverse problem: its truth, its data, and a run that beats the Gaussian."""

from __future__ import annotations

import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from absl import flags

from genjax.data import batching

pytestmark = pytest.mark.slow  # processes: some minutes in all


@pytest.fixture(scope="module")
def page():
    """The experiment's page in this process; its flags are taken back, since another page's have the same names."""
    before = {*flags.FLAGS}
    yield importlib.import_module("experiments.sfnn")
    for name in {*flags.FLAGS} - before:
        delattr(flags.FLAGS, name)
    del sys.modules["experiments.sfnn"]


@pytest.fixture(scope="module")
def run(train, tmp_path_factory):
    """A shorter run than the default: (workdir, its metrics)."""
    workdir = tmp_path_factory.mktemp("sfnn") / "run"
    flags = ("--num_steps=800", "--num_stochastic=5", "--num_draws=10", "--batch_size=50", "--eval_every=400")
    return workdir, train("sfnn", workdir, *flags)["metrics"]


def test_it_beats_the_gaussian_and_not_the_truth(run):
    workdir, metrics = run
    exact, gaussian, truth = (metrics[f"{name}_negative_log_likelihood"] for name in ("exact", "gaussian_mlp", "true"))
    assert exact < gaussian - 0.1 and truth < exact
    # what it trains on is the importance estimate, which lies above the exact value
    assert exact < metrics["negative_log_likelihood"] < exact + 0.3
    assert (workdir / "samples.png").stat().st_size > 10_000


def test_data_are_pairs_in_the_unit_square_and_the_same_every_time(page):
    dataset = page.inverse_sine()
    again = page.inverse_sine()
    assert dataset.fingerprint == again.fingerprint
    for x, y in (dataset.train, dataset.test):
        assert y is not None
        assert x.shape == y.shape and x.dtype == y.dtype == np.float32
        assert 0 <= min(x.min(), y.min()) and max(x.max(), y.max()) <= 1
        v = x * (1 + 2 * page.NOISE) - page.NOISE
        noise = ((v - page.forward(y)) / page.NOISE).ravel()
        assert scipy.stats.kstest(noise, scipy.stats.uniform(-1, 2).cdf).statistic < 1.95 / np.sqrt(len(noise))
        assert scipy.stats.kstest(y.ravel(), scipy.stats.uniform.cdf).statistic < 1.95 / np.sqrt(len(y))
    train, test = ({*map(tuple, np.hstack(split).tolist())} for split in (dataset.train, dataset.test))
    assert len(train) == 2000 and len(test) == 1000 and not train & test


def test_batches_carry_the_pairs(page):
    dataset = page.inverse_sine()
    stream = batching.source(dataset, batch_size=50).train
    key = jax.random.key(0)
    carried = stream.start(stream.arrays, jnp.asarray(3), key)
    _, batch = stream.next(jax.device_put(stream.arrays), carried, jnp.asarray(3), key)
    of_x = dict(np.hstack(dataset.train).tolist())
    assert batch.label.shape == (50, 1) and batch.label.dtype == jnp.float32
    got = zip(batch.x.ravel().tolist(), batch.label.ravel().tolist(), strict=True)
    assert all(of_x[x] == y for x, y in got)


def test_true_likelihood_is_that_of_the_pairs_by_counting(page):
    # in a thin slice of x among very many pairs, y is uniform where it is possible
    x, many = page.pairs(2_000_000, 5)
    assert many is not None
    for at in (0.2, 0.45, 0.6):
        y = many[np.abs(x[:, 0] - at) < 0.002, 0]
        density, _ = np.histogram(y, bins=100, range=(0, 1), density=True)
        expected = np.exp(-page.true_negative_log_likelihood(np.array([[at]]))[0])
        np.testing.assert_allclose(np.median(density[density > 0.8 * expected]), expected, rtol=0.05)


def test_labels_that_are_classes_are_refused(finish, tmp_path):
    status, out, err = finish("sfnn", "--dataset=digits", f"--workdir={tmp_path / 'run'}")
    assert status == 2 and not out
    assert "--dataset=digits: its labels are no targets to regress on" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
