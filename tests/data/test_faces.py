"""Rendered faces against the values they are specified by, closed forms of geometry, and symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.data import faces

render = jax.jit(faces.render, static_argnames=("size", "supersampling"))


def unit(ranges, **given):
    """Factors in [0, 1] by their names and physical values; the others in the middle."""
    assert given.keys() <= ranges.keys()
    values = {name: (given.get(name, (low + high) / 2) - low) / (high - low) for name, (low, high) in ranges.items()}
    return jnp.array([*values.values()])


def identity(**given):
    return unit(faces.IDENTITY, **given)


def attributes(**given):
    return unit(faces.ATTRIBUTES, **given)


def draw(key, num=None):
    """Factors of one face, or of many."""
    i = faces.draw_identities(jnp.arange(num or 1), key)
    a = faces.draw_attributes(num or 1, jax.random.fold_in(key, 1))
    return (i, a) if num else (i[0], a[0])


MIDDLE, UP, DOWN = (
    [values(jnp.arange(n) / (n - 1)) for n in (19, 27)]
    for values in (lambda t: 0 * t + 0.5, lambda t: t, lambda t: 1 - t)
)


@pytest.mark.parametrize(
    ("factors", "size", "mean", "masks", "pixels"),
    [
        (
            MIDDLE,
            32,
            [0.45363, 0.41801, 0.38393],
            [0.28661, 0.24309, 0.49276],
            {(16, 16): [0.5834, 0.4508, 0.3713], (24, 16): [0.4670, 0.3609, 0.2972]},
        ),
        (MIDDLE, 64, [0.45380, 0.41818, 0.38405], [0.28651, 0.24306, 0.49266], {(32, 32): [0.5557, 0.4294, 0.3536]}),
        (
            UP,
            32,
            [0.62192, 0.58684, 0.55680],
            [0.22791, 0.18052, 0.41954],
            {(16, 16): [0.8786, 0.7538, 0.6792], (12, 12): [0.5052, 0.5336, 0.4436]},
        ),
        (UP, 64, [0.62212, 0.58690, 0.55688], [0.22774, 0.18054, 0.41948], {(32, 32): [0.8862, 0.7603, 0.6851]}),
        (DOWN, 32, [0.31209, 0.23156, 0.18800], [0.36338, 0.30121, 0.56820], {(16, 16): [0.3373, 0.1869, 0.0913]}),
    ],
)
def test_specified_values(factors, size, mean, masks, pixels):
    face = render(*factors, size=size)
    np.testing.assert_allclose(face.image.mean((0, 1)), mean, atol=1e-3)
    np.testing.assert_allclose([mask.mean() for mask in face[1:]], masks, atol=1e-3)
    for (row, column), colour in pixels.items():
        np.testing.assert_allclose(face.image[row, column], colour, atol=1e-3)


@pytest.mark.parametrize("pose", [{}, {"yaw": 35.0}, {"pitch": -30.0}, {"roll": 20.0, "scale": 1.2}])
def test_the_heads_outline_is_the_shadow_of_an_ellipsoid(pose):
    # an ellipse of half axes sqrt(a_x^2 cos^2 yaw + a_z^2 sin^2 yaw) and likewise with pitch, in a picture of area 4
    width, height, depth = 0.3, 0.7, 0.52
    yaw, pitch = (np.deg2rad(pose.get(name, 0)) for name in ("yaw", "pitch"))
    half = np.hypot(width * np.cos(yaw), depth * np.sin(yaw)), np.hypot(height * np.cos(pitch), depth * np.sin(pitch))
    pose = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "scale": 1.0, "ty": 0.0} | pose
    face = render(identity(face_w=width, face_h=height, jaw=0.0), attributes(**pose), size=64)
    assert face.head.mean() == pytest.approx(np.pi * half[0] * half[1] * pose["scale"] ** 2 / 4, rel=0.01)


def test_a_shift_by_a_pixel_moves_the_head_by_a_pixel():
    here, there = (render(identity(), attributes(tx=t * 2 / 32, ty=t * 2 / 32)) for t in (0.0, 1.0))
    np.testing.assert_allclose(there.head, np.roll(here.head, (-1, 1), axis=(0, 1)), atol=1e-5)
    np.testing.assert_allclose(there.skin, np.roll(here.skin, (-1, 1), axis=(0, 1)), atol=1e-5)


def test_mirrored_factors_give_the_mirrored_face(key):
    i, a = draw(key)
    names = [*faces.ATTRIBUTES]
    mirrored = a
    for name in ("yaw", "roll", "tx", "gaze_x", "light_az"):
        mirrored = mirrored.at[names.index(name)].set(1 - a[names.index(name)])
    angle = names.index("bg_angle")
    mirrored = mirrored.at[angle].set((0.5 - a[angle]) % 1)
    there, back = render(i, a), render(i, mirrored)
    np.testing.assert_allclose(back.image, there.image[:, ::-1], atol=1e-4)
    assert np.abs(np.asarray(there.image - there.image[:, ::-1])).max() > 0.1
    symmetric = attributes(yaw=0.0, roll=0.0, tx=0.0, gaze_x=0.0, light_az=0.0, bg_angle=90.0)
    face = render(i, symmetric).image
    np.testing.assert_allclose(face, face[:, ::-1], atol=1e-5)


def test_a_larger_picture_averages_to_the_smaller_with_more_samples(key):
    i, a = draw(key)
    large, small = render(i, a, size=64), render(i, a, size=32, supersampling=4)
    np.testing.assert_allclose(large.image.reshape(32, 2, 32, 2, 3).mean((1, 3)), small.image, atol=1e-5)
    assert np.abs(render(i, a, size=32).image - small.image).mean() < 3e-3


def test_background_and_identity_stay_in_their_regions(key):
    i, a = draw(key)
    face = render(i, a)
    assert np.all(face.skin <= face.head + 1e-6) and np.all(face.head <= face.foreground + 1e-6)
    names = [*faces.ATTRIBUTES]
    for name in names[names.index("bg0_r") : names.index("bg_angle") + 1]:
        at = names.index(name)
        changed = np.abs(np.asarray(render(i, a.at[at].set((a[at] + 0.4) % 1)).image - face.image)).max(-1)
        assert changed[np.asarray(face.foreground) == 1].max() < 1e-6 and changed.max() > 0.01
    # the ideal swap: whatever the source, the background, the hair and the clothes are the target's
    swapped = render(draw(jax.random.fold_in(key, 7))[0], a)
    change = np.abs(np.asarray(swapped.image - face.image)).max(-1)
    background = (np.asarray(face.foreground) == 0) & (np.asarray(swapped.foreground) == 0)
    assert change[background].max() == 0 and change.max() > 0.1


def test_full_ambient_light_has_no_direction():
    left, right = (render(identity(), attributes(ambient=1.0, light_az=z)).image for z in (-60.0, 60.0))
    np.testing.assert_allclose(left, right, atol=1e-6)
    left, right = (render(identity(), attributes(light_az=z)).image for z in (-60.0, 60.0))
    dark, light = (np.asarray(half).mean() for half in (right[8:24, 10:16], left[8:24, 10:16]))
    assert light > dark + 0.05


@pytest.mark.slow
def test_gradients_of_every_factor(key, float64):
    i, a = (f.astype(jnp.float64) for f in draw(key))
    weights = jax.random.normal(jax.random.fold_in(key, 2), (16, 16, 6), jnp.float64)
    factors = jnp.concatenate([i, a])

    @jax.jit
    @jax.vmap
    def value(factors):
        face = faces.render(factors[:19], factors[19:], size=16)
        return jnp.sum(weights * jnp.concatenate([face.image, jnp.stack(face[1:], axis=-1)], axis=-1))

    gradient = jax.jit(jax.grad(lambda f: value(f[None])[0]))(factors)
    step = 1e-5 * jnp.eye(46)
    central = (value(factors[None] + step) - value(factors[None] - step)) / 2e-5
    np.testing.assert_allclose(gradient, central, rtol=1e-5, atol=1e-6)
    # where a sample lies on the very middle of the head, whose distance to itself has no slope
    middle = jnp.concatenate([identity(), attributes(ty=0.0)])
    centred = jax.jit(jax.grad(lambda f: faces.render(f[:19], f[19:], size=3, supersampling=1).image.sum()))(middle)
    assert np.all(np.isfinite(centred))


@pytest.mark.slow
def test_many_at_once_are_each_alone_and_every_time_the_same(key):
    i, a = draw(key, 5)
    many = jax.jit(jax.vmap(faces.render))(i, a)
    for n in range(5):
        jax.tree.map(
            lambda together, alone, n=n: np.testing.assert_allclose(together[n], alone, atol=1e-5),
            many,
            render(i[n], a[n]),
        )
    again = jax.jit(jax.vmap(faces.render))(*draw(key, 5))
    jax.tree.map(np.testing.assert_array_equal, many, again)


def test_an_identity_is_the_same_however_many_there_are(key):
    many = faces.draw_identities(jnp.arange(200), key)
    few = faces.draw_identities(jnp.array([7, 150]), key)
    np.testing.assert_array_equal(few, many[jnp.array([7, 150])])
    assert len(np.unique(np.asarray(many), axis=0)) == 200
    attributes = np.asarray(faces.draw_attributes(200, key))
    for values in (np.asarray(many), attributes):
        assert values.min() >= 0 and values.max() <= 1
        assert abs(values.mean() - 0.5) < 4 / np.sqrt(12 * values.size)


def test_alike_identities_differ_in_features_only(key):
    i, _ = draw(key, 3)
    same = np.asarray(faces.alike(i))
    hidden = np.array([name in ("skin_tone", "skin_hue", "face_w", "face_h") for name in faces.IDENTITY])
    assert hidden.sum() == 4 and np.all(same[:, hidden] == 0.5)
    np.testing.assert_array_equal(same[:, ~hidden], np.asarray(i)[:, ~hidden])
    np.testing.assert_array_equal(faces.alike(i[0]), same[0])


def test_targets_of_a_regression_keep_what_is_cyclic_together():
    attributes = faces.draw_attributes(5, jax.random.key(0))
    targets = np.asarray(faces.attribute_targets(attributes))
    groups = faces.target_groups()
    assert targets.shape == (5, 29) and targets.min() >= 0 and targets.max() <= 1
    assert sorted(place for places in groups.values() for place in places) == [*range(29)]
    assert [len(groups[name]) for name in faces.GROUPS] == [6, 6, 4, 8, 5]
    assert sorted(name for names in faces.GROUPS.values() for name in names) == sorted(faces.ATTRIBUTES)
    names = [*faces.ATTRIBUTES]
    of_light = [names.index(name) for name in faces.GROUPS["light"]]
    np.testing.assert_array_equal(targets[:, groups["light"]], attributes[:, jnp.array(of_light)])
    cosine, sine = 2 * targets[:, groups["background"][-2:]].T - 1
    angle = np.arctan2(sine, cosine) / (2 * np.pi) % 1
    np.testing.assert_allclose(angle, attributes[:, names.index("bg_angle")], atol=1e-5)
    ends = attributes.at[0].set(0.25).at[1].set(0.25)
    ends = ends.at[0, names.index("cloth_hue")].set(0.0).at[1, names.index("cloth_hue")].set(1.0)
    first, second = faces.attribute_targets(ends)[:2]
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_factors_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"19 identity factors and 27 attributes; got \(27,\)"):
        faces.render(jnp.zeros(27), jnp.zeros(19))


@pytest.mark.parametrize("num", [3, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_the_data_set_is_of_the_identities_that_label_it(monkeypatch, num):
    monkeypatch.setattr(faces, "NUM_IDENTITIES", num)
    dataset = data.load("faces")
    assert dataset.train.x.shape == (20 * num, 32, 32, 3) and dataset.test.x.shape == (5 * num, 32, 32, 3)
    assert dataset.train.x.dtype == np.uint8 and (dataset.scale, dataset.num_classes) == (255, num)
    assert np.all(np.bincount(dataset.train.label) == 20) and np.all(np.bincount(dataset.test.label) == 5)
    root = jax.random.key(0)
    identities = faces.draw_identities(jnp.arange(num), jax.random.fold_in(root, 0))
    attributes = faces.draw_attributes(25 * num, jax.random.fold_in(root, 1)).reshape(num, 25, 27)
    render = jax.jit(jax.vmap(faces.render, in_axes=(None, 0)))
    for label in (0, num // 2):
        stored = [split.x[split.label == label] for split in (dataset.train, dataset.test)]
        expected = 255 * render(identities[label], attributes[label]).image
        np.testing.assert_allclose(np.concatenate(stored), expected, atol=0.51)


@pytest.mark.slow
def test_the_data_set_is_the_same_for_ever():
    # Every published number on the faces is a number on these bytes. If this fails, they have changed.
    assert data.load("faces").fingerprint == "364a5ea7a589fddb0e6a458260d1cc965868f90f55681aa31da91fb1b3f2fd7d"


@pytest.fixture(scope="module")
def few():
    """The factors of some held-out pictures."""
    return jax.tree.map(lambda a: a[::125], faces.factors()[1])


def test_factors_are_those_of_the_pictures_in_their_order(few):
    train, test = faces.factors()
    assert train.identity.shape == (2000, 19) and test.attributes.shape == (500, 27)
    identities = faces.draw_identities(jnp.arange(100), jax.random.fold_in(jax.random.key(0), 0))
    for split, each in ((train, 20), (test, 5)):
        np.testing.assert_array_equal(split.identity, jnp.repeat(identities, each, axis=0))
    attributes = faces.draw_attributes(2500, jax.random.fold_in(jax.random.key(0), 1))
    np.testing.assert_array_equal(train.attributes[21], attributes[26])  # of identity 1, the second
    np.testing.assert_array_equal(test.attributes[6], attributes[25 + 21])
    pictures, skin = faces.render_bytes(few)
    for n in range(4):
        face = render(few.identity[n], few.attributes[n])
        np.testing.assert_allclose(pictures[n], 255 * face.image, atol=0.51)
        np.testing.assert_allclose(skin[n], face.skin, atol=1e-4)


def test_outliers_differ_from_the_pictures_in_what_their_kind_says(few, key):
    pictures, skin = faces.render_bytes(few)
    found = faces.outliers(few, key)
    assert all(x.shape == (4, 32, 32, 3) and x.dtype == np.uint8 for x in found.values())
    green = found["green_skin"].astype(np.float64)
    inside, outside = skin == 1, skin == 0
    np.testing.assert_array_equal(green[inside], pictures[inside][:, [1, 0, 2]])
    np.testing.assert_array_equal(green[outside], pictures[outside])
    assert inside.sum() > 400 and np.mean(pictures[inside][:, 0] > green[inside][:, 0]) > 0.9  # skin is red, not green
    for picture, occluded in zip(pictures, found["occluded"], strict=True):
        changed = np.any(picture != occluded, axis=-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert len(rows) == rows[-1] - rows[0] + 1 == 10 and len(columns) == columns[-1] - columns[0] + 1 == 10
        square = occluded[rows[0] : rows[0] + 10, columns[0] : columns[0] + 10].reshape(-1, 3)
        assert np.all(square == square[0])


def test_outlying_factors_are_beyond_their_range(few, key, monkeypatch):
    rendered = []

    def record(drawn):
        rendered.append(drawn)
        return np.zeros((4, 32, 32, 3), np.uint8), np.zeros((4, 32, 32))

    monkeypatch.setattr(faces, "render_bytes", record)
    faces.outliers(few, key)
    before, after = (np.concatenate(drawn, axis=1) for drawn in rendered)
    moved = before != after
    assert np.all(moved.sum(1) == 8) and np.allclose(after[moved], 1.6) and moved.any(0).sum() > 15
    names = [*faces.IDENTITY, *faces.ATTRIBUTES]
    assert not moved[:, [names.index(name) for name in faces.CYCLIC]].any()


@pytest.mark.slow
def test_stored_pictures_are_the_same_where_jax_has_no_cpu_as_a_device(monkeypatch):
    drawn = jax.tree.map(lambda a: a[:2], faces.factors()[1])
    expected, _ = faces.render_bytes(drawn)
    asked = []

    def none_but_the_others(*, backend):
        asked.append(backend)
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(jax, "local_devices", none_but_the_others)
    np.testing.assert_array_equal(faces.render_bytes(drawn)[0], expected)
    assert asked == ["cpu"]
