"""Clusters against classes, by trying all matchings."""

import itertools

import numpy as np
import pytest

from genjax.evaluation.clustering import match_clusters


@pytest.mark.parametrize(("num_clusters", "num_classes"), [(4, 4), (5, 3), (2, 4)])
def test_the_best_of_all_matchings(num_clusters, num_classes):
    draw = np.random.RandomState(3)
    label = draw.randint(num_classes, size=60)
    found = np.where(draw.uniform(size=60) < 0.5, (label + 1) % num_clusters, draw.randint(num_clusters, size=60))
    found[:2], label[:2] = num_clusters - 1, num_classes - 1  # all clusters and classes are there
    size = max(num_clusters, num_classes)
    best = max(np.mean(np.array(classes)[found] == label) for classes in itertools.permutations(range(size)))
    matching = match_clusters(found, label)
    assert matching.error == pytest.approx(1 - best, abs=1e-12)
    assert len(matching.classes) == len({*matching.classes.values()}) == min(num_clusters, num_classes)
    right = [matching.classes.get(k) == y for k, y in zip(found, label, strict=True)]
    assert 1 - np.mean(right) == pytest.approx(matching.error, abs=1e-12)


def test_renamed_classes_are_no_error():
    label = np.array([0, 1, 2, 2, 1, 0])
    assert match_clusters(np.array([2, 0, 1])[label], label) == (0, {2: 0, 0: 1, 1: 2})


def test_what_does_not_fit_is_refused():
    for found, label in (([0, 1], [0]), ([], [])):
        with pytest.raises(ValueError, match="expected a cluster and a class of each example"):
            match_clusters(found, label)
