"""Rendered faces with known truth: what makes the identity is separate from pose, expression, light and the rest.

A face is a function of 19 identity factors and 27 attributes, each drawn from U(0, 1) and then scaled to its range. So
the ideal swap of any source onto any target exists, and is

    render(identity of the source, attributes of the target)

Hair, clothes and background are attributes: they stay with the target.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

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
"""The identity factors, each with its range."""
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
"""The attributes, each with its range."""
CYCLIC = ("bg_angle", "cloth_hue")  # cyclic
GROUPS = {
    "pose": ("yaw", "pitch", "roll", "tx", "ty", "scale"),
    "expression": ("smile", "mouth_open", "eye_open", "brow_raise", "gaze_x", "gaze_y"),
    "light": ("light_az", "light_el", "ambient", "warmth"),
    "background": ("bg0_r", "bg0_g", "bg0_b", "bg1_r", "bg1_g", "bg1_b", "bg_angle"),
    "hair_and_clothes": ("hair_tone", "hair_len", "fringe", "cloth_hue"),
}
"""The attributes by group."""
COLOUR_AND_OUTLINE = ("skin_tone", "skin_hue", "face_w", "face_h")  # the most visible identity factors


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


def attribute_places() -> dict[str, list[int]]:
    """The columns of each attribute in `attribute_targets`: one, or two of a cyclic one."""
    linear = [name for name in ATTRIBUTES if name not in CYCLIC]
    places = {name: [number] for number, name in enumerate(linear)}
    return places | {
        name: [len(linear) + 2 * number, len(linear) + 2 * number + 1] for number, name in enumerate(CYCLIC)
    }


def target_groups() -> dict[str, list[int]]:
    """The places of each group's attributes in `attribute_targets`.

    Returns:
      name of the group -> places.
    """
    places = attribute_places()
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


class Factors(NamedTuple):
    """What pictures are rendered from."""

    identity: Array  # [..., 19] in [0, 1]
    attributes: Array  # [..., 27] in [0, 1]


def factors() -> tuple[Factors, Factors]:
    """The factors of the data set's pictures, in its order.

    They are drawn from `jax.random.key(0)`: the identities from stream 0, the attributes from stream 1.

    Returns:
      Those of the training pictures, [20 * 100, ...], and of the held-out ones, [5 * 100, ...], float32.
    """
    root, each = jax.random.key(0), NUM_TRAIN + NUM_TEST
    identity = draw_identities(jnp.arange(NUM_IDENTITIES), jax.random.fold_in(root, 0))
    attributes = draw_attributes(NUM_IDENTITIES * each, jax.random.fold_in(root, 1)).reshape(NUM_IDENTITIES, each, -1)
    drawn = Factors(jnp.repeat(identity[:, None], each, axis=1), attributes)
    train, test = (
        jax.tree.map(lambda a, part=part: a[:, part].reshape(-1, a.shape[-1]), drawn)
        for part in (slice(NUM_TRAIN), slice(NUM_TRAIN, None))
    )
    return train, test


def render_bytes(drawn: Factors) -> tuple[np.ndarray, np.ndarray]:
    """The pictures as the data set stores them.

    They are rendered in double precision, on the CPU where JAX has it as a device, so that rounding to bytes gives the
    same bytes everywhere.

    Args:
      drawn: of N pictures.

    Returns:
      Pictures [N, 32, 32, 3] uint8, and how much of each pixel is skin, [N, 32, 32] float64.
    """

    def one(identity: Array, attributes: Array) -> tuple[Array, Array]:
        face = render(identity, attributes)
        return face.image, face.skin

    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS names other devices alone
        device = None
    with jax.enable_x64(True), jax.default_device(device):
        draw = jax.jit(partial(jax.lax.map, lambda factors: one(*factors), batch_size=100))
        images, skin = map(np.asarray, draw(tuple(jnp.asarray(a, jnp.float64) for a in drawn)))
    return np.round(255 * images).astype(np.uint8), skin


def load() -> Dataset:
    """Faces of 100 identities, which are the labels: 20 pictures of each for training and 5 held out.

    Returns:
      Images [N, 32, 32, 3] uint8, of the `factors`.
    """
    train, test = factors()
    label = np.arange(NUM_IDENTITIES)
    return from_arrays(
        "faces",
        render_bytes(train)[0],
        render_bytes(test)[0],
        train_label=np.repeat(label, NUM_TRAIN),
        test_label=np.repeat(label, NUM_TEST),
    )


OUT_OF_RANGE, NUM_MOVED, SQUARE = 1.6, 8, 10  # of the outliers: value, factors that take it, pixels per side


def outliers(drawn: Factors, key: Key) -> dict[str, np.ndarray]:
    """Pictures unlike those of the data set, by the kind of what is wrong with them.

    `factors`: eight factors of each picture, drawn at random among those that are not cyclic, are at 1.6, beyond their
    range. `green_skin`: red and green are exchanged where there is skin. `occluded`: a square of 10 x 10 pixels of one
    random colour lies at a random place.

    Args:
      drawn: of the N pictures that are changed.
      key: draws which factors, places and colours.

    Returns:
      Pictures of each kind, [N, 32, 32, 3] uint8.
    """
    num = len(drawn.identity)
    factor_key, place_key, colour_key = jax.random.split(key, 3)
    cyclic = np.array([name in CYCLIC for name in (*IDENTITY, *ATTRIBUTES)])
    order = jnp.where(cyclic[None], jnp.inf, jax.random.uniform(factor_key, (num, len(cyclic))))
    moved = jnp.argsort(jnp.argsort(order, axis=1), axis=1) < NUM_MOVED
    whole = jnp.where(moved, OUT_OF_RANGE, jnp.concatenate(drawn, axis=1))
    (x, skin), (beyond, _) = (
        render_bytes(own) for own in (drawn, Factors(whole[:, : len(IDENTITY)], whole[:, len(IDENTITY) :]))
    )
    green = skin[..., None] * x[..., [1, 0, 2]] + (1 - skin[..., None]) * x
    side = x.shape[1]
    first = np.asarray(jax.random.randint(place_key, (num, 2), 0, side - SQUARE + 1))
    away = np.arange(side) - first[..., None]  # of each row and column from the square's first
    rows, columns = np.moveaxis((away >= 0) & (away < SQUARE), 1, 0)
    colour = np.asarray(jax.random.randint(colour_key, (num, 1, 1, 3), 0, 256))
    occluded = np.where((rows[:, :, None] & columns[:, None])[..., None], colour, x)
    return {
        "factors": beyond,
        "green_skin": np.round(green).astype(np.uint8),
        "occluded": occluded.astype(np.uint8),
    }
