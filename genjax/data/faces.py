"""Rendered faces with known truth: what makes the identity is separate from pose, expression, light and the rest.

A face is a function of 19 identity factors and 27 attributes, each drawn from U(0, 1) and then scaled to its range. So
the ideal swap of any source onto any target exists, and is

    render(identity of the source, attributes of the target)

Hair, clothes and background are attributes: they stay with the target.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from genjax.data import face_renderer
from genjax.data.dataset import Dataset, from_arrays
from genjax.data.face_renderer import Rendering
from genjax.types import Array, Key

# Ranges by name. Lengths are in half the picture's side at scale 1, angles in degrees but for the brow's, which is in
# radians; tones and colours have no unit. Positive yaw is to the viewer's right, pitch downwards, roll anticlockwise.
IDENTITY = {
    "skin_tone": (0.0, 1.0),
    "skin_hue": (-1.0, 1.0),
    "face_w": (0.42, 0.56),
    "face_h": (0.56, 0.70),
    "jaw": (0.0, 0.40),
    "eye_dx": (0.16, 0.25),
    "eye_r": (0.065, 0.105),
    "eye_y": (0.02, 0.14),
    "iris": (0.0, 1.0),
    "brow_t": (0.014, 0.042),
    "brow_tilt": (-0.25, 0.30),
    "brow_tone": (0.0, 1.0),
    "nose_l": (0.14, 0.26),
    "nose_w": (0.030, 0.062),
    "mouth_w": (0.12, 0.22),
    "lip_t": (0.022, 0.052),
    "mouth_y": (-0.38, -0.29),
    "lip_tone": (0.0, 1.0),
    "stubble": (0.0, 1.0),
}
ATTRIBUTES = {
    "yaw": (-40.0, 40.0),
    "pitch": (-18.0, 18.0),
    "roll": (-20.0, 20.0),
    "tx": (-0.08, 0.08),
    "ty": (-0.04, 0.08),
    "scale": (1.00, 1.22),
    "smile": (-1.0, 1.0),
    "mouth_open": (0.0, 1.0),
    "eye_open": (0.30, 1.0),
    "brow_raise": (-1.0, 1.0),
    "gaze_x": (-1.0, 1.0),
    "gaze_y": (-1.0, 1.0),
    "light_az": (-75.0, 75.0),
    "light_el": (-15.0, 60.0),
    "ambient": (0.35, 0.75),
    "warmth": (-1.0, 1.0),
    "bg0_r": (0.1, 0.9),
    "bg0_g": (0.1, 0.9),
    "bg0_b": (0.1, 0.9),
    "bg1_r": (0.1, 0.9),
    "bg1_g": (0.1, 0.9),
    "bg1_b": (0.1, 0.9),
    "bg_angle": (0.0, 360.0),
    "hair_tone": (0.0, 1.0),
    "hair_len": (0.0, 1.0),
    "fringe": (0.0, 1.0),
    "cloth_hue": (0.0, 1.0),
}
CYCLIC = ("bg_angle", "cloth_hue")  # cyclic
GROUPS = {
    "pose": ("yaw", "pitch", "roll", "tx", "ty", "scale"),
    "expression": ("smile", "mouth_open", "eye_open", "brow_raise", "gaze_x", "gaze_y"),
    "light": ("light_az", "light_el", "ambient", "warmth"),
    "background": ("bg0_r", "bg0_g", "bg0_b", "bg1_r", "bg1_g", "bg1_b", "bg_angle"),
    "hair_and_clothes": ("hair_tone", "hair_len", "fringe", "cloth_hue"),
}
"""The attributes by group."""
COLOUR_AND_OUTLINE = ("skin_tone", "skin_hue", "face_w", "face_h")


def draw_identities(numbers: Array, key: Key) -> Array:
    """Identity factors by the number of the identity, independent of the other numbers.

        u_nk ~ U(0, 1)

    Args:
      numbers: [N] int32.
      key: draws u.

    Returns:
      [N, 19].
    """

    def one(number: Array) -> Array:
        return jax.random.uniform(jax.random.fold_in(key, number), (len(IDENTITY),), jnp.float32)

    return jax.vmap(one)(numbers)


def draw_attributes(num: int, key: Key) -> Array:
    """Attributes.

        a_nk ~ U(0, 1)

    Args:
      num: N.
      key: draws a.

    Returns:
      [N, 27].
    """
    return jax.random.uniform(key, (num, len(ATTRIBUTES)), jnp.float32)


def attribute_targets(attributes: Array) -> Array:
    """Attributes as targets of a regression, with the cyclic ones as points of a circle.

        u -> u,   or u -> (1 + cos 2 pi u) / 2, (1 + sin 2 pi u) / 2 for cyclic ones

    Args:
      attributes: u, [N, 27].

    Returns:
      [N, 29] in [0, 1]: those that are not cyclic first, in the order of `ATTRIBUTES`.
    """
    cyclic = np.array([name in CYCLIC for name in ATTRIBUTES])  # NumPy: under jit a mask has to be known
    angle = 2 * jnp.pi * attributes[:, cyclic]
    on_circle = 0.5 + 0.5 * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    return jnp.concatenate([attributes[:, ~cyclic], on_circle.reshape(len(attributes), -1)], axis=1)


def target_groups() -> dict[str, list[int]]:
    """The places of each group's attributes in `attribute_targets`.

    Returns:
      name of the group -> places.
    """
    linear = [name for name in ATTRIBUTES if name not in CYCLIC]
    places = {name: [number] for number, name in enumerate(linear)}
    places |= {name: [len(linear) + 2 * number, len(linear) + 2 * number + 1] for number, name in enumerate(CYCLIC)}
    return {group: [place for name in names for place in places[name]] for group, names in GROUPS.items()}


def alike(identity: Array) -> Array:
    """Identities with the same colour and outline, so that only the features of the face distinguish them.

    Args:
      identity: [..., 19].

    Returns:
      [..., 19].
    """
    chosen = jnp.array([name in COLOUR_AND_OUTLINE for name in IDENTITY])
    return jnp.where(jnp.broadcast_to(chosen, identity.shape), 0.5, identity)


def render(identity: Array, attributes: Array, *, size: int = 32, supersampling: int = 2) -> Rendering:
    """The face of an identity with given attributes; `jax.vmap` it over many.

    Args:
      identity: [19] in [0, 1], in the order of `IDENTITY`; values outside extrapolate the ranges.
      attributes: [27] in [0, 1], in the order of `ATTRIBUTES`.
      size: S, the side of the picture in pixels.
      supersampling: samples per pixel along each side.

    Returns:
      The picture [S, S, 3] and its masks [S, S], all in [0, 1], differentiable in every factor.

    Raises:
      ValueError: another number of factors.
    """

    def scaled(u: Array, ranges: dict[str, tuple[float, float]]) -> dict[str, Array]:
        if u.shape != (len(ranges),):
            raise ValueError(
                f"a face has {len(IDENTITY)} identity factors and {len(ATTRIBUTES)} attributes; got {u.shape}"
            )
        return {name: low + (high - low) * u[i] for i, (name, (low, high)) in enumerate(ranges.items())}

    return face_renderer.render(
        scaled(identity, IDENTITY), scaled(attributes, ATTRIBUTES), size=size, supersampling=supersampling
    )


NUM_IDENTITIES, NUM_TRAIN, NUM_TEST = 100, 20, 5  # pictures of each identity


def load() -> Dataset:
    """Faces of 100 identities, which are the labels: 20 pictures of each for training and 5 held out.

    They are drawn from `jax.random.key(0)`: the identities from stream 0, the attributes from stream 1. They are
    rendered in double precision on the CPU, so that rounding to bytes gives the same bytes everywhere.

    Returns:
      Images [N, 32, 32, 3] uint8.
    """
    root, each = jax.random.key(0), NUM_TRAIN + NUM_TEST
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        identity = jnp.repeat(draw_identities(jnp.arange(NUM_IDENTITIES), jax.random.fold_in(root, 0)), each, axis=0)
        attributes = draw_attributes(NUM_IDENTITIES * each, jax.random.fold_in(root, 1))
        draw = jax.jit(partial(jax.lax.map, lambda factors: render(*factors).image, batch_size=100))
        images = np.asarray(draw((identity.astype(jnp.float64), attributes.astype(jnp.float64))))
    x = np.round(255 * images).astype(np.uint8).reshape(NUM_IDENTITIES, each, *images.shape[1:])
    label = np.arange(NUM_IDENTITIES)
    return from_arrays(
        "faces",
        x[:, :NUM_TRAIN].reshape(-1, *x.shape[2:]),
        x[:, NUM_TRAIN:].reshape(-1, *x.shape[2:]),
        train_label=np.repeat(label, NUM_TRAIN),
        test_label=np.repeat(label, NUM_TEST),
    )
