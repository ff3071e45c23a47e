"""The variational autoencoder as a transformer and a density."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from genjax import networks
from genjax.errors import BadInput
from genjax.losses import BERNOULLI, GAUSSIAN, gaussian_likelihood
from genjax.models import vae
from genjax.sklearn.estimator import Architecture, Estimator
from genjax.training.streams import streams
from genjax.types import Array, Key, Params


class VAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """A variational autoencoder: codes, a lower bound of the density, and new samples (Kingma & Welling 2014).

        p(z) = N(0, I),   q(z|x) = N(mu(x), diag sigma^2(x)),
        log p(x) >= ELBO(x) = E_q[log p(x|z)] - KL(q(z|x) || p(z))

    With likelihood="gaussian", p(s(x)|z) = N(m(z), v I), where s standardises each feature; ELBO(x) is that of x itself
    in the units of X, as `score_samples` of other densities is. With "bernoulli", features are independent bits, or
    grey values in [0, 1], and are not standardised.

    Args:
      n_components: dimensions of z; None for half of the features.
      likelihood: gaussian or bernoulli.
      variance: v of the Gaussian likelihood, a number in squared units of s(X), or "learned".
      n_draws: draws of z from which `score_samples` estimates the expectation.
      hidden_layer_sizes, activation, standardize, batch_size, learning_rate_init, max_iter, random_state, verbose:
        as in `Autoencoder`; random_state also draws z.

    A fitted estimator has the attributes of an `Autoencoder`; its losses are -ELBO of s(x), in nats.
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **Estimator._parameter_constraints,
        "likelihood": [StrOptions({"gaussian", "bernoulli"})],
        "variance": [StrOptions({"learned"}), Interval(Real, 0, None, closed="neither")],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int | None = None,
        *,
        likelihood: str = "gaussian",
        variance: str | float = "learned",
        n_draws: int = 100,
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
        self.likelihood = likelihood
        self.variance = variance
        self.n_draws = n_draws

    @staticmethod
    def _make_parts(architecture: Architecture, likelihood: str, variance: str | float) -> vae.VAE:
        dim, decoder = architecture.n_components, architecture.decoder()
        encoder = networks.gaussian_heads(architecture.encoder(2 * dim))
        if likelihood == "bernoulli":
            return vae.VAE(encoder, decoder, BERNOULLI, dim)
        if isinstance(variance, str):
            return vae.VAE(encoder, networks.with_log_variance(decoder), GAUSSIAN, dim)
        return vae.VAE(encoder, decoder, gaussian_likelihood(variance=variance), dim)

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on the rows of X [n_samples, n_features]; y is ignored.

        Raises:
          ValueError: values outside [0, 1] with a Bernoulli likelihood.
        """
        X, architecture = self._start(X)
        if self.likelihood == "bernoulli":
            self.mean_, self.scale_ = np.zeros_like(self.mean_), np.ones_like(self.scale_)
            if X.min() < 0 or X.max() > 1:
                raise BadInput(
                    f"'bernoulli' needs values in [0, 1], and X spans [{X.min():g}, {X.max():g}]",
                    parameter="likelihood",
                )
        self._specification = (architecture, self.likelihood, self.variance)
        parts = self._make_parts(*self._specification)
        return self._train(vae.model(parts, self._optimizer(), vae.objective(parts)), self._standardised(X))

    def transform(self, X: Any) -> np.ndarray:
        """The posterior means mu(x): X [n_samples, n_features] -> Z [n_samples, n_components]."""
        X = self._checked(X)
        return self._by_rows(_posterior_mean, self._standardised(X)).astype(X.dtype)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """The means E[x|z], in the units of X: Z [n_samples, n_components] -> [n_samples, n_features]."""
        Z = self._checked_codes(Z)
        return self._restored(self._by_rows(vae.decode, Z), Z.dtype)

    def score_samples(self, X: Any) -> np.ndarray:
        """The ELBO of each row, a lower bound of log p(x), averaged over `n_draws` draws of z.

        The draws are the same for every row and in every call, so that the score is a function of the row alone.

        Args:
          X: [n_samples, n_features].

        Returns:
          [n_samples] float64, in nats.
        """
        x = self._standardised(self._checked(X))
        keys = jax.random.split(streams(self._seed).test, self.n_draws)
        bound = -self._by_rows(_negative_elbo, x, keys).astype(np.float64)
        return bound - np.sum(np.log(self.scale_))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, for model selection; y is ignored."""
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """New rows x ~ p(x|z), z ~ p(z), in the units of X: [n_samples, n_features] float64."""
        check_is_fitted(self, "params_")
        key = jax.random.key(check_random_state(random_state).randint(np.iinfo(np.int32).max))
        x = vae.generate(self.params_, n_samples, key, parts=self._make_parts(*self._specification))
        return self._restored(np.asarray(x), np.float64)


def _posterior_mean(params: Params, x: Array, *, parts: vae.VAE) -> Array:
    return parts.posterior.mean(vae.encode(params, x, parts=parts))


def _negative_elbo(params: Params, x: Array, keys: Key, *, parts: vae.VAE) -> Array:
    """The mean of the one-sample estimates at each key, whose noise all rows share: x [B, D] -> [B]."""

    def at(key: Key) -> Array:
        return jax.vmap(lambda row: vae.negative_elbo(params, row[None], key, parts=parts)[0])(x)

    return jnp.mean(jax.lax.map(at, keys), axis=0)
