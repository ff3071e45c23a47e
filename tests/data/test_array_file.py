"""Files of arrays and tables."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from genjax import data
from genjax.errors import BadInput

X = np.random.RandomState(0).normal(size=(30, 3))
HELD_OUT = np.sort(np.random.RandomState(0).permutation(30)[:3])
KEPT = np.setdiff1d(np.arange(30), HELD_OUT)


def load(file, **arguments) -> data.Dataset:
    return data.load(f"file:{file}", **arguments)


def table(file, rows, header=None, delimiter=",") -> None:
    lines = [delimiter.join(map(str, row)) for row in ([header] if header else []) + list(rows)]
    file.write_text("\n".join(lines) + "\n")


def test_a_tenth_drawn_by_a_frozen_stream_is_held_out(tmp_path):
    np.save(tmp_path / "x.npy", X)
    made = load(tmp_path / "x.npy")
    np.testing.assert_array_equal(made.train.x, X[KEPT].astype(np.float32))
    np.testing.assert_array_equal(made.test.x, X[HELD_OUT].astype(np.float32))
    assert not made.bounded and made.num_classes is None
    assert made.name == f"file:{tmp_path / 'x.npy'}"


def test_arrays_with_labels_and_with_splits(tmp_path):
    label = np.arange(30) % 4
    np.savez(tmp_path / "one.npz", x=X, y=label[:, None])
    made = load(tmp_path / "one.npz")
    assert made.train.label is not None and made.num_classes == 4 and made.class_names is None
    np.testing.assert_array_equal(made.train.label, label[KEPT])
    np.savez(tmp_path / "two.npz", x_train=X[:20], x_test=X[20:], y_train=label[:20] + 5.0, y_test=label[20:] + 5.0)
    made = load(tmp_path / "two.npz")
    assert made.test.label is not None and made.class_names == ("5", "6", "7", "8")
    np.testing.assert_array_equal(made.test.x, X[20:].astype(np.float32))
    np.testing.assert_array_equal(made.test.label, label[20:])
    np.savez(tmp_path / "text.npz", x=X, y=np.array(["b", "a"])[label % 2])
    assert load(tmp_path / "text.npz").class_names == ("a", "b")


def _lies_on_disk(x: np.ndarray) -> bool:
    return isinstance(x, np.memmap) or (isinstance(x.base, np.ndarray) and _lies_on_disk(x.base))


def test_large_splits_stay_on_the_disk(tmp_path, monkeypatch):
    x, files = X.astype(np.float32), [tmp_path / f"{name}.npz" for name in ("kept", "squeezed", "doubled")]
    label = np.arange(30) % 4
    splits = {"x_train": x[:20], "x_test": x[20:], "y_train": label[:20], "y_test": label[20:]}
    np.savez(files[0], **splits)
    np.savez_compressed(files[1], **splits)
    np.savez(files[2], **splits | {"x_train": X[:20], "x_test": X[20:]})
    in_memory = [load(file) for file in files]
    monkeypatch.setattr("genjax.data.array_file.MAPPED_FROM", x[20:].nbytes)
    large = [load(file) for file in files]
    assert [_lies_on_disk(made.train.x) for made in in_memory] == [False, False, False]
    assert [_lies_on_disk(made.train.x) for made in large] == [True, False, False]
    assert _lies_on_disk(large[0].test.x)
    np.testing.assert_array_equal(large[0].train.x, x[:20])
    assert len({made.fingerprint for made in (*in_memory, *large)}) == 1


def test_a_damaged_split_on_the_disk_is_named(tmp_path, monkeypatch):
    file = tmp_path / "x.npz"
    np.savez(file, x_train=X[:20].astype(np.float32), x_test=X[20:].astype(np.float32))
    content = file.read_bytes()
    place = content.index(X[3].astype(np.float32).tobytes())
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    monkeypatch.setattr("genjax.data.array_file.MAPPED_FROM", 1)
    with pytest.raises(BadInput, match=r"x\.npz cannot be read \(Bad CRC-32"):
        load(file)


def test_images_of_bytes_integers_and_floats_of_either_sign(tmp_path):
    x = np.random.RandomState(0).randint(0, 256, (12, 4, 5)).astype(np.uint8)
    for name, array in {"bytes": x, "integers": x.astype(np.int64), "signed": x / 127.5 - 1, "bits": x > 9}.items():
        np.save(tmp_path / f"{name}.npy", array)
    made = {name: load(tmp_path / f"{name}.npy") for name in ("bytes", "integers", "signed", "bits")}
    assert all(each.train.x.shape == (11, 4, 5, 1) for each in made.values())
    assert (made["bytes"].scale, made["bytes"].bounded, made["bytes"].train.x.dtype) == (255, True, np.uint8)
    assert (made["integers"].scale, made["integers"].bounded) == (1, False)
    assert (made["signed"].bounded, made["bits"].bounded) == (False, True)
    np.testing.assert_allclose(made["signed"].visible(made["signed"].train.x) * 255, made["bytes"].train.x, atol=1)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [None, ["a", "b", "the c"]])
def test_a_table_of_numbers_with_and_without_a_header(tmp_path, delimiter, header):
    table(tmp_path / "t.csv", X.tolist(), header, delimiter)
    np.testing.assert_array_equal(load(tmp_path / "t.csv").train.x, X[KEPT].astype(np.float32))


def test_a_column_of_labels_is_taken_only_if_it_is_asked_for(tmp_path):
    kinds = [("setosa", "virginica", "a, b")[i % 3] for i in range(30)]
    rows = [[*x, f'"{kind}"'] for x, kind in zip(X.tolist(), kinds, strict=True)]
    for name, header in (("bare", None), ("named", ["a", "b", "c", "species"])):
        table(tmp_path / f"{name}.csv", rows, header)
    for name, column in (("bare", "last"), ("named", "last"), ("named", "species")):
        made = load(tmp_path / f"{name}.csv", label_column=column)
        names = ("a, b", "setosa", "virginica")
        assert made.class_names == names and made.train.label is not None
        assert [names[i] for i in made.train.label] == [kinds[i] for i in KEPT]
        np.testing.assert_array_equal(made.train.x, X[KEPT].astype(np.float32))
    for name in ("bare", "named"):
        with pytest.raises(BadInput, match=r"cannot be read \(could not convert .*; for a column of labels"):
            load(tmp_path / f"{name}.csv")
    with pytest.raises(BadInput, match=r"label_column: .* has the columns a, b, c, species, not kind"):
        load(tmp_path / "named.csv", label_column="kind")


def test_a_header_of_numbers_is_known_by_the_name_of_a_column(tmp_path):
    table(tmp_path / "t.csv", [[i % 2, *X[i]] for i in range(30)], ["kind", "0", "1", "2"])
    made = load(tmp_path / "t.csv", label_column="kind")
    np.testing.assert_array_equal(made.train.x, X[KEPT].astype(np.float32))


def test_integers_in_a_column_keep_their_names(tmp_path):
    table(tmp_path / "t.csv", [[i % 3 + 8, *X[i]] for i in range(30)], ["grade", "a", "b", "c"])
    made = load(tmp_path / "t.csv", label_column="grade")
    assert made.class_names == ("8", "9", "10")
    assert made.train.label is not None
    np.testing.assert_array_equal(made.train.label, KEPT % 3)
    assert load(tmp_path / "t.csv").train.x.shape == (27, 4)
    with pytest.raises(BadInput, match="train labels are float64 from -"):
        load(tmp_path / "t.csv", label_column="a")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"", "x.npy cannot be read"),
        ("x.npy", np.array([{}, {}]), "x.npy cannot be read .*[Oo]bject arrays"),
        ("x.npy", X[:, 0], r"has shape \[27\]"),
        ("x.npy", X[:1], r"its arrays are x \[1, 3\]; expected two rows"),
        ("x.npy", np.zeros((5, 3, 9, 8), np.uint8), "channels first; give them last, as x.transpose"),
        ("x.npz", {"x": X, "y": np.zeros(29)}, r"its arrays are x \[30, 3\], y \[29\]; expected two rows"),
        ("x.npz", {"a": X, "b": X}, "holds the arrays a, b; expected x and perhaps y, or x_train"),
        ("x.npz", {"x_train": X, "x_test": X, "y_test": np.zeros(30)}, "the test split has labels and the train"),
        ("x.csv", b"1,2\n3,4\n5\n", "x.csv cannot be read"),
        ("x.csv", b"1,2\n3,nan\n5,6\n", "1 of 4 values of the train split are NaN|1 of 2 values of the test"),
        ("x.csv", b"", r"its arrays are x \[0, 0\]; expected two rows"),
        ("x.txt", b"1", "expected a file of .npy, .npz, .csv or .parquet"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_bad_files_are_named(tmp_path, name, content, message):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif isinstance(content, dict):
        np.savez(tmp_path / name, **content)
    else:
        np.save(tmp_path / name, content)
    with pytest.raises(BadInput, match=message) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_columns_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"there is no file .*nowhere.npy; give a file, or its new place as `dataset`"):
        load(tmp_path / "nowhere.npy")
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(BadInput, match=r"label_column: only a .csv or .parquet has columns"):
        load(tmp_path / "x.npy", label_column="last")


def parquet(file, columns) -> None:
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pa.table(columns), file)


def test_a_parquet_file_is_the_same_data_set_as_the_same_table(tmp_path):
    kinds = [("setosa", "virginica", "a, b")[i % 3] for i in range(30)]
    grades = [i % 3 + 8 for i in range(30)]
    flags = [i % 2 == 0 for i in range(30)]
    numbers = {"a": X[:, 0].tolist(), "b": np.arange(30).tolist(), "c": X[:, 2].astype(np.float32).tolist()}
    for name, label in {"kind": kinds, "grade": grades, "flag": flags}.items():
        columns = {"a": numbers["a"], name: label, "b": numbers["b"], "c": numbers["c"]}
        table(
            tmp_path / "t.csv", [[f'"{cell}"' for cell in row] for row in zip(*columns.values(), strict=True)], columns
        )
        parquet(tmp_path / "t.parquet", columns)
        one, other = (load(tmp_path / f"t.{kind}", label_column=name) for kind in ("csv", "parquet"))
        assert one.fingerprint == other.fingerprint
        assert (one.class_names, one.num_classes) == (other.class_names, other.num_classes)
        np.testing.assert_array_equal(one.train.x, other.train.x)
        np.testing.assert_array_equal(one.test.label, other.test.label)
    parquet(tmp_path / "x.parquet", numbers)
    table(tmp_path / "x.csv", list(zip(*numbers.values(), strict=True)), list(numbers))
    assert load(tmp_path / "x.parquet").fingerprint == load(tmp_path / "x.csv").fingerprint
    parquet(tmp_path / "last.parquet", numbers | {"grade": grades})
    last = load(tmp_path / "last.parquet", label_column="last")
    assert last.train.x.shape == (27, 3) and last.class_names == ("8", "9", "10")


def test_columns_of_every_kind_of_number_are_read(tmp_path):
    pa = pytest.importorskip("pyarrow")
    values = list(range(30))
    kinds = [pa.int8(), pa.uint16(), pa.int64(), pa.float16(), pa.float32(), pa.decimal128(12, 2)]
    columns = {str(kind): pa.array(values, pa.int32()).cast(kind) for kind in kinds[:5]}
    columns["decimal"] = pa.array(values, pa.int32()).cast(kinds[5])
    columns["dictionary"] = pa.array(values).dictionary_encode()
    columns["bool"] = pa.array([value > 4 for value in values])
    parquet(tmp_path / "t.parquet", columns)
    expected = np.tile(np.arange(30.0)[:, None], 8)
    expected[:, 7] = expected[:, 0] > 4
    np.testing.assert_array_equal(load(tmp_path / "t.parquet").train.x, expected[KEPT])


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        ({"a": [1, 2], "b": ["x", "y"]}, None, "has string in its column b; expected numbers, or the labels"),
        ({"a": ["x", "y"], "b": ["x", "y"]}, "b", "has string in its column a; expected numbers$"),
        ({"a": [1, None]}, None, "has 1 missing values in its column a"),
        ({"a": [1, 2], "b": ["x", None]}, "b", "has 1 missing values in its column b"),
        ({"a": [[1], [2]]}, None, "has list<.*> in its column a"),
        ({"a": [{"u": 1}, {"u": 2}]}, None, "has struct<.*> in its column a"),
        ({"a": np.array(["2024-01-01", "2024-01-02"], "M8[D]")}, None, "has date32.* in its column a"),
        ({"a": [1, 2], "b": [[1], [2]]}, "b", "has list<.*> in its column b; expected numbers$"),
        ({"a": [1, 2]}, "b", r"label_column: .* has the columns a, not b"),
        ({}, None, r"its arrays are x \[0, 0\]"),
        ({}, "last", "label_column: .* has the columns , not last"),
        ({"a": [1.0, float("nan"), 2.0]}, None, "are NaN"),
    ],
)
def test_columns_that_are_not_numbers_are_named(tmp_path, columns, column, message):
    parquet(tmp_path / "t.parquet", columns)
    with pytest.raises(BadInput, match=message) as caught:
        load(tmp_path / "t.parquet", label_column=column)
    assert "\n" not in str(caught.value)


def test_a_damaged_parquet_file_is_named(tmp_path):
    parquet(tmp_path / "t.parquet", {"a": X[:, 0]})
    whole = (tmp_path / "t.parquet").read_bytes()
    middle = len(whole) // 3
    for content in (b"", b"PAR1", whole[:-9], b"a,b\n1,2\n", whole[:middle] + b"\xff" * 60 + whole[middle + 60 :]):
        (tmp_path / "bad.parquet").write_bytes(content)
        with pytest.raises(BadInput, match=r"bad.parquet cannot be read \(") as caught:
            load(tmp_path / "bad.parquet")
        assert "\n" not in str(caught.value)


def test_a_parquet_file_without_pyarrow_is_one_line(tmp_path, monkeypatch):
    parquet(tmp_path / "t.parquet", {"a": X[:, 0]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match=r"t.parquet needs the package pyarrow: pip install pyarrow"):
        load(tmp_path / "t.parquet")
