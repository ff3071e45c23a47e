"""Draws a face: an ellipsoid under a camera, with eyes, brows, mouth, hair and nose, shaded and over a background.

Every layer is a coverage in [0, 1], made from the signed distance to its outline and a ramp as wide as one sample, and
blended over what is behind it; so the picture is differentiable in every factor. Pixel arrays are [n, n], colours
[1, 1, 3].

Pixels are never divided by a number that holds for the whole picture, but multiplied by its inverse. XLA replaces such
a division by the multiplication in some programs only, so the last bits would depend on the surrounding program, and
thus on the number of devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from genjax.types import Array

Factors = Mapping[str, Array]  # by name, [] each, in the units that `faces` gives
Scalar = Any  # a number or an array []

_DEPTH = 0.52  # half the head's extent along the line of sight


class Rendering(NamedTuple):
    """A picture with its masks, all in [0, 1]; a mask is a share of each pixel."""

    image: Array  # [S, S, 3]
    head: Array  # [S, S], the head in front of the hair behind it
    skin: Array  # [S, S], the head without the hair on it
    foreground: Array  # [S, S], all that is not background


class _Head(NamedTuple):
    """The visible surface of the head, one point per sample."""

    p: Array  # where the sample is in the view plane, in the head's frame, the jaw's taper undone
    q: Array
    x: Array  # the point in the head's own coordinates: to the viewer's right, up, forward
    y: Array
    z: Array
    rotation: tuple[tuple[Array, ...], ...]  # R, from the head's coordinates to those of the view
    normal: list[Array]  # in the coordinates of the view
    coverage: Array
    width: Array  # of a sample, in the head's units


def render(identity: Factors, attributes: Factors, *, size: int = 32, supersampling: int = 2) -> Rendering:
    """The face with the given factors, by `supersampling`^2 samples per pixel."""
    n = size * supersampling
    ticks = (jnp.arange(n, dtype=jnp.result_type(*identity.values())) + 0.5) / n * 2 - 1
    x, y, width = ticks[None], -ticks[:, None], 2 / n
    gain = 1 + _colour(0.12, 0, -0.12) * attributes["warmth"]
    hair = _gradient(
        _colour(0.07, 0.05, 0.05), _colour(0.45, 0.25, 0.12), _colour(0.90, 0.76, 0.45), attributes["hair_tone"]
    )

    shoulders = _coverage(_ellipse(x - attributes["tx"], y + 1.20, 0.85, 0.42), width)
    image = _over(_background(x, y, attributes), shoulders, _hue(attributes["cloth_hue"], 0.55, 0.60) * gain)
    head, behind = _cast(x, y, width, identity, attributes)
    image = _over(image, behind, 0.62 * hair * gain)

    cap = _hair_on_the_head(head, identity, attributes)
    skin = _mix(_colour(0.96, 0.80, 0.69), _colour(0.36, 0.22, 0.15), identity["skin_tone"])
    skin += _colour(0.05, 0, -0.05) * identity["skin_hue"]
    face = _over(_features(head, skin, identity, attributes), cap, hair)
    face = _nose(face, head, cap, skin, identity)
    image = jnp.clip(_over(image, head.coverage, face * _shade(head, attributes)[..., None] * gain), 0, 1)

    foreground = 1 - (1 - shoulders) * (1 - behind) * (1 - head.coverage)
    layers = jnp.stack([head.coverage, head.coverage * (1 - cap), foreground], axis=-1)
    pixels = jnp.concatenate([image, layers], axis=-1)
    pixels = pixels.reshape(size, supersampling, size, supersampling, 6).mean(axis=(1, 3))
    return Rendering(pixels[..., :3], pixels[..., 3], pixels[..., 4], pixels[..., 5])


def _background(x: Array, y: Array, a: Factors) -> Array:
    """A linear gradient from one colour to another."""
    angle = _radians(a["bg_angle"])
    t = jnp.clip(0.5 + 0.5 * (x * jnp.cos(angle) + y * jnp.sin(angle)), 0, 1)[..., None]
    first, second = (jnp.stack([a[f"{name}_{c}"] for c in "rgb"]).reshape(1, 1, 3) for name in ("bg0", "bg1"))
    return _mix(first, second, t)


def _cast(x: Array, y: Array, width: Scalar, i: Factors, a: Factors) -> tuple[_Head, Array]:
    """The visible surface of the head by parallel rays, and the coverage of the hair behind it.

    A ray o + t d, in the head's coordinates c = R^T v, meets the ellipsoid sum_j c_j^2 s_j = 1 where
    A t^2 + 2 B t + C = 1, so at t = -B / A + sqrt((1 - (C - B^2 / A)) / A), the root nearer to the viewer.
    """
    # undo translation, scale and roll
    smaller = 1 / a["scale"]
    u, v, width = (x - a["tx"]) * smaller, (y - a["ty"]) * smaller, width * smaller
    cos, sin = jnp.cos(_radians(a["roll"])), jnp.sin(_radians(a["roll"]))
    p, q = cos * u + sin * v, -sin * u + cos * v
    half = (i["face_w"], i["face_h"], _DEPTH)

    length = a["hair_len"]
    top = _coverage(_ellipse(p, q - 0.06, 1.10 * half[0] + 0.03, 1.05 * half[1] + 0.03), width)
    low = _ellipse(p, q + 0.10 + 0.28 * length, 1.12 * half[0] + 0.03, 0.35 + 0.30 * length)
    behind = jnp.maximum(top, _coverage(low, width) * _smooth(0.02, 0.12, length))

    p = p / (1 - i["jaw"] * _smooth(0, 1, -q * (1 / half[1])))
    cos_yaw, sin_yaw = jnp.cos(_radians(a["yaw"])), jnp.sin(_radians(a["yaw"]))
    cos_pitch, sin_pitch = jnp.cos(_radians(a["pitch"])), jnp.sin(_radians(a["pitch"]))
    rotation = (
        (cos_yaw, jnp.zeros_like(cos_yaw), sin_yaw),
        (sin_pitch * sin_yaw, cos_pitch, -sin_pitch * cos_yaw),
        (-cos_pitch * sin_yaw, sin_pitch, cos_pitch * cos_yaw),
    )
    s = [1 / extent**2 for extent in half]
    start = [rotation[0][j] * p + rotation[1][j] * q for j in range(3)]
    ray = rotation[2]
    by_along = 1 / sum(d * d * k for d, k in zip(ray, s, strict=True))
    mixed = sum(o * d * k for o, d, k in zip(start, ray, s, strict=True))
    across = sum(o * o * k for o, k in zip(start, s, strict=True))
    squared = jnp.maximum(across - mixed * mixed * by_along, 0)  # of the ray's distance, 1 at the outline
    coverage = _coverage(_length(p, q) * (1 - 1 / jnp.sqrt(squared + 1e-9)), width)
    t = -mixed * by_along + jnp.sqrt(jnp.maximum(1 - squared, 0) * by_along + 1e-12)
    point_x, point_y, point_z = (o + t * d for o, d in zip(start, ray, strict=True))
    slope = [c * k for c, k in zip((point_x, point_y, point_z), s, strict=True)]
    norm = jnp.sqrt(sum(c * c for c in slope) + 1e-9)
    normal = [sum(r * c for r, c in zip(row, slope, strict=True)) / norm for row in rotation]
    return _Head(p, q, point_x, point_y, point_z, rotation, normal, coverage, width), behind


def _shade(head: _Head, a: Factors) -> Array:
    """Lambertian shading with ambient light."""
    azimuth, elevation = _radians(a["light_az"]), _radians(a["light_el"])
    light = (jnp.sin(azimuth) * jnp.cos(elevation), jnp.sin(elevation), jnp.cos(azimuth) * jnp.cos(elevation))
    facing = jnp.maximum(sum(n * d for n, d in zip(head.normal, light, strict=True)), 0)
    return a["ambient"] + (1 - a["ambient"]) * facing


def _features(head: _Head, skin: Array, i: Factors, a: Factors) -> Array:
    """Stubble, eyes, brows and mouth, painted on the surface in the head's frontal coordinates."""
    x, y, width = head.x, head.y, head.width
    front = _smooth(0, 0.12, head.z)
    stubble = 0.45 * jnp.maximum(2 * i["stubble"] - 1, 0) * _smooth(0.14, 0.34, -y) * front
    face = skin * (1 - stubble[..., None] * _colour(0.75, 0.70, 0.62))

    radius, apart, level = i["eye_r"], i["eye_dx"], i["eye_y"]
    mirrored, side = jnp.abs(x), jnp.where(x >= 0, 1, -1)
    outline = _ellipse(mirrored - apart, y - level, 1.30 * radius, 0.80 * radius * a["eye_open"])
    gaze = _length(
        x - side * apart - 0.50 * radius * a["gaze_x"],
        y - level - 0.22 * radius * a["gaze_y"],
    )
    eye = _coverage(outline, width) * front
    iris = _gradient(_colour(0.30, 0.17, 0.08), _colour(0.25, 0.45, 0.25), _colour(0.25, 0.45, 0.75), i["iris"])
    face = _over(face, _coverage(outline - 0.016, width) * front, 0.38 * skin)
    face = _over(face, eye, _colour(0.95, 0.95, 0.93))
    face = _over(face, eye * _coverage(gaze - 0.66 * radius, width), iris)
    face = _over(face, eye * _coverage(gaze - 0.30 * radius, width), _colour(0.03, 0.03, 0.04))

    height, reach = level + 0.80 * radius + 0.065 + 0.028 * a["brow_raise"], 1.15 * radius
    dx, dy = reach * jnp.cos(i["brow_tilt"]), reach * jnp.sin(i["brow_tilt"])
    thick = (i["brow_t"], 0.6 * i["brow_t"])
    brow = _capsule(mirrored, y, (apart - dx, height - dy), (apart + dx, height + dy), *thick)
    tone = _mix(_colour(0.08, 0.06, 0.05), _colour(0.66, 0.46, 0.24), i["brow_tone"])
    face = _over(face, _coverage(brow, width) * front, tone)

    wide, gap = i["mouth_w"], 0.062 * a["mouth_open"]
    bent = y - i["mouth_y"] - 0.055 * a["smile"] * (jnp.square(x * (1 / wide)) - 0.4)
    lip = _mix(_colour(0.62, 0.36, 0.30), _colour(0.82, 0.16, 0.24), i["lip_tone"]) * _mix(1, 0.62, i["skin_tone"])
    face = _over(face, _coverage(_ellipse(x, bent, wide, i["lip_t"] + gap), width) * front, lip)
    inside = _ellipse(x, bent, 0.82 * wide, 0.007 + gap)
    return _over(face, _coverage(inside, width) * front, _colour(0.22, 0.05, 0.07))


def _hair_on_the_head(head: _Head, i: Factors, a: Factors) -> Array:
    """Coverage of the hair: above the hairline, and on the back of the head down to the neck."""
    hairline = i["face_h"] * (0.80 - 0.36 * a["fringe"]) - 0.30 * jnp.square(head.x)
    back = _coverage(head.z + 0.10, head.width) * _coverage(-0.05 - 0.30 * a["hair_len"] - head.y, head.width)
    return jnp.maximum(_coverage(hairline - head.y, head.width), back)


def _nose(face: Array, head: _Head, cap: Array, skin: Array, i: Factors) -> Array:
    """Bridge and tip in the view plane, where a protruding tip moves relative to the face behind it."""

    def seen(y: Array, forward: Scalar) -> tuple[Array, Array]:
        z = _DEPTH * jnp.sqrt(jnp.maximum(1 - jnp.square(y / i["face_h"]), 0.05)) + forward
        (_, _, xz), (_, yy, yz), _ = head.rotation
        return xz * z, yy * y + yz * z

    bridge, tip, wide = seen(i["eye_y"] - 0.01, 0), seen(i["eye_y"] - 0.03 - i["nose_l"], 0.10), i["nose_w"]
    ridge = _coverage(_capsule(head.p, head.q, bridge, tip, 0.45 * wide, wide), head.width) * (1 - cap)
    ball = _coverage(_length(head.p - tip[0], head.q - tip[1]) - 1.10 * wide, head.width) * (1 - cap)
    return _over(_over(face, 0.55 * ridge, 0.78 * skin), 0.75 * ball, 0.80 * skin)


# Shapes, as signed distances, negative inside


def _ellipse(x: Array, y: Array, rx: Scalar, ry: Scalar) -> Array:
    """Signed distance to an ellipse, to first order at the outline."""
    by_x, by_y = 1 / rx, 1 / ry
    x, y = x * by_x, y * by_y
    scaled = _length(x, y)
    return scaled * (scaled - 1) / _length(x * by_x, y * by_y)


def _capsule(x: Array, y: Array, a: tuple[Any, Any], b: tuple[Any, Any], radius_a: Scalar, radius_b: Scalar) -> Array:
    """A stroke from a to b, whose radius changes linearly from one end to the other."""
    px, py, dx, dy = x - a[0], y - a[1], b[0] - a[0], b[1] - a[1]
    t = jnp.clip((px * dx + py * dy) * (1 / (dx * dx + dy * dy + 1e-9)), 0, 1)
    return _length(px - t * dx, py - t * dy) - _mix(radius_a, radius_b, t)


def _coverage(distance: Array, width: Scalar) -> Array:
    """The share of a sample of this width that lies inside."""
    return jnp.clip(0.5 - distance * (1 / width), 0, 1)


def _length(x: Array, y: Array) -> Array:
    return jnp.sqrt(x * x + y * y + 1e-12)  # the gradient at 0 is 0


# Colours


def _colour(*rgb: float) -> Array:
    return jnp.array(rgb, float).reshape(1, 1, 3)


def _hue(hue: Array, saturation: float, value: float) -> Array:
    """A colour of the HSV cone, hue in turns."""
    k = (_colour(5, 3, 1) + 6 * hue) % 6
    return value - value * saturation * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)


def _gradient(first: Array, middle: Array, last: Array, t: Array) -> Array:
    return jnp.where(t < 0.5, _mix(first, middle, 2 * t), _mix(middle, last, 2 * t - 1))


def _over(image: Array, coverage: Array, colour: Array) -> Array:
    return _mix(image, colour, coverage[..., None])


def _mix(a: Any, b: Any, t: Any) -> Any:
    return a + (b - a) * t


def _smooth(low: float, high: float, x: Array) -> Array:
    """From 0 at `low` to 1 at `high`, with slope 0 at both."""
    t = jnp.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _radians(degrees: Array) -> Array:
    return degrees * (jnp.pi / 180)
