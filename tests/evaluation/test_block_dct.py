import io

import numpy as np
import pytest
from PIL import Image

from genjax.evaluation import block_dct


@pytest.mark.parametrize("shape", [(3, 8, 8, 1), (2, 28, 20, 3), (1, 5, 9, 1)])
def test_the_transform_is_undone(shape):
    x = np.random.RandomState(0).uniform(size=shape)
    coefficients = block_dct.block_dct(x)
    assert coefficients.shape == (shape[0] * -(-shape[1] // 8) * -(-shape[2] // 8) * shape[3], 64)
    np.testing.assert_allclose(block_dct.inverse_block_dct(coefficients, shape), x, atol=1e-12)


def test_coefficients_by_the_formula():
    x = np.random.RandomState(1).uniform(size=(2, 16, 8, 1))
    u, i = np.mgrid[:8, :8]
    basis = np.where(u == 0, np.sqrt(1 / 8), 0.5) * np.cos(np.pi * (2 * i + 1) * u / 16)
    blocks = [image[top : top + 8, :, 0] for image in x for top in (0, 8)]
    expected = [(basis @ (block - 0.5) @ basis.T).ravel() for block in blocks]
    np.testing.assert_allclose(block_dct.block_dct(x), expected, atol=1e-12)


def test_short_blocks_repeat_their_edges():
    x = np.random.RandomState(2).uniform(size=(1, 5, 9, 1))
    filled = x[:, np.minimum(np.arange(8), 4)][:, :, np.minimum(np.arange(16), 8)]
    np.testing.assert_array_equal(block_dct.block_dct(x), block_dct.block_dct(filled))


@pytest.mark.parametrize("quality", [5, 10, 15, 25, 40, 50, 60, 75, 90, 100])
def test_steps_are_those_of_libjpeg(quality):
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
    (written,) = Image.open(file).quantization.values()  # at most 255, and halves rounded up
    steps = np.minimum(255, 255 * block_dct.quantisation_steps(quality))
    tolerance = 1e-9 if quality in (10, 25, 50, 100) else 1 + 1e-9
    np.testing.assert_allclose(steps, written, atol=tolerance)
