"""Tables with missing cells: what `imputation` makes of them, and the line with which others refuse them."""

import csv

import numpy as np
import pytest

from experiments import imputation
from genjax import data, runs
from genjax.data import columns
from genjax.errors import BadInput
from genjax.runs import runner
from genjax.training.determinism import DEFAULT_CPU_THREADS

NUM = 240
DRAW = np.random.RandomState(0)
FACTOR = DRAW.normal(size=NUM)
COMPLETE = {
    "height": 170 + 10 * FACTOR + 0.5 * DRAW.normal(size=NUM),
    "weight": 70 + 8 * FACTOR + 0.5 * DRAW.normal(size=NUM),
    "size": np.where(FACTOR > 0, "large", "small"),
}
ABSENT = {name: DRAW.uniform(size=NUM) < 0.1 for name in COMPLETE}
ABSENT["size"] &= np.abs(FACTOR) > 0.3  # not those that are between both


@pytest.fixture(autouse=True)
def settings_of_the_tests(monkeypatch):
    monkeypatch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
    monkeypatch.setattr(runner, "keep_compiled", lambda: None)


@pytest.fixture
def people(tmp_path):
    cells = {name: np.where(ABSENT[name], "", np.array(column, str)) for name, column in COMPLETE.items()}
    cells["height"][np.flatnonzero(ABSENT["height"])[:3]] = "NaN"
    with (tmp_path / "people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", *cells])
        writer.writerows(zip(map("p{}".format, range(NUM)), *cells.values(), strict=True))
    return tmp_path / "people.csv"


def test_missing_cells_are_left_out_of_the_columns(people):
    found = data.load(f"table:{people}", missing=True, column_kinds={"name": "none"})
    assert found.columns is not None and [column.kind for column in found.columns] == ["number", "number", "category"]
    held_out = np.isin(np.arange(NUM), data.choose(NUM, NUM // 10))
    seen = COMPLETE["weight"][~held_out & ~ABSENT["weight"]]
    assert found.columns[1].shift == pytest.approx(seen.mean()) and found.columns[1].scale == pytest.approx(seen.std())
    assert found.columns[2].categories == ("large", "small")
    for split, rows in ((found.train, ~held_out), (found.test, held_out)):
        expected = np.stack([ABSENT["height"], ABSENT["weight"], ABSENT["size"], ABSENT["size"]], axis=1)[rows]
        np.testing.assert_array_equal(np.isnan(split.x), expected)
    one_hot = found.train.x[:, 2:][~ABSENT["size"][~held_out]]
    np.testing.assert_array_equal(one_hot.sum(axis=1), 1)


@pytest.mark.slow
def test_the_table_is_completed(people, tmp_path):
    flags = imputation.Flags(
        dataset=f"table:{people}",
        column_kinds=("name=none",),
        missing=0.1,
        hidden=(32,),
        latent_dim=1,
        batch_size=64,
        learning_rate=1e-2,
        num_steps=300,
        eval_every=300,
        num_imputation_samples=200,
    )
    run = runs.train(imputation.EXPERIMENT, flags, workdir=tmp_path / "run")
    assert run.metrics["rmse"] < 0.7 * run.metrics["mean_rmse"]
    with (tmp_path / "run" / "completed.csv").open(newline="") as file:
        completed = list(csv.DictReader(file))
    with people.open(newline="") as file:
        given = list(csv.DictReader(file))
    for before, after in zip(given, completed, strict=True):  # in their order, and known cells to the letter
        assert all(after[name] == cell for name, cell in before.items() if not columns.is_missing(cell))
    for name in ("height", "weight"):
        found = np.array([float(row[name]) for row in completed])
        error = (found - COMPLETE[name])[ABSENT[name]]
        assert np.sqrt(np.square(error).mean()) < 0.5 * COMPLETE[name].std()
    of_size = np.array([row["size"] for row in completed])[ABSENT["size"]]
    assert (of_size == COMPLETE["size"][ABSENT["size"]]).mean() > 0.9
    read = run.experiment.applications(flags, run.parts)["imputed"].read
    assert read is not None
    with pytest.raises(BadInput, match="only as part of the one that the run reads"):
        read(people)


def test_empty_cells_of_an_array_are_nan(tmp_path):
    (tmp_path / "rows.csv").write_text(",2,3\n4, ,6\n7,8,9\n" * 10)
    found = data.load(f"file:{tmp_path / 'rows.csv'}", missing=True)
    x = np.concatenate([found.train.x, found.test.x])
    assert len(x) == 30 and np.isnan(x).sum() == 20  # the first row is no header
    assert np.isnan(x[x[:, 2] == 3][:, 0]).all() and (x[x[:, 2] == 9] == [7, 8, 9]).all()


@pytest.mark.parametrize("kind", ["table", "file"])
def test_other_pages_name_the_one_that_takes_them(kind, tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n" + "1,2\n3,\n5,7\n" * 10)
    with pytest.raises(BadInput, match="the page `imputation` takes"):
        data.load(f"{kind}:{tmp_path / 'rows.csv'}")


def test_a_column_needs_a_cell(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n" + "1,\n3,\n5,nan\n" * 10)
    with pytest.raises(BadInput, match="column b has no cell that is not empty or nan"):
        data.load(f"table:{tmp_path / 'rows.csv'}", missing=True)
