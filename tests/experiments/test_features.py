"""The classifier that samples are compared by: trained once, found again, checked; and what is measured with it."""

import json
import shutil
from functools import partial

import jax
import numpy as np
import pytest

from experiments import common, features, kept
from genjax import data
from genjax.errors import BadInput
from genjax.evaluation import coverage, distances
from genjax.models import classifier
from genjax.training import checkpoint, digest

CONFIG = common.Config(dataset="digits", data_dir=None, binarize="none", seed=5, cpu_threads=4)
FULL = features.classifier_config


def beside(config, runs):
    """The configuration of a run in that directory."""
    return common.Config(**vars(config) | {"runs": runs})


@pytest.fixture(scope="module")
def quick():
    """Makes the classifiers small."""

    def small(config, dataset):
        return common.Config(**vars(FULL(config, dataset)) | {"num_steps": 20, "hidden": [16], "feature_dim": 6})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "classifier_config", small)
        yield


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


@pytest.fixture(scope="module")
def trained(quick, dataset, tmp_path_factory):
    """The classifier of a run in the directory `one`, beside which it is kept."""
    root = tmp_path_factory.mktemp("runs")
    return root, features.classifier(beside(CONFIG, root), dataset)


def test_it_is_trained_once_and_found_again(trained, dataset, monkeypatch):
    root, first = trained
    assert [path.name for path in root.iterdir()] == [first.folder.name]
    assert first.folder.name.startswith("classifier-digits-")

    def never(*args, **flags):
        raise AssertionError("trained again")

    monkeypatch.setattr(kept, "fit", never)
    other_run = common.Config(**vars(CONFIG) | {"seed": 6, "data_dir": "elsewhere"})
    again = features.classifier(beside(other_run, root), dataset)
    assert (again.name, again.params_sha256, again.folder) == (first.name, first.params_sha256, first.folder)
    binary = common.Config(**vars(CONFIG) | {"binarize": "static"})
    other_data = dataset._replace(fingerprint="f" * 64)
    for config, other in ((binary, dataset), (CONFIG, other_data)):
        with pytest.raises(AssertionError, match="trained again"):
            features.classifier(beside(config, root), other)


def test_it_is_what_lies_in_its_folder(trained, dataset):
    _, found = trained
    own = features.classifier_config(CONFIG, dataset)
    parts, _ = features.built(own, dataset)
    template = jax.eval_shape(partial(classifier.init_params, parts=parts), jax.random.key(0))
    _, params = checkpoint.restore_part(found.folder / "checkpoints", "params", template)
    assert digest.params_sha256(params) == found.params_sha256
    assert json.loads((found.folder / "config.json").read_text()) == vars(own)
    x = (dataset.test.x / 16).astype(np.float32)
    expected = np.asarray(jax.jit(partial(classifier.features, parts=parts))(params, x))
    np.testing.assert_allclose(found.features(x[:7]), expected[:7], rtol=1e-5, atol=1e-6)
    twice = np.concatenate([x, x])  # more than one batch
    np.testing.assert_allclose(found.features(twice), np.concatenate([expected, expected]), rtol=1e-5, atol=1e-6)
    predicted = np.asarray(classifier.probabilities(params, x, parts=parts)).argmax(1)
    np.testing.assert_array_equal(found.predict(dataset.test.x / 16), predicted)
    accuracy = np.mean(predicted == dataset.test.label)
    assert accuracy > 0.2 and found.name == f"the 6 features of a classifier of digits (accuracy {accuracy:.3f})"


def test_other_parameters_than_were_trained_are_refused(trained, dataset, tmp_path):
    _, found = trained
    folder = tmp_path / found.folder.name
    shutil.copytree(found.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"params_sha256": "0" * 64}))
    with pytest.raises(BadInput, match="delete it, to train them again"):
        features.classifier(beside(CONFIG, tmp_path), dataset)


def test_two_runs_that_train_it_at_once_leave_one(quick, dataset, tmp_path, monkeypatch):
    def untrained(model, source, **options):
        return jax.jit(model.init)(jax.random.key(0))

    def slower(*args, **options):
        monkeypatch.setattr(kept, "fit", untrained)
        features.classifier(beside(CONFIG, tmp_path), dataset)
        return untrained(*args, **options)

    monkeypatch.setattr(kept, "fit", slower)
    found = features.classifier(beside(CONFIG, tmp_path), dataset)
    assert [path.name for path in tmp_path.iterdir()] == [found.folder.name]


def test_data_without_classes_are_refused(tmp_path):
    with pytest.raises(BadInput, match="'curve' has no classes"):
        features.classifier(beside(CONFIG, tmp_path), data.load("curve"))


def test_large_images_get_convolutions():
    for side, network in ((16, "mlp"), (28, "convolutional")):
        x = np.zeros((20, side, side, 1), np.uint8)
        dataset = data.from_arrays("x", x, x, train_label=np.arange(20) % 2, test_label=np.arange(20) % 2)
        own = features.classifier_config(CONFIG, dataset)
        assert own.network == network and own.batch_size == 20


def flat(x):
    return np.asarray(x, np.float64).reshape(len(x), -1)


@pytest.fixture
def pixels():
    """Two classes of images of 3 pixels, dark and light, one after the other, seen as they are."""
    draw = np.random.RandomState(0)
    label = np.repeat([0, 1], [60, 40])
    x = [np.clip(0.3 + 0.4 * label[:, None] + 0.05 * draw.normal(size=(100, 3)), 0, 1) for _ in range(2)]
    images = [255 * values.reshape(-1, 3, 1, 1) for values in x]
    stored = [np.round(values).astype(np.uint8) for values in images]
    dataset = data.from_arrays("pixels", *stored, train_label=label, test_label=label)
    seen = features.Features("the pixels", flat, lambda x: (flat(x).mean(1) > 0.5).astype(int), "0" * 64, None)
    return dataset, seen


def quality(samples, dataset, seen):
    return features.sample_quality(samples, features.reference(dataset, seen, num_samples=len(samples)))


def test_every_measure_of_samples(pixels, capsys):
    dataset, seen = pixels
    samples = np.random.RandomState(1).uniform(0.2, 0.6, (50, 3, 1, 1))
    found = quality(samples, dataset, seen)
    x, train, test = flat(samples), flat(dataset.train.x / 255), flat(dataset.test.x / 255)
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
    told = capsys.readouterr().err
    assert "the pixels: 50 samples, 100 held-out and 100 training examples; params_sha256 0000" in told


def test_samples_that_are_the_held_out_or_training_examples(pixels, monkeypatch, capsys):
    dataset, seen = pixels
    found = quality(dataset.test.x / 255, dataset, seen)
    assert found["frechet_distance"] == pytest.approx(0, abs=1e-9)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)
    assert found["nearest_training_distance"] == found["held_out_nearest_training_distance"] > 0
    copies = quality(dataset.train.x / 255, dataset, seen)
    assert copies["nearest_training_distance"] < 1e-6
    assert copies["train_frechet_distance"] == pytest.approx(copies["frechet_distance"])
    assert abs(copies["kernel_distance"]) < 4 * copies["kernel_distance_error"]
    dark = quality(dataset.train.x[:60] / 255, dataset, seen)
    assert dark["kernel_distance"] > 4 * dark["kernel_distance_error"]
    monkeypatch.setattr(features, "AT_MOST", 30)
    capsys.readouterr()
    dark = quality(dataset.train.x[:60] / 255, dataset, seen)
    assert "30 samples, 30 held-out and 100 training examples" in capsys.readouterr().err
    assert (dark["classes_found"], dark["smallest_class_share"], dark["largest_class_share"]) == (1, 0, 1)
    # neighbours are sought in the whole training set
    assert dark["nearest_training_distance"] < 1e-6


@pytest.mark.slow
def test_it_is_the_classifier_of_the_page(train, tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(features, "classifier_config", FULL)
    summary = train("classifier", tmp_path / "run", "--checkpoint_every=100", "--steps_per_dispatch=7")
    found = features.classifier(beside(CONFIG, tmp_path), dataset)
    assert found.params_sha256 == summary["params_sha256"]
    assert f"accuracy {summary['metrics']['accuracy']:.3f}" in found.name
