"""Everything that draws: reparameterised variables, gradient estimators, inverse-transform sampling, corruptions."""

from genjax.stochastic.augmentation import at_random, colour_jitter, cutout, in_turn, translation
from genjax.stochastic.corruption import (
    Corruption,
    centred_rayleigh_noise,
    gaussian_noise,
    masking_noise,
    rayleigh_noise,
    rayleigh_speckle,
    salt_and_pepper_noise,
)
from genjax.stochastic.quantiles import (
    cauchy_quantile,
    discrete_quantile,
    exponential_quantile,
    inverse_transform,
    irwin_hall,
    laplace_quantile,
    logistic_quantile,
    rayleigh_quantile,
    sum_of_uniforms_normal,
)
from genjax.stochastic.variables import (
    pathwise_gradient,
    sample_bernoulli,
    sample_gaussian,
    sample_gaussian_full_covariance,
    score_gradient,
)
from genjax.stochastic.von_mises_fisher import log_scaled_bessel, mean_resultant_length, sample_von_mises_fisher

__all__ = [
    "Corruption",
    "at_random",
    "cauchy_quantile",
    "centred_rayleigh_noise",
    "colour_jitter",
    "cutout",
    "discrete_quantile",
    "exponential_quantile",
    "gaussian_noise",
    "in_turn",
    "inverse_transform",
    "irwin_hall",
    "laplace_quantile",
    "log_scaled_bessel",
    "logistic_quantile",
    "masking_noise",
    "mean_resultant_length",
    "pathwise_gradient",
    "rayleigh_noise",
    "rayleigh_quantile",
    "rayleigh_speckle",
    "salt_and_pepper_noise",
    "sample_bernoulli",
    "sample_gaussian",
    "sample_gaussian_full_covariance",
    "sample_von_mises_fisher",
    "score_gradient",
    "sum_of_uniforms_normal",
    "translation",
]
