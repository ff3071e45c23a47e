"""The held-out examples that stand for all."""

import jax
import numpy as np
import pytest

from genjax import data
from genjax.data import batching
from genjax.runs import recording


def sorted_by_class(num: int) -> data.Dataset:
    """`num` held-out examples, stored one class of ten after the other, each with its own number."""
    x = np.arange(num, dtype=np.float32)[:, None] / num
    label = np.arange(num) * 10 // num
    return data.from_arrays("sorted", x[:20], x, train_label=label[:20], test_label=label, num_classes=10)


@pytest.mark.parametrize("num", [5000, 2300])
def test_of_many_held_out_examples_a_random_choice_stands_for_all(num):
    dataset = sorted_by_class(num)
    source = batching.source(dataset, batch_size=4)
    batch = recording.held_out_examples(source, jax.random.key(0))
    rows = np.random.RandomState(0).permutation(num)[:2000]
    np.testing.assert_array_equal(batch.x, dataset.test.x[rows])
    np.testing.assert_array_equal(batch.label, dataset.test.label[rows])  # type: ignore[index]
    assert np.bincount(np.asarray(batch.label)).min() > 150


@pytest.mark.parametrize("num", [30, 500, 1100])
def test_few_held_out_examples_are_all_taken_in_their_order_and_with_the_same_draws(num):
    dataset = sorted_by_class(num)
    source = batching.source(dataset, batch_size=4, transform=batching.dynamic_binarization)
    key = jax.random.key(3)
    batch = recording.held_out_examples(source, key)
    np.testing.assert_array_equal(batch.label, dataset.test.label)
    for start in range(0, num, 500):
        x = dataset.test.x[start : start + 500]
        drawn = batching.dynamic_binarization(x, jax.random.fold_in(key, start // 500))
        np.testing.assert_array_equal(batch.x[start : start + 500], drawn)
