"""Networks made of networks: the output heads of encoders and decoders, and labels as an input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from genjax.types import Array, Key, Network, Params, StatefulNetwork

T = TypeVar("T", bound=Network | StatefulNetwork)


def around(
    network: T,
    *,
    inputs: Callable[..., tuple[Any, ...]] | None = None,
    output: Callable[..., Any] | None = None,
) -> T:
    """A network with functions without parameters before and after it, in training and in evaluation.

        y = output(network(inputs(x, ...)), x, ...)

    Args:
      network: whose params, and whose statistics if it is stateful, are those of the result.
      inputs: what the result is given -> a tuple of what the network is given; None for the same.
      output: what the network returns, and what the result is given -> y; None for the former.
    """

    def given(*x: Any) -> tuple[Any, ...]:
        return x if inputs is None else inputs(*x)

    def read(y: Any, *x: Any) -> Any:
        return y if output is None else output(y, *x)

    def apply(params: Params, *x: Any) -> Any:
        return read(network.apply(params, *given(*x)), *x)

    if not isinstance(network, StatefulNetwork):
        return network._replace(apply=apply)

    def train(params: Params, *x: Any, key: Key) -> tuple[Any, Any]:
        y, statistics = network.train(params, *given(*x), key=key)
        return read(y, *x), statistics

    return network._replace(apply=apply, train=train)


def gaussian_heads(network: T) -> T:
    """Reads the last output dimension, 2d, as a diagonal Gaussian's (mean [B, d], log_variance [B, d]).

    The encoder of a VAE: q(z|x) = N(mean, diag exp(log_variance)) (Kingma & Welling 2014, appendix C.2).

    Raises:
      ValueError: at apply, an odd last dimension.
    """

    def halves(y: Array, *inputs: Array) -> tuple[Array, Array]:
        if y.shape[-1] % 2:
            raise ValueError(f"the last dimension must be even, to be split in two halves, got {y.shape}")
        mean, log_variance = jnp.split(y, 2, axis=-1)
        return mean, log_variance

    return around(network, output=halves)


def full_covariance_heads(network: Network, latent_dim: int) -> Network:
    """Reads the last output dimension as a Gaussian's mean and Cholesky factor, (mean [B, d], L [B, d, d]).

    The encoder of a VAE whose posterior has any covariance: q(z|x) = N(mean, L L^T) (Kingma & Welling 2019, section
    2.5.1). L is lower triangular, with the exponentials of half the log-variances on its diagonal.

    Args:
      network: gives [B, d + d (d + 1) / 2]: the mean, the d log-variances, and the entries below the diagonal by rows.
      latent_dim: d.

    Raises:
      ValueError: at apply, another last dimension.
    """
    rows, columns = np.tril_indices(latent_dim, -1)

    def apply(params: Params, *inputs: Array) -> tuple[Array, Array]:
        y = network.apply(params, *inputs)
        if y.shape[1:] != (2 * latent_dim + len(rows),):
            raise ValueError(f"{latent_dim} dimensions need {2 * latent_dim + len(rows)} outputs, got {y.shape}")
        mean, log_variance, below = jnp.split(y, [latent_dim, 2 * latent_dim], axis=-1)
        cholesky = jax.vmap(jnp.diag)(jnp.exp(log_variance / 2)).at[:, rows, columns].set(below)
        return mean, cholesky

    return Network(network.init, apply)


def von_mises_fisher_heads(network: Network) -> Network:
    """Reads the last output dimension, d + 1, as a von Mises-Fisher (mean direction [B, d], concentration [B]).

        y = (v, a),   mu = v / ||v||,   k = 1 + softplus(a)

    The encoder of a VAE whose codes lie on the unit sphere. As in the code of Davidson et al. (2018), the concentration
    is above 1, so that no posterior becomes uniform.
    """

    def apply(params: Params, *inputs: Array) -> tuple[Array, Array]:
        y = network.apply(params, *inputs)
        return unit_vectors(y[..., :-1]), 1 + jax.nn.softplus(y[..., -1])

    return Network(network.init, apply)


def unit_vectors(x: Array) -> Array:
    """Vectors [..., d] divided by their lengths, or by 1e-6 if they are shorter: x / ||x||."""
    # not a division, which XLA turns into a product with the reciprocal in some programs only, with other bits
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-12))


def with_log_variance(network: Network, *, initial: float = 0.0, num_features: int | None = None) -> Network:
    """Adds one learned scalar: apply returns (the network's output, log_variance []).

    The decoder of a VAE with p(x|z) = N(mean, exp(log_variance) I), its variance learned as in sigma-VAE
    (Rybkin, Daniilidis & Levine 2021). Its params are {"mean": the network's, "log_variance": []}.

    Args:
      network: gives the mean.
      initial: log_variance before training.
      num_features: D, if each of the features is to have its own: log_variance [D].
    """
    shape = () if num_features is None else (num_features,)

    def init(key: Key) -> Params:
        return {"mean": network.init(key), "log_variance": jnp.full(shape, initial, jnp.float32)}

    def apply(params: Params, *inputs: Array) -> tuple[Array, Array]:
        return network.apply(params["mean"], *inputs), params["log_variance"]

    return Network(init, apply)


def with_label(network: T, num_classes: int) -> T:
    """Makes a network conditional on a label: `apply(params, x, label)`, with label [B] integers.

    The label is appended to the last axis of x as a one-hot vector, in every place: [B, ..., C] -> [B, ..., C + K]
    (Mirza & Osindero 2014).

    Args:
      network: takes [B, ..., C + K].
      num_classes: K.

    Raises:
      ValueError: at apply, a label that is None.
    """

    def labelled(x: Array, label: Array | None) -> tuple[Array]:
        _check_label(label, num_classes)
        one_hot = jax.nn.one_hot(label, num_classes, dtype=x.dtype)
        one_hot = one_hot.reshape(x.shape[0], *(1,) * (x.ndim - 2), num_classes)
        return (jnp.concatenate([x, jnp.broadcast_to(one_hot, (*x.shape[:-1], num_classes))], axis=-1),)

    return around(network, inputs=labelled)


def discriminator_heads(network: T) -> T:
    """Reads the last output dimension, 1 + K, as a discriminator's (logit [B], further outputs [B, K]).

    Both are heads on one body, of which the last layer of the network is common: the class logits of an auxiliary
    classifier (Odena et al. 2017), or the parameters of Q(c|x) in an InfoGAN (Chen et al. 2016).
    """
    return around(network, output=lambda y, *inputs: (y[:, 0], y[:, 1:]))


def label_projection(network: T, num_classes: int) -> T:
    """Makes a discriminator conditional on a label by a projection: `apply(params, x, label)` -> logit [B].

        a(x, y) = v_y^T phi(x) + psi(phi(x))

    psi and the rows v_y, each with its bias, are the network's last layer, which has one output of psi and one for each
    class. The first term is for log p(y|x) / g(y|x), the second for log p(x) / g(x); their sum is the best logit.

    Args:
      network: x -> [B, 1 + K], linear in its features phi.
      num_classes: K.

    Raises:
      ValueError: at apply, a label that is None.

    Source: Miyato & Koyama 2018, equations 3 to 5.
    """

    def unlabelled(x: Array, label: Array | None) -> tuple[Array]:
        _check_label(label, num_classes)
        return (x,)

    def projected(heads: tuple[Array, Array], x: Array, label: Array | None) -> Array:
        unconditional, of_classes = heads
        return unconditional + jnp.sum(of_classes * jax.nn.one_hot(label, num_classes, dtype=x.dtype), axis=-1)

    return around(discriminator_heads(network), inputs=unlabelled, output=projected)


def _check_label(label: Array | None, num_classes: int) -> None:
    if label is None:
        raise ValueError(f"a network conditional on {num_classes} classes needs labels, and got none")


def class_probabilities(network: Network, num_classes: int) -> Network:
    """Makes probabilities of the first K outputs of a network: [B, K + d] -> (softmax(y), z) [B, K + d].

    The encoder of a code of a class and a style (Makhzani et al. 2016, section 5); the params are the network's.

    Args:
      network: gives the logits of the classes and the d other numbers, [B, K + d].
      num_classes: K.
    """

    def apply(params: Params, *inputs: Array) -> Array:
        y = network.apply(params, *inputs)
        # not a softmax, whose division XLA turns into a product with the inverse in some programs only
        probabilities = jnp.exp(jax.nn.log_softmax(y[:, :num_classes]))
        return jnp.concatenate([probabilities, y[:, num_classes:]], axis=1)

    return Network(network.init, apply)


def in_parts(networks: Sequence[Network], sizes: Sequence[int]) -> Network:
    """Networks of consecutive parts of a vector: x [B, sum of sizes] -> the tuple of their outputs.

    Such are discriminators of the parts of a code, whose logits are scales of a game. The params are {"part_1", ...}.

    Args:
      networks: each of a part.
      sizes: of the parts.
    """
    ends = [int(end) for end in np.cumsum(sizes)]

    def init(key: Key) -> Params:
        keys = jax.random.split(key, len(networks))
        return {f"part_{i}": network.init(k) for i, (network, k) in enumerate(zip(networks, keys, strict=True), 1)}

    def apply(params: Params, x: Array) -> tuple[Any, ...]:
        parts = jnp.split(x, ends[:-1], axis=1)
        return tuple(
            network.apply(params[f"part_{i}"], part)
            for i, (network, part) in enumerate(zip(networks, parts, strict=True), 1)
        )

    return Network(init, apply)


def missing_as_zero(network: Network) -> Network:
    """Gives a network its input with 0 in the place of missing values, which are NaN.

    The encoder of a VAE of incomplete examples (Mattei & Frellsen 2019, section 3.2).
    """

    def apply(params: Params, x: Array, *context: Any) -> Any:
        return network.apply(params, jnp.where(jnp.isnan(x), 0, x), *context)

    return Network(network.init, apply)


def flattened(network: Network) -> Network:
    """Flattens x before a network of vectors: x [B, ...] -> [B, D], in row-major order.

    With `with_label` inside, the label is appended once, where it would otherwise be appended at each pixel.
    """

    def apply(params: Params, x: Array, *inputs: Array) -> Any:
        return network.apply(params, x.reshape(x.shape[0], -1), *inputs)

    return Network(network.init, apply)
