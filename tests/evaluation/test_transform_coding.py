import numpy as np
import pytest

from genjax.evaluation import entropy_coding, rate_distortion, transform_coding
from genjax.evaluation.transform_coding import Point


def test_what_is_measured_was_decoded_from_the_file(tmp_path):
    draw = np.random.RandomState(0)
    x, train = (np.clip(draw.normal(0.5, 0.3, size=(num, 4, 3, 2)), 0, 1) for num in (30, 50))
    flat, train_codes = (images.reshape(len(images), -1) for images in (x, train))
    quantiser = rate_distortion.Quantiser(np.zeros(24), np.full(24, 0.25), 5)
    path = tmp_path / "codes.bin"
    point = transform_coding.measure(path, flat, train_codes, quantiser, lambda z: 1.2 * z.reshape(x.shape), x)
    assert point.num_bytes == path.stat().st_size and point.rate == pytest.approx(8 * point.num_bytes / (30 * 12))
    decoded = np.minimum(1.2 * np.round(4 * x) / 4, 1)
    np.testing.assert_allclose(point.images, decoded, atol=1e-12)
    assert point.psnr == pytest.approx(10 * np.log10(1 / np.mean((decoded - x) ** 2)))
    # by hand: the receiver counts the training symbols, and reads the file with them
    levels, train_levels = np.round(4 * flat).astype(int), np.round(4 * train_codes).astype(int)
    counts = np.array([[1 + np.sum(column == k) for k in range(5)] for column in train_levels.T])
    np.testing.assert_array_equal(entropy_coding.decode(path.read_bytes(), counts), levels)
    shares = np.array([[np.mean(column == k) for k in range(5)] for column in levels.T])
    bits = -np.sum(shares * np.log2(np.where(shares > 0, shares, 1)))
    assert point.entropy == pytest.approx(bits * 30 / (30 * 12))
    assert point.measures().keys() == {"rate", "psnr", "num_bytes", "entropy"}


def test_a_curve_has_the_points_worth_using_in_order_of_rate():
    at = [(3.0, 30.0), (1.0, 10.0), (2.0, 25.0), (2.5, 20.0), (4.0, 29.0)]  # the last two are below others
    rates, psnrs = transform_coding.curve([Point(rate, psnr, 0, 0.0, np.zeros(0)) for rate, psnr in at])
    assert rates.tolist() == [1, 2, 3] and psnrs.tolist() == [10, 25, 30]
