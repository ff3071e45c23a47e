"""Features that are not finite or do not fit are refused by every measure of features, in one line."""

import jax
import numpy as np
import pytest

from genjax.evaluation import coverage, distances, diversity, identity, memorisation, modes, neighbours, probes

GOOD = np.random.RandomState(0).normal(size=(40, 3))
LABEL = np.arange(40) % 4
MEASURES = {
    "frechet_distance": lambda x: distances.frechet_distance(x, GOOD),
    "gaussian_frechet_distance": lambda x: distances.gaussian_frechet_distance(GOOD[0], x[:3], GOOD[0], np.eye(3)),
    "kernel_distance": lambda x: distances.kernel_distance(GOOD, x),
    "mind": lambda x: distances.mind(x, GOOD, jax.random.key(0), num_projections=2),
    "vendi_score": lambda x: diversity.vendi_score(x),
    "authenticity": lambda x: memorisation.authenticity(x, GOOD),
    "data_copying": lambda x: memorisation.data_copying(GOOD, x, GOOD),
    "nearest": lambda x: neighbours.nearest(x, GOOD),
    "precision_recall": lambda x: coverage.precision_recall(x, GOOD),
    "density_coverage": lambda x: coverage.density_coverage(GOOD, x),
    "nearest_training_distance": lambda x: coverage.nearest_training_distance(x, GOOD, GOOD),
    "mode_coverage": lambda x: modes.mode_coverage(x, GOOD[:4], standard_deviation=1.0),
    "trustworthiness": lambda x: neighbours.trustworthiness(x, GOOD),
    "knn_accuracy": lambda x: neighbours.knn_accuracy(GOOD, LABEL, x, LABEL),
    "knn_distance": lambda x: neighbours.knn_distance(GOOD, x),
    "linear_probe": lambda x: probes.linear_probe(x, LABEL, GOOD, LABEL, rows=[np.arange(40)], strengths=[1.0]),
    "verification_auroc": lambda x: identity.verification_auroc(x, LABEL),
    "centroids": lambda x: identity.centroids(x, LABEL),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(name, value):
    MEASURES[name](GOOD.copy())
    x = GOOD.copy()
    x[1, 2] = value
    with pytest.raises(ValueError, match=r"must be finite; 1 of \d+ values") as error:
        MEASURES[name](x)
    assert "\n" not in str(error.value)


def test_sets_that_do_not_fit_are_named():
    for wrong in (GOOD[:, :2], GOOD[:, 0], GOOD[:2]):
        with pytest.raises(ValueError, match=r"got \(40, 3\) and"):
            coverage.precision_recall(GOOD, wrong)
    with pytest.raises(ValueError, match="at most the 2 codes; got 5"):
        neighbours.knn_accuracy(GOOD[:2], LABEL[:2], GOOD, LABEL)
