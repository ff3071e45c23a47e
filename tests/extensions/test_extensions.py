"""Models written outside the library, by its public contracts alone: their formulas, and their pages as commands."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from genjax import data, gradients, networks
from genjax.data import batching
from genjax.losses import BERNOULLI, STANDARD_NORMAL
from genjax.models import vae
from genjax.training.fit import fit
from genjax.types import Batch

from . import conditional_vae, flow_prior, normalised

PAGES = {page.EXPERIMENT.name: page for page in (conditional_vae, normalised, flow_prior)}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def build(page, dataset, reduction=gradients.whole_batch, **flags):
    return page.build(page.Flags(**{"hidden": (12,), "num_steps": 60} | flags), dataset, reduction)


def first(dataset, num):
    return Batch(jnp.asarray(dataset.scaled(dataset.train)[:num]), jnp.asarray(dataset.train.label[:num]))


def doubles(tree):
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.slow
def test_a_few_steps_lower_what_is_minimised(name, digits):
    model, _, _ = build(PAGES[name], digits, learning_rate=1e-2)
    batch, key, evaluate = first(digits, 64), jax.random.key(0), jax.jit(model.evaluate)
    before = evaluate(model.init(key), batch, key)
    state = fit(model, batching.source(digits, batch_size=32), seed=0, num_steps=60)
    after = evaluate(state, batch, key)
    assert float(after["negative_elbo"]) < 0.8 * float(before["negative_elbo"])
    assert all(np.isfinite(value) for value in after.values())
    if model.sample is not None:
        context = (jnp.arange(3),) if name == "conditional_vae" else ()
        samples = model.sample(state, 3, key, *context)
        assert samples.shape == (3, 8, 8, 1) and 0 <= samples.min() < samples.max() <= 1


# The conditional VAE


def test_a_conditional_vae_is_a_vae_for_each_label(key, digits):
    # a label as a further input is another bias of the first layer
    model, parts, _ = build(conditional_vae, digits, latent_dim=2)
    state, batch, num_classes = jax.jit(model.init)(key), first(digits, 6), 10
    draw = iter(jax.random.split(jax.random.fold_in(key, 1), 2))
    params = state.params | {
        "prior": {n: jax.random.normal(next(draw), (num_classes, 2)) for n in state.params["prior"]}
    }
    bound = jax.jit(partial(vae.negative_elbo, parts=parts))(params, batch.x, key, batch.label)
    state = state._replace(params=params)
    np.testing.assert_allclose(jax.jit(model.evaluate)(state, batch, key)["negative_elbo"], np.mean(bound), rtol=1e-5)
    assert model.sample is not None
    samples = model.sample(state, 4, key, jnp.array([3, 1, 4, 1]))
    of_label = np.asarray(parts.decoder.apply(params["decoder"], jnp.zeros((10, 2)), jnp.arange(10)))
    assert np.abs(of_label[0] - of_label[1]).max() > 0.1

    def without_label(params, label, num_places, inputs):
        kernel = params["layer_1"]["kernel"].reshape(num_places, -1, params["layer_1"]["kernel"].shape[1])
        bias = params["layer_1"]["bias"] + jnp.sum(kernel[:, inputs + label], axis=0)
        return params | {"layer_1": {"kernel": kernel[:, :inputs].reshape(num_places * inputs, -1), "bias": bias}}

    encoder = networks.mlp((8, 8, 1), (4,), hidden=(12,), activation=jax.nn.relu)
    decoder = networks.mlp((2,), (8, 8, 1), hidden=(12,), activation=jax.nn.relu)

    @jax.jit
    def of_plain(label):
        """The bound and the samples of the VAE that knows one label alone."""
        m, t = params["prior"]["mean"][label], params["prior"]["log_variance"][label]
        prior = STANDARD_NORMAL._replace(
            kl=lambda _, q: (jnp.exp(q[1]) + (q[0] - m[None]) ** 2) / jnp.exp(t)[None] / 2 - (1 + q[1] - t[None]) / 2
        )
        plain = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, 2, prior)
        of_class = {
            "encoder": without_label(params["encoder"], label, 64, 1),
            "decoder": without_label(params["decoder"], label, 1, 2),
        }
        z = m[None] + jnp.exp(t / 2)[None] * jax.random.normal(key, (4, 2))
        return vae.negative_elbo(of_class, batch.x, key, parts=plain), vae.decode(of_class, z, parts=plain)

    for label in range(num_classes):
        expected, images = (np.asarray(a) for a in of_plain(label))
        mine = np.flatnonzero(np.asarray(batch.label) == label)
        np.testing.assert_allclose(bound[mine], expected[mine], rtol=1e-4)
        drawn = np.flatnonzero(np.array([3, 1, 4, 1]) == label)
        np.testing.assert_allclose(samples[drawn], images[drawn], rtol=1e-4)


# Batch normalisation and dropout


@pytest.fixture(scope="module")
def with_running_moments(digits):
    """The model of three steps: its parts, its states before and after, the batch and the flags."""
    flags = dict(hidden=(6,), latent_dim=2, dropout=0.3, momentum=0.8, learning_rate=0.01)
    model, parts, _ = build(normalised, digits, **flags)
    states, batch = [model.init(jax.random.key(1))], first(digits, 32)
    for _ in range(3):
        states.append(jax.jit(model.train_step)(states[-1], batch, jax.random.key(2))[0])
    return model, parts, states, batch


def test_running_moments_are_those_of_numpy(with_running_moments):
    _, _, states, batch = with_running_moments
    mean, variance = np.zeros(6), np.ones(6)
    for state in states[:-1]:
        dense = doubles(state.params["encoder"]["params"]["Dense_0"])
        h = np.float64(batch.x).reshape(32, -1) @ dense["kernel"] + dense["bias"]
        mean, variance = 0.8 * mean + 0.2 * h.mean(0), 0.8 * variance + 0.2 * h.var(0)
    moments = states[-1].params["encoder"]["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(moments["mean"], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moments["var"], variance, rtol=1e-4)


def test_evaluation_and_samples_use_running_moments(with_running_moments, key):
    model, parts, (*_, state), batch = with_running_moments

    def by_hand(variables, x):
        params, moments = doubles(variables["params"]), doubles(variables["batch_stats"]["BatchNorm_0"])
        h = np.float64(x).reshape(len(x), -1) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
        h = (h - moments["mean"]) / np.sqrt(moments["var"] + 1e-5)
        h = np.maximum(h * params["BatchNorm_0"]["scale"] + params["BatchNorm_0"]["bias"], 0)
        return h @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]

    encoded = by_hand(state.params["encoder"], batch.x)
    mean, log_variance = vae.encode(state.params, batch.x, parts=parts)
    np.testing.assert_allclose(np.concatenate([mean, log_variance], axis=1), encoded, rtol=1e-3, atol=1e-4)
    z = np.float64(parts.posterior.sample_and_negative_log_density((mean, log_variance), key)[0])
    a, x = by_hand(state.params["decoder"], z), np.float64(batch.x).reshape(32, -1)
    distortion = (np.logaddexp(0, a) - x * a).sum(1).mean()
    np.testing.assert_allclose(model.evaluate(state, batch, key)["distortion"], distortion, rtol=1e-4)
    samples = model.sample(state, 7, key).reshape(7, -1)
    a = by_hand(state.params["decoder"], np.float64(jax.random.normal(key, (7, 2))))
    np.testing.assert_allclose(samples, scipy.special.expit(a), rtol=1e-3, atol=1e-5)


def test_dropout_draws_in_training_alone(with_running_moments):
    # a posterior of no width leaves nothing else to draw
    model, _, (*_, state), batch = with_running_moments
    last = state.params["encoder"]["params"]["Dense_1"]
    narrow = {"kernel": last["kernel"].at[:, 2:].set(0), "bias": last["bias"].at[2:].set(-60)}
    encoder = state.params["encoder"]
    encoder = encoder | {"params": encoder["params"] | {"Dense_1": narrow}}
    state = state._replace(params=state.params | {"encoder": encoder})
    keys = [jax.random.key(number) for number in range(2)]
    one, other = (jax.jit(model.train_step)(state, batch, key)[1]["loss"] for key in keys)
    assert abs(float(one - other)) > 1e-3
    one, other = (model.evaluate(state, batch, key)["loss"] for key in keys)
    np.testing.assert_allclose(one, other, rtol=1e-6)


# As commands

OPTIONS = ("", "--shards=2", "--num_seeds=2")


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_a_command(name, option, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
    arguments = ["--num_steps=4", "--batch_size=16", "--hidden=8", "--workdir=run", *filter(None, [option])]
    command = [sys.executable, PAGES[name].__file__, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{name} finished: 4 steps" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert np.isfinite(summary["metrics"]["loss"])
    hashes = summary["params_sha256"]
    assert isinstance(hashes, str) if option != "--num_seeds=2" else len(set(hashes.values())) == 2
    assert list(tmp_path.rglob("*.png"))
