"""Identities told apart and swaps scored: by loops, by answers known beforehand, and by the baselines' own numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from genjax.data import faces, pairs
from genjax.evaluation import identity
from genjax.evaluation.images import set_psnr


def unit(v):
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def test_verification_is_a_count_over_all_pairs():
    draw = np.random.RandomState(0)
    label = np.repeat(np.arange(4), 3)
    v = unit(draw.normal(size=(4, 5))[label] + 0.7 * draw.normal(size=(12, 5)))
    same, other = [], []
    for i in range(12):
        for j in range(i):
            (same if label[i] == label[j] else other).append(v[i] @ v[j])
    expected = np.mean([(s > o) + 0.5 * (s == o) for s in same for o in other])
    assert 0.6 < expected < 1
    assert identity.verification_auroc(v, label) == pytest.approx(expected)
    assert identity.verification_auroc(np.eye(4)[label], label) == 1


def test_the_nearest_centre_is_that_of_the_mean():
    draw = np.random.RandomState(0)
    label = np.array([1, 0, 1, 0, 2])
    v = unit(draw.normal(size=(5, 3)))
    centres = identity.centroids(v, label)
    for c in range(3):
        mean = v[label == c].mean(0)
        np.testing.assert_allclose(centres[c], mean / np.linalg.norm(mean))
    probe = unit(draw.normal(size=(20, 3)))
    angle = np.arccos(np.clip(probe @ centres.T, -1, 1))
    np.testing.assert_array_equal(identity.identify(probe, centres), angle.argmin(1))


@pytest.fixture
def truth(key):
    """Six targets whose faces are the left half, and five identities that differ there alone."""
    keys = jax.random.split(key, 2)
    target = jax.random.uniform(keys[0], (6, 4, 4, 3))
    face = jnp.zeros((6, 4, 4)).at[:, :, :2].set(1)
    others = jax.random.uniform(keys[1], (5, 4, 4, 3))
    left = face[:, None, ..., None]
    candidates = left * others[None] + (1 - left) * target[:, None]
    wanted = jnp.arange(6) % 5
    ideal = candidates[jnp.arange(6), wanted]
    background = 1 - face
    return dict(target=target, ideal=ideal, face=face, background=background, candidates=candidates, wanted=wanted)


def test_the_ideal_and_the_target_as_it_is(truth):
    best = identity.swap_quality(truth["ideal"], **truth)
    assert best.error_reduction == 1 and best.face_error_reduction == 1 and best.identified == 1
    assert best.background_error == 0 and np.isinf(best.psnr)
    copy = identity.swap_quality(truth["target"], **truth)
    assert copy.error_reduction == 0 and copy.face_error_reduction == 0 and copy.background_error == 0
    half = identity.swap_quality((truth["ideal"] + truth["target"]) / 2, **truth)
    np.testing.assert_allclose(half.error_reduction, 0.75, rtol=1e-5)


def test_each_measure_by_a_loop(truth, key):
    swapped = jax.random.uniform(key, truth["target"].shape)
    found = identity.swap_quality(swapped, **truth)
    y, t, ideal, face, ground = (
        np.asarray(a, np.float64)
        for a in (swapped, truth["target"], truth["ideal"], truth["face"], truth["background"])
    )
    np.testing.assert_allclose(found.psnr, set_psnr(swapped, truth["ideal"]), rtol=1e-5)
    on_face = face > 0
    error = np.square(y - ideal)
    np.testing.assert_allclose(found.face_psnr, -10 * np.log10(error[on_face].mean()), rtol=1e-5)
    np.testing.assert_allclose(found.error_reduction, 1 - error.sum() / np.square(t - ideal).sum(), rtol=1e-5)
    before = np.square(t - ideal)[on_face].sum()
    np.testing.assert_allclose(found.face_error_reduction, 1 - error[on_face].sum() / before, rtol=1e-5)
    np.testing.assert_allclose(found.background_error, np.abs(y - ideal)[ground > 0].mean(), rtol=1e-5)
    hits = 0
    for i in range(6):
        distance = [np.square((y[i] - np.asarray(c))[face[i] > 0]).sum() for c in truth["candidates"][i]]
        hits += np.argmin(distance) == truth["wanted"][i]
    np.testing.assert_allclose(found.identified, hits / 6)


def test_transferred_colours_have_the_sources_moments(key):
    keys = jax.random.split(key, 2)
    target = 0.5 + 0.02 * jax.random.normal(keys[0], (2, 6, 6, 3))
    source = 0.4 + 0.03 * jax.random.normal(keys[1], (2, 6, 6, 3))
    skin_t = jnp.zeros((2, 6, 6)).at[:, :3].set(1)
    skin_s = jnp.zeros((2, 6, 6)).at[:, :, 2:].set(1)
    y = np.asarray(identity.colour_transfer(target, source, skin_t, skin_s))
    np.testing.assert_array_equal(y[:, 3:], target[:, 3:])
    np.testing.assert_allclose(y[:, :3].mean((1, 2)), source[:, :, 2:].mean((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(y[:, :3].std((1, 2)), source[:, :, 2:].std((1, 2)), rtol=1e-3)
    half = np.asarray(identity.colour_transfer(target, source, 0.5 * skin_t, skin_s))
    np.testing.assert_allclose(half, (y + target) / 2, rtol=1e-4)


def test_attribute_errors_are_those_beyond_the_ideals():
    truth = np.zeros((4, 3))
    of_ideal = np.full((4, 3), 0.1)
    read = np.array([[0.3, 0.1, -0.5]] * 2 + [[-0.3, 0.1, 0.5]] * 2)
    errors, floors = identity.attribute_errors(read, of_ideal, truth, {"one": [0], "same": [1], "both": [0, 2]})
    assert floors == pytest.approx({"one": 0.1, "same": 0.1, "both": 0.1})
    assert errors == pytest.approx({"one": 0.2, "same": 0.0, "both": ((0.09 + 0.25) / 2) ** 0.5 - 0.1})
    assert identity.attribute_errors(of_ideal, of_ideal, truth, {"all": [0, 1, 2]})[0] == {"all": 0.0}


def test_identities_without_pairs_vectors_or_direction_are_refused():
    v = np.eye(3)
    for label in ([0, 1, 2], [1, 1, 1]):
        with pytest.raises(ValueError, match="occurs twice"):
            identity.verification_auroc(v, label)
    with pytest.raises(ValueError, match=r"none of \[1\]"):
        identity.centroids(v, [0, 2, 2])
    with pytest.raises(ValueError, match="mean vector of identity 1 is 0"):
        identity.centroids(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), [0, 1, 1])


def test_bytes_are_taken_as_numbers():
    draw = np.random.RandomState(0)
    swapped, target, ideal = draw.randint(0, 256, (3, 2, 4, 4, 3)).astype(np.uint8)
    candidates = draw.randint(0, 256, (2, 3, 4, 4, 3)).astype(np.uint8)
    weights = draw.uniform(size=(2, 2, 4, 4)).astype(np.float32)

    def quality(dtype):
        pictures = {"target": target, "ideal": ideal, "candidates": candidates}
        pictures = {name: picture.astype(dtype) for name, picture in pictures.items()}
        return identity.swap_quality(
            swapped.astype(dtype), face=weights[0], background=weights[1], wanted=np.array([0, 1]), **pictures
        )

    found = quality(np.uint8)
    mean = np.mean(np.square(swapped.astype(np.float64) - ideal))
    np.testing.assert_allclose(found.psnr, -10 * np.log10(mean), rtol=1e-5)
    np.testing.assert_allclose(found, quality(np.float32), rtol=1e-5)


def test_colours_of_skin_name_identities_by_their_nearest_mean():
    draw = np.random.RandomState(0)
    label = np.repeat(np.arange(5), 6)
    gallery = np.arange(30) % 6 < 3
    x = draw.uniform(0, 1, (30, 4, 4, 3))
    skin = (draw.uniform(0, 1, (30, 4, 4)) > 0.4).astype(np.uint8)
    x[skin > 0] = (draw.uniform(0, 1, (5, 3))[label][:, None, None] + draw.normal(0, 1.2, x.shape))[skin > 0]
    colours = np.array([image[mask > 0].mean(0) for image, mask in zip(x, skin, strict=True)])
    right = []
    for i in np.flatnonzero(~gallery):
        distance = [np.linalg.norm(colours[i] - colours[gallery & (label == c)].mean(0)) for c in range(5)]
        right.append(np.argmin(distance) == label[i])
    assert 0.3 < np.mean(right) < 1
    assert identity.colour_rank1(x, 200 * skin, label, gallery) == pytest.approx(np.mean(right))


@pytest.mark.parametrize("scale", [0.01, 1.0, 200.0])
def test_the_colour_of_skin_does_not_depend_on_how_much_of_it_there_is(scale):
    colours = np.array([0.3, 0.8, 0.3, 0.8])  # of the identities 0, 1, 0, 1; the first two are the gallery
    area = np.array([1, 4, 7, 2])
    skin = scale * (np.arange(9) < area[:, None]).reshape(4, 3, 3)
    x = np.broadcast_to(colours[:, None, None, None], (4, 3, 3, 3))
    label, gallery = np.array([0, 1, 0, 1]), np.array([True, True, False, False])
    assert identity.colour_rank1(x, skin, label, gallery) == 1
    assert identity.colour_rank1(x, skin * (area > 2)[:, None, None], label, gallery) == 0.5  # two without skin


@pytest.mark.parametrize(("num_classes", "num_examples"), [(2, 20), (10, 100), (1000, 500)])
def test_what_chance_reaches_once_in_some_hundred_trials_is_not_above_it(num_classes, num_examples):
    chance = binom(num_examples, 1 / num_classes)
    first = next(
        right
        for right in range(num_examples + 1)
        if identity.above_chance(right / num_examples, num_classes=num_classes, num_examples=num_examples)
    )
    assert chance.sf(first - 1) < 0.02 < chance.sf(first - 4)
    assert not identity.above_chance(0.0, num_classes=num_classes, num_examples=num_examples)


def test_swaps_are_recognised_as_their_sources_their_targets_or_neither():
    centres = np.eye(4)
    wanted = np.array([2, 3, 0, 1])
    v = unit(np.array([[0.1, 0, 1, 0], [0, 1, 0, 0.2], [0.5, 0, 0.4, 0], [0, 0, 1, 0]]))  # source, target, source, 2
    found = identity.swap_recognition(v, centres[wanted], centres, wanted)
    assert (found["rank1"], found["rank1_is_target"]) == (0.5, 0.25)
    cosines = [v[0, 2], v[1, 3], v[2, 0], v[3, 1]]
    assert found["cosine_to_source"] == pytest.approx(np.mean(cosines), rel=1e-6)


def test_all_measures_of_swaps_together(truth, key):
    source = truth["candidates"][jnp.arange(6), (truth["wanted"] + 1) % 5]
    attributes = faces.draw_attributes(6, key)
    masks = {"target_skin": truth["face"], "source_skin": truth["face"]}
    test = pairs.SwapTest(**truth, **masks, source=source, attributes=attributes)
    weights = np.random.RandomState(0).normal(size=(4 * 4 * 3, 29)).astype(np.float32)

    def encode(x):
        return unit(np.asarray(x).reshape(len(x), -1) - 0.5)

    def read(x):
        return np.asarray(x).reshape(len(x), -1) @ weights

    centres = np.concatenate([encode(test.ideal)[np.argsort(truth["wanted"][:5])], encode(test.target)[:1]])
    ideal = identity.swap_measures(test.ideal, test, encode, centres, read)
    target = identity.swap_measures(test.target, test, encode, centres, read)
    assert ideal["error_reduction"] == 1 and target["error_reduction"] == 0 and ideal["background_error"] == 0
    assert ideal["rank1"] > target["rank1"] and ideal["identified"] == 1
    cosine = np.sum(encode(test.target) * encode(source), axis=1)
    assert target["cosine_to_source"] == pytest.approx(cosine.mean(), rel=1e-5)
    wanted, pose = np.asarray(faces.attribute_targets(attributes)), faces.target_groups()["pose"]
    error = [np.sqrt(np.mean(np.square(read(x) - wanted)[:, pose])) for x in (test.target, test.ideal)]
    assert ideal["pose_attribute_error"] == 0
    assert target["pose_attribute_error"] == pytest.approx(error[0] - error[1], rel=1e-3) and error[0] != error[1]
    assert target["pose_attribute_floor"] == ideal["pose_attribute_floor"] == pytest.approx(error[1], rel=1e-5)
    assert identity.swap_measures(test.target, test, encode, centres).keys() == {
        name for name in target if "_attribute_" not in name
    }


def test_transferred_colours_stay_between_0_and_1():
    draw = np.random.RandomState(0)
    target, source = draw.rand(2, 3, 4, 4, 3)
    skin = np.ones((3, 4, 4))
    y = identity.colour_transfer(0.5 + 0.01 * target, np.round(source), skin, skin)  # 0.29 wide, scaled to 0.5
    assert 0 == np.min(y) and np.max(y) == 1
