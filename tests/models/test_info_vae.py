"""InfoVAE: its penalty beside the weighted bound, and what is left of the objective at both ends of alpha."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import losses, networks
from genjax.losses import BERNOULLI
from genjax.models import disentangling, info_vae, vae
from genjax.types import Batch


@pytest.fixture
def parts():
    encoder = networks.gaussian_heads(networks.mlp((6,), (4,), hidden=(5,), activation=jnp.tanh))
    return vae.VAE(encoder, networks.mlp((2,), (6,), hidden=(5,), activation=jnp.tanh), BERNOULLI, 2)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_the_objective_is_equation_6(parts, alpha, key):
    params, x, weight = vae.init_params(key, parts=parts), jax.random.uniform(key, (8, 6)), alpha + 5 - 1
    penalties = [disentangling.dip_i_penalty(0.0), info_vae.mmd_penalty(weight)]
    loss, metrics = vae.objective(parts, rate_weight=1 - alpha, penalties=penalties)(params, Batch(x), key)
    pass_key, prior_key = jax.random.split(key)
    drawn = vae.forward(params, x, pass_key, parts=parts)
    mmd = losses.squared_mmd(drawn.z, jax.random.normal(prior_key, (8, 2)), losses.gaussian_kernel())
    distortion, rate = vae.terms(params, x, pass_key, parts=parts)
    np.testing.assert_allclose(metrics["mmd"], np.full(8, mmd), rtol=1e-5)
    np.testing.assert_allclose(metrics["negative_elbo"], distortion + rate, rtol=1e-5)
    np.testing.assert_allclose(loss, distortion + (1 - alpha) * rate + weight * mmd, rtol=1e-5)


def test_penalties_that_draw_have_keys_of_their_own(parts, key):
    params, x = vae.init_params(key, parts=parts), jax.random.uniform(key, (8, 6))
    one, other = info_vae.mmd_penalty(1.0), info_vae.mmd_penalty(1.0)._replace(name="again")
    _, metrics = vae.objective(parts, penalties=[one, other])(params, Batch(x), key)
    assert not np.allclose(metrics["mmd"], metrics["again"])


def test_the_prior_and_the_kernel_are_those_given(parts, key):
    drawn = vae.forward(vae.init_params(key, parts=parts), jax.random.uniform(key, (8, 6)), key, parts=parts)
    kernel = losses.inverse_multiquadric_kernel((1.0,))
    found = info_vae.mmd_penalty(1.0, prior=losses.UNIFORM_ON_SPHERE, kernel=kernel).value(drawn, key)
    draws = losses.UNIFORM_ON_SPHERE.sample((), (8, 2), key)
    np.testing.assert_allclose(found, losses.squared_mmd(drawn.z, draws, kernel), rtol=1e-6)
