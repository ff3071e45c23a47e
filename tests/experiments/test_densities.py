"""The pages of models with an exact likelihood, in this process: flow and made."""

import jax
import numpy as np
import pytest

from experiments import apply, flow, generate, made
from genjax import data, runs
from genjax.data import toys
from genjax.errors import BadInput

SHORT = {"num_steps": 4, "log_every": 2, "eval_every": 4, "batch_size": 16}


@pytest.fixture(autouse=True)
def cpu_threads(monkeypatch):
    monkeypatch.setenv("NPROC", "4")  # what a command would set before the backend starts


def same_scores(directory, workdir, x, expected):
    """`apply --to=scores` gives the exact likelihoods, whose mean is that of the summary."""
    np.save(workdir / "x.npy", x)
    apply.main(apply.Flags(run=str(directory), input=str(workdir / "x.npy"), to="scores", out=str(workdir / "s.npz")))
    found = np.load(workdir / "s.npz")["negative_log_likelihood"]
    np.testing.assert_allclose(found.mean(), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["coupling", "maf", "iaf"])
@pytest.mark.slow
def test_a_flow_on_a_toy(kind, tmp_path):
    flags = flow.Flags(flow=kind, hidden=(8,), num_layers=2, **SHORT)
    run = runs.train(flow.EXPERIMENT, flags, workdir=tmp_path / "run")
    metrics = run.metrics
    test = data.load("ring").test.x
    truth = toys.modes_negative_log_likelihood(test, modes=toys.RING).mean()
    np.testing.assert_allclose(metrics["true_negative_log_likelihood"], truth, rtol=1e-9)
    # the entropy of eight Gaussians that do not overlap
    entropy = np.log(8) + np.log(2 * np.pi * np.e * toys.RING.standard_deviation**2)
    np.testing.assert_allclose(truth, entropy, atol=4 / len(test) ** 0.5)
    assert metrics["gaussian_negative_log_likelihood"] > truth + 1
    # the flow begins as the Gaussian of each axis
    np.testing.assert_allclose(
        metrics["negative_log_likelihood"], metrics["gaussian_negative_log_likelihood"], atol=0.1
    )
    assert {"density.png", "samples.png", "curves.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    if kind == "coupling":
        same_scores(tmp_path / "run", tmp_path, test, metrics["negative_log_likelihood"])
        generate.main(generate.Flags(run=str(tmp_path / "run"), num=7, out=str(tmp_path / "made")))
        assert np.load(tmp_path / "made" / "samples.npz")["x"].shape == (7, 2)


def test_a_flow_refuses_images_and_a_coupling_one_dimension(tmp_path):
    with pytest.raises(BadInput, match=r"^dataset: digits has images"):
        runs.train(flow.EXPERIMENT, flow.Flags(dataset="digits", **SHORT), workdir=tmp_path / "run")
    with pytest.raises(BadInput, match=r"^flow: a coupling needs two dimensions"):
        runs.train(flow.EXPERIMENT, flow.Flags(dataset="inverse_sine", **SHORT), workdir=tmp_path / "run")
    (tmp_path / "t.csv").write_text("age,colour\n" + "1,red\n2,blue\n3.5,red\n" * 20)
    mixed = flow.Flags(dataset=f"table:{tmp_path / 't.csv'}", **SHORT)
    with pytest.raises(BadInput, match=r"^dataset: .* not numbers and have no density, such as colour"):
        runs.train(flow.EXPERIMENT, mixed, workdir=tmp_path / "run")


@pytest.mark.slow
def test_made_on_digits(tmp_path):
    flags = made.Flags(hidden=(8,), num_masks=2, **SHORT)
    run = runs.train(made.EXPERIMENT, flags, workdir=tmp_path / "run")
    metrics = run.metrics
    stored = data.batching.statically_binarized(data.load("digits"))
    same_scores(tmp_path / "run", tmp_path, stored.test.x.astype(np.float32), metrics["negative_log_likelihood"])
    # the baseline: independent pixels of the training frequencies, by hand
    p = (stored.train.x.sum(0) + 1) / (len(stored.train.x) + 2)
    x = stored.test.x
    expected = -np.log(np.where(x == 1, p, 1 - p)).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(metrics["pixels_negative_log_likelihood"], expected, rtol=1e-5)
    samples = run.sample(5, jax.random.key(0))
    assert samples.shape == (5, 8, 8, 1) and set(np.unique(samples)) <= {0, 1}


def test_made_refuses_grey_images(tmp_path):
    with pytest.raises(BadInput, match=r"^binarize: digits has values between 0 and 1"):
        runs.train(made.EXPERIMENT, made.Flags(binarize="none", **SHORT), workdir=tmp_path / "run")


def test_the_masks_are_those_of_the_flags_alone():
    one, same, other = (
        made.masks_of(made.Flags(num_masks=2, **changed), 64) for changed in ({}, {"seed": 5}, {"mask_seed": 1})
    )
    assert all(np.array_equal(a, b) for a, b in zip(one[1], same[1], strict=True))
    assert not np.array_equal(one[0][0], other[0][0]) and not np.array_equal(one[0][0], one[1][0])
    natural = made.masks_of(made.Flags(num_masks=2, order="natural"), 64)
    assert all(np.array_equal(mask[0], np.arange(1, 65)) for mask in natural)
    assert not np.array_equal(natural[0][1], natural[1][1])
