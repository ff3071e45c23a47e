"""What the estimators share: parameters, standardisation, training by `fit`, and evaluation in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions  # what BaseEstimator checks parameters by
from sklearn.utils.validation import check_is_fitted, validate_data

from genjax import data, networks
from genjax.data import batching
from genjax.errors import BadInput
from genjax.training.fit import fit
from genjax.types import Array, Model, Network, Params

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "logistic": networks.ACTIVATIONS["sigmoid"],
    "tanh": networks.ACTIVATIONS["tanh"],
    "relu": networks.ACTIVATIONS["relu"],
    "silu": networks.ACTIVATIONS["silu"],
}
"""Activations of hidden layers by scikit-learn's names, and SiLU."""

DTYPES: Any = ("float64", "float32")
"""The dtypes that are kept; of other data, results are float64."""

BLOCK = 128
"""Rows evaluated at a time."""

LARGEST = 1e15
"""The largest standardised value that is evaluated: float32 has room for its square."""


class Architecture(NamedTuple):
    """What the networks of an estimator are made from."""

    n_features: int
    n_components: int
    hidden: tuple[int, ...]
    activation: str

    def encoder(self, num_outputs: int) -> Network:
        """A network [B, n_features] -> [B, num_outputs]."""
        activation = ACTIVATIONS[self.activation]
        return networks.mlp((self.n_features,), (num_outputs,), hidden=self.hidden, activation=activation)

    def decoder(self) -> Network:
        """A network [B, n_components] -> [B, n_features], with the hidden layers in reverse order."""
        activation = ACTIVATIONS[self.activation]
        return networks.mlp((self.n_components,), (self.n_features,), hidden=self.hidden[::-1], activation=activation)


@lru_cache(maxsize=64)
def _compiled(function: Callable[..., Any], make_parts: Callable[..., Any], specification: tuple) -> Callable[..., Any]:
    return jax.jit(partial(function, parts=make_parts(*specification)))


class Estimator(BaseEstimator):
    """The base of the estimators, whose `fit` calls `_start` and then `_train`."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "standardize": ["boolean"],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    mean_: np.ndarray
    scale_: np.ndarray
    params_: Params
    loss_curve_: list[float]
    _specification: tuple

    def __init__(
        self,
        n_components: int | None = None,
        *,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        standardize: bool = True,
        batch_size: int = 32,
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.standardize = standardize
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.random_state = random_state
        self.verbose = verbose

    @staticmethod
    def _make_parts(*specification: Any) -> Any:
        """The parts of the model, from `_specification`, which can be hashed and pickled while they cannot."""
        raise NotImplementedError

    def _default_components(self, n_features: int) -> int:
        return max(1, n_features // 2)

    def _start(self, X: Any) -> tuple[np.ndarray, Architecture]:
        """Checks the parameters and the data, and chooses their standardisation.

        Returns:
          The data, float, and the architecture for them.
        """
        self._validate_params()
        X = np.asarray(validate_data(self, X, dtype=DTYPES))
        n_features = X.shape[1]
        self.mean_, self.scale_ = np.zeros(n_features), np.ones(n_features)
        if self.standardize:
            scaler = StandardScaler().fit(X.astype(np.float64))
            self.mean_, self.scale_ = np.asarray(scaler.mean_), np.asarray(scaler.scale_)
        hidden = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist()
        if not all(isinstance(width, Integral) and int(width) >= 1 for width in hidden):
            raise BadInput(f"expected whole numbers of at least 1, not {hidden}", parameter="hidden_layer_sizes")
        components = self.n_components
        self.n_components_ = self._default_components(n_features) if components is None else int(components)
        return X, Architecture(n_features, self.n_components_, tuple(map(int, hidden)), self.activation)

    def _train(self, model: Model, x: np.ndarray) -> Self:
        """Trains on standardised rows x, and keeps the parameters and the losses."""
        self._seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        batch_size = min(self.batch_size, len(x))
        per_epoch = len(x) // batch_size
        self.loss_curve_ = []
        state = fit(
            model,
            batching.source(data.from_arrays("X", x, x[:1], bounded=False), batch_size=batch_size),
            seed=self._seed,
            num_steps=self.max_iter * per_epoch,
            log_every=per_epoch,
            eval_every=0,
            report=lambda step, split, metrics: self.loss_curve_.append(metrics["loss"]),
            progress=bool(self.verbose),
        )
        self.params_ = jax.tree.map(np.array, state.params)
        self.n_iter_, self.loss_ = self.max_iter, self.loss_curve_[-1]
        return self

    def _optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.learning_rate_init)

    def _checked(self, X: Any) -> np.ndarray:
        """New rows of X, of the fitted features."""
        check_is_fitted(self, "params_")
        return np.asarray(validate_data(self, X, dtype=DTYPES, reset=False))

    def _checked_codes(self, Z: Any) -> np.ndarray:
        check_is_fitted(self, "params_")
        Z = np.asarray(check_array(Z, dtype=DTYPES))
        if Z.shape[1] != self.n_components_:
            raise ValueError(f"Z has {Z.shape[1]} columns, but the codes have {self.n_components_} components")
        return Z

    def _standardised(self, X: np.ndarray) -> np.ndarray:
        """(X - mean) / scale in double precision, as float32."""
        x = (X.astype(np.float64) - self.mean_) / self.scale_
        return np.clip(x, -LARGEST, LARGEST).astype(np.float32)

    def _restored(self, x: np.ndarray, dtype: Any) -> np.ndarray:
        """The inverse of `_standardised`."""
        return (x * self.scale_ + self.mean_).astype(dtype)

    def _by_rows(self, function: Callable[..., Array], x: np.ndarray, *args: Any) -> np.ndarray:
        """`function(params, rows, *args, parts=...)` of all rows, a block at a time.

        Each block has the same shape, so one program computes all of them, and the bits of a row do not depend on the
        rows beside it.
        """
        program = _compiled(function, type(self)._make_parts, self._specification)
        params = jax.device_put(self.params_)
        results = []
        for start in range(0, len(x), BLOCK):
            rows = x[start : start + BLOCK]
            block = np.zeros((BLOCK, x.shape[1]), np.float32)
            block[: len(rows)] = rows
            results.append(np.asarray(program(params, jnp.asarray(block), *args))[: len(rows)])
        return np.concatenate(results)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = [*DTYPES]
        return tags
