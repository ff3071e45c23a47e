"""`compare_samples` on folders of digits and on runs: what it measures, writes, and refuses."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import compare_samples, sample_measures, vae
from genjax import data, runs
from genjax.errors import BadInput
from genjax.evaluation import coverage, distances, probes

TOP = f"{__name__}:top"


def top(x):
    """Features of the test's own: the upper half of a picture."""
    return np.asarray(x)[:, :4].reshape(len(x), -1)


def folder(path, rows, *, by_class=True):
    digits = data.load("digits").train
    assert digits.label is not None
    for row in rows:
        place = path / str(digits.label[row]) if by_class else path
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(np.round(digits.x[row, ..., 0] * 255.0 / 16))).save(place / f"{row}.png")


def compared(**given):
    compare_samples.main(compare_samples.Flags(**given))
    return json.loads((compare_samples.Path(given.get("out", "compared_samples")) / "samples.json").read_text())


@pytest.fixture
def real(in_this_process, tmp_path):
    """Digits with held-out ones, as a folder in the working directory."""
    folder(tmp_path / "real" / "train", range(200))
    folder(tmp_path / "real" / "test", range(200, 320))
    return tmp_path / "real"


@pytest.mark.slow
def test_two_folders_are_compared_in_features_of_ones_own(real, tmp_path, capsys):
    folder(tmp_path / "fake", range(400, 500))
    found = compared(real="real", fake="fake", features=TOP)
    digits = data.load("digits").train
    assert digits.label is not None
    x, test = (np.round(digits.x[rows] * 255.0 / 16) / 255 for rows in (slice(400, 500), slice(200, 320)))
    samples, of_data = found["samples"], found["data"]
    assert samples["frechet_distance"] == pytest.approx(distances.frechet_distance(top(x), top(test)), rel=1e-5)
    assert samples["mind"] == pytest.approx(distances.mind(top(x), top(test), jax.random.key(0)), rel=1e-5)
    assert samples["precision"] == coverage.precision_recall(top(x), top(test)).precision
    assert (found["features"], found["num_features"], found["num_samples"], found["num_data"]) == (TOP, 32, 100, 100)
    labels = [digits.label[rows] for rows in (slice(400, 500), slice(200, 320))]
    score = probes.class_accuracy_score(x, labels[0], test, labels[1])
    assert samples["class_accuracy_score"] == pytest.approx(score.value, abs=0.03)  # in another order
    assert of_data["class_accuracy_score"] > 0.7 and samples["class_accuracy_score"] > 0.7
    assert of_data["authenticity"] > 0.3 and abs(of_data["data_copying"]) < 4
    with Image.open("compared_samples/nearest.png") as picture:
        assert picture.width > 500
    printed, written = capsys.readouterr(), (tmp_path / "compared_samples" / "samples.md").read_text()
    assert written in printed.out and f"in 32 features: {TOP}" in printed.err
    line = next(line for line in written.splitlines() if line.startswith("| mind "))
    assert [cell.split()[0] for cell in line.split("|")[2:4]] == [
        f"{group['mind']:.4g}" for group in (samples, of_data)
    ]
    assert f"± {samples['mind_error']:.2g}" in line and line.split("|")[4].strip() == "lower"


def test_copies_are_found_and_shown(real, tmp_path, monkeypatch):
    folder(tmp_path / "copies", range(100), by_class=False)
    shown = {}
    monkeypatch.setattr(
        compare_samples.pictures, "save_reconstructions", lambda path, *sets, **about: shown.update(sets=sets)
    )
    found = compared(real="folder:real", fake="folder:copies", features="pixels")["samples"]
    assert found["authenticity"] == 0 and found["nearest_training_distance"] < 1e-6 and found["data_copying"] < -4
    assert "class_accuracy_score" not in found  # no subfolders of classes
    x, nearest, second, third = shown["sets"]
    assert x.shape == (20, 8, 8, 1)
    np.testing.assert_array_equal(x, nearest)
    apart = [np.linalg.norm((x - others).reshape(20, -1), axis=1) for others in (second, third)]
    assert np.all(apart[0] > 0) and np.all(apart[0] <= apart[1])


@pytest.mark.slow
def test_samples_of_a_run_are_compared_with_its_own_data(in_this_process, monkeypatch):
    plain = vae.EXPERIMENT._replace(prepare=lambda *given: given[2], summarise=lambda flags, trained: {})
    run = runs.train(plain, vae.Flags(num_steps=20, latent_dim=2, conditional=True, hidden=(16,)), workdir="run")
    found = compared(fake="run", features="components", num=60, seed=3)
    label = np.resize(np.arange(10), 60)
    x = run.sample(60, jax.random.key(3), label)
    dataset = data.load("digits")
    components = sample_measures.reference("components", run.flags, dataset, num_samples=60, cache=run.directory)
    expected = distances.frechet_distance(components.features(x), components.test)
    assert found["samples"]["frechet_distance"] == pytest.approx(expected, rel=1e-6)
    assert found["real"] == "digits" and found["num_data"] == 60
    score = probes.class_accuracy_score(x, label, dataset.scaled(dataset.test), dataset.test.label)
    assert found["samples"]["class_accuracy_score"] == pytest.approx(score.value, abs=1e-6)
    # a file of samples is the same as the run that drew them
    np.savez("samples.npz", x=x, label=label)
    again = compare_samples.read_samples(compare_samples.Flags(), compare_samples.Path("samples.npz"), dataset)
    np.testing.assert_allclose(again.x, x, rtol=1e-6)
    np.testing.assert_array_equal(again.label, label)
    with pytest.raises(BadInput, match=r"fake: the run's samples are \[8, 8, 1\], and the real data \[2\]"):
        compared(real="ring", fake="run", features="pixels")
    mute = run._replace(model=run.model._replace(sample=None))
    monkeypatch.setattr(compare_samples.opening, "open", lambda *args, **given: mute)
    with pytest.raises(BadInput, match="fake: run: a run of vae cannot draw new samples; give a file of samples"):
        compared(fake="run")


@pytest.mark.slow
def test_a_classifier_is_trained_on_the_real_folder(real, tmp_path):
    folder(tmp_path / "fake", range(400, 500))
    found = compared(real="real", fake="fake", out="out")
    assert found["num_features"] == 64 and found["samples"]["classes_found"] == 10
    assert found["samples"]["class_accuracy"] > 0.8
    assert list((tmp_path / "out").glob("classifier-*"))


def test_what_cannot_be_compared_is_said_in_one_line(real, tmp_path):
    folder(tmp_path / "fake", range(400, 450))
    folder(tmp_path / "few", range(400, 419))
    folder(tmp_path / "little", range(60), by_class=False)
    (tmp_path / "large").mkdir()
    Image.new("L", (9, 8)).save(tmp_path / "large" / "a.png")
    np.save("curve.npy", np.random.RandomState(0).rand(30, data.load("curve").train.x.shape[1]))
    given = {"real": "real", "fake": "fake", "features": "pixels"}
    for change, said in (
        ({"fake": None}, "fake: give the samples"),
        ({"real": None}, "real: give the real data"),
        ({"fake": "nowhere"}, "fake: nowhere is not a folder, a .npz, a .npy or the directory of a run"),
        ({"real": "folder:nowhere"}, "real: data set 'folder:nowhere': there is no folder"),
        ({"real": "little"}, "real: folder:little has 54 training and 6 held-out examples; 40 and 20 are needed"),
        ({"fake": "few"}, "fake: 19 samples are too few to compare; 20 are needed"),
        ({"fake": "large"}, "fake: large/a.png is 9x8 grey, and the real data are 8x8 grey; give `resize`"),
        ({"real": "digits", "image_size": (4, 4)}, "image_size: digits is not a folder of pictures"),
        ({"features": "pixel"}, "features: expected one of classifier, components, pixels, or MODULE:FUNCTION"),
        ({"features": "no.module:f"}, "features: there is no module 'no.module'"),
        ({"features": f"{__name__}:nothing"}, f"features: the module '{__name__}' has no function 'nothing'"),
        ({"features": "numpy:asarray"}, r"features: numpy:asarray must take examples \[200, 8, 8, 1\] to finite"),
        (
            {"real": "curve", "fake": "curve.npy", "features": "classifier"},
            "features: a classifier needs 2 classes or more",
        ),
    ):
        with pytest.raises(BadInput, match=f"^{said}") as error:
            compare_samples.main(compare_samples.Flags(**given | change))
        assert "\n" not in str(error.value)
