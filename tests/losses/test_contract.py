"""What every loss promises: second derivatives, integers taken as numbers, and a ValueError for shapes that differ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from genjax import losses
from genjax.types import Flow, Network

A = np.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.5]])
B = np.array([[-0.6, 0.8, 1.3], [0.2, -0.9, 1.7]])  # no entry equals that of A, and none is 0: |.| has derivatives
W = np.array([[0.5, -0.3], [1.2, 0.8], [-0.7, 0.4]])
LABEL = np.array([2, 0], np.int32)


def layer(x):
    return jax.nn.sigmoid(x @ jnp.asarray(W, x.dtype))


def stretch(params, z):
    """A flow of its two params that is not linear: the change of variables z + sin(z) / 2, scaled and shifted."""
    scale, shift = params
    u = scale * (z + jnp.sin(z) / 2) + shift
    return u, jnp.sum(jnp.log(scale * (1 + jnp.cos(z) / 2)), axis=-1)


LOWER = np.array([[0.9, 0.0], [-0.4, 1.3]])


def critic(x):
    return jnp.tanh(x @ jnp.asarray(W, x.dtype))


def likelihood(density, *parameters):
    """Its negative log-likelihood as a function of its one or two parameters, at x in [0, 1]."""

    def of_parameters(first, *second):
        return density.negative_log_likelihood((first, *second) if second else first, X)

    return of_parameters, *parameters


def posterior(density, mean, scale):
    """A draw from it, and its negative log-density there, as a function of the parameters."""
    return lambda m, s: density.sample_and_negative_log_density((m, s), KEY), mean, scale


def game(pair):
    """Both players' losses of both logits."""
    return lambda a, b: pair.discriminator(a, b) + 2 * pair.generator(a, b), A, B


def at_z(density):
    """The posterior's negative log-density at Z as a function of its parameters."""
    return lambda m, s: density.negative_log_density((m, s), Z)


def prior_of(prior, *parameters):
    """Its negative log-density at Z as a function of its parameters."""
    return lambda *given: prior.negative_log_density(dict(zip(parameters, given, strict=True)), Z)


LOG_WEIGHTS = np.array([[-0.7, -1.1], [-1.3, -0.2]])


def aggregate(loss):
    return lambda z, mean, log_variance: loss(z, mean, log_variance, LOG_WEIGHTS.astype(z.dtype))


X = np.array([[0.0, 1.0, 0.5], [0.25, 0.5, 0.75]])
KEY = jax.random.key(0)


def uniform_kl(logits):
    prior = losses.uniform_categorical(3)
    assert prior.kl is not None
    return prior.kl((), logits)


LOGITS = Network(lambda key: (), lambda y, symbols: y)
FLOW = Flow(lambda key: (), stretch, stretch)
Z = np.array([[0.6, -0.8], [0.0, 1.0]])
AFFINE = Network(lambda key: (), lambda p, u: (u @ p, u @ p - 1))
DIFFERENTIABLE = {
    "squared_error": (losses.squared_error, A, B),
    "binary_cross_entropy": (losses.binary_cross_entropy, A, B),
    "mean_absolute_error": (losses.mean_absolute_error, A, B),
    "softmax_cross_entropy": (lambda a: losses.softmax_cross_entropy(a, LABEL), A),
    "gaussian_kl_to_standard": (losses.gaussian_kl_to_standard, A, B),
    "gaussian_kl_to_standard_per_dimension": (losses.gaussian_kl_to_standard_per_dimension, A, B),
    "gaussian_kl_to_standard_full_covariance": (
        losses.gaussian_kl_to_standard_full_covariance,
        A[:, :2],
        np.stack([LOWER, 2 * LOWER]),
    ),
    "gaussian_kl": (losses.gaussian_kl, A, B, B[::-1], A[::-1]),
    "gaussian_kl_per_dimension": (losses.gaussian_kl_per_dimension, A, B, B[::-1], A[::-1]),
    "arcface_logits": (lambda c: losses.arcface_logits(c, LABEL, scale=4.0, margin=0.3), np.tanh(A)),
    "identity_loss": (losses.identity_loss, A, B),
    "perceptual_loss": (lambda a: losses.perceptual_loss([a, a**2], [B, B]), A),
    "feature_matching": (lambda a: losses.feature_matching([[a, a**2]], [[B, B]]), A),
    "code_l1": (losses.code_l1, A),
    "code_l2": (losses.code_l2, A),
    "code_kl": (lambda a: losses.code_kl(a, rate=0.2), A),
    "weight_l1": (lambda w: losses.weight_l1({"kernel": w, "bias": w[0]}), A),
    "weight_l2": (lambda w: losses.weight_l2({"kernel": w, "bias": w[0]}), A),
    "tikhonov_penalty": (losses.tikhonov_penalty, W, A),
    "jacobian_norm": (lambda x: losses.jacobian_norm(layer, x), A),
    "hutchinson_jacobian_norm": (lambda x: losses.hutchinson_jacobian_norm(layer, x, jax.random.key(0)), A),
    "sigmoid_jacobian_norm": (losses.sigmoid_jacobian_norm, A[:, :2], W),
    "BERNOULLI": (losses.BERNOULLI.negative_log_likelihood, A, B),
    "GAUSSIAN": (lambda m, s, x: losses.GAUSSIAN.negative_log_likelihood((m, s), x), A, B, A[::-1]),
    "gaussian_likelihood": likelihood(losses.gaussian_likelihood(variance=0.3), A),
    "binomial_likelihood": likelihood(losses.binomial_likelihood(num_trials=4), A),
    "CATEGORICAL": likelihood(losses.CATEGORICAL, A),
    "poisson_likelihood": likelihood(losses.poisson_likelihood(scale=4.0), A),
    "negative_binomial_likelihood": likelihood(losses.negative_binomial_likelihood(scale=4.0), A, B[0]),
    "of_location": likelihood(losses.of_location(losses.CATEGORICAL), A, B[0]),
    "joint_likelihood": likelihood(
        losses.joint_likelihood({"p": (1, losses.GAUSSIAN), "q": (2, losses.of_location(losses.CATEGORICAL))}), A, B[0]
    ),
    "observed": (
        lambda m, s: losses.observed(losses.GAUSSIAN).negative_log_likelihood((m, s), np.where(A > 1, np.nan, X)),
        A,
        B,
    ),
    "discretized_logistic_likelihood": likelihood(losses.discretized_logistic_likelihood(num_levels=5), A / 4, B),
    "STANDARD_NORMAL": (lambda z: losses.STANDARD_NORMAL.negative_log_density((), z), A),
    "DIAGONAL_GAUSSIAN": posterior(losses.DIAGONAL_GAUSSIAN, A, B),
    "FULL_COVARIANCE_GAUSSIAN": posterior(losses.FULL_COVARIANCE_GAUSSIAN, A[:, :2], np.stack([LOWER, 2 * LOWER])),
    "flow_prior": (lambda z, s: losses.flow_prior(FLOW).negative_log_density((1 + s**2, s), z), A, B),
    "flow_posterior": (
        lambda m, s: losses.flow_posterior(FLOW).sample_and_negative_log_density((m, s, (), (1 + s**2, s)), KEY),
        A,
        B,
    ),
    "UNIFORM_ON_SPHERE": (lambda z: losses.UNIFORM_ON_SPHERE.negative_log_density((), z) + z[:, 0], Z),
    "VON_MISES_FISHER": (
        at_z(losses.VON_MISES_FISHER),
        Z[::-1],
        np.array([0.4, 7.0]),
    ),
    "von_mises_fisher_kl_to_uniform": (
        lambda k: losses.von_mises_fisher_kl_to_uniform(k, 3),
        np.array([0.4, 7.0]),
    ),
    "mixture_prior": (
        prior_of(losses.mixture_prior(3, 2), "logits", "mean", "log_variance"),
        A[0],
        A.reshape(3, 2),
        B.reshape(3, 2),
    ),
    "vamp_prior": (prior_of(losses.vamp_prior(AFFINE, A), "pseudo_inputs", "encoder"), A, W),
    "class_prior": (
        lambda m, s: losses.class_prior(3, 2).negative_log_density({"mean": m, "log_variance": s}, Z, LABEL),
        A.reshape(3, 2),
        B.reshape(3, 2),
    ),
    "SQUARED_ERROR": (losses.SQUARED_ERROR.loss, A, B),
    "CROSS_ENTROPY": (losses.CROSS_ENTROPY.loss, A, B),
    "MINIMAX": game(losses.MINIMAX),
    "NON_SATURATING": game(losses.NON_SATURATING),
    "LEAST_SQUARES": game(losses.LEAST_SQUARES),
    "HINGE": game(losses.HINGE),
    "WASSERSTEIN": game(losses.WASSERSTEIN),
    "RELATIVISTIC": game(losses.RELATIVISTIC),
    "weighted": game(losses.weighted(losses.MINIMAX, alpha=0.3)),
    "mean_logit": (lambda a, b: losses.mean_logit((a, b[:, :2])), A, B),
    "gradient_penalty": (lambda a, b: losses.gradient_penalty(critic, a, b, KEY), A, B),
    "lipschitz_penalty": (lambda a, b: losses.lipschitz_penalty(lambda x: 9 * critic(x), a, b, KEY), A, B),
    "r1_penalty": (lambda a: losses.r1_penalty(critic, a), A),
    "aggregate_log_density": (aggregate(losses.aggregate_log_density), A, B, -B),
    "total_correlation": (aggregate(losses.total_correlation), A, B, -B),
    "split_rate": (
        lambda z, m, s: losses.split_rate(z, m[:, 0], s[:, 1], m, s, LOG_WEIGHTS.astype(z.dtype)),
        A,
        B,
        -B,
    ),
    "permute_dimensions": (lambda z: losses.permute_dimensions(z, KEY) ** 3, A),
    "code_covariance": (losses.code_covariance, A, B),
    "dip_penalty": (lambda c: losses.dip_penalty(c, diagonal_weight=0.4), A[:, :2]),
    "gaussian_kernel": (losses.gaussian_kernel(0.8), A, B),
    "inverse_multiquadric_kernel": (losses.inverse_multiquadric_kernel(), A, B),
    "squared_mmd": (lambda a, b: losses.squared_mmd(a, b, losses.gaussian_kernel()), A, B),
    "sliced_wasserstein": (lambda a, b: losses.sliced_wasserstein(a, b, KEY, num_projections=3), A, B),
    "uniform_categorical": (uniform_kl, A),
    "relaxed_categorical": (
        lambda a: losses.relaxed_categorical(3, temperature=0.7).sample_and_negative_log_density(a, KEY),
        A,
    ),
    "autoregressive": (
        lambda y: losses.autoregressive(LOGITS, 3).negative_log_density(y, np.array([[2, 0]])),
        A[None],
    ),
    "ring_prior": (lambda z: losses.ring_prior(3).negative_log_density((), z), A[:, :2]),
    "class_and_style_prior": (lambda z: losses.class_and_style_prior(1).negative_log_density((), z), A),
    "swiss_roll_prior": (
        lambda z: losses.swiss_roll_prior(3, links=2).negative_log_density((), z),
        A[:, :2],
    ),
    "UNIFORM_ON_CUBE": (lambda z: losses.UNIFORM_ON_CUBE.negative_log_density((), z / 4), A),
    "dragan_penalty": (lambda a: losses.dragan_penalty(critic, a, KEY, scale=0.2), A),
}
NOT_FUNCTIONS = {"Adversarial", "Likelihood", "Posterior", "Prior", "RateSplit", "Reconstruction", "RECONSTRUCTIONS"}
NOT_FUNCTIONS |= {"stratified_log_weights", "weighted_log_weights"}  # of no array


def test_every_public_loss_is_differentiated_below():
    # a new loss needs an entry; the rest are types, and a table of losses that are here
    assert set(DIFFERENTIABLE) == set(losses.__all__) - NOT_FUNCTIONS
    assert set(losses.RECONSTRUCTIONS.values()) == {losses.SQUARED_ERROR, losses.CROSS_ENTROPY}


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives(name, order, float64):
    loss, *arguments = DIFFERENTIABLE[name]
    # reverse mode alone, at half the cost: no loss has a rule of its own for it, so that forward mode cannot differ
    check_grads(jax.jit(loss), tuple(map(jnp.asarray, arguments)), order=order, modes=["rev"])


U, V = np.array([[0, 200, 7], [255, 1, 3]], np.uint8), np.array([[20, 0, 7], [0, 3, 255]], np.uint8)
U64, V64 = U.astype(np.float64), V.astype(np.float64)
INTEGERS = {
    "squared_error": (losses.squared_error, (U, V), np.sum((U64 - V64) ** 2, axis=1)),
    "mean_absolute_error": (losses.mean_absolute_error, (U, V), np.mean(np.abs(U64 - V64), axis=1)),
    "perceptual_loss": (losses.perceptual_loss, ([U], [V]), np.sum((U64 - V64) ** 2, axis=1)),
    "feature_matching": (losses.feature_matching, ([[U]], [[V]]), np.mean(np.abs(U64 - V64), axis=1)),
    "binary_cross_entropy": (
        losses.binary_cross_entropy,
        (U, V),
        np.sum(np.logaddexp(0, U64) - U64 * V64, axis=1),
    ),
    "identity_loss": (
        losses.identity_loss,
        (U, V),
        1 - np.sum(U64 * V64, axis=1) / np.linalg.norm(U64, axis=1) / np.linalg.norm(V64, axis=1),
    ),
    "softmax_cross_entropy": (
        losses.softmax_cross_entropy,
        (U, LABEL),
        np.logaddexp.reduce(U64, axis=1) - U64[[0, 1], LABEL],
    ),
    "gaussian_kl_to_standard": (
        losses.gaussian_kl_to_standard,
        (U, V % 9),
        np.sum(np.exp(V64 % 9) + U64**2 - 1 - V64 % 9, axis=1) / 2,
    ),
    "code_l1": (losses.code_l1, (np.int8([[-128, 1]]),), [64.5]),
    "code_l2": (losses.code_l2, (np.int8([[-128, 1]]),), [8192.5]),
    "gaussian_kernel": (
        losses.gaussian_kernel(200.0),
        (U, V),
        np.exp(np.sum((U64[:, None] - V64) ** 2, axis=2) / (-2 * 200**2)),
    ),
    "sliced_wasserstein": (
        lambda a, b: losses.sliced_wasserstein(a, b, KEY),
        (U[:, :1], V[:, :1]),
        np.mean((np.sort(U64[:, 0]) - np.sort(V64[:, 0])) ** 2),
    ),
    "weight_l1": (losses.weight_l1, ([np.int8([[-128, 1]])],), 129),
    "weight_l2": (losses.weight_l2, ([np.int8([[-128, 1]])],), 8192.5),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_bytes_are_taken_as_numbers(name):
    loss, arguments, expected = INTEGERS[name]
    np.testing.assert_allclose(loss(*arguments), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        losses.squared_error,
        losses.binary_cross_entropy,
        losses.mean_absolute_error,
        losses.identity_loss,
        losses.gaussian_kl_to_standard,
        losses.softmax_cross_entropy,
        losses.sigmoid_jacobian_norm,
        lambda a, b: losses.squared_mmd(a, b, losses.gaussian_kernel()),
        lambda a, b: losses.sliced_wasserstein(a, b, KEY),
        lambda a, b: losses.feature_matching([[a]], [[b]]),
        lambda a, b: losses.arcface_logits(a, b, scale=1.0, margin=0.1),
    ],
)
def test_shapes_that_differ_are_both_named(loss):
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 1\)"):
        jax.jit(loss)(jnp.zeros((2, 3)), jnp.zeros((2, 1)))
