"""The order of the data is a function of (key, step); nothing is left out, nothing comes twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.data import batching
from genjax.data.dataset import Split, from_arrays
from genjax.errors import BadInput

NUM, BATCH = 23, 5


@pytest.fixture
def split():
    """Examples that carry their own number, as pixel and as label."""
    number = np.arange(NUM)
    return Split(number.astype(np.uint8).reshape(-1, 1, 1, 1), number.astype(np.int32))


def batches(stream, key, start, num):
    """`num` batches from step `start` on."""
    arrays = jax.device_put(stream.arrays)
    carried = stream.start(arrays, jnp.int32(start), key)
    following = jax.jit(stream.next)
    for step in range(start, start + num):
        carried, batch = following(arrays, carried, jnp.int32(step), key)
        yield batch


def labels(stream, key, start, num):
    return [batch.label.tolist() for batch in batches(stream, key, start, num)]


def test_an_epoch_has_every_example_at_most_once_and_epochs_differ(split, key):
    stream = batching.shuffled(split, batch_size=BATCH, scale=1.0)
    seen = labels(stream, key, 0, 12)
    epochs = [[label for batch in seen[4 * e : 4 * e + 4] for label in batch] for e in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 20
    assert epochs[0] != epochs[1] != epochs[2]
    # the three left out are not always the same
    assert len({frozenset(range(NUM)) - set(epoch) for epoch in epochs}) > 1


def test_a_stream_can_be_entered_at_any_step(split, key):
    stream = batching.shuffled(split, batch_size=BATCH, scale=1.0, transform=batching.dynamic_binarization)
    whole = list(batches(stream, key, 0, 10))
    for start in (1, 3, 4, 7):
        for got, expected in zip(batches(stream, key, start, 10 - start), whole[start:], strict=True):
            np.testing.assert_array_equal(got.x, expected.x)
            np.testing.assert_array_equal(got.label, expected.label)


def test_the_order_depends_on_the_key_alone(split, key):
    stream = batching.shuffled(split, batch_size=BATCH, scale=1.0)
    assert labels(stream, key, 0, 4) == labels(stream, key, 0, 4)
    assert labels(stream, key, 0, 4) != labels(stream, jax.random.fold_in(key, 1), 0, 4)


def test_pixels_are_scaled_and_stay_with_their_labels(split, key):
    stream = batching.shuffled(split, batch_size=BATCH, scale=16.0)
    for batch in batches(stream, key, 0, 3):
        assert batch.x.dtype == jnp.float32 and batch.x.shape == (BATCH, 1, 1, 1)
        np.testing.assert_allclose(batch.x.ravel() * 16, batch.label)


def test_a_batch_of_all_examples_is_a_permutation(split, key):
    (batch,) = batches(batching.shuffled(split, batch_size=NUM, scale=1.0), key, 0, 1)
    assert sorted(batch.label.tolist()) == list(range(NUM))


@pytest.mark.parametrize("size", [0, NUM + 1])
def test_a_batch_larger_than_the_data_is_refused(split, size):
    with pytest.raises(BadInput, match=rf"batch_size: expected a number from 1 to 23, .*, not {size}"):
        batching.shuffled(split, batch_size=size, scale=1.0)


def test_labels_may_be_missing(split, key):
    (batch,) = batches(batching.shuffled(split._replace(label=None), batch_size=3, scale=1.0), key, 0, 1)
    assert batch.label is None and batch.x.shape == (3, 1, 1, 1)


@pytest.mark.parametrize("size", [1, 5, 23, 100])
def test_the_held_out_set_is_read_whole_and_in_order(split, key, size):
    held_out = batching.held_out(split, batch_size=size, scale=1.0)
    seen = []
    for group in held_out.groups:
        for index in range(len(group[0])):
            seen += held_out.read(jax.tree.map(lambda a, i=index: jnp.asarray(a[i]), group), key).label.tolist()
    assert seen == list(range(NUM))


def test_dynamic_binarization_draws_with_the_pixel_as_mean(key):
    x = jnp.tile(jnp.array([0.0, 0.2, 0.7, 1.0]), (20_000, 1))
    drawn = batching.dynamic_binarization(x, key)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    error = np.sqrt(np.asarray(x[0]) * (1 - x[0]) / len(x))
    assert np.all(np.abs(drawn.mean(0) - x[0]) <= 4 * error)


def test_static_binarization_is_one_draw_for_all_runs():
    grey = np.full((500, 4, 4, 1), 64, np.uint8)
    first, second = (batching.statically_binarized(from_arrays("grey", grey, grey)) for _ in range(2))
    np.testing.assert_array_equal(first.train.x, second.train.x)
    assert set(np.unique(first.train.x)) == {0, 1} and first.scale == 1
    share = 64 / 255
    for split in (first.train, first.test):
        assert abs(split.x.mean() - share) < 4 * np.sqrt(share * (1 - share) / grey.size)
    assert not np.array_equal(first.train.x, first.test.x)
    edges = batching.statically_binarized(from_arrays("edges", grey * 0, grey * 0 + 255))
    assert edges.train.x.max() == 0 and edges.test.x.min() == 1


def fed(stream, key, start, num, at_once):
    """As `batches`, from a stream that is fed."""
    stored, following = stream.feed(key, start), jax.jit(stream.next)
    for first in range(start, start + num, at_once):
        together = jax.tree.map(lambda *a: np.stack(a), *(next(stored) for _ in range(at_once)))
        for step in range(first, first + at_once):
            yield following(batching.Fed(np.int32(first), together), (), jnp.int32(step), key)[1]


@pytest.mark.parametrize(("start", "at_once"), [(0, 6), (3, 2)])
def test_what_is_streamed_is_what_lies_in_memory(split, key, start, at_once):
    pytest.importorskip("grain", reason="needs the extra `stream`")
    options = {"batch_size": BATCH, "scale": 1.0, "transform": batching.dynamic_binarization}
    inside = batches(batching.shuffled(split, **options), key, start, 12)
    for a, b in zip(inside, fed(batching.streamed(split, **options), key, start, 12, at_once), strict=True):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.label, b.label)


def test_a_limit_chooses_how_a_split_is_read(split):
    pytest.importorskip("grain", reason="needs the extra `stream`")
    dataset = from_arrays("numbers", split.x, split.x, scale=30.0)
    read = {limit: batching.source(dataset, batch_size=5, memory_limit=limit).train for limit in (NUM - 1, NUM)}
    assert read[NUM - 1].feed is not None and read[NUM].feed is None
    with pytest.raises(BadInput, match="a number from 1 to 23"):
        batching.source(dataset, batch_size=24, memory_limit=0)


@pytest.mark.slow
def test_joined_batches_are_those_of_both_streams_under_keys_of_their_own(key):
    first = batching.shuffled(Split(np.arange(10.0)[:, None], np.full(10, -1)), batch_size=3, scale=1.0)
    second = batching.shuffled(Split(np.arange(10.0)[:, None] + 100, np.arange(10)), batch_size=2, scale=1.0)
    stream = batching.joined(first, second)
    keys = jax.random.split(key)
    arrays = jax.device_put(stream.arrays)
    carried = stream.start(arrays, jnp.int32(0), key)
    alone = [s.start(s.arrays, jnp.int32(0), k) for s, k in zip((first, second), keys, strict=True)]
    seen = []
    for step in range(6):  # over the ends of both epochs
        carried, batch = stream.next(arrays, carried, jnp.int32(step), key)
        for i, each in enumerate((first, second)):
            alone[i], own = each.next(arrays[i], alone[i], jnp.int32(step), keys[i])
            rows = slice(0, 3) if i == 0 else slice(3, 5)
            np.testing.assert_array_equal(batch.x[rows], own.x)
            np.testing.assert_array_equal(batch.label[rows], own.label)
        seen.append(np.asarray(batch.x[:, 0]))
    assert not np.array_equal(seen[0][:2], seen[0][3:] - 100)  # the two orders differ
    assert len({*np.concatenate([each[:3] for each in seen[:3]])}) == 9  # nothing comes twice in an epoch
    fed = first._replace(feed=lambda key, step: iter(()))
    with pytest.raises(ValueError, match="joined: a stream that is read from the disk"):
        batching.joined(fed, second)
