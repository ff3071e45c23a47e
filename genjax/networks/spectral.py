"""Spectral normalisation: a network whose layers are linear maps of norm 1."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.types import Array, Key, Network, Params

_SMALLEST = 1e-12


def _matrices(params: Params) -> dict[str, Array]:
    """Every kernel by its path, as a matrix [inputs, outputs]; biases and scalars are left out."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {_name(path): leaf.reshape(-1, leaf.shape[-1]) for path, leaf in leaves if jnp.ndim(leaf) >= 2}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _unit(vector: Array) -> Array:
    # scalars are inverted first: XLA divides by them, or multiplies by their inverse, as the number of devices has it
    return vector * jnp.reciprocal(jnp.maximum(jnp.linalg.norm(vector), _SMALLEST))


def _iterate(matrices: dict[str, Array], vectors: dict[str, Array]) -> dict[str, Array]:
    """One power iteration of W^T W on each vector."""
    return {name: _unit(w.T @ (w @ vectors[name])) for name, w in matrices.items()}


def spectral_norm(network: Network, *, num_start: int = 15) -> tuple[Network, Callable[[Params], Params]]:
    """Divides each kernel by an estimate of its largest singular value.

        W / sigma,   sigma = v^T W u,   v = W u / ||W u||,   u <- W^T W u / ||W^T W u||

    with W [inputs, outputs], a convolution's [kh * kw * C, O]. It is exact where u is the first right singular vector;
    no gradient flows into u and v. A convolution may still stretch its input by more, because its patches overlap.

    Args:
      network: any; its kernels are its parameters of two axes or more.
      num_start: power iterations that `init` makes from a random u.

    Returns:
      (the network, whose params are {"network": the given one's, "vectors": {path: u [outputs]}}; `power_iteration`,
      params -> params with each u refined once, which is due after every update).

    Source: Miyato et al. 2018, algorithm 1.
    """

    def init(key: Key) -> Params:
        network_key, vector_key = jax.random.split(key)
        params = network.init(network_key)
        matrices = _matrices(params)
        keys = jax.random.split(vector_key, len(matrices))
        vectors = {
            name: _unit(jax.random.normal(each, w.shape[1:], w.dtype))
            for (name, w), each in zip(matrices.items(), keys, strict=True)
        }
        vectors = jax.lax.fori_loop(0, num_start, lambda _, u: _iterate(matrices, u), vectors)
        return {"network": params, "vectors": vectors}

    def apply(params: Params, *inputs: Array) -> Array:
        weights, vectors = params["network"], jax.lax.stop_gradient(params["vectors"])
        sigma = {}
        for name, w in _matrices(weights).items():
            v = jax.lax.stop_gradient(_unit(w @ vectors[name]))
            sigma[name] = jnp.maximum(v @ w @ vectors[name], _SMALLEST)
        normalised = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf * jnp.reciprocal(sigma[_name(path)]) if _name(path) in sigma else leaf, weights
        )
        return network.apply(normalised, *inputs)

    def power_iteration(params: Params) -> Params:
        return params | {"vectors": _iterate(_matrices(params["network"]), params["vectors"])}

    return Network(init, apply), power_iteration
