"""Tables of mixed columns: what is read, how it is scaled, and one clear line for what cannot be."""

import json

import numpy as np
import pytest
import sklearn.datasets
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from genjax import data
from genjax.data import columns, examples, outline
from genjax.errors import BadInput

NUM = 50
DRAW = np.random.RandomState(3)
AGE, VISITS, ZIP = DRAW.normal(40, 10, NUM), DRAW.poisson(3, NUM), DRAW.choice([7, 11, 30], NUM)
COLOUR = DRAW.choice(["red", "light, blue", 'so-called "green"'], NUM)
FRAUD = DRAW.choice(["yes", "no"], NUM)
KINDS = {"visits": "count", "zip": "category"}


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def lines(delimiter=","):
    rows = zip(AGE, map(quoted, COLOUR), VISITS, ZIP, FRAUD, strict=True)
    return [delimiter.join(map(str, row)) for row in rows]


HEADER = "age,colour,visits,zip,fraud"


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("\n".join([HEADER, *lines()]))
    return path


def load(path, **options):
    return data.load(f"table:{path}", **{"label_column": "fraud", "column_kinds": KINDS} | options)


def test_columns_are_those_of_scikit_learn(people):
    found = load(people)
    held_out = np.zeros(NUM, bool)
    held_out[np.random.RandomState(0).permutation(NUM)[:5]] = True
    scaler = StandardScaler().fit(AGE[~held_out, None])  # of the training split alone
    encoder = OneHotEncoder(sparse_output=False)
    expected = np.concatenate(
        [
            scaler.transform(AGE[:, None]),
            encoder.fit_transform(COLOUR[:, None]),
            VISITS[:, None] / VISITS[~held_out].std(),
            encoder.fit_transform(ZIP[:, None].astype(str)),
        ],
        axis=1,
    )
    np.testing.assert_allclose(found.train.x, expected[~held_out], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.test.x, expected[held_out], rtol=1e-6, atol=1e-6)
    assert found.columns is not None
    assert [(column.name, column.kind, column.width) for column in found.columns] == [
        *(("age", "number", 1), ("colour", "category", 3), ("visits", "count", 1), ("zip", "category", 3))
    ]
    assert found.class_names == ("no", "yes") and not found.bounded
    np.testing.assert_array_equal(found.train.label, FRAUD[~held_out] == "yes")


def test_standardisation_inverts(people):
    found = load(people)
    assert found.columns is not None
    cells = columns.decode(found.train.x, found.columns)
    held_out = np.isin(np.arange(NUM), np.random.RandomState(0).permutation(NUM)[:5])
    np.testing.assert_allclose(cells["age"], AGE[~held_out], rtol=1e-6)
    for name, expected in (("visits", VISITS), ("zip", ZIP.astype(str)), ("colour", COLOUR)):
        np.testing.assert_array_equal(cells[name], expected[~held_out])


def test_the_same_table_in_other_files(people, tmp_path):
    expected = load(people)
    for name, text in (
        ("semicolons.csv", "\n".join([HEADER.replace(",", ";"), *lines(";"), "", ""])),
        ("tabs.csv", "\ufeff" + "\r\n".join([HEADER.replace(",", "\t"), *lines("\t")])),
    ):
        (tmp_path / name).write_text(text)
        found = load(tmp_path / name)
        assert found.fingerprint == expected.fingerprint and found.columns == expected.columns
    (tmp_path / "no header.csv").write_text("\n".join(lines()))
    found = load(tmp_path / "no header.csv", label_column="last", column_kinds={"3": "count", "4": "category"})
    np.testing.assert_array_equal(found.train.x, expected.train.x)
    assert [column.name for column in found.columns or ()] == ["1", "2", "3", "4"]
    assert found.fingerprint != expected.fingerprint  # of other columns

    np.savez(tmp_path / "people.npz", age=AGE, colour=COLOUR, visits=VISITS, zip=ZIP.astype(float), y=FRAUD)
    found = load(tmp_path / "people.npz", label_column=None)
    assert found.fingerprint == expected.fingerprint and found.class_names == ("no", "yes")
    np.savez(tmp_path / "matrix.npz", X=np.stack([AGE, VISITS], axis=1), y=FRAUD == "yes")
    found = load(tmp_path / "matrix.npz", label_column=None, column_kinds={"X_2": "count"})
    np.testing.assert_array_equal(found.train.x[:, 0], expected.train.x[:, 0])
    np.testing.assert_array_equal(found.train.x[:, 1], expected.train.x[:, 4])


def test_an_outline_keeps_the_columns_and_the_scales(people):
    found = load(people)
    kept = outline.read(json.loads(json.dumps(outline.record(found))))
    assert kept.columns == found.columns
    assert "columns" not in outline.record(data.load("ring"))  # as before there were tables


def test_new_rows_are_scaled_as_the_training_data_were(people, tmp_path):
    found = load(people)
    kept = outline.read(json.loads(json.dumps(outline.record(found))))
    (tmp_path / "new.csv").write_text('zip,visits,more,colour,age\n11,2,?,"light, blue",50\n7.0,4,?,red,1e3\n')
    rows = examples.open_examples(tmp_path / "new.csv", kept)
    assert found.columns is not None
    age, _, visits, _ = found.columns
    expected = [
        [(50 - age.shift) / age.scale, 1, 0, 0, 2 / visits.scale, 1, 0, 0],
        [(1000 - age.shift) / age.scale, 0, 1, 0, 4 / visits.scale, 0, 0, 1],
    ]
    np.testing.assert_allclose(rows.read(0, 2), expected, rtol=1e-6)
    assert rows.kind == "tables" and len(rows.names) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("zip,visits,colour\n7,2,red", "there is no column age, but zip, visits, colour"),
        ("age,colour,visits,zip\n50,red,2,7\n50,,2,7", "column colour has a cell that is empty or nan in row 2"),
        ("age,colour,visits,zip\n50,pink,2,7", "column colour has a category that is not one of light, blue, red"),
        ("age,colour,visits,zip\n50,red,2,8", "column zip has a category that is not one of 11, 30, 7"),
        ("age,colour,visits,zip\ninf,red,2,7", "column age has a cell that is infinite or nan in row 1"),
        ("age,colour,visits,zip\nold,red,2,7", "column age has a cell that is not a number in row 1"),
        ("age,colour,visits,zip\n50,red,-2,7", "column visits has a cell that is not a whole number from 0 to"),
    ],
)
def test_new_rows_that_do_not_fit_are_refused(people, tmp_path, text, problem):
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(BadInput, match=problem.replace("(", r"\(")):
        examples.open_examples(tmp_path / "new.csv", load(people))


GOOD = ["1.5,a,3", "2.5,b,0", "3.5,a,1", "4.5,b,7"]
WRONG = {
    "empty": ("2,,5", "column b has a cell that is empty or nan in row 5"),
    "nan": ("NaN,a,5", "column a has a cell that is empty or nan in row 5"),
    "infinite": ("-inf,a,5", "column a has a cell that is infinite or nan in row 5"),
    "commas": ('"1,200.5",a,5', r"column a has numbers with commas, such as '1,200.5' in row 5; write 1200.5"),
    "text": ("old,a,5", r"column a has texts among its numbers, such as 'old' in row 5; .* as a=category or a=none"),
    "short": ("1,a", r"has 2 cells in row 5; expected 3, as in its first line"),
    "quote": ('1,"a,3', r"cannot be read \(unexpected end of data\)"),
    "large": ("1e300,a,5", r"column a has numbers up to 1e\+300, too large"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_row_is_one_line(name, tmp_path):
    row, problem = WRONG[name]
    rows = [GOOD[0], *GOOD[1:], row, *GOOD[1:]]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c", *rows]))
    with pytest.raises(BadInput, match=rf"^data set 'table:.*{problem}") as caught:
        data.load(f"table:{tmp_path / 't.csv'}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "kinds", "problem"),
    [
        ("a,b\n1,7\n2,7\n3,7", {}, r"column b is constant in the training split \(7\); .* b=none"),
        ("a,b\n1,x\n2,x\n3,x", {}, r"column b is constant in the training split \(x\)"),
        ("a,b\n1,1\n2,2.5\n3,4", {"b": "count"}, "column b has a cell that is not a whole number from 0 to 4194304"),
        ("a,a\n1,2\n3,4", {}, "has two columns called a"),
        ("a,\n1,2\n3,4", {}, "has a column without a name"),
        ("a,b\n", {}, "has no rows"),
        ("", {}, "has no rows"),
        ("a,b\n1,2", {}, "has 1 rows of examples"),
        ("a\n1\n2", {"a": "none"}, "it has no columns but those of labels and those that are left out"),
        ("a,b\n1,2\n3,4", {"c": "count"}, "^column_kinds: there is no column c, but a, b"),
        ("a,b\n1,2\n3,4", {"b": "float"}, "^column_kinds: expected number, count, category or none for b, not float"),
    ],
)
def test_a_wrong_table_is_one_line(text, kinds, problem, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BadInput, match=problem):
        data.load(f"table:{tmp_path / 't.csv'}", column_kinds=kinds)


def test_names_of_rows_are_no_category(tmp_path):
    (tmp_path / "t.csv").write_text("name,a\n" + "\n".join(f"p{i},{i}" for i in range(150)))
    with pytest.raises(BadInput, match=r"column name has 150 different texts, such as 'p0'; .* name=none"):
        data.load(f"table:{tmp_path / 't.csv'}")
    assert data.load(f"table:{tmp_path / 't.csv'}", column_kinds={"name": "none"}).train.x.shape == (135, 1)


def test_what_is_no_table_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3), b=np.zeros((4, 2)))
    (tmp_path / "x.txt").write_text("1,2")
    (tmp_path / "labels.csv").write_text("a,b\n1,x\n2,\n3,y")
    for name, label, problem in (
        ("missing.csv", None, "there is no file"),
        ("x.txt", None, "expected a table of .csv or .npz"),
        ("x.npz", None, r"holds the arrays a \[3\], b \[4, 2\]; expected columns \[N\] or \[N, D\]"),
        ("labels.csv", "kind", "label_column: .* has the columns a, b, not kind"),
        ("labels.csv", "b", "the column of labels has an empty cell in row 2"),
    ):
        with pytest.raises(BadInput, match=problem):
            data.load(f"table:{tmp_path / name}", label_column=label)


@pytest.mark.parametrize("name", ["breast_cancer", "wine"])
def test_embedded_tables_are_scikit_learns(name):
    theirs = getattr(sklearn.datasets, f"load_{name}")()
    ours = data.load(name)
    assert ours.columns is not None
    cells = columns.decode(np.concatenate([ours.train.x, ours.test.x]), ours.columns)
    order = np.random.RandomState(0).permutation(len(theirs.target))
    np.testing.assert_allclose(np.stack(list(cells.values()), axis=1), theirs.data[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate([ours.train.label, ours.test.label]), theirs.target[order])  # type: ignore[list-item]
    assert list(ours.class_names or ()) == list(theirs.target_names)
    np.testing.assert_allclose(ours.train.x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(ours.train.x.std(axis=0), 1, rtol=1e-5)
    words = [set(feature.replace("_", " ").replace("/", " ").split()) for feature in theirs.feature_names]
    for own, their in zip(cells, words, strict=True):
        assert set(own.replace("_", " ").split()) - {"of"} == their - {"of"}
