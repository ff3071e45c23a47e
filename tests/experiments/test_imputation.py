"""The page `imputation`: what is hidden, what it reports, and own examples with missing values."""

import json

import jax
import numpy as np
import pytest

from experiments import imputation
from genjax import data, runs
from genjax.errors import BadInput
from genjax.runs import runner
from genjax.training.determinism import DEFAULT_CPU_THREADS

SMALL = dict(hidden=(16,), latent_dim=2, batch_size=32, num_steps=30, eval_every=30, num_imputation_samples=20)


@pytest.fixture(autouse=True)
def settings_of_the_tests(monkeypatch):
    monkeypatch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
    monkeypatch.setattr(runner, "keep_compiled", lambda: None)


@pytest.fixture
def rows(tmp_path):
    """A file of incomplete rows on a plane."""
    draw = np.random.RandomState(0)
    x = draw.normal(size=(200, 2)) @ draw.normal(size=(2, 6))
    x[draw.uniform(size=x.shape) < 0.1] = np.nan
    np.save(tmp_path / "rows.npy", x)
    return tmp_path / "rows.npy", x


@pytest.mark.parametrize(("patch", "shape"), [(1, (50, 8, 8, 1)), (3, (50, 7, 8, 2)), (1, (50, 30))])
def test_the_asked_share_is_hidden_in_squares(patch, shape):
    x = np.random.RandomState(0).uniform(size=shape).astype(np.float32)
    hidden = imputation.hide(imputation.Flags(missing=0.3, patch=patch), x, 5)
    missing = np.isnan(hidden)
    assert (hidden[~missing] == x[~missing]).all()
    num_squares = np.prod([-(-size // patch) for size in shape[1 : 3 if len(shape) == 4 else 2]]) * len(x)
    assert abs(missing.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / num_squares)
    assert np.array_equal(hidden, imputation.hide(imputation.Flags(missing=0.3, patch=patch), x, 5), equal_nan=True)
    if patch == 3:
        assert (missing == missing[..., :1]).all()  # all channels of a pixel
        assert (missing[:, 0:3, 3:6] == missing[:, :1, 3:4]).all() and missing[:, 6].any()


@pytest.mark.slow
def test_a_run_measures_only_what_it_has_hidden(rows, tmp_path):
    path, x = rows
    flags = imputation.Flags(**SMALL, dataset=f"file:{path}", missing=0.2)
    run = runs.train(imputation.EXPERIMENT, flags, workdir=tmp_path / "run")
    metrics = json.loads((run.directory / "summary.json").read_text())["metrics"]
    known, seen = np.asarray(run.dataset.test.x, np.float64), imputation.incomplete(flags, run.dataset)
    hidden = np.isnan(seen.test.x) & ~np.isnan(known)
    assert np.isnan(known).any() and hidden.any()
    mean = np.nanmean(seen.train.x.astype(np.float64), axis=0)
    expected = np.sqrt(np.mean(np.square(known - mean), where=hidden))
    assert metrics["mean_rmse"] == pytest.approx(expected, rel=1e-5)
    assert metrics["pca_rmse"] < 0.5 * metrics["mean_rmse"] and np.isfinite(metrics["rmse"])

    application = imputation.applications(flags, run.parts)["imputed"]
    assert application.read is not None
    given = application.read(path)
    found = np.asarray(application.each(run.params, given, jax.random.key(0)))
    assert np.isfinite(found).all() and (found[~np.isnan(x)] == x.astype(np.float32)[~np.isnan(x)]).all()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (dict(binarize="dynamic"), "binarize: values are hidden once"),
        (dict(patch=2, dataset="breast_cancer"), "patch: vectors have no squares"),
        (dict(memory_limit=0), "memory_limit: values are hidden in memory"),
        (dict(missing=0.99, patch=8), "missing: feature 0 is missing in all training examples"),
    ],
)
def test_flags_that_do_not_agree_are_refused(flags, said):
    flags = imputation.Flags(**flags)
    dataset = data.load(flags.dataset)
    dataset = dataset._replace(train=dataset.train.at(np.arange(20)))
    with pytest.raises(BadInput) as refused:
        imputation.incomplete(flags, dataset)
    assert str(refused.value).startswith(said)


def test_missing_values_are_refused_elsewhere(rows):
    with pytest.raises(BadInput, match="values of the train split are NaN or infinite"):
        data.load(f"file:{rows[0]}")
    assert np.isnan(data.load(f"file:{rows[0]}", missing=True).train.x).any()
    rows[1][3, 2] = np.inf
    np.save(rows[0], rows[1])
    with pytest.raises(BadInput, match=r"1 of .* values of the train split are infinite"):
        data.load(f"file:{rows[0]}", missing=True)
