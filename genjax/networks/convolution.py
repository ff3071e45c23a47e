"""Strided convolutions as matrix products.

XLA's own convolutions are slow on a CPU, and several times slower still inside a compiled loop, where most training
time is spent; on a GPU they took three to four times as long on small networks, and the bits of one seemed to depend on
the kernels that were chosen. These are plain functions of JAX, so every transformation (gradients of any order
and mode, vmap, scan) works with them.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from genjax.networks import winograd
from genjax.networks.products import product
from genjax.types import Array


def convolution(x: Array, kernel: Array, *, stride: int) -> Array:
    """Strided convolution with "SAME" zero padding (a cross-correlation, as everywhere in deep learning).

        y[b, i, j, o] = sum_{t, u, c} x[b, i * stride + t - top, j * stride + u - left, c] * kernel[t, u, c, o]

    where x is 0 outside, and (top, left) is half the padding, rounded down, that the output size needs.

    Args:
      x: [B, H, W, C].
      kernel: [kh, kw, C, O].
      stride: of both axes, 1 or more.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), O], equal to `jax.lax.conv_general_dilated` with padding "SAME".

    Raises:
      ValueError: shapes that do not fit.
    """
    x, kernel = _checked(x, kernel, stride)
    kh, kw, channels, features = kernel.shape
    if stride == 1 and features < channels and kh % 2 == 1 == kw % 2:
        return _transposed(x, kernel, stride)  # the same map, where only arrays of few features are wide
    padding = lax.padtype_to_pads(x.shape[1:3], (kh, kw), (stride, stride), "SAME")
    x, step = jnp.pad(x, ((0, 0), *padding, (0, 0))), stride
    if kh % stride == 0 == kw % stride:  # with blocks as pixels the stride is 1: fewer and longer slices
        x, step = _space_to_depth(x, stride), 1
        kernel = kernel.reshape(kh // stride, stride, kw // stride, stride, channels, features)
        kernel = kernel.transpose(0, 2, 1, 3, 4, 5).reshape(kh // stride, kw // stride, -1, features)
    if step == 1 and winograd.pays(x.shape, kernel.shape):
        return winograd.winograd(x, kernel)
    return product(_patches(x, kernel.shape[:2], step), kernel.reshape(-1, features))


def transposed_convolution(x: Array, kernel: Array, *, stride: int) -> Array:
    """Strided transposed convolution with "SAME" padding (fractionally strided; "deconvolution").

        y[b, i, j, o] = sum_{h, w, c} x[b, h, w, c] * kernel[h * stride - i + below, w * stride - j + right, c, o]

    where kernel is 0 outside, and below = kh - 1 - floor(max(kh - stride, 0) / 2), right likewise with kw.

    Args:
      x: [B, H, W, C].
      kernel: [kh, kw, C, O].
      stride: of both axes, 1 or more.

    Returns:
      [B, H * stride, W * stride, O], equal to `jax.lax.conv_transpose` with padding "SAME".

    Raises:
      ValueError: shapes that do not fit.
    """
    return _transposed(*_checked(x, kernel, stride), stride)


def upsampled_convolution(x: Array, kernel: Array) -> Array:
    """`convolution` of stride 1 on an image whose pixels are each repeated 2 x 2 times, without making that image.

        y[b, i, j, o] = sum_{t, u, c} x[b, (i + t - top) // 2, (j + u - left) // 2, c] * kernel[t, u, c, o]

    The taps that multiply the same pixel are added first: it is `transposed_convolution` of stride 2 with the kernel
    K[n] = kernel[n - 1] + kernel[n] on both axes, with 4/9 of the products for a kernel of 3 x 3.

    Args:
      x: [B, H, W, C].
      kernel: [kh, kw, C, O], of odd sizes.

    Returns:
      [B, 2 H, 2 W, O].

    Raises:
      ValueError: shapes that do not fit, or a kernel of even size.
    """
    x, kernel = _checked(x, kernel, 2)
    if not all(size % 2 for size in kernel.shape[:2]):
        raise ValueError(f"the kernel's sizes must be odd, got {kernel.shape[:2]}")
    no = (0, 0)
    kernel = jnp.pad(kernel, ((1, 0), no, no, no)) + jnp.pad(kernel, ((0, 1), no, no, no))
    kernel = jnp.pad(kernel, (no, (1, 0), no, no)) + jnp.pad(kernel, (no, (0, 1), no, no))
    return transposed_convolution(x, kernel, stride=2)


def _checked(x: Array, kernel: Array, stride: int) -> tuple[Array, Array]:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
        raise ValueError(f"x [B, H, W, C] and kernel [kh, kw, C, O] do not fit: {x.shape} and {kernel.shape}")
    if stride < 1:
        raise ValueError(f"stride must be 1 or more, got {stride}")
    dtype = jnp.result_type(x, kernel)
    return x.astype(dtype), kernel.astype(dtype)


def _transposed(x: Array, kernel: Array, stride: int) -> Array:
    (_, height, width, _), (kh, kw, _, features) = x.shape, kernel.shape
    blocks = _blocks(kernel, stride)
    rows, columns, channels, block = blocks.shape
    # Output block m is sum_i x[m - i] @ blocks[i]: gather and then multiply, or multiply and then scatter. Both are the
    # same sum; the one with the smaller intermediate array is used.
    if rows * columns * channels < kh * kw * features:
        margin = ((0, 0), (rows - 1, rows - 1), (columns - 1, columns - 1), (0, 0))
        x, blocks = jnp.pad(x, margin), blocks[::-1, ::-1]
        if winograd.pays(x.shape, blocks.shape):
            y = winograd.winograd(x, blocks)
        else:
            y = product(_patches(x, (rows, columns), 1), blocks.reshape(-1, block))
    else:
        terms = product(x, blocks.transpose(2, 0, 1, 3).reshape(channels, -1))
        shifts = [(i, j) for i in range(rows) for j in range(columns)]
        y = jnp.zeros((), x.dtype)
        for term, (i, j) in zip(jnp.split(terms, rows * columns, axis=-1), shifts, strict=True):
            y += jnp.pad(term, ((0, 0), (i, rows - 1 - i), (j, columns - 1 - j), (0, 0)))
    y = _depth_to_space(y, stride)
    top, left = max(kh - stride, 0) // 2, max(kw - stride, 0) // 2
    return y[:, top : top + height * stride, left : left + width * stride]


def _patches(x: Array, window: tuple[int, ...], stride: int) -> Array:
    """The values under each position of the window: [B, H, W, C] -> [B, h, w, kh * kw * C], in the kernel's order."""
    size, channels = x.shape[1:3], x.shape[3]
    last = [(n - k) // stride * stride for n, k in zip(size, window, strict=True)]
    views = [
        lax.slice(x, (0, t, u, 0), (x.shape[0], t + last[0] + 1, u + last[1] + 1, channels), (1, stride, stride, 1))
        for t in range(window[0])
        for u in range(window[1])
    ]
    return jnp.concatenate(views, axis=-1)


def _blocks(kernel: Array, stride: int) -> Array:
    """The part of one pixel in each stride x stride block of outputs: -> [ceil(kh/s), ceil(kw/s), C, s * s * O]."""
    kh, kw, channels, features = kernel.shape
    rows, columns = -(-kh // stride), -(-kw // stride)
    padding = ((0, rows * stride - kh), (0, columns * stride - kw), (0, 0), (0, 0))
    kernel = jnp.pad(kernel[::-1, ::-1], padding)
    kernel = kernel.reshape(rows, stride, columns, stride, channels, features).transpose(0, 2, 4, 1, 3, 5)
    return kernel.reshape(rows, columns, channels, stride * stride * features)


def _space_to_depth(x: Array, stride: int) -> Array:
    """Turns blocks into pixels: [B, H * s, W * s, C] -> [B, H, W, s * s * C]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // stride, stride, width // stride, stride, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height // stride, width // stride, -1)


def _depth_to_space(x: Array, stride: int) -> Array:
    """Turns pixels into blocks: [B, H, W, s * s * C] -> [B, H * s, W * s, C]."""
    batch, height, width, block = x.shape
    x = x.reshape(batch, height, width, stride, stride, block // stride**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, height * stride, width * stride, block // stride**2)
