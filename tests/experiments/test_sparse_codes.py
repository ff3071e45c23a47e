"""The choices of the page of sparse codes, and what it counts and draws."""

import dataclasses

import jax
import numpy as np
import pytest

from experiments import sparse, sparse_codes
from genjax import data, gradients, runs
from genjax.errors import BadInput
from genjax.runs import assembling
from genjax.training.determinism import DEFAULT_CPU_THREADS


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """Runs in this process, which has a number of threads already."""
    monkeypatch.setenv("NPROC", str(DEFAULT_CPU_THREADS))


SMALL = dict(num_steps=4, eval_every=4, log_every=4, num_units=70, batch_size=32, num_draws=2)


def test_a_prefix_is_shorter_than_the_code():
    flags = sparse.Flags(num_units=70, prefixes=(10, 70))
    with pytest.raises(BadInput, match="the code has 70 units, so 70 is not a prefix") as caught:
        sparse.build(flags, data.load("digits"), gradients.whole_batch)
    assert caught.value.parameter == "prefixes"


@pytest.mark.parametrize(
    ("own", "norm"),
    [
        (dict(sparsity="k_sparse"), 0.1),
        (dict(sparsity="batch_top_k", start_norm=0.3), 0.3),
        (dict(sparsity="k_sparse", start_norm=0.0), None),
        (dict(), None),
    ],
)
def test_the_largest_units_start_with_small_atoms(own, norm):
    digits = data.load("digits")
    flags = sparse_codes.resolve(sparse.Flags(num_units=70, **own), digits)
    state = sparse.build(flags, digits, gradients.whole_batch).model.init(jax.random.key(0))
    norms = np.linalg.norm(state.params["decoder"]["layer_1"]["kernel"], axis=1)
    if norm is None:
        assert np.ptp(norms) > 0.1
    else:
        np.testing.assert_allclose(norms, norm, rtol=1e-5)


def test_units_are_shown_from_the_densest_to_the_rarest():
    z = np.zeros((40, 30))
    for j in range(25):  # unit j is active in the first 25 - j examples, the most in the last of these
        z[: 25 - j, j] = np.arange(1, 26 - j)
    units, examples = sparse_codes.strongest(z)
    assert units[0] == 0 and units[-1] == 24 and len(units) == 12 and units == sorted(units)
    assert list(examples[0]) == [24, 23, 22, 21, 20, 19, 18, 17] and examples[-1][0] == 0
    assert sparse_codes.strongest(np.zeros((5, 3)))[0] == []


def test_measures_by_counting():
    z = np.array([[1.0, 0, 0], [2.0, 0, 0], [0, 0, 0], [1.0, 3.0, 0]] * 5)
    x = np.random.RandomState(0).normal(size=(20, 2)).astype(np.float32)
    found = sparse_codes.measure(z, x, x, np.array([[1.0, 0], [0, 2], [3, 3]]))
    assert found["l0"] == 1.0 and found["dense_units"] == 2
    assert found["explained_variance"] == pytest.approx(1)
    assert found["nearest_cosine"] == pytest.approx(2**-0.5, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "own",
    [
        dict(sparsity="gated", prefixes=(8, 20), revival_weight=0.1, revive_after=64),
        dict(sparsity="jump_relu"),
        dict(sparsity="batch_top_k", active_units=5),
    ],
)
def test_a_run_is_measured_and_drawn(own, tmp_path):
    np.save(tmp_path / "images.npy", np.random.RandomState(0).uniform(size=(60, 4, 4)))
    flags = sparse.Flags(**SMALL, **own, dataset=f"file:{tmp_path / 'images.npy'}")
    run = runs.train(sparse.EXPERIMENT, flags, workdir=tmp_path / "run")
    names = {"explained_variance", "dense_units", "nearest_cosine", "dead_units"}
    assert names <= run.metrics.keys()
    assert run.metrics["l0"] == pytest.approx(run.metrics["active_share"] * 70, rel=1e-5)
    for picture in ("features.png", "strongest.png", "densities.png"):
        assert (tmp_path / "run" / picture).is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "least"),
    [
        (dict(sparsity="batch_top_k", active_units=4, learning_rate=3e-3, revival_weight=1 / 32), 0.97),
        (dict(sparsity="k_sparse", active_units=4), 0.97),
        (dict(sparsity="jump_relu", sparsity_weight=0.2, bandwidth=0.2, learning_rate=3e-3), 0.97),
        (dict(sparsity="gated", sparsity_weight=1.5), 0.97),
    ],
)
def test_a_known_dictionary_is_recovered(own, least, tmp_path):
    run = runs.train(sparse.EXPERIMENT, sparse.Flags(dictionary=True, **own), workdir=tmp_path)
    assert run.metrics["atoms_recovered"] >= least and run.metrics["explained_variance"] > 0.8


def test_flags_that_an_older_run_lacks_leave_its_directory():
    flags = sparse.Flags()
    changed = dataclasses.replace(flags, sparsity_weight=0.5)
    one, other = (assembling.default_workdir(sparse.EXPERIMENT, each).name for each in (flags, changed))
    assert one == "sparse-digits-seed0-cf92a8e1" and one != other
