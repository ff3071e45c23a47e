"""Latent spaces: known posteriors, known geometry, linear decoders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import scipy.stats.qmc

from genjax.evaluation import latent
from genjax.losses import gaussian_kl_to_standard


def test_units_that_the_data_move_are_active(key):
    mean = jax.random.normal(key, (4000, 3)) * jnp.array([[1.0, 0.15, 0.05]]) + jnp.array([[0.0, 0.0, 7.0]])
    np.testing.assert_array_equal(latent.active_units(mean), [True, True, False])  # variances 1, 0.0225, 0.0025
    np.testing.assert_array_equal(latent.active_units(mean, threshold=0.1), [True, False, False])


def test_moments_are_those_of_draws(key):
    mean_key, s_key, z_key = jax.random.split(key, 3)
    mean, s = jax.random.normal(mean_key, (500, 3)) + 0.5, jax.random.normal(s_key, (500, 3))
    moments = latent.aggregate_moments(mean, s)
    eps = np.asarray(jax.random.normal(z_key, (400, 500, 3)))
    z = (np.asarray(mean) + np.exp(np.asarray(s) / 2) * eps).reshape(-1, 3)
    np.testing.assert_allclose(moments.mean, z.mean(0), atol=0.02)
    np.testing.assert_allclose(moments.second, (z**2).mean(0), rtol=0.02)


def test_codes_that_are_all_alike_carry_no_information(key):
    mean, s = jnp.full((50, 3), 0.7), jnp.full((50, 3), -0.4)
    information, divergence = latent.rate_parts(mean, s, key)
    np.testing.assert_allclose(information, 0, atol=1e-5)
    np.testing.assert_allclose(divergence, gaussian_kl_to_standard(mean, s)[0], rtol=1e-5)


def test_codes_far_apart_carry_all_of_it(key):
    information, _ = latent.rate_parts(100 * jnp.arange(64.0)[:, None], jnp.zeros((64, 1)), key)
    np.testing.assert_allclose(information, np.log(64), rtol=1e-5)


def test_a_gaussian_channel_has_the_known_information_and_fills_the_prior(key):
    # mu ~ N(0, 1 - v), z = mu + N(0, v): q(z) is the prior, and I = -1/2 log v, up to the finite number of codes
    num, v = 4000, 0.2
    mean = np.sqrt(1 - v) * scipy.stats.norm.ppf((np.arange(num) + 0.5) / num)[:, None]
    information, divergence = latent.rate_parts(jnp.asarray(mean, jnp.float32), jnp.full((num, 1), np.log(v)), key)
    np.testing.assert_allclose(information, -0.5 * np.log(v), atol=0.05)
    assert abs(divergence) < 0.05


def test_a_correlated_gaussian_channel_has_the_three_known_parts(key):
    # mu ~ N(0, C), z = mu + N(0, v I): q(z) = N(0, C + v I), up to the finite number of codes
    num, v, cov = 4000, 0.3, np.array([[1.0, 0.6], [0.6, 0.5]])
    uniform = scipy.stats.qmc.Sobol(2, seed=0).random(4096)[:num]
    mean = scipy.stats.norm.ppf(uniform) @ np.linalg.cholesky(cov).T
    information, correlation, dimensions = latent.rate_split(
        jnp.asarray(mean, jnp.float32), jnp.full((num, 2), np.log(v)), key
    )
    total = cov + v * np.eye(2)
    log_det, variances = np.linalg.slogdet(total)[1], np.diag(total)
    np.testing.assert_allclose(information, (log_det - 2 * np.log(v)) / 2, atol=0.06)
    np.testing.assert_allclose(correlation, (np.log(variances).sum() - log_det) / 2, atol=0.03)
    np.testing.assert_allclose(dimensions, np.sum(variances - 1 - np.log(variances)) / 2, atol=0.06)


@pytest.mark.parametrize("walk", [latent.linear_walk, latent.spherical_walk])
def test_walks_end_exactly_where_they_should(walk, key):
    a, b = jax.random.normal(key, (2, 5))
    path = walk(a, b, num=9)
    assert path.shape == (9, 5)
    np.testing.assert_array_equal(path[0], a)
    np.testing.assert_allclose(path[-1], b, rtol=1e-5)


def test_a_linear_walk_through_a_linear_decoder_is_straight_and_even(key):
    a, b = jax.random.normal(key, (2, 4))
    decode = jax.random.normal(key, (4, 7))
    frames = latent.linear_walk(a, b, num=11) @ decode
    np.testing.assert_allclose(frames[5], (frames[0] + frames[-1]) / 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(latent.step_lengths(frames), jnp.linalg.norm((b - a) @ decode) / 10, rtol=1e-3)


def test_a_spherical_walk_turns_evenly_on_the_sphere():
    a, b = jnp.array([2.0, 0.0, 0.0]), jnp.array([0.0, 2.0, 0.0])
    path = latent.spherical_walk(a, b, num=4)
    angles = np.pi / 6 * np.arange(4)
    np.testing.assert_allclose(path, 2 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1), atol=1e-6)
    for other in (3 * a, jnp.zeros(3)):  # no arc: straight
        np.testing.assert_allclose(
            latent.spherical_walk(a, other, num=5), latent.linear_walk(a, other, num=5), rtol=1e-6
        )


def test_levels_share_the_mass_evenly(key):
    np.testing.assert_allclose(scipy.stats.norm.cdf(latent.gaussian_levels(5)), [0.1, 0.3, 0.5, 0.7, 0.9], rtol=1e-5)
    codes = jax.random.normal(key, (1001, 2)) * jnp.array([[1.0, 9.0]])
    found = latent.data_levels(codes, 5)
    np.testing.assert_allclose(
        np.mean(np.asarray(codes)[:, None] < np.asarray(found), axis=0)[:, 1], [0.1, 0.3, 0.5, 0.7, 0.9], atol=2e-3
    )


def test_a_grid_goes_right_and_up_and_leaves_the_rest():
    codes = latent.grid(jnp.array([9.0, 8.0, 7.0]), jnp.array([0.0, 1.0]), jnp.array([4.0, 5.0, 6.0]), axes=(2, 0))
    expected = [[6, 8, 0], [6, 8, 1], [5, 8, 0], [5, 8, 1], [4, 8, 0], [4, 8, 1]]
    np.testing.assert_array_equal(codes, expected)


def test_traversals_move_one_dimension_each():
    levels = jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    found = latent.traversals(jnp.array([0.5, 0.7]), levels)
    np.testing.assert_allclose(found, [[[1, 0.7], [2, 0.7], [3, 0.7]], [[0.5, 10], [0.5, 20], [0.5, 30]]], rtol=1e-6)


def test_a_concept_of_an_additive_factor_is_its_projected_direction(key):
    # linear autoencoder, x = base + factor * u: the vector is exactly f(u), since the bases are the same in both groups
    base, u, encoder = jax.random.normal(key, (20, 6)), jnp.arange(6.0) / 3, jax.random.normal(key, (6, 2))
    x = jnp.concatenate([base, base + u[None]])
    has = jnp.arange(40) >= 20
    np.testing.assert_allclose(latent.concept_vector(x @ encoder, has), u @ encoder, rtol=1e-4, atol=1e-5)
    uneven = latent.concept_vector(x[:30] @ encoder, has[:30])
    expected = np.mean(x[20:30] @ encoder, axis=0) - np.mean(x[:20] @ encoder, axis=0)
    np.testing.assert_allclose(uneven, expected, rtol=1e-4, atol=1e-5)


def test_the_largest_slope_is_the_decoders(key):
    def decode(z):
        return jnp.where(z < 0, z, 5 * z) * jnp.array([[3.0, 4.0]]) / 5

    slope = latent.largest_slope(decode, jnp.linspace(-1, 1, 21)[:, None])
    np.testing.assert_allclose(slope, 5, rtol=1e-4)


def test_steps_between_frames_of_bytes():
    frames = np.array([[[200, 3]], [[0, 7]], [[4, 7]]], np.uint8)
    np.testing.assert_allclose(latent.step_lengths(frames), [np.sqrt(200**2 + 4**2), 4], rtol=1e-6)
