"""Losses as pure functions: one value per example, [B], in nats unless stated otherwise; larger = worse.

`weight_l1`, `weight_l2`, `tikhonov_penalty`, `code_kl`, `dip_penalty`, `squared_mmd` and `sliced_wasserstein` are
single numbers, [], of the parameters or of the whole batch.
"""

from genjax.losses.adversarial import (
    HINGE,
    LEAST_SQUARES,
    MINIMAX,
    NON_SATURATING,
    WASSERSTEIN,
    Adversarial,
    dragan_penalty,
    gradient_penalty,
    lipschitz_penalty,
    mean_logit,
    r1_penalty,
    weighted,
)
from genjax.losses.aggregate import (
    RateSplit,
    aggregate_log_density,
    code_covariance,
    dip_penalty,
    permute_dimensions,
    split_rate,
    stratified_log_weights,
    total_correlation,
    weighted_log_weights,
)
from genjax.losses.classification import softmax_cross_entropy
from genjax.losses.discrepancy import gaussian_kernel, inverse_multiquadric_kernel, sliced_wasserstein, squared_mmd
from genjax.losses.discrete import autoregressive, relaxed_categorical, uniform_categorical
from genjax.losses.divergence import (
    gaussian_kl,
    gaussian_kl_per_dimension,
    gaussian_kl_to_standard,
    gaussian_kl_to_standard_full_covariance,
    gaussian_kl_to_standard_per_dimension,
)
from genjax.losses.flows import flow_posterior, flow_prior
from genjax.losses.identity import arcface_logits, feature_matching, identity_loss, mean_absolute_error
from genjax.losses.latent import DIAGONAL_GAUSSIAN, FULL_COVARIANCE_GAUSSIAN, STANDARD_NORMAL, Posterior, Prior
from genjax.losses.likelihood import (
    BERNOULLI,
    GAUSSIAN,
    Likelihood,
    binomial_likelihood,
    discretized_logistic_likelihood,
    gaussian_likelihood,
)
from genjax.losses.penalty import (
    code_kl,
    code_l1,
    code_l2,
    hutchinson_jacobian_norm,
    jacobian_norm,
    sigmoid_jacobian_norm,
    tikhonov_penalty,
    weight_l1,
    weight_l2,
)
from genjax.losses.priors import class_prior, mixture_prior, vamp_prior
from genjax.losses.reconstruction import (
    CROSS_ENTROPY,
    RECONSTRUCTIONS,
    SQUARED_ERROR,
    Reconstruction,
    binary_cross_entropy,
    squared_error,
)
from genjax.losses.spherical import UNIFORM_ON_SPHERE, VON_MISES_FISHER, von_mises_fisher_kl_to_uniform

__all__ = [
    "BERNOULLI",
    "CROSS_ENTROPY",
    "DIAGONAL_GAUSSIAN",
    "FULL_COVARIANCE_GAUSSIAN",
    "GAUSSIAN",
    "HINGE",
    "LEAST_SQUARES",
    "MINIMAX",
    "NON_SATURATING",
    "RECONSTRUCTIONS",
    "SQUARED_ERROR",
    "STANDARD_NORMAL",
    "UNIFORM_ON_SPHERE",
    "VON_MISES_FISHER",
    "WASSERSTEIN",
    "Adversarial",
    "Likelihood",
    "Posterior",
    "Prior",
    "RateSplit",
    "Reconstruction",
    "aggregate_log_density",
    "arcface_logits",
    "autoregressive",
    "binary_cross_entropy",
    "binomial_likelihood",
    "class_prior",
    "code_covariance",
    "code_kl",
    "code_l1",
    "code_l2",
    "dip_penalty",
    "discretized_logistic_likelihood",
    "dragan_penalty",
    "feature_matching",
    "flow_posterior",
    "flow_prior",
    "gaussian_kernel",
    "gaussian_kl",
    "gaussian_kl_per_dimension",
    "gaussian_kl_to_standard",
    "gaussian_kl_to_standard_full_covariance",
    "gaussian_kl_to_standard_per_dimension",
    "gaussian_likelihood",
    "gradient_penalty",
    "hutchinson_jacobian_norm",
    "identity_loss",
    "inverse_multiquadric_kernel",
    "jacobian_norm",
    "lipschitz_penalty",
    "mean_absolute_error",
    "mean_logit",
    "mixture_prior",
    "permute_dimensions",
    "r1_penalty",
    "relaxed_categorical",
    "sigmoid_jacobian_norm",
    "sliced_wasserstein",
    "softmax_cross_entropy",
    "split_rate",
    "squared_error",
    "squared_mmd",
    "stratified_log_weights",
    "tikhonov_penalty",
    "total_correlation",
    "uniform_categorical",
    "vamp_prior",
    "von_mises_fisher_kl_to_uniform",
    "weight_l1",
    "weight_l2",
    "weighted",
    "weighted_log_weights",
]
