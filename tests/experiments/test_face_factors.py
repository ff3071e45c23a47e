"""What is read from codes of rendered faces, for codes whose content is known."""

import json

import numpy as np
import pytest
from sklearn.decomposition import PCA

from experiments import face_factors
from genjax import data
from genjax.data import faces


@pytest.fixture(scope="module")
def drawn():
    return faces.factors()


def test_codes_that_are_the_factors_are_read_wholly_and_others_not(drawn):
    # the identity alone, mixed: its 19 factors are read exactly, and the attributes, which are independent, not at all
    mixture = np.random.RandomState(0).normal(size=(19, 19))
    r2 = face_factors.probe(*(np.asarray(part.identity) @ mixture for part in drawn))
    assert len(r2) == 46 and set(r2) == {*faces.IDENTITY, *faces.ATTRIBUTES}
    assert min(r2[name] for name in faces.IDENTITY) > 0.99
    assert max(abs(r2[name]) for name in faces.ATTRIBUTES) < 0.1
    means = face_factors.means(r2)
    assert means["identity_factors_r2"] == pytest.approx(np.mean([r2[name] for name in faces.IDENTITY]))
    assert means["attribute_factors_r2"] == pytest.approx(np.mean([r2[name] for name in faces.ATTRIBUTES]))


def test_a_cyclic_factor_is_read_as_a_point_of_the_circle(drawn):
    at = [*faces.ATTRIBUTES].index("bg_angle")
    circles, turns = [], []
    for part in drawn:
        angle = 2 * np.pi * np.asarray(part.attributes)[:, [at]]
        circles.append(np.concatenate([np.cos(angle), np.sin(angle)], axis=1))
        turns.append(angle)
    assert face_factors.probe(*circles)["bg_angle"] > 0.99
    # sin t regressed on t in [0, 2 pi] has R^2 = 6 / pi^2, cos t none
    assert face_factors.probe(*turns)["bg_angle"] == pytest.approx(3 / np.pi**2, abs=0.05)


@pytest.mark.slow
def test_an_autoencoder_of_faces_is_probed_beside_principal_components(train, tmp_path):
    flags = ("--dataset=faces", "--hidden=64", "--latent_dim=8", "--num_steps=60", "--eval_every=60")
    metrics = train("autoencoder", tmp_path / "run", *flags)["metrics"]
    dataset = data.load("faces")
    known, held_out = (dataset.scaled(split).reshape(len(split.x), -1) for split in (dataset.train, dataset.test))
    components = PCA(8, svd_solver="full").fit(known)
    expected = face_factors.probe(components.transform(known), components.transform(held_out))
    found = json.loads((tmp_path / "run" / "pca_factors.json").read_text())
    assert found == pytest.approx(expected, abs=1e-3)
    own = json.loads((tmp_path / "run" / "factors.json").read_text())
    for prefix, values in (("", own), ("pca_", found)):
        for name, value in face_factors.means(values).items():
            assert metrics[prefix + name] == pytest.approx(value, abs=1e-4)
    assert metrics["pca_attribute_factors_r2"] > 0.1
