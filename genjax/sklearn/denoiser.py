"""The denoising autoencoder as a transformer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar, Self

import jax.numpy as jnp
import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions

from genjax import gradients, stochastic
from genjax.errors import BadInput
from genjax.losses import SQUARED_ERROR
from genjax.models import autoencoder
from genjax.sklearn.estimator import Architecture, Estimator
from genjax.stochastic import Corruption
from genjax.types import Array, Batch, Key, Params

NOISES: dict[str, Callable[[float], Corruption]] = {
    "gaussian": lambda level: stochastic.gaussian_noise(scale=level),
    "rayleigh": lambda level: stochastic.rayleigh_noise(scale=level),
    "centred_rayleigh": lambda level: stochastic.centred_rayleigh_noise(scale=level),
    "salt_and_pepper": lambda level: stochastic.salt_and_pepper_noise(probability=level),
    "masking": lambda level: stochastic.masking_noise(probability=level),
    "speckle": lambda level: stochastic.rayleigh_speckle(),
}
"""Kinds of noise, as functions of `noise_level`."""


class Denoiser(OneToOneFeatureMixin, TransformerMixin, Estimator):
    """A denoising autoencoder: the clean row from the noisy one (Vincent et al. 2008).

        min E ||s(x) - decoder(encoder(s(x~)))||^2

    where x~ is noisy, x is clean, and s standardises each feature. It learns from clean rows, to which it adds noise
    anew at every step, or from pairs of noisy and clean rows. Without hidden layers it converges to the Wiener filter.

    Args:
      n_components: dimensions of the code, which may be more than the features; None for as many as features.
      noise: gaussian, rayleigh, centred_rayleigh, salt_and_pepper, masking or speckle, as in `genjax.stochastic`.
      noise_level: the scale of Gaussian or Rayleigh noise, in units of X, or the probability with which masking or
        salt-and-pepper noise replaces a value by 0, or by 0 or 1. Speckle has none.
      hidden_layer_sizes, activation, standardize, batch_size, learning_rate_init, max_iter, random_state, verbose:
        as in `Autoencoder`.

    A fitted denoiser has the attributes of an `Autoencoder`.
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **Estimator._parameter_constraints,
        "noise": [StrOptions(set(NOISES))],
        "noise_level": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int | None = None,
        *,
        noise: str = "gaussian",
        noise_level: float = 0.1,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        standardize: bool = True,
        batch_size: int = 32,
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            n_components,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            standardize=standardize,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            random_state=random_state,
            verbose=verbose,
        )
        self.noise = noise
        self.noise_level = noise_level

    @staticmethod
    def _make_parts(architecture: Architecture) -> autoencoder.Autoencoder:
        encoder, decoder = architecture.encoder(architecture.n_components), architecture.decoder()
        return autoencoder.Autoencoder(encoder, decoder, SQUARED_ERROR)

    def _default_components(self, n_features: int) -> int:
        return n_features

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on clean rows, or on pairs of noisy and clean rows.

        Args:
          X: [n_samples, n_features], clean; noisy if y is given.
          y: the clean rows of noisy ones, of X's shape; `noise` is then not used. Labels [n_samples], as a pipeline
            passes them on, are ignored.

        Raises:
          ValueError: a y of two dimensions that does not have X's shape, or a `noise_level` that is not a probability.
        """
        X, architecture = self._start(X)
        self._specification = (architecture,)
        parts, x = self._make_parts(architecture), self._standardised(X)
        if y is None or np.asarray(y).ndim < 2:
            objective = autoencoder.objective(parts, corruption=self._corruption())
            return self._train(autoencoder.model(parts, self._optimizer(), objective), x)
        clean = np.asarray(check_array(y, dtype=str(X.dtype), input_name="y"))
        if clean.shape != X.shape:
            raise BadInput(f"clean rows need the shape of X, {X.shape}, not {clean.shape}", parameter="y")
        model = autoencoder.model(parts, self._optimizer(), _paired(parts))
        return self._train(model, np.concatenate([x, self._standardised(clean)], axis=1))

    def transform(self, X: Any) -> np.ndarray:
        """The rows without noise: X [n_samples, n_features] -> [n_samples, n_features], in the units of X."""
        X = self._checked(X)
        return self._restored(self._by_rows(autoencoder.reconstruct, self._standardised(X)), X.dtype)

    def _corruption(self) -> Corruption:
        """The noise, in units of X, of standardised rows."""
        if self.noise in ("masking", "salt_and_pepper") and self.noise_level > 1:
            raise BadInput(
                f"the probability of {self.noise} noise must be at most 1, not {self.noise_level}",
                parameter="noise_level",
            )
        noise = NOISES[self.noise](self.noise_level)
        mean, scale = (jnp.asarray(a, jnp.float32)[None] for a in (self.mean_, self.scale_))
        return lambda x, key: (noise(x * scale + mean, key) - mean) / scale


def _paired(parts: autoencoder.Autoencoder) -> gradients.Objective:
    """The loss of reconstructing the second half of each row from the first."""

    def objective(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        noisy, clean = jnp.split(batch.x, 2, axis=1)
        output = parts.decoder.apply(params["decoder"], autoencoder.encode(params, noisy, parts=parts))
        return parts.reconstruction.loss(output, clean), {}

    return objective
