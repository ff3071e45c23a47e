"""The coder gives back what it was given, at the rate of its model."""

import numpy as np
import pytest

from genjax.evaluation import entropy_coding, rate_distortion


def model_bits(symbols, counts):
    """-log2 of the model's probability, summed."""
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    return -sum(np.log2(probabilities[j, symbols[:, j]]).sum() for j in range(symbols.shape[1]))


@pytest.mark.parametrize("seed", range(5))
def test_random_symbols_come_back_at_the_entropy(seed):
    draw = np.random.RandomState(seed)
    num, columns, size = 4000, draw.randint(1, 6), draw.randint(2, 300)
    probabilities = draw.dirichlet(np.full(size, 0.3), columns)
    symbols = np.stack([draw.choice(size, num, p=p) for p in probabilities], axis=1)
    counts = rate_distortion.histogram(symbols, num_symbols=size)
    data = entropy_coding.encode(symbols, counts)
    np.testing.assert_array_equal(entropy_coding.decode(data, counts), symbols)
    bits = num * rate_distortion.empirical_entropy(symbols)
    assert model_bits(symbols, counts) == pytest.approx(bits, rel=1e-9)
    assert bits / 8 - 1 <= len(data) <= 1.001 * bits / 8 + 12


def test_another_model_costs_its_cross_entropy():
    draw = np.random.RandomState(0)
    symbols = draw.binomial(9, 0.3, (3000, 2))
    counts = np.array([np.arange(1, 11), np.arange(10, 0, -1)])
    data = entropy_coding.encode(symbols, counts)
    np.testing.assert_array_equal(entropy_coding.decode(data, counts), symbols)
    assert len(data) == pytest.approx(model_bits(symbols, counts) / 8, rel=1e-3, abs=12)


def test_each_symbol_may_have_a_model_of_its_own():
    draw = np.random.RandomState(0)
    counts = draw.randint(1, 50, (7, 12))
    models = draw.randint(0, 7, (500, 3))
    symbols = np.array([[draw.choice(12, p=counts[m] / counts[m].sum()) for m in row] for row in models])
    data = entropy_coding.encode(symbols, counts, models)
    np.testing.assert_array_equal(entropy_coding.decode(data, counts, models), symbols)
    bits = -np.log2((counts / counts.sum(1, keepdims=True))[models, symbols]).sum()
    assert bits / 8 - 1 <= len(data) <= 1.001 * bits / 8 + 12
    columns = np.tile(np.arange(3), (500, 1))
    assert entropy_coding.encode(symbols, counts[:3], columns) == entropy_coding.encode(symbols, counts[:3])
    with pytest.raises(ValueError, match=r"symbols must be integers \[500, 3\]"):
        entropy_coding.encode(symbols[:, :2], counts, models)
    with pytest.raises(ValueError, match="models must lie between 0 and 6; got 0 to 7"):
        entropy_coding.encode(symbols, counts, models + (models == 6))
    with pytest.raises(ValueError, match="or are damaged"):
        entropy_coding.decode(data, counts, models[:-1])


@pytest.mark.parametrize(
    ("symbols", "counts"),
    [
        (np.zeros((0, 3), int), np.ones((3, 4), int)),  # nothing
        (np.zeros((0, 1), int), np.zeros((1, 1), int)),  # nothing, of a model of nothing
        (np.zeros((100000, 1), int), np.array([[7]])),  # one symbol
        (np.full((50, 2), 3), np.array([[0, 0, 0, 5], [1, 0, 0, 0]])),  # one that is not expected
        (np.array([[0], [999_999], [123_456]]), np.ones((1, 1_000_000), int)),  # a huge alphabet
        (np.array([[2**40 % 5], [1]]), np.array([[2**40, 1, 0, 2**62, 3]])),  # huge counts
        (np.arange(256)[:, None].astype(np.uint8), np.ones((1, 256), np.uint8)),  # bytes
        (np.zeros((20, 0), int), np.zeros((0, 3), int)),  # rows of nothing
    ],
)
def test_degenerate_input_comes_back(symbols, counts):
    data = entropy_coding.encode(symbols, counts)
    decoded = entropy_coding.decode(data, counts)
    assert decoded.shape == symbols.shape
    np.testing.assert_array_equal(decoded, symbols)


def test_a_certain_symbol_costs_nothing():
    assert len(entropy_coding.encode(np.zeros((100000, 1), int), [[7]])) <= 10


@pytest.mark.parametrize("damage", ["cut", "longer", "changed", "other counts"])
def test_damage_is_noticed(damage):
    symbols = np.random.RandomState(0).binomial(9, 0.4, (500, 2))
    counts = rate_distortion.histogram(symbols, num_symbols=10)
    data = bytearray(entropy_coding.encode(symbols, counts))
    if damage == "cut":
        data = data[:-3]
    elif damage == "longer":
        data += b"\x01"
    elif damage == "changed":
        data[len(data) // 2] ^= 16
    else:
        counts = counts[::-1]
    with pytest.raises(ValueError, match="damaged"):
        entropy_coding.decode(bytes(data), counts)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff" * 40])
def test_what_is_no_code_is_refused(data):
    with pytest.raises(ValueError, match="damaged"):
        entropy_coding.decode(data, [[1, 1]])


@pytest.mark.parametrize(
    ("symbols", "counts", "said"),
    [
        ([[4]], [[1, 1, 1, 1]], "0 and 3; got 4 to 4"),
        ([[-1]], [[1, 1]], "got -1 to -1"),
        ([[1, 1]], [[1, 1]], r"1\]; got int64 \(1, 2\)"),
        ([[0.5]], [[1, 1]], "float64"),
        ([[0]], [[1, -1]], "not negative"),
        ([[0]], [1, 1], r"\[D, K\]"),
    ],
)
def test_what_cannot_be_coded_is_refused(symbols, counts, said):
    with pytest.raises(ValueError, match=said):
        entropy_coding.encode(np.array(symbols), np.array(counts))
