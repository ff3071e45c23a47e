"""The table of lemmas: all hold as they are, and each fails when what it computes is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

from experiments import lemmas
from experiments.lemmas import autoencoders, foundations, table
from genjax import losses, stochastic, variational
from genjax.losses import Reconstruction

pytestmark = pytest.mark.slow  # processes: some minutes in all

ROOT = Path(__file__).parents[2]


def test_all_hold(tmp_path, capsys):
    assert lemmas.check(tmp_path, seed=0) == 0
    head, *lines, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["lemma", "value", "oracle", "error", "tolerance"]
    assert len(lines) >= 30 and all(line.endswith("pass") for line in lines)
    assert last == f"lemmas: {len(lines)} of {len(lines)} hold"
    assert (tmp_path / "lemmas.png").stat().st_size > 10_000


def wrong_scale(mean, log_variance, key):
    return mean + jnp.exp(log_variance) * jax.random.normal(key, mean.shape)


def with_baseline(f, mean, log_variance, key):
    return stochastic_score(lambda z: f(z) - 1, mean, log_variance, key)


stochastic_score, kl, sgd, posterior = (
    stochastic.score_gradient,
    losses.gaussian_kl_to_standard,
    optax.sgd,
    variational.posterior,
)
BROKEN = {
    "universal_approximation": (foundations, "expit", lambda x: jax.nn.sigmoid(x / 4)),
    "generative_and_discriminative": (
        stochastic,
        "gaussian_full_covariance",
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
    "importance_identity": (stochastic, "gaussian", wrong_scale),
    "two_path_gradient": (losses, "gaussian_kl_to_standard", lambda mean, s: kl(mean, s) * (1 + 1e-6)),
    "gan_equilibrium": (optax, "sgd", lambda rate: sgd(rate / 100)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_fails_when_what_it_computes_is_wrong(name, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(lemmas, "LEMMAS", tuple(lemma for lemma in lemmas.LEMMAS if lemma.__name__ == name))
    monkeypatch.setattr(*BROKEN[name])
    assert lemmas.check(tmp_path, seed=0) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [line for line in lines if line.endswith("FAIL")]
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
lemmas.LEMMAS = (lambda key: Shown([Line("two and two", 5.0, 4.0, 0.5)]),)
runpy.run_module("experiments.lemmas", run_name="__main__", alter_sys=True)
"""
    command = [sys.executable, "-c", code, f"--workdir={tmp_path / 'run'}", "--seed=3"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "lemmas: 0 of 1 hold; not: two and two"
