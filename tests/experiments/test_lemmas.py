"""The table of lemmas: all hold as they are, and each fails when what it computes is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import lemmas
from experiments.lemmas import autoencoders, foundations, identity_swap, learning, table
from experiments.lemmas import variational as variational_lemmas
from genjax import information, losses, stochastic, variational
from genjax.evaluation import linear
from genjax.losses import Reconstruction
from genjax.models import sfnn, vae

pytestmark = pytest.mark.slow  # processes: some minutes in all

ROOT = Path(__file__).parents[2]


def test_all_hold(tmp_path, capsys):
    assert lemmas.check(tmp_path, seed=0) == 0
    head, *lines, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["lemma", "value", "oracle", "error", "tolerance", "item"]
    assert len(lines) >= 100 and all("  pass  S" in line for line in lines)
    items = [line.split("  pass  ")[1] for line in lines]
    assert items == sorted(items)
    assert last == f"lemmas: {len(lines)} of {len(lines)} hold"
    assert (tmp_path / "lemmas.png").stat().st_size > 10_000


def wrong_scale(mean, log_variance, key):
    return mean + jnp.exp(log_variance) * jax.random.normal(key, mean.shape)


def with_baseline(f, mean, log_variance, key):
    return stochastic_score(lambda z: f(z) - 1, mean, log_variance, key)


def with_half_the_energy(mean, coupling, field, *, num_sweeps):
    mean, bounds = ising(mean, coupling / 2, field / 2, num_sweeps=num_sweeps)
    return mean, 2 * bounds


stochastic_score, kl, sgd, posterior = (
    stochastic.score_gradient,
    losses.gaussian_kl_to_standard,
    optax.sgd,
    variational.posterior,
)
noise, penalty, ising, objective = (
    stochastic.gaussian_noise,
    losses.gradient_penalty,
    variational.ising_mean_field,
    vae.objective,
)
entropy, mutual_information, binary_cross_entropy = (
    information.entropy,
    information.mutual_information,
    losses.binary_cross_entropy,
)
BROKEN = {
    "universal_approximation": (foundations, "expit", lambda x: jax.nn.sigmoid(x / 400)),
    "generative_and_discriminative": (
        stochastic,
        "sample_gaussian_full_covariance",
        lambda mean, cholesky, key: mean + 1.1 * jax.random.normal(key, mean.shape) @ cholesky.T,
    ),
    "linear_autoencoder_is_pca": (
        autoencoders,
        "SQUARED_ERROR",
        Reconstruction(lambda x, y: jnp.sum((x[:, 2:] - y[:, 2:]) ** 2, (1, 2, 3)), lambda x: x),
    ),
    "inverse_transform": (stochastic, "laplace_quantile", lambda u: stochastic.logistic_quantile(u) / 1.8),
    "sum_of_uniforms": (
        stochastic,
        "sum_of_uniforms_normal",
        lambda shape, key, *, num_uniforms: jax.random.normal(key, shape),
    ),
    "gradient_estimators": (stochastic, "score_gradient", with_baseline),
    "closed_form_kl": (losses, "gaussian_kl_to_standard", lambda mean, s: kl(mean, s) * (1 + 1e-9)),
    "evidence_decomposition": (variational, "posterior", lambda joint: posterior(joint**1.001)),
    "importance_identity": (stochastic, "sample_gaussian", wrong_scale),
    "two_path_gradient": (losses, "gaussian_kl_to_standard", lambda mean, s: kl(mean, s) * (1 + 1e-6)),
    "gan_equilibrium": (optax, "sgd", lambda rate: sgd(rate / 100)),
    "gradient_descent": (optax, "sgd", lambda rate: sgd(1.001 * rate)),
    "maximum_likelihood": (
        learning,
        "GAUSSIAN",
        losses.GAUSSIAN._replace(
            negative_log_likelihood=lambda output, x: jnp.sum((x - output[0]) ** 2 * jnp.exp(-output[1]) + output[1], 1)
        ),
    ),
    "maximum_a_posteriori": (losses, "weight_l2", lambda w: jnp.sum(w**2)),
    "tikhonov": (losses, "tikhonov_penalty", lambda w, gamma: jnp.sum((gamma @ w) ** 2) / 2),
    "spectral_decomposition": (linear, "spectral_decomposition", lambda x: np.linalg.eigh(x @ x.T)),
    "denoising_is_a_wiener_filter": (stochastic, "gaussian_noise", lambda *, scale: noise(scale=1.2 * scale)),
    "contractive_penalty": (losses, "sigmoid_jacobian_norm", lambda h, w: jnp.square(h) @ jnp.sum(w**2, axis=0)),
    "sparse_code": (losses, "code_l1", lambda z: jnp.sum(jnp.abs(z), axis=1)),
    "stochastic_network": (sfnn, "binary_cross_entropy", lambda a, h: 0.9 * binary_cross_entropy(a, h)),
    "entropy_and_divergence": (information, "entropy", lambda p: 1.001 * entropy(p)),
    "mutual_information": (information, "mutual_information", lambda joint: 1.001 * mutual_information(joint)),
    "mean_field": (variational, "ising_mean_field", with_half_the_energy),
    "linear_vae": (variational_lemmas.vae, "objective", lambda parts: objective(parts, rate_weight=0.5)),
    "full_covariance": (losses, "gaussian_kl_to_standard_full_covariance", lambda mean, root: jnp.sum(mean**2, 1) / 2),
    "gan_on_a_line": (losses, "NON_SATURATING", losses.WASSERSTEIN),
    "identity_losses": (losses, "identity_loss", lambda v, wanted: jnp.sum((v - wanted) ** 2, axis=1)),
    "identity_injection": (
        identity_swap,
        "adaptive_instance_norm",
        lambda x, scale, shift, *, epsilon: x * scale[:, None, None] + shift[:, None, None],
    ),
    "gradient_penalty": (losses, "gradient_penalty", lambda critic, real, fake, key: penalty(critic, real, real, key)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_fails_when_what_it_computes_is_wrong(name, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(lemmas, "LEMMAS", tuple(lemma for lemma in lemmas.LEMMAS if lemma.__name__ == name))
    monkeypatch.setattr(*BROKEN[name])
    assert lemmas.check(tmp_path, seed=0) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if "  FAIL  " in line]
    assert failed and " hold; not: " in lines[-1]


def test_every_lemma_is_broken_above():
    assert [lemma.__name__ for lemma in lemmas.LEMMAS] == list(BROKEN)


def test_a_value_that_is_not_a_number_does_not_hold():
    assert not table.Line("nothing", float("nan"), 0.0, 1.0).holds
    assert table.Line("at the tolerance", 1.0, 0.0, 1.0).holds


def test_the_command_exits_with_status_1(tmp_path):
    code = """
import runpy
from experiments import lemmas
from experiments.lemmas.table import Line, Shown
lemmas.LEMMAS = (lambda key: Shown("S01", [Line("two and two", 5.0, 4.0, 0.5)]),)
runpy.run_module("experiments.lemmas", run_name="__main__", alter_sys=True)
"""
    command = [sys.executable, "-c", code, f"--workdir={tmp_path / 'run'}", "--seed=3"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "lemmas: 0 of 1 hold; not: two and two"
