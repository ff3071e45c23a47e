"""The experiments' own functions, called as a page of somebody's research would."""

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import autoencoder as autoencoder_page
from experiments import (
    classifier,
    compression,
    contractive,
    denoising,
    flow,
    gan,
    iwae,
    ladder,
    linear_pca,
    made,
    outlier_charts,
    outliers,
    sfnn,
    sparse,
    vae,
    visualise,
    vq,
)
from genjax import data, gradients
from genjax.errors import BadInput
from genjax.models import autoencoder
from genjax.types import Batch

FOLLOWERS = (autoencoder_page, classifier, compression, contractive, denoising, gan, iwae, linear_pca, outliers, sfnn)
FOLLOWERS += (flow, ladder, made, sparse, vae, visualise, vq)


@pytest.mark.parametrize("page", FOLLOWERS, ids=lambda page: page.__name__)
def test_pages_follow_the_flags_of_the_optimisation(page):
    flags = page.Flags(num_steps=40, averaging=0.0)
    dataset = data.load(flags.dataset)
    flags = page.EXPERIMENT.resolve(flags, dataset)

    def arrays(flags):
        model = page.build(flags, dataset, gradients.whole_batch).model
        return jax.tree.structure(jax.eval_shape(model.init, jax.random.key(0)))

    plain = arrays(flags)
    assert arrays(flags.replace(averaging=0.5)) != plain and arrays(flags.replace(accumulate_steps=2)) != plain


@pytest.mark.parametrize("page", [compression, outliers])
@pytest.mark.slow
def test_the_biases_of_an_ensemble_are_not_decayed(page, key):
    flags = page.Flags(num_steps=2, learning_rate=1.0, learning_rate_schedule="constant", hidden=(8,))
    dataset, params = data.load("digits"), {}
    for decay in (0.0, 0.5):
        changed = flags.replace(optimizer="adamw", weight_decay=decay)
        model = page.build(changed, dataset, gradients.whole_batch).model
        batch = Batch(jnp.float32(dataset.train.x[:8] / 16), jnp.arange(8))
        start = model.init(key)
        start = start._replace(params=jax.tree.map(lambda a: a + 1, start.params))
        params[decay] = jax.jit(model.train_step)(start, batch, key)[0].params
    for path, plain in jax.tree_util.tree_leaves_with_path(params[0.0]):
        decayed = params[0.5]
        for entry in path:
            decayed = decayed[entry.key]
        assert np.array_equal(plain, decayed) == (path[-1].key == "bias"), path


@pytest.mark.parametrize("protocol", ["leave_one_out", "one_class"])
def test_no_autoencoder_learns_from_its_outliers_and_each_from_all_its_inliers(protocol):
    flags = outliers.Flags(protocol=protocol, hidden=(8,), noise_scale=0.0)
    dataset = data.load("digits")
    model, parts, _ = outliers.build(flags, dataset, gradients.whole_batch)
    params = model.init(jax.random.key(0)).params
    label = np.asarray(dataset.train.label)
    share = np.bincount(label) / len(label)
    shares = 1 - share if protocol == "leave_one_out" else share
    objective = outliers.ensemble_objective(flags, parts, shares)
    x, label = jnp.float32(dataset.train.x[:200] / 16), jnp.asarray(label[:200])
    found = jax.jit(jax.grad(lambda p: objective(p, Batch(x, label), jax.random.key(1))[0].mean()))(params)

    @jax.jit
    @jax.grad
    def alone(params, inlier, share):
        return jnp.sum(inlier * autoencoder.score(params, x, parts=parts)) / 200 / share

    for c in range(10):
        inlier = (label == c) if protocol == "one_class" else (label != c)
        expected = alone(jax.tree.map(lambda leaf, c=c: leaf[c], params), inlier, shares[c])
        jax.tree.map(lambda a, b, c=c: np.testing.assert_allclose(a[c], b, rtol=1e-4, atol=1e-5), found, expected)


def test_the_extremes_are_the_largest_and_smallest_errors():
    error = np.array([5.0, 1, 4, 2, 3, 9])
    inlier = np.array([True, False, False, True, False, False])
    # outliers by error: 1, 4, 2, 5; inliers 3, 0
    expected = [[5, 2, 4, 1], [1, 4, 2, 5], [0, 3, 0, 3]]
    np.testing.assert_array_equal(outlier_charts.extremes(error, inlier, ~inlier, num=4).reshape(3, 4), expected)


def test_a_narrow_code_does_not_read_what_it_leaves_out(key):
    flags = compression.Flags(latent_dims=(2, 5), hidden=(8,))
    parts = compression.build(flags, data.load("digits"), gradients.whole_batch).parts
    params, z = autoencoder.init_params(key, parts=parts), jax.random.uniform(key, (3, 5))

    @jax.jit
    @jax.jacobian
    def narrow_and_wide(z):
        return [compression.decode(params, z, m, parts=parts).sum((1, 2, 3)) for m in compression.masks(flags)]

    narrow, wide = (np.asarray(g) for g in narrow_and_wide(z))
    assert (narrow[..., 2:] == 0).all() and (np.abs(narrow[..., :2]).sum((0, 1)) > 0).all()
    assert (np.abs(wide).sum((0, 1)) > 0).all()


def test_mixtures_are_four_atoms_and_a_little_noise(key):
    atoms = sparse.true_atoms()
    np.testing.assert_allclose(jnp.linalg.norm(atoms, axis=1), 1, rtol=1e-6)
    x = np.asarray(sparse.sparse_mixtures(4000, key, atoms=jnp.eye(64)), np.float64)
    large = np.abs(x) > 0.3
    assert (large.sum(1) == 4).all()
    assert abs(x[large].mean() - 1) < 4 * (1 / np.sqrt(12)) / np.sqrt(large.sum())
    assert x[large].min() > 0.48 and x[large].max() < 1.52
    clean = np.where(large, x, 0)
    ratio = np.sqrt(np.square(x - clean).sum(1) / 60 * 64) / np.linalg.norm(x, axis=1)
    assert abs(np.sqrt(np.square(ratio).mean()) - 0.01) < 1e-4
    assert np.allclose(sparse.best_cosines(np.eye(3), -np.eye(3)[:2]), [1, 1, 0])


def test_a_known_dictionary_is_learned_from_draws_of_its_own(key):
    flags, dataset = sparse.Flags(dictionary=True, num_units=8), data.load("digits")
    model = sparse.build(flags, dataset, gradients.whole_batch).model
    state, step = model.init(key), jax.jit(model.train_step)
    (once, first), (again, same) = (step(state, Batch(x), key) for x in (jnp.zeros((4, 64)), jnp.ones((4, 64))))
    np.testing.assert_equal(jax.tree.map(np.asarray, once.params), jax.tree.map(np.asarray, again.params))
    assert first["loss"] == same["loss"]  # whatever the batch holds
    later = step(state._replace(step=state.step + 1), Batch(jnp.zeros((4, 64))), key)[1]
    assert later["loss"] != first["loss"]  # anew at every step
    x = sparse.sparse_mixtures(4, jax.random.split(key)[0], atoms=sparse.true_atoms())
    parts = sparse.build(flags, dataset, gradients.whole_batch).parts
    found = jax.jit(model.evaluate)(state, Batch(jnp.zeros((4, 64))), key)["reconstruction_loss"]
    np.testing.assert_allclose(found, autoencoder.score(state.params, x, parts=parts).mean(), rtol=1e-5)


@pytest.mark.slow
def test_one_autoencoder_learns_from_all_faces():
    # three faces of three people: nothing is held back, and the digits have no rendered outliers
    flags = outliers.Flags(protocol="rendered", dataset="faces", hidden=(8,), noise_scale=0.0)
    x = np.random.RandomState(0).randint(0, 256, (6, 32, 32, 3), np.uint8)
    dataset = data.dataset.from_arrays("faces", x, x, train_label=np.arange(6) % 3, test_label=np.arange(6) % 3)
    model, parts, _ = outliers.build(flags, dataset, gradients.whole_batch)
    params = model.init(jax.random.key(0)).params
    batch = Batch(jnp.float32(x / 255), jnp.asarray(dataset.train.label))
    loss, _ = outliers.ensemble_objective(flags, parts, np.ones(1))(params, batch, jax.random.key(1))
    alone = autoencoder.score(jax.tree.map(lambda leaf: leaf[0], params), batch.x, parts=parts)
    np.testing.assert_allclose(loss, alone, rtol=1e-5)
    with pytest.raises(BadInput, match=r"^protocol: only the data set faces has rendered outliers, not digits"):
        outliers.build(flags, data.load("digits"), gradients.whole_batch)


def test_each_kind_of_outlier_has_an_area_of_its_own():
    below, above = (np.arange(4.0), np.arange(4.0) + 4), (np.arange(4.0) + 4, np.arange(4.0))
    found = outliers.measures({"": [below, above], "pca": [below, below]}, ["occluded", "green_skin"])
    assert (found["occluded_auroc"], found["green_skin_auroc"], found["auroc"], found["auroc_min"]) == (1, 0, 0.5, 0)
    assert (found["occluded_pca_auroc"], found["pca_auroc"]) == (1, 1) and found["aupr"] < 1
    assert set(outliers.measures({"": [below, above]}, [])) == {"auroc", "auroc_min", "aupr", "fpr_at_95_tpr"}


def test_rendered_outliers_are_beside_the_held_out_faces(monkeypatch):
    flags = outliers.Flags(protocol="rendered", dataset="faces")
    x = np.random.RandomState(0).randint(0, 256, (8, 32, 32, 3), np.uint8)
    dataset = data.dataset.from_arrays("faces", x[:5], x[5:], train_label=np.arange(5), test_label=np.arange(3))
    changed = {"factors": x[:3], "occluded": x[2:5]}
    monkeypatch.setattr(outliers.faces, "outliers", lambda drawn, key: changed)
    trained: Any = SimpleNamespace(dataset=dataset, params={"w": jnp.zeros((1, 2))}, key=jax.random.key(0))
    (problem,) = outliers.problems(flags, trained)
    np.testing.assert_allclose(problem.known, x[:5] / 255, rtol=1e-6)
    np.testing.assert_allclose(problem.x[problem.inlier], x[5:] / 255, rtol=1e-6)
    for kind, images in changed.items():
        np.testing.assert_allclose(problem.x[problem.outliers[kind]], images / 255, rtol=1e-6)
    assert problem.params["w"].shape == (2,)


@pytest.mark.parametrize(("program", "status"), [("-m", -signal.SIGINT), ("notebook", 0)])
def test_ctrl_c_while_a_command_is_being_imported_ends_it_without_a_traceback(program, status):
    code = (
        "import os, signal, sys\n"
        f"sys.argv = [{program!r}]\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import experiments\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    pass\n"  # what a notebook answers is its own
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (status, b"")
