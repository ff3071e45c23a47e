"""The autoencoder as a transformer."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from genjax.errors import BadInput
from genjax.losses import SQUARED_ERROR
from genjax.models import autoencoder
from genjax.sklearn.estimator import Architecture, Estimator


class Reconstructing(Estimator):
    """The base of estimators that are trained to reconstruct X from a smaller code."""

    @staticmethod
    def _make_parts(architecture: Architecture) -> autoencoder.Autoencoder:
        encoder, decoder = architecture.encoder(architecture.n_components), architecture.decoder()
        return autoencoder.Autoencoder(encoder, decoder, SQUARED_ERROR)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on the rows of X [n_samples, n_features]; y is ignored."""
        X, architecture = self._start(X)
        if architecture.n_components >= architecture.n_features:
            raise BadInput(
                f"a code of {architecture.n_components} is not smaller than the data, which have "
                f"n_features={architecture.n_features}",
                parameter="n_components",
            )
        self._specification = (architecture,)
        parts = self._make_parts(architecture)
        model = autoencoder.model(parts, self._optimizer(), autoencoder.objective(parts))
        return self._train(model, self._standardised(X))

    def score_samples(self, X: Any) -> np.ndarray:
        """The negative reconstruction error of each row.

            -||s(x) - s(x')||^2,   s the standardisation

        Args:
          X: [n_samples, n_features].

        Returns:
          [n_samples] float64, <= 0; smaller for rows unlike the training data.
        """
        return -self._by_rows(autoencoder.score, self._standardised(self._checked(X))).astype(np.float64)


class Autoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Reconstructing):
    """Nonlinear reduction of dimension: a code from which X can be reconstructed (Hinton & Salakhutdinov 2006).

        z = encoder(s(x)),   x' = s^-1(decoder(z)),   min E ||s(x) - s(x')||^2

    where s standardises each feature. Without hidden layers it converges to the subspace of PCA of s(X).

    Args:
      n_components: dimensions of the code, fewer than the features; None for half of the features.
      hidden_layer_sizes: widths of the encoder's hidden layers; the decoder has them in reverse order. () for none.
      activation: of the hidden layers: identity, logistic, tanh, relu or silu.
      standardize: whether features are brought to mean 0 and variance 1 before training. The scale is taken out of the
        results again, except for losses and scores.
      batch_size: of one update of Adam; if X has fewer rows, all of them. The incomplete last batch of an epoch is left
        out, another one in each epoch.
      learning_rate_init: the learning rate, which stays constant.
      max_iter: number of epochs, as in scikit-learn's MLP; there is no early stopping.
      random_state: of the initial parameters and of the order of the rows; see `genjax.sklearn` for the same bits.
      verbose: whether to show progress on standard error.

    A fitted estimator has the attributes

    - `params_`: parameters of encoder and decoder, {"encoder": {"layer_1": {"kernel", "bias"}, ...}, "decoder": ...}.
    - `mean_`, `scale_`: of the standardisation, [n_features]; 0 and 1 without.
    - `n_components_`: dimensions of the code.
    - `n_iter_`: epochs of training.
    - `loss_curve_`, `loss_`: mean loss during each epoch, and during the last.
    - `n_features_in_`, `feature_names_in_`: as in all estimators of scikit-learn.

    float32 data give float32 results, others float64; the networks compute in float32.
    """

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def transform(self, X: Any) -> np.ndarray:
        """The codes of the rows: X [n_samples, n_features] -> Z [n_samples, n_components]."""
        X = self._checked(X)
        return self._by_rows(autoencoder.encode, self._standardised(X)).astype(X.dtype)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Reconstructions from codes, in the units of X: Z [n_samples, n_components] -> [n_samples, n_features]."""
        Z = self._checked_codes(Z)
        return self._restored(self._by_rows(autoencoder.decode, Z), Z.dtype)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`, for model selection; y is ignored."""
        return float(np.mean(self.score_samples(X)))
