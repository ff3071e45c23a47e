"""What is measured of samples: against the distances themselves, hand-written loops, and answers known beforehand."""

import jax
import numpy as np
import pytest

from genjax.evaluation import coverage, distances, diversity, jackknife, memorisation, sample_quality


def flat(x):
    return np.asarray(x, np.float64).reshape(len(x), -1)


def is_light(x):
    return (flat(x).mean(1) > 0.5).astype(int)


@pytest.fixture
def pixels():
    """Two classes of images of 3 pixels, dark and light, one after the other: training and held-out ones."""
    draw = np.random.RandomState(0)
    label = np.repeat([0, 1], [60, 40])
    x = [np.clip(0.3 + 0.4 * label[:, None] + 0.05 * draw.normal(size=(100, 3)), 0, 1) for _ in range(2)]
    return [np.round(255 * values).astype(np.uint8).reshape(-1, 3, 1, 1) for values in x]


def compared(samples, pixels):
    """The samples' quality, in the pixels themselves."""
    made = sample_quality.reference(*pixels, scale=255.0, features=flat, predict=is_light, num_classes=2)
    return sample_quality.sample_quality(samples, made)


def test_every_measure_of_samples(pixels):
    samples = np.random.RandomState(1).uniform(0.2, 0.6, (50, 3, 1, 1))
    found = compared(samples, pixels)
    x, train, test = flat(samples), *(flat(stored / 255) for stored in pixels)
    assert found["frechet_distance"] == pytest.approx(distances.frechet_distance(x, test), rel=1e-9)
    precision, recall = coverage.precision_recall(x, test)
    density, covered = coverage.density_coverage(x, test)
    assert [found[name] for name in ("precision", "recall", "density", "coverage")] == pytest.approx(
        [precision, recall, density, covered]
    )
    nearest = [np.median([np.linalg.norm(train - p, axis=1).min() for p in points]) for points in (x, test)]
    assert found["nearest_training_distance"] == pytest.approx(nearest[0])
    assert found["held_out_nearest_training_distance"] == pytest.approx(nearest[1])
    light = np.mean(x.mean(1) > 0.5)
    assert found["classes_found"] == 2
    assert found["smallest_class_share"] == pytest.approx(light) and 0 < light < 0.5
    assert found["largest_class_share"] == pytest.approx(1 - light)
    assert abs(found["kernel_distance"]) > 0 and found["kernel_distance_error"] > 0
    # in place of the samples as many training examples, of both classes
    assert 0 < found["train_frechet_distance"] < 0.2 * found["frechet_distance"]


def test_samples_that_are_the_held_out_or_training_examples(pixels, monkeypatch):
    train, test = (stored / 255 for stored in pixels)
    found = compared(test, pixels)
    assert found["frechet_distance"] == pytest.approx(0, abs=1e-9)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert found["nearest_training_distance"] == found["held_out_nearest_training_distance"] > 0
    copies = compared(train, pixels)
    assert copies["nearest_training_distance"] < 1e-6
    assert copies["train_frechet_distance"] == pytest.approx(copies["frechet_distance"])
    assert abs(copies["kernel_distance"]) < 4 * copies["kernel_distance_error"]
    dark = compared(train[:60], pixels)
    assert dark["kernel_distance"] > 2 * dark["kernel_distance_error"]
    monkeypatch.setattr(sample_quality, "AT_MOST", 30)
    dark = compared(train[:60], pixels)
    assert (dark["classes_found"], dark["smallest_class_share"], dark["largest_class_share"]) == (1, 0, 1)
    # neighbours are sought in the whole training set
    assert dark["nearest_training_distance"] < 1e-6


def test_of_many_samples_and_held_out_examples_some_are_compared(pixels, monkeypatch):
    monkeypatch.setattr(sample_quality, "AT_MOST", 30)
    made = sample_quality.reference(*pixels, scale=255.0, features=flat, predict=is_light, num_classes=2)
    assert made.train.shape == (100, 3) and made.test.shape == (30, 3)
    assert 0 < is_light(made.test).sum() < 30  # of both classes, which are stored one after the other
    samples = np.random.RandomState(1).uniform(0.2, 0.6, (50, 3, 1, 1))
    some = samples[np.random.RandomState(0).permutation(50)[:30]]  # samples may come class by class too
    assert sample_quality.sample_quality(samples, made) == sample_quality.sample_quality(some, made)


def test_every_measure_has_more_and_training_examples_stand_for_a_perfect_generator(pixels):
    made = sample_quality.reference(*pixels, scale=255.0, features=flat, predict=is_light, num_classes=2)
    samples = np.random.RandomState(1).uniform(0.2, 0.6, (50, 3, 1, 1))
    found, short = sample_quality.every_measure(samples, made), sample_quality.sample_quality(samples, made)
    assert {name: found[name] for name in short} == short
    x = flat(samples)
    copying = memorisation.data_copying(x, made.train, made.test)
    assert {name: found[name] for name in found.keys() - short.keys()} == pytest.approx(
        {
            "frechet_distance_error": jackknife.standard_error(distances.frechet_distance, x, made.test),
            "mind": distances.mind(x, made.test, jax.random.key(0)),
            "mind_error": found["mind_error"],
            "vendi_score": diversity.vendi_score(x),
            "vendi_score_error": jackknife.standard_error(diversity.vendi_score, x),
            "authenticity": memorisation.authenticity(x, made.train).share,
            "authenticity_error": memorisation.authenticity(x, made.train).standard_error,
            "data_copying": copying.value,
            "data_copying_error": copying.standard_error,
        }
    )
    assert 0 < found["mind_error"] < found["mind"]
    floor = sample_quality.noise_floor(made, num_samples=50)
    assert found.keys() - floor.keys() == {
        "train_frechet_distance",
        "classes_found",
        "smallest_class_share",
        "largest_class_share",
    }
    assert floor["frechet_distance"] == pytest.approx(found["train_frechet_distance"])
    assert floor["mind"] < 0.5 * found["mind"] and floor["authenticity"] > 0.2 and abs(floor["data_copying"]) < 3
    # copies are not told from training examples by any distance
    copies = sample_quality.every_measure(made.train[:50].reshape(-1, 3, 1, 1), made)
    assert copies["mind"] == pytest.approx(floor["mind"])
    assert copies["authenticity"] == 0 and copies["data_copying"] < -3
