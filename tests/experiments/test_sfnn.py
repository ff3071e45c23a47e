"""The stochastic network on the inverse problem, as a user runs it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow  # processes: some minutes in all


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


def test_labels_that_are_classes_are_refused(finish, tmp_path):
    status, out, err = finish("sfnn", "--dataset=digits", f"--workdir={tmp_path / 'run'}")
    assert status == 2 and not out
    assert "--dataset=digits: its labels are no targets to regress on" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()
