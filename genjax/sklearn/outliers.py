"""Outlier detection by an autoencoder's reconstruction error."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils._param_validation import Interval

from genjax.sklearn.autoencoder import Reconstructing


class OutlierDetector(OutlierMixin, Reconstructing):
    """Outliers are the rows that an autoencoder reconstructs poorly (Hawkins et al. 2002).

        score(x) = -||s(x) - s(x')||^2,   x is an outlier if score(x) < offset

    where s standardises each feature and x' is the reconstruction.

    Args:
      n_components, hidden_layer_sizes, activation, standardize, batch_size, learning_rate_init, max_iter, random_state,
        verbose: as in `Autoencoder`.
      contamination: the share of the training rows that are outliers, in (0, 0.5].

    A fitted detector has the attributes of an `Autoencoder` and

    - `offset_`: the score below which a row is an outlier, the percentile `100 * contamination` of the training scores.
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **Reconstructing._parameter_constraints,
        "contamination": [Interval(Real, 0, 0.5, closed="right")],
    }

    def __init__(
        self,
        n_components: int | None = None,
        *,
        contamination: float = 0.1,
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
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains on the rows of X [n_samples, n_features], and sets `offset_`; y is ignored."""
        super().fit(X, y)
        self.offset_ = float(np.percentile(self.score_samples(X), 100 * self.contamination))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples(X) - offset_`: [n_samples], negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """-1 for outliers and 1 for inliers: [n_samples] int."""
        return np.where(self.decision_function(X) < 0, -1, 1)
