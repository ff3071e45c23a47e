"""The classifier that samples are compared by: trained once, found again, checked."""

import json
import shutil
from functools import partial

import jax
import numpy as np
import pytest

from experiments import reference_classifier
from genjax import data, runs
from genjax.errors import BadInput
from genjax.models import classifier
from genjax.runs import auxiliary
from genjax.training import digest, portable, saved

FLAGS = runs.Flags(seed=5)
FULL = reference_classifier.settings, reference_classifier.NUM_STEPS


@pytest.fixture(scope="module")
def quick():
    """Makes the classifiers small."""

    def small(flags, dataset):
        return FULL[0](flags, dataset) | {"hidden": [16], "feature_dim": 6}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_classifier, "settings", small)
        patch.setattr(reference_classifier, "NUM_STEPS", 20)
        yield


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


@pytest.fixture(scope="module")
def trained(quick, dataset, tmp_path_factory):
    """The classifier of the digits, and the folder of runs that it is kept in."""
    root = tmp_path_factory.mktemp("runs")
    return root, *reference_classifier.find_or_train(FLAGS, dataset, root)


def test_it_is_trained_once_and_found_again(trained, dataset, monkeypatch):
    root, _, first = trained
    assert [path.name for path in root.iterdir()] == [first.folder.name]
    assert first.folder.name.startswith("classifier-")

    def never(*args, **flags):
        raise AssertionError("trained again")

    monkeypatch.setattr(auxiliary, "fit", never)
    other_run = FLAGS.replace(seed=6, data_dir="elsewhere", batch_size=7)
    with auxiliary.used() as used:
        _, again = reference_classifier.find_or_train(other_run, dataset, root)
    assert used == {first.folder.name: first.params_sha256}
    assert (again.params_sha256, again.folder) == (first.params_sha256, first.folder)
    other_data = dataset._replace(fingerprint="f" * 64)
    for flags, other in ((FLAGS.replace(binarize="static"), dataset), (FLAGS, other_data)):
        with pytest.raises(AssertionError, match="trained again"):
            reference_classifier.find_or_train(flags, other, root)


def test_one_of_portable_bits_is_trained_apart_and_checked_before(trained, dataset, monkeypatch):
    root, _, first = trained
    monkeypatch.setattr(portable, "in_use", lambda: True)
    checked = []
    monkeypatch.setattr(portable, "check", lambda function, *shapes: checked.append(jax.eval_shape(function, *shapes)))

    def stopped(*args, **flags):
        raise AssertionError(f"trained again, after {len(checked)} checks")

    monkeypatch.setattr(auxiliary, "fit", stopped)
    with pytest.raises(AssertionError, match="trained again, after 1 checks"):
        reference_classifier.find_or_train(FLAGS, dataset, root)
    (state, _), *_ = checked[0]
    assert digest.flatten(state.params).keys() == digest.flatten(first.params).keys()


def test_samples_are_compared_in_what_lies_in_its_folder(trained, dataset, capsys):
    root, parts, found = trained
    template = jax.eval_shape(partial(classifier.init_params, parts=parts), jax.random.key(0))
    params = saved.read(found.folder / "checkpoints").part("params", template)
    assert digest.params_sha256(params) == found.params_sha256
    config = json.loads((found.folder / "config.json").read_text())
    assert config["feature_dim"] == 6 and config["num_steps"] == 20
    made = reference_classifier.reference(FLAGS, dataset, num_samples=50, cache=root)
    x = (dataset.test.x / 16).astype(np.float32)
    expected = np.asarray(jax.jit(partial(classifier.features, parts=parts))(params, x))
    np.testing.assert_allclose(made.features(x[:7]), expected[:7], rtol=1e-5, atol=1e-6)
    twice = np.concatenate([x, x])  # more than one batch
    np.testing.assert_allclose(made.features(twice), np.concatenate([expected, expected]), rtol=1e-5, atol=1e-6)
    predicted = np.asarray(classifier.probabilities(params, x, parts=parts)).argmax(1)
    np.testing.assert_array_equal(made.predict(dataset.test.x / 16), predicted)
    assert made.num_classes == 10 and made.train.shape == (len(dataset.train.x), 6)
    accuracy = np.mean(predicted == dataset.test.label)
    told = capsys.readouterr().err
    assert accuracy > 0.2 and f"6 features of a classifier of digits (accuracy {accuracy:.3f}): 50 samples" in told
    assert f"{len(x)} held-out and {len(dataset.train.x)} training examples" in told and found.params_sha256 in told


@pytest.mark.parametrize(("num_samples", "num_held_out"), [(19, 100), (100, 19)])
def test_too_few_are_refused_before_anything_is_trained(dataset, tmp_path, num_samples, num_held_out):
    few = dataset._replace(test=data.Split(dataset.test.x[:num_held_out], dataset.test.label[:num_held_out]))
    with pytest.raises(BadInput, match="19 examples are too few to compare; 20 are needed, of samples and held out"):
        reference_classifier.reference(FLAGS, few, num_samples=num_samples, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_parameters_than_were_trained_are_refused(trained, dataset, tmp_path):
    _, _, found = trained
    folder = tmp_path / found.folder.name
    shutil.copytree(found.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"params_sha256": "0" * 64}))
    with pytest.raises(BadInput, match="delete it to train them again"):
        reference_classifier.find_or_train(FLAGS, dataset, tmp_path)


def test_two_runs_that_train_it_at_once_leave_one(quick, dataset, tmp_path, monkeypatch):
    def untrained(model, source, **options):
        return jax.jit(model.init)(jax.random.key(0))

    def slower(*args, **options):
        monkeypatch.setattr(auxiliary, "fit", untrained)
        reference_classifier.find_or_train(FLAGS, dataset, tmp_path)
        return untrained(*args, **options)

    monkeypatch.setattr(auxiliary, "fit", slower)
    _, found = reference_classifier.find_or_train(FLAGS, dataset, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [found.folder.name]


def test_data_without_classes_are_refused(tmp_path):
    with pytest.raises(BadInput, match="'curve' has no classes"):
        reference_classifier.find_or_train(FLAGS, data.load("curve"), tmp_path)


def test_large_images_get_convolutions():
    for side, network in ((16, "mlp"), (28, "convolutional")):
        x = np.zeros((20, side, side, 1), np.uint8)
        dataset = data.from_arrays("x", x, x, train_label=np.arange(20) % 2, test_label=np.arange(20) % 2)
        own = FULL[0](FLAGS, dataset)
        assert own["network"] == network and own["batch_size"] == 20


@pytest.mark.slow
def test_it_is_the_classifier_of_the_page(train, tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(reference_classifier, "settings", FULL[0])
    monkeypatch.setattr(reference_classifier, "NUM_STEPS", FULL[1])
    summary = train("classifier", tmp_path / "run", "--checkpoint_every=100", "--steps_per_dispatch=7")
    _, found = reference_classifier.find_or_train(FLAGS, dataset, tmp_path)
    assert found.params_sha256 == summary["params_sha256"]
