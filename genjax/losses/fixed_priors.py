"""Priors without parameters for codes that a discriminator or a distance makes follow them, some with labels."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from genjax.losses.latent import STANDARD_NORMAL, Prior
from genjax.types import Array, Key, Params


def _cube_negative_log_density(params: Params, z: Array) -> Array:
    del params
    return jnp.where(jnp.all(jnp.abs(z) <= 1, axis=-1), z.shape[-1] * math.log(2), jnp.inf)


def _cube_sample(params: Params, shape: tuple[int, int], key: Key) -> Array:
    del params
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)


UNIFORM_ON_CUBE = Prior(lambda key: (), _cube_negative_log_density, _cube_sample)
"""Independent dimensions, each uniform on [-1, 1]: the codes of Donahue et al. (2017)."""


def ring_prior(
    num_components: int, *, radius: float = 2.0, radial: float = 0.5, tangential: float = 0.15, classes: bool = False
) -> Prior:
    """Equally likely Gaussians in the plane whose means are on a circle, each longer along its radius than across.

        p(z) = (1/K) sum_k N(z; r u_k, R_k diag(a^2, b^2) R_k^T),   u_k = (cos 2 pi k / K, sin 2 pi k / K)

    with the rotation R_k that turns (1, 0) to u_k, for k = 0, ..., K - 1.

    Args:
      num_components: K.
      radius: r.
      radial: a, the standard deviation along the radius.
      tangential: b, that across it.
      classes: whether `sample` and `negative_log_density` take labels k, [B], after their other arguments, and are then
        of the component k, for a label below 0 of the whole mixture.

    Returns:
      A prior without parameters: z [B, 2].

    Source: Makhzani et al. 2016, section 2.3.
    """
    angle = 2 * np.pi * np.arange(num_components) / num_components
    u = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    across = np.stack([-u[:, 1], u[:, 0]], axis=1)
    factor = np.stack([radial * u, tangential * across], axis=2)  # columns of R diag(a, b)
    return _mixture(radius * u[:, None], factor[:, None], classes)


def swiss_roll_prior(
    num_components: int,
    *,
    radius: float = 3.0,
    turns: float = 2.0,
    standard_deviation: float = 0.1,
    links: int = 20,
    classes: bool = False,
) -> Prior:
    """A spiral in the plane, cut into pieces of equal mass; each piece is a chain of round Gaussians.

        p(z|k) = (1/M) sum_m N(z; c(t_km), sigma^2 I),   c(t) = r t (cos 2 pi w t, sin 2 pi w t)
        t_km = ((k + (m + 1/2) / M) / K)^1/2

    for k = 0, ..., K - 1 and m = 0, ..., M - 1; the square root makes the mass nearly even along the spiral.

    Args:
      num_components: K.
      radius: r, of the outer end.
      turns: w.
      standard_deviation: sigma.
      links: M.
      classes: whether `sample` and `negative_log_density` take labels k, [B], after their other arguments, and are then
        of the piece k, for a label below 0 of the whole spiral.

    Returns:
      A prior without parameters: z [B, 2].

    Source: Makhzani et al. 2016, section 2.3.
    """
    place = (np.arange(num_components)[:, None] + (np.arange(links)[None] + 0.5) / links) / num_components
    t = np.sqrt(place)
    angle = 2 * np.pi * turns * t
    mean = radius * t[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    factor = np.broadcast_to(standard_deviation * np.eye(2), (*mean.shape, 2))
    return _mixture(mean, factor, classes)


def class_and_style_prior(num_classes: int, *, style: Prior = STANDARD_NORMAL) -> Prior:
    """A class, uniform over K and one-hot, and beside it an independent code of another prior.

        p(y, s) = (1/K) p(s),   z = (y, s)

    Args:
      num_classes: K.
      style: p(s), without parameters.

    Returns:
      A prior without parameters: z [B, K + d]. `sample` may take labels k, [B], after its other arguments, and is then
      of the class k, for a label below 0 of a random one. `negative_log_density` is that of one-hot y.

    Source: Makhzani et al. 2016, section 5.
    """

    def negative_log_density(params: Params, z: Array) -> Array:
        return math.log(num_classes) + style.negative_log_density(params, z[:, num_classes:])

    def sample(params: Params, shape: tuple[int, int], key: Key, *label: Array) -> Array:
        class_key, style_key = jax.random.split(key)
        y = jax.random.randint(class_key, shape[:1], 0, num_classes)
        if label:
            y = jnp.where(label[0] < 0, y, label[0])
        s = style.sample(params, (shape[0], shape[1] - num_classes), style_key)
        return jnp.concatenate([jax.nn.one_hot(y, num_classes, dtype=s.dtype), s], axis=1)

    return Prior(lambda key: (), negative_log_density, sample)


def _mixture(mean: np.ndarray, factor: np.ndarray, classes: bool) -> Prior:
    """K classes of M Gaussians N(mean, F F^T), all equally likely: mean [K, M, d], F [K, M, d, d]."""
    num_classes, links, dim = mean.shape
    inverse, log_determinant = np.linalg.inv(factor), np.linalg.slogdet(factor)[1]

    def of_label(label: tuple[Array, ...]) -> Array | None:
        if len(label) != classes:
            raise ValueError(
                f"a prior {'with classes takes the labels' if classes else 'without classes takes no labels'}"
            )
        return label[0] if label else None

    def negative_log_density(params: Params, z: Array, *context: Array) -> Array:
        label = of_label(context)
        difference = z[:, None, None] - jnp.asarray(mean, z.dtype)[None]
        white = jnp.einsum("kmij,bkmj->bkmi", jnp.asarray(inverse, z.dtype), difference)
        constant = jnp.asarray(log_determinant, z.dtype) + dim / 2 * math.log(2 * math.pi)
        log_density = -0.5 * jnp.sum(jnp.square(white), axis=-1) - constant[None]
        of_class = jax.nn.logsumexp(log_density, axis=2) - math.log(links)  # [B, K]
        whole = jax.nn.logsumexp(of_class, axis=1) - math.log(num_classes)
        if label is None:
            return -whole
        own = jnp.take_along_axis(of_class, jnp.maximum(label, 0)[:, None], axis=1)[:, 0]
        return -jnp.where(label < 0, whole, own)

    def sample(params: Params, shape: tuple[int, int], key: Key, *context: Array) -> Array:
        label = of_label(context)
        if shape[1] != dim:
            raise ValueError(f"codes of this prior have {dim} dimensions, not {shape[1]}")
        class_key, link_key, noise_key = jax.random.split(key, 3)
        drawn = jax.random.randint(class_key, shape[:1], 0, num_classes)
        k = drawn if label is None else jnp.where(label < 0, drawn, label)
        m = jax.random.randint(link_key, shape[:1], 0, links)
        noise = jax.random.normal(noise_key, shape)
        spread = jnp.einsum("bij,bj->bi", jnp.asarray(factor, noise.dtype)[k, m], noise)
        return jnp.asarray(mean, noise.dtype)[k, m] + spread

    return Prior(lambda key: (), negative_log_density, sample)
