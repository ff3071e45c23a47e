"""Concepts and walks of faces, for a renderer, a code and a regression that are linear, so that all is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import face_concepts, latent_measures
from genjax.data import faces

NUM = 200  # pictures of each split
MATRIX = np.random.RandomState(0).normal(size=(46, 48)) / 10  # of the renderer: factors -> pictures of 4 x 4 x 3
AT = 19 + np.array([[*faces.ATTRIBUTES].index(name) for name in face_concepts.CONCEPTS])


@pytest.fixture
def drawn(monkeypatch):
    """Training and held-out factors, which a linear renderer turns into pictures."""
    draw = np.random.RandomState(1)
    parts = [faces.Factors(*(jnp.float32(draw.rand(NUM, num)) for num in (19, 27))) for _ in range(2)]
    monkeypatch.setattr(faces, "factors", lambda: parts)
    monkeypatch.setattr(faces, "render_bytes", lambda own: (255 * pictures(own), None))
    return parts


def pictures(drawn):
    return (np.concatenate(drawn, axis=1) @ MATRIX).reshape(-1, 4, 4, 3)


def space(drawn, encoder, decoder):
    """Of a linear encoder [48, d] and decoder [d, 48]."""

    def encode(x):
        return jnp.asarray(np.reshape(x, (len(x), -1)) @ encoder, jnp.float32)

    def decode(z):
        return jnp.asarray(np.asarray(z) @ decoder, jnp.float32).reshape(-1, 4, 4, 3)

    train_x, x = (jnp.float32(pictures(part)) for part in drawn)
    return latent_measures.Space(encode, decode, False, x, None, encode(x), train_x, None, encode(train_x), None)


def read(x):
    """The regressed attributes: those of the renderer exactly, with the cyclic ones as they are, and twice."""
    factors = np.reshape(x, (len(x), -1)) @ np.linalg.pinv(MATRIX)
    linear = [19 + n for n, name in enumerate(faces.ATTRIBUTES) if name not in faces.CYCLIC]
    cyclic = [19 + [*faces.ATTRIBUTES].index(name) for name in faces.CYCLIC]
    return jnp.asarray(factors[:, [*linear, *np.repeat(cyclic, 2)]])


@pytest.mark.slow
def test_a_concept_of_a_linear_renderer_moves_its_factor_and_hardly_others(drawn):
    # the code has the 46 factors, mixed, so that decoding is exact: x0 = x
    mixture = np.linalg.qr(np.random.RandomState(2).normal(size=(46, 46)))[0]
    own = space(drawn, np.linalg.pinv(MATRIX) @ mixture, mixture.T @ MATRIX)
    table, rows = face_concepts.concepts(own, read, jax.random.key(0))
    assert rows.shape == (4, 7, 4, 4, 3)
    known, held_out = (np.concatenate(part, axis=1) for part in drawn)
    for at, name in zip(AT, face_concepts.CONCEPTS, strict=True):
        has = known[:, at] > 0.5
        c = known[has].mean(0) - known[~has].mean(0)  # in factors: d at the concept's, sampling noise elsewhere
        some = held_out[held_out[:, at] + c[at] <= 1]
        exact = np.zeros(46)
        exact[at] = c[at]
        reduction = 1 - np.sum(((c - exact) @ MATRIX) ** 2) / np.sum((exact @ MATRIX) ** 2)
        moved = np.abs(read((c @ MATRIX)[None])[0])
        place = faces.attribute_places()[name][0]
        selectivity = moved[place] / np.delete(moved, place).mean()
        for method in ("latent", "pixel"):
            found = table[name][method]
            assert found["change"] == pytest.approx(c[at], abs=1e-3) and 0.4 < found["change"] < 0.6
            assert found["selectivity"] == pytest.approx(selectivity, rel=0.01) and selectivity > 8
            assert found["error_reduction"] == pytest.approx(reduction, abs=0.01)
        assert table[name]["exact"]["error_reduction"] == 1 and table[name]["exact"]["selectivity"] > 100
        assert table[name]["random"]["error_reduction"] < 0 and abs(table[name]["random"]["change"]) < 0.3
        assert len(some) > 50


def test_components_are_as_many_as_the_code_has_dimensions(drawn):
    own = space(drawn, np.eye(48, 5), np.eye(5, 48))
    train_z, z, decode = face_concepts.codes_and_decoders(own)["pca"]
    assert train_z.shape == (NUM, 5) and z.shape == (NUM, 5)
    flat = np.float64(np.reshape(np.asarray(own.train_x), (NUM, -1)))
    mean, axes = flat.mean(0), np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:5]
    expected = mean + (np.reshape(np.asarray(own.x), (NUM, -1)) - mean) @ axes.T @ axes
    np.testing.assert_allclose(np.reshape(decode(z), (NUM, -1)), expected, atol=1e-4)


@pytest.mark.slow
def test_the_yaw_rises_along_a_walk_only_where_the_code_holds_it(drawn):
    whole = space(drawn, np.eye(48), np.eye(48))
    measured, frames = face_concepts.yaw_walks(whole, read, 6)
    assert all(images.shape == (20, 6, 4, 4, 3) for images in frames.values())
    for kind in ("exact", "linear", "cross_fade"):
        assert measured[f"yaw_rank_correlation_{kind}"] == pytest.approx(1)
        assert measured[f"yaw_rising_{kind}"] == 1
        yaw = np.asarray(read(frames[kind][:, [0, -1]].reshape(40, 4, 4, 3)))[:, 0].reshape(20, 2)
        np.testing.assert_allclose(yaw, [[0.1, 0.9]] * 20, atol=1e-4)
    backwards, _ = face_concepts.yaw_walks(whole, lambda x: -read(x), 6)
    assert backwards["yaw_rank_correlation_linear"] == pytest.approx(-1) and backwards["yaw_rising_linear"] == 0


def test_attributes_are_read_by_ridge_regression_from_pixels(drawn, monkeypatch):
    monkeypatch.setattr(face_concepts, "RIDGE", 1e-3)
    own = space(drawn, np.eye(48), np.eye(48))
    found = face_concepts.regress(own)
    assert min(face_concepts.r2(found, own.x).values()) > 0.99  # of a linear renderer
    assert max(face_concepts.r2(lambda x: 0 * found(x), own.x).values()) < 0
