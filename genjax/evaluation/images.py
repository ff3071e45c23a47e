"""Measures of image quality: peak signal-to-noise ratio and structural similarity."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from genjax.shapes import as_float, check_rank, check_same_shape
from genjax.types import Array


def psnr(prediction: Array, target: Array, *, peak: float = 1.0) -> Array:
    """Peak signal-to-noise ratio of each image.

        PSNR_i = 10 log10(peak^2 / MSE_i),   MSE_i = mean_j (prediction_ij - target_ij)^2

    Its mean over images is not the PSNR of a set: see `set_psnr`.

    Args:
      prediction: [B, ...].
      target: the same shape.
      peak: the largest value a pixel can take; 255 for bytes.

    Returns:
      [B], in decibels, larger = closer; infinite for equal images.

    Raises:
      ValueError: shapes that differ.
    """
    check_same_shape(prediction=prediction, target=target)
    errors = jnp.square(as_float(prediction) - as_float(target))
    return _decibels(jnp.mean(errors, axis=tuple(range(1, errors.ndim))), peak)


def set_psnr(prediction: Array, target: Array, *, peak: float = 1.0) -> Array:
    """Peak signal-to-noise ratio of a whole set of images.

        PSNR = 10 log10(peak^2 / MSE),   MSE the mean over all images and pixels

    By Jensen's inequality it is at most the mean of the images' own ratios.

    Args:
      prediction: [B, ...].
      target: the same shape.
      peak: the largest value a pixel can take; 255 for bytes.

    Returns:
      [], in decibels, larger = closer; infinite for equal sets.

    Raises:
      ValueError: shapes that differ.
    """
    check_same_shape(prediction=prediction, target=target)
    return _decibels(jnp.mean(jnp.square(as_float(prediction) - as_float(target))), peak)


def _decibels(mean_squared_error: Array, peak: float) -> Array:
    return 10 * (2 * np.log10(peak) - jnp.log10(mean_squared_error))


def ssim(prediction: Array, target: Array, *, peak: float = 1.0, width: int = 11, sigma: float = 1.5) -> Array:
    """Structural similarity of each image, averaged over its windows.

        SSIM(x, y) = (2 mu_x mu_y + C1)(2 sigma_xy + C2) / ((mu_x^2 + mu_y^2 + C1)(sigma_x^2 + sigma_y^2 + C2))
        C1 = (0.01 peak)^2,   C2 = (0.03 peak)^2

    with means and (co)variances under a Gaussian window at every place where it lies inside the image. Each channel is
    measured on its own, and the values are averaged. For an image smaller than the window, the window is cut to the
    largest odd width that fits.

    Args:
      prediction: [B, H, W, C].
      target: the same shape.
      peak: the largest value a pixel can take; 255 for bytes.
      width: of the window, in pixels, odd.
      sigma: standard deviation of the window, in pixels.

    Returns:
      [B], at most 1, which only equal images reach.

    Raises:
      ValueError: shapes that differ or that are not images, or a width that is even or below 1.

    Source: Wang, Bovik, Sheikh & Simoncelli 2004, equation 13.
    """
    check_same_shape(prediction=prediction, target=target)
    check_rank(4, prediction=prediction)
    if width < 1 or width % 2 == 0:
        raise ValueError(f"width must be odd and positive; got {width}")
    smaller = min(*prediction.shape[1:3])
    width = min(width, smaller - 1 + smaller % 2)
    rows, columns = (_windows(size, width, sigma) for size in prediction.shape[1:3])

    def average(images: Array) -> Array:
        return jnp.einsum("ih,bhwc,jw->bijc", rows, images, columns, precision="highest")

    x, y = as_float(prediction), as_float(target)
    mu_x, mu_y = average(x), average(y)
    variances = average(jnp.square(x) + jnp.square(y)) - (jnp.square(mu_x) + jnp.square(mu_y))
    covariance = average(x * y) - mu_x * mu_y
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    similarity = (2 * mu_x * mu_y + c1) * (2 * covariance + c2)
    similarity /= (jnp.square(mu_x) + jnp.square(mu_y) + c1) * (variances + c2)
    return jnp.mean(similarity, axis=(1, 2, 3))


def _windows(size: int, width: int, sigma: float) -> np.ndarray:
    """A Gaussian window at each of its places along an axis: [size - width + 1, size]; rows sum to 1."""
    offsets = np.arange(width) - width // 2
    window = np.exp(-0.5 * (offsets / sigma) ** 2)
    places = np.zeros((size - width + 1, size))
    for place in range(len(places)):
        places[place, place : place + width] = window / window.sum()
    return places
