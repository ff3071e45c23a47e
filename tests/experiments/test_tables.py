"""Pages on tables of mixed columns: a density per column, new rows in the training units, ranked outliers."""

import csv
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from experiments import apply, outlier_tables, outliers, vae
from genjax import gradients, runs
from genjax.data import columns
from genjax.errors import BadInput
from genjax.evaluation import detection
from genjax.models import autoencoder
from genjax.models import vae as vae_model
from genjax.runs import opening
from genjax.types import Batch

SMALL = dict(num_steps=4, batch_size=16, hidden=(8,), latent_dim=2, eval_every=4, log_every=4)
NUM = 60

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def people(tmp_path):
    """A table of two numbers, a category and a count, whose rare class is older."""
    draw = np.random.RandomState(0)
    fraud = np.arange(NUM) % 6 == 0
    age = draw.normal(40, 10, NUM) + 60 * fraud
    rows = zip(age, draw.choice(["red", "blue"], NUM), draw.poisson(4, NUM), draw.normal(size=NUM), fraud, strict=True)
    lines = [",".join(map(str, row)) for row in rows]
    (tmp_path / "people.csv").write_text("age,file,visits,p/q,fraud\n" + "\n".join(lines))
    return dict(SMALL, dataset="table:people.csv", label_column="fraud", column_kinds=("visits=count",))


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["columns", "learned_columns"])
def test_a_vae_of_columns_scores_new_rows_in_the_training_units(people, tmp_path, likelihood):
    run = runs.train(vae.EXPERIMENT, vae.Flags(likelihood=likelihood, **people), workdir=tmp_path / "run")
    (tmp_path / "new.csv").write_text("visits,file,p/q,age\n" + "3,red,0.5,44\n" * 2 + "300,blue,0.1,20\n")
    for to in ("contributions", "scores"):
        flags = apply.Flags(run=str(tmp_path / "run"), input="new.csv", to=to, out=f"{to}.csv")
        apply.main(flags)
    scores, parts = read("scores.csv"), read("contributions.csv")
    names = ["age", "file", "visits", "p_q"]
    assert set(parts[0]) == {"example", *(f"contribution_{name}" for name in names)}
    for score, part in zip(scores, parts, strict=True):
        total = sum(float(part[f"contribution_{name}"]) for name in names)
        assert total == pytest.approx(float(score["distortion"]), rel=1e-5)
    assert float(parts[2]["contribution_visits"]) > float(parts[0]["contribution_visits"]) + 10

    samples = read(tmp_path / "run" / "samples.csv")
    assert len(samples) == 100 and {row["file"] for row in samples} <= {"red", "blue"}
    assert all(float(row["visits"]) >= 0 and float(row["visits"]).is_integer() for row in samples)
    assert 0 < np.mean([float(row["age"]) for row in samples]) < 100
    (tmp_path / "people.csv").unlink()  # the run keeps what it needs of it
    kept = opening.open(tmp_path / "run", with_data=False).dataset.columns
    assert kept == run.dataset.columns and kept is not None
    (tmp_path / "new.csv").write_text("visits,file,p/q,age\n3,pink,0.5,44\n")
    with pytest.raises(BadInput, match="column file has a category that is not one of blue, red in row 1"):
        apply.main(flags)


def test_the_density_of_a_row_is_scipys(people):
    for likelihood in ("columns", "learned_columns"):
        flags = vae.Flags(likelihood=likelihood, variance=0.4, **people)
        dataset = vae.EXPERIMENT.load(flags)
        parts = vae.build(flags, dataset, None).parts  # type: ignore[arg-type] # which is for training
        assert dataset.columns is not None
        x, draw = np.asarray(dataset.test.x), np.random.RandomState(1)
        a = np.asarray(draw.normal(size=x.shape), np.float32)
        cells, count = columns.decode(x, dataset.columns), dataset.columns[2]
        s = np.full(5, np.log(0.4), np.float32)
        mean = count.scale * np.exp(a[:, 3])
        numbers = x[:, [0, 4]] - a[:, [0, 4]]
        is_red = (cells["file"] == "red").astype(int)
        expected = {
            "age": -scipy.stats.norm.logpdf(numbers[:, 0], 0, np.sqrt(0.4)),
            "file": -np.log(scipy.special.softmax(a[:, 1:3], axis=1)[np.arange(len(x)), is_red]),
            "visits": -scipy.stats.poisson.logpmf(cells["visits"], mean),
            "p_q": -scipy.stats.norm.logpdf(numbers[:, 1], 0, np.sqrt(0.4)),
        }
        if likelihood == "learned_columns":
            expected["visits"] = -scipy.stats.nbinom.logpmf(cells["visits"], 1 / 0.4, 1 / (1 + 0.4 * mean))
        output = a if likelihood == "columns" else (a, s)
        terms = parts.likelihood.terms(output, x)
        for name, value in expected.items():
            np.testing.assert_allclose(terms[name], value, rtol=1e-4, atol=1e-4)
        total = parts.likelihood.negative_log_likelihood(output, x)
        np.testing.assert_allclose(total, sum(expected.values()), rtol=1e-4)


def test_a_likelihood_of_columns_needs_columns(tmp_path):
    with pytest.raises(BadInput, match=r"^likelihood: the likelihood columns needs a table, .* not digits"):
        runs.train(vae.EXPERIMENT, vae.Flags(likelihood="columns"), workdir=tmp_path / "run")
    with pytest.raises(BadInput, match=r"^column_kinds: it applies to table:PATH, not to digits"):
        runs.train(vae.EXPERIMENT, vae.Flags(column_kinds=("a=count",)), workdir=tmp_path / "run")
    with pytest.raises(BadInput, match=r"^column_kinds: expected NAME=KIND, not 'a'"):
        runs.train(vae.EXPERIMENT, vae.Flags(column_kinds=("a",), dataset="table:x.csv"), workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def split_by_hand(splits, split):
    """The standardised held-out rows and training inliers of a split, and which of the former are outliers."""
    train, test = splits.train[split], splits.test[split]
    known = splits.x[train].astype(np.float64)
    mean, spread = known.mean(axis=0), known.std(axis=0)
    mean[1:4], spread[1:4] = 0, 1  # the category and the count
    return (splits.x[test] - mean) / spread, (known - mean) / spread, splits.outlier[test]


def test_splits_are_standardised_by_their_own_training_inliers(people):
    flags = outliers.Flags(protocol="outlier_class", num_splits=3, **people)
    splits = outlier_tables.splits_of(flags, outliers.EXPERIMENT.load(flags))
    assert splits.outlier.sum() == 10  # the rare class
    assert len({row.tobytes() for row in splits.test}) == 3
    for split, (train, test) in enumerate(zip(splits.train, splits.test, strict=True)):
        assert not (train & (test | splits.outlier)).any() and (train | test | splits.outlier).all()
        assert [(test & of).sum() for of in (splits.outlier, ~splits.outlier)] == [3, 15]
        x, known, _ = split_by_hand(splits, split)
        np.testing.assert_allclose(splits.standardised(split, splits.x[test]), x, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(splits.standardised(split, splits.x[train]), known, rtol=1e-5, atol=1e-5)


def test_each_split_learns_from_its_own_examples(people):
    flags = outliers.Flags(protocol="outlier_class", num_splits=2, **people)
    dataset = outliers.EXPERIMENT.load(flags)
    model, parts, _ = outlier_tables.build(flags, dataset, gradients.whole_batch)
    params, key = model.init(jax.random.key(0)).params, jax.random.key(1)
    inlier = ~parts.splits.outlier
    members = parts.splits.train[:, inlier]
    batch = Batch(jnp.asarray(parts.splits.x[inlier]), jnp.asarray(members.T))
    quiet = outlier_tables.objective(flags.replace(noise_scale=0.0), parts, members)
    loss, metrics = jax.jit(quiet)(params, batch, key)
    reconstruct = jax.jit(partial(autoencoder.reconstruct, parts=parts.autoencoder))
    negative_elbo = jax.jit(partial(vae_model.negative_elbo, parts=parts.vae))
    for split, key_of_split in enumerate(jax.random.split(key, 2)):
        own = outlier_tables.of_split(params, split)
        x = parts.splits.standardised(split, batch.x)
        rebuilt = reconstruct(own["autoencoder"], x)
        error = np.sum((np.asarray(rebuilt) - np.asarray(x)) ** 2, axis=1)
        bound = negative_elbo(own["vae"], x, jax.random.split(key_of_split)[1])
        weight = members[split] / members[split].mean()
        loss -= weight * (error + np.asarray(bound))
        metrics["reconstruction_loss"] -= weight * error / 2
    np.testing.assert_allclose(loss, 0, atol=1e-3)
    np.testing.assert_allclose(metrics["reconstruction_loss"], 0, atol=1e-3)


def test_measures_are_means_over_splits_with_standard_errors():
    draw = np.random.RandomState(0)
    pairs = [(draw.normal(size=20), draw.normal(1, size=8)) for _ in range(4)]
    found = outlier_tables.measures({"": pairs, "knn": pairs[:1]})
    areas = [detection.auroc(*pair) for pair in pairs]
    assert found["auroc"] == pytest.approx(np.mean(areas)) and "knn_auroc_error" not in found
    assert found["auroc_error"] == pytest.approx(scipy.stats.sem(areas))
    precisions = [np.sum(np.sort(np.concatenate(pair))[-8] <= pair[1]) / 8 for pair in pairs]
    assert found["precision_at_n"] == pytest.approx(np.mean(precisions))


def test_rows_are_ranked_with_the_columns_that_exceed_their_usual_share(people):
    flags = outliers.Flags(protocol="outlier_class", num_splits=1, **people)
    dataset = outliers.EXPERIMENT.load(flags)
    splits = outlier_tables.splits_of(flags, dataset)
    rows = np.zeros(NUM, bool)
    rows[:3] = True
    terms = {"age": [1.0, 2, 9], "file": [1, 1, 1.5], "visits": [5, 4, 5], "p_q": [3, 0, 1]}
    terms = {name: np.array(term) for name, term in terms.items()}
    own = {
        "negative_elbo": np.sum(list(terms.values()), axis=0) + np.array([1.0, 2, 3]),
        "rate": np.array([1.0, 2, 3]),
        "contributions": terms,
    }
    usual = {"age": 1.0, "file": 1.0, "visits": 5.0, "p_q": 0.0}
    table = outlier_tables.ranked(dataset, splits, rows, own, usual, 9.5)
    assert table["rank"] == ["1", "2", "3"] and table["above_threshold"] == ["1", "1", "0"]
    assert table["negative_elbo"] == ["19.5000", "11.0000", "9.0000"]
    assert table["rate"] == ["3.0000", "1.0000", "2.0000"]
    assert [row.split("; ")[0] for row in table["reasons"]] == ["age +8.00", "p_q +3.00", "age +1.00"]
    assert table["-log p of visits"] == ["5.0000", "5.0000", "4.0000"]
    cells = read("people.csv")
    train = np.setdiff1d(np.arange(NUM), np.random.RandomState(0).permutation(NUM)[:6])
    assert [f"{float(cells[train[row]]['age']):.6g}" for row in (2, 0, 1)] == table["age"]  # in the table's units
    assert table["is_outlier"] == [str(int(cells[train[row]]["fraud"] == "True")) for row in (2, 0, 1)]


@pytest.mark.slow
def test_outliers_of_a_table(people, tmp_path):
    flags = outliers.Flags(protocol="outlier_class", **people | dict(num_splits=2, num_steps=300))
    run = runs.train(outliers.EXPERIMENT, flags, workdir=tmp_path / "run")
    metrics, areas = run.metrics, []
    for split in range(2):
        x, known, truth = split_by_hand(run.parts.splits, split)
        nearest = np.sort(((x[:, None] - known) ** 2).sum(axis=2), axis=1)[:, :5].mean(axis=1)
        areas.append(detection.auroc(nearest[~truth], nearest[truth]))
    assert metrics["knn_auroc"] == pytest.approx(np.mean(areas), abs=1e-6)
    methods = ("", "vae_", "pca_", "isolation_forest_", "mahalanobis_", "knn_")
    assert all({f"{method}auroc", f"{method}aupr_error"} <= metrics.keys() for method in methods)
    assert metrics["vae_auroc"] > 0.95

    table, names = read(tmp_path / "run" / "outliers.csv"), ("age", "file", "visits", "p_q")
    assert len(table) == 18 and [row["is_outlier"] for row in table[:3]] == ["1"] * 3
    assert all(row["reasons"].startswith("age +") for row in table[:3])
    for row in table:
        total = float(row["rate"]) + sum(float(row[f"-log p of {name}"]) for name in names)
        assert total == pytest.approx(float(row["negative_elbo"]), abs=1e-3)
    apply.main(apply.Flags(run=str(tmp_path / "run"), input="people.csv", to="contributions", out="c.csv"))
    assert len(read("c.csv")) == NUM


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (dict(outlier_class="theft"), "^outlier_class: expected one of False, True, not theft"),
        (
            dict(dataset="digits", label_column=None, column_kinds=()),
            "^protocol: the protocol outlier_class needs a table",
        ),
        (dict(label_column=None, column_kinds=()), "outlier detection needs 2 classes or more"),
        (dict(num_validation=5), "^num_validation: the protocol outlier_class has splits of its own"),
        (dict(batch_size=51), "^batch_size: expected a number from 1 to 50"),
        (dict(reconstruction="cross_entropy"), "^reconstruction: cross-entropy needs values in"),
    ],
)
def test_what_an_outlier_class_cannot_be(people, tmp_path, changes, problem):
    if changes.get("dataset") != "digits" and "label_column" in changes:
        (tmp_path / "people.csv").write_text("age,p\n" + "\n".join(f"{i},{i % 7}" for i in range(30)))
    flags = outliers.Flags(protocol="outlier_class", **people | changes)
    with pytest.raises(BadInput, match=problem):
        runs.train(outliers.EXPERIMENT, flags, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_malignant_tumours_are_outliers(train, tmp_path):
    flags = ("--protocol=outlier_class", "--dataset=breast_cancer", "--num_steps=1000", "--hidden=64")
    metrics = train("outliers", tmp_path / "run", *flags)["metrics"]
    assert metrics["vae_auroc"] > 0.93 and metrics["auroc"] > 0.88
    assert json.loads((tmp_path / "run" / "config.json").read_text())["num_splits"] == 10
