"""Image measures against slow loops written from the papers' sums."""

import jax
import numpy as np
import pytest

from genjax.evaluation import images


def pair(shape, seed=0):
    draw = np.random.RandomState(seed)
    x = draw.uniform(size=shape).astype(np.float32)
    return np.clip(x + 0.1 * draw.normal(size=shape), 0, 1).astype(np.float32), x


def slow_ssim(x, y, *, peak=1.0, width=11, sigma=1.5):
    """Wang et al. 2004, window by window and pixel by pixel, with variances as sums of squared deviations."""
    height, columns, channels = x.shape
    half = width // 2
    weights = {
        (u, v): np.exp(-(u * u + v * v) / (2 * sigma**2))
        for u in range(-half, half + 1)
        for v in range(-half, half + 1)
    }
    total = sum(weights.values())
    c1, c2, values = (0.01 * peak) ** 2, (0.03 * peak) ** 2, []
    for c in range(channels):
        for i in range(half, height - half):
            for j in range(half, columns - half):
                near = [
                    (w / total, float(x[i + u, j + v, c]), float(y[i + u, j + v, c])) for (u, v), w in weights.items()
                ]
                mx, my = sum(w * a for w, a, _ in near), sum(w * b for w, _, b in near)
                vx = sum(w * (a - mx) ** 2 for w, a, _ in near)
                vy = sum(w * (b - my) ** 2 for w, _, b in near)
                cov = sum(w * (a - mx) * (b - my) for w, a, b in near)
                luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
                values.append(luminance * (2 * cov + c2) / (vx + vy + c2))
    return np.mean(values)


@pytest.mark.parametrize(
    ("shape", "width"), [((2, 8, 8, 1), 7), ((1, 14, 12, 3), 11), ((1, 13, 9, 1), 9), ((1, 4, 4, 1), 3)]
)
def test_ssim_is_the_papers_sum(shape, width):
    x, y = pair(shape)
    slow = [slow_ssim(a, b, width=width) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(images.ssim(x, y), slow, rtol=2e-5)
    np.testing.assert_allclose(images.ssim(255 * x, 255 * y, peak=255), slow, rtol=2e-5)


def test_ssim_of_equal_images_is_one_and_of_a_negative_is_not():
    x, _ = pair((3, 16, 16, 3))
    np.testing.assert_allclose(images.ssim(x, x), 1, rtol=1e-6)
    assert (np.asarray(images.ssim(x, 1 - x)) < 0).all()


def test_ssim_of_flat_images_is_their_luminance_term():
    x, y = np.full((1, 8, 8, 1), 0.2, np.float32), np.full((1, 8, 8, 1), 0.6, np.float32)
    np.testing.assert_allclose(images.ssim(x, y), (2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), rtol=1e-4)


def test_psnr_of_one_image_and_of_a_set():
    x = np.zeros((2, 4, 4, 1), np.float32)
    y = np.stack([np.full((4, 4, 1), 0.1), np.full((4, 4, 1), 0.01)]).astype(np.float32)
    np.testing.assert_allclose(images.psnr(y, x), [20, 40], rtol=1e-6)
    np.testing.assert_allclose(images.set_psnr(y, x), -10 * np.log10((0.01 + 0.0001) / 2), rtol=1e-6)
    np.testing.assert_allclose(images.psnr(255 * y, x, peak=255), [20, 40], rtol=1e-6)
    assert np.isinf(images.psnr(x, x)).all()


def test_they_run_inside_jit():
    x, y = pair((2, 8, 8, 1))
    for measure in (images.psnr, images.set_psnr, images.ssim):
        np.testing.assert_allclose(jax.jit(measure)(x, y), measure(x, y), rtol=1e-5)


@pytest.mark.parametrize("measure", [images.psnr, images.set_psnr, images.ssim])
def test_other_shapes_are_named(measure):
    with pytest.raises(ValueError, match=r"\(2, 8, 8, 1\)"):
        measure(np.zeros((2, 8, 8, 1)), np.zeros((1, 8, 8, 1)))


def test_an_even_window_is_refused():
    with pytest.raises(ValueError, match="got 8"):
        images.ssim(np.zeros((1, 8, 8, 1)), np.zeros((1, 8, 8, 1)), width=8)


def test_bytes_are_taken_as_numbers():
    draw = np.random.RandomState(0)
    x, y = draw.randint(0, 256, (2, 2, 12, 13, 1)).astype(np.uint8)
    mean_squares = np.mean(np.square(x.astype(np.float64) - y), axis=(1, 2, 3))
    np.testing.assert_allclose(images.psnr(x, y, peak=255), 10 * np.log10(255**2 / mean_squares), rtol=1e-5)
    np.testing.assert_allclose(images.set_psnr(x, y, peak=255), 10 * np.log10(255**2 / mean_squares.mean()), rtol=1e-5)
    slow = [slow_ssim(a, b, peak=255) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(images.ssim(x, y, peak=255), slow, rtol=1e-4)
