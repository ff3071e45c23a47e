"""Pairs of pictures of one identity: two of each, no identity twice, the same at the same step; the swaps' truth."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.data import faces, pairs
from genjax.data.dataset import Split, from_arrays
from genjax.errors import BadInput


def labelled(num=6, each=4):
    """Pictures that are their own number: label and place in it."""
    label = np.random.RandomState(0).permutation(np.repeat(np.arange(num), each))
    place = np.zeros(len(label), int)
    for c in range(num):
        place[label == c] = np.arange(each)
    x = np.zeros((len(label), 2, 2, 1), np.uint8)
    x[:, 0, 0, 0], x[:, 1, 1, 0] = label, place
    return Split(x, label)


def read(source, step, key):
    stream = source.train
    carried = stream.start(stream.arrays, jnp.int32(step), key)
    arrays = jax.tree.map(jnp.asarray, stream.arrays)
    return jax.jit(stream.next)(arrays, carried, jnp.int32(step), key)[1]


def test_labelled_pairs_are_two_pictures_of_each_identity(key):
    marked = labelled(3, 1)
    marked.x[:, 0, 1, 0] = 9  # in no training picture
    source = pairs.labelled_pairs(labelled(), marked, batch_size=5, scale=1.0)
    seen = set()
    for step in range(30):
        pair = read(source, step, key)
        who = [np.asarray(x)[:, 0, 0, 0] for x in pair]
        np.testing.assert_array_equal(*who)
        assert len(set(who[0])) == 5
        place = [np.asarray(x)[:, 1, 1, 0] for x in pair]
        assert (place[0] != place[1]).all()
        seen |= set(zip(who[0].tolist(), place[0].tolist(), place[1].tolist(), strict=True))
    assert len(seen) > 60  # of 6 * 4 * 3, in 150 draws
    again, other = read(source, 3, key), read(source, 3, jax.random.fold_in(key, 1))
    np.testing.assert_array_equal(again.target, read(source, 3, key).target)
    assert np.any(again.target != other.target)
    (held_out,) = source.test.groups
    pair = source.test.read(jax.tree.map(lambda a: jnp.asarray(a[0]), held_out), key)
    np.testing.assert_array_equal(pair.target[:, 0, 0, 0], np.arange(3))
    np.testing.assert_array_equal(pair.source[:, 0, 0, 0], np.arange(3))
    for picture, split in ((pair.target, marked), (pair.source, labelled())):
        for row in np.asarray(picture):
            assert (row == split.x).all((1, 2, 3)).any()


def test_identities_of_one_picture_are_left_out(key):
    whole = labelled(3, 3)
    lone = Split(np.concatenate([whole.x, whole.x[:1] + 7]), np.concatenate([whole.label, [7]]))
    source = pairs.labelled_pairs(lone, labelled(2, 2), batch_size=3, scale=1.0)
    assert {int(read(source, step, key).target[:, 0, 0, 0].max()) for step in range(5)} == {2}
    with pytest.raises(BadInput, match="3 identities have two pictures or more"):
        pairs.labelled_pairs(lone, labelled(2, 2), batch_size=4, scale=1.0)
    alone = Split(lone.x[-2:], np.array([2, 7]))  # one picture of each identity
    with pytest.raises(
        BadInput, match=r"^dataset: pairs need two identities or more .*, and the data have 0; give more"
    ):
        pairs.labelled_pairs(alone, labelled(2, 2), batch_size=4, scale=1.0)
    with pytest.raises(BadInput, match="need labels"):
        pairs.labelled_pairs(Split(lone.x), lone, batch_size=2, scale=1.0)
    with pytest.raises(BadInput, match="fewer than two identities have a held-out picture"):
        pairs.labelled_pairs(lone, labelled(1, 4), batch_size=2, scale=1.0)


@pytest.mark.slow
def test_rendered_pairs_are_of_one_identity(key, monkeypatch):
    monkeypatch.setattr(pairs, "TEST", range(100_000, 100_004))
    source = pairs.rendered_pairs(batch_size=3, size=8)
    pair = read(source, 5, key)
    who_key, attributes_key = jax.random.split(jax.random.fold_in(key, 5))
    number = jax.random.permutation(who_key, 1000)[:3]
    identity = faces.draw_identities(number, jax.random.fold_in(jax.random.key(0), 0))
    attributes = faces.draw_attributes(6, attributes_key)
    for i in range(3):
        for picture, a in ((pair.target, attributes[i]), (pair.source, attributes[3 + i])):
            np.testing.assert_allclose(picture[i], faces.render(identity[i], a, size=8).image, atol=1e-5)
    (held_out,) = source.test.groups
    assert held_out.target.shape == (1, 4, 8, 8, 3)
    with pytest.raises(BadInput, match=r"^batch_size: expected a number from 2 to 1000"):
        pairs.rendered_pairs(batch_size=1)


@pytest.mark.parametrize("alike", [False, True])
def test_the_ideal_swap_is_the_candidate_that_is_wanted(alike):
    numbers = range(100_000, 100_005)
    truth = pairs.swap_test(size=8, numbers=numbers, shift=2, alike=alike)
    np.testing.assert_array_equal(truth.wanted, [2, 3, 4, 0, 1])
    identity = pairs._identities(jnp.asarray(numbers))
    identity = faces.alike(identity) if alike else identity
    np.testing.assert_allclose(truth.ideal[1], faces.render(identity[3], truth.attributes[1], size=8).image, atol=1e-5)
    for i, who in enumerate(truth.wanted):
        np.testing.assert_allclose(truth.candidates[i, who], truth.ideal[i], atol=1e-6)
        np.testing.assert_allclose(truth.candidates[i, i], truth.target[i], atol=1e-6)
    assert (truth.face >= truth.target_skin).all() and (truth.background * truth.face).max() < 1
    outside = np.asarray(truth.background)[..., None]
    np.testing.assert_allclose(outside * truth.ideal, outside * truth.target, atol=1e-6)


@pytest.mark.slow
def test_pictures_of_a_stream_are_the_same_and_labelled_by_place():
    x, skin, label = pairs.rendered_pictures(range(7, 10), each=2, stream=4, size=8)
    alike, _, _ = pairs.rendered_pictures(range(7, 10), each=2, stream=4, size=8, alike=True)
    assert np.any(x != alike)
    again, _, _ = pairs.rendered_pictures(range(7, 10), each=2, stream=4, size=8)
    other, _, _ = pairs.rendered_pictures(range(7, 10), each=2, stream=5, size=8)
    assert skin.shape == (6, 8, 8) and skin.max() == 255
    np.testing.assert_array_equal(x, again)
    assert x.shape == (6, 8, 8, 3) and x.dtype == np.uint8 and np.any(x != other)
    np.testing.assert_array_equal(label, [0, 0, 1, 1, 2, 2])


@pytest.mark.slow
def test_rendered_attributes_are_those_of_the_picture(key, monkeypatch):
    monkeypatch.setattr(pairs, "TEST", range(100_000, 100_003))
    source = pairs.rendered_attributes(batch_size=3, size=8)
    batch = read(source, 5, key)
    who_key, attributes_key = jax.random.split(jax.random.fold_in(key, 5))
    number = jax.random.randint(who_key, [3], 0, 1000)
    identity = faces.draw_identities(number, jax.random.fold_in(jax.random.key(0), 0))
    attributes = faces.draw_attributes(3, attributes_key)
    np.testing.assert_allclose(batch.label, faces.attribute_targets(attributes), atol=1e-6)
    for i in range(3):
        np.testing.assert_allclose(batch.x[i], faces.render(identity[i], attributes[i], size=8).image, atol=1e-5)
    assert source.test.groups[0].x.shape == (1, 6, 8, 8, 3) and source.test.groups[0].label.shape == (1, 6, 29)


def people(num=3, each=5):
    split: Any = labelled(num, each)
    return from_arrays("people", split.x, split.x[:2], train_label=split.label, test_label=split.label[:2], scale=7.0)


def test_pictures_are_rendered_for_one_data_set_and_read_of_others(key):
    whole = people(3, 4)
    whole = whole._replace(test=whole.train)
    pair = read(pairs.source(whole, batch_size=2, size=16), 0, key)
    assert pair.target.shape == (2, 2, 2, 1) and pairs.image_shape(whole, size=16) == (2, 2, 1)
    assert pairs.image_shape(whole._replace(name="faces"), size=16) == (16, 16, 3)
    with pytest.raises(BadInput, match="expected a number from 2 to 1000, the number of identities"):
        pairs.source(whole._replace(name="faces"), batch_size=1, size=16)
    flat = from_arrays("flat", whole.train.x.reshape(12, -1), whole.train.x.reshape(12, -1))
    with pytest.raises(BadInput, match="'flat' has no images"):
        pairs.image_shape(flat, size=16)
