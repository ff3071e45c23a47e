"""Shared types: batches are records of arrays, and networks and models are records of pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

Array = jax.Array  # of any shape, which the comments beside it give
Key = jax.Array  # a typed key, as `jax.random.key(0)` makes it
Params = Any  # a pytree of arrays
Scalar = float | jax.Array  # a hyper-parameter, fixed or scheduled
Metrics = dict[str, Array]  # scalars by name, the same names at every step

DEVICES = "devices"  # the axis of a mesh over which a run is spread


class Batch(NamedTuple):
    """Examples with their labels, as the image sources give them."""

    x: Array  # [B, ...] float32; images [B, H, W, C] in [0, 1]
    label: Array | None = None  # [B] int32


class Pair(NamedTuple):
    """Two pictures of each of B identities, no identity twice."""

    target: Array  # [B, H, W, C] in [0, 1]
    source: Array  # the same shape; row i of the same identity as row i of target


class Network(NamedTuple):
    """A parametric function: `init(key)` makes the parameters, `apply(params, *inputs)` uses them.

    It may be hand-written or come from any library.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Any]


def check_networks(**networks: Any) -> None:
    """Checks that the parts of a model are networks, as a module of another library is not.

    Raises:
      TypeError: a part is something else; the message has its name and what makes a network of it.
    """
    for name, network in networks.items():
        if not isinstance(network, Network | StatefulNetwork):
            raise TypeError(
                f"{name}: a value of type {type(network).__name__} is not a Network; "
                "genjax.networks.from_linen(module, shape), from_nnx and from_equinox make one of a module"
            )


class StatefulNetwork(NamedTuple):
    """A network that behaves differently in training, with dropout or batch normalisation.

    `apply` is the network in evaluation: without dropout, normalised by the moving averages in the params.
    `train` draws dropout from the key and normalises by the batch; its statistics, a pytree of sums, are what an
    objective returns as its third value, and `refresh`, applied after the update, sets the moving averages by them.
    Keep the averages from the optimizer: `gradients.frozen(optimizer, "batch_stats")`.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Any]  # params, *inputs -> output
    train: Callable[..., tuple[Any, Any]]  # params, *inputs, key=key -> output, statistics
    refresh: Callable[[Params, Any], Params]  # params, statistics -> params


class Flow(NamedTuple):
    """A bijection of vectors whose Jacobian has a known determinant, with parameters: a normalising flow, or its layer.

    `forward(params, z, *context)` -> (u [B, d], log |det du/dz| [B]) for z [B, d], and `inverse(params, u, *context)`
    -> (z, log |det dz/du|), in nats. `inverse` is None where it has no closed form, as of a planar layer.
    """

    init: Callable[[Key], Params]
    forward: Callable[..., tuple[Array, Array]]
    inverse: Callable[..., tuple[Array, Array]] | None = None


class Codec(NamedTuple):
    """A model's encoder and decoder, each with its own parameters."""

    encoder: Network  # x [B, ...] -> z [B, d]; of a VAE the posterior mean
    decoder: Network  # z [B, d] -> x [B, ...]; of a VAE the mean of p(x|z)
    has_prior: bool  # whether decoding z ~ N(0, I) gives samples of the model


class State(Protocol):
    """The fields that the state of every model has; the whole state is the checkpoint."""

    @property
    def step(self) -> Array: ...  # [] int32, updates done

    @property
    def params(self) -> Params: ...  # what `params_sha256` is taken of


class Model(NamedTuple):
    """A model as four pure functions, all that the training loop uses.

    `train_step` folds `state.step` into the key, so the caller always passes the same key; its metrics are those of the
    parameters before the update. `evaluate` returns means over the batch. `sample` is None if the model cannot sample;
    a conditional model takes its context, of `num` rows, after the key. A model whose `init` also takes params, as
    those of `genjax.models` do, can start from given weights.
    """

    init: Callable[..., Any]  # key, params=None -> state, with these params where they are given
    train_step: Callable[[Any, Any, Key], tuple[Any, Metrics]]  # state, batch, key -> state, metrics
    evaluate: Callable[[Any, Any, Key], Metrics]  # state, batch, key -> metrics
    sample: Callable[..., Array] | None = None  # state, num, key, *context -> [num, ...]

    def __repr__(self) -> str:
        return f"Model({', '.join(name for name in self._fields if getattr(self, name) is not None)})"
