"""The sparse autoencoder, a dictionary of features that few units use at a time, as it is trained on activations.

    z = encoder(x) >= 0,   x' = decoder(z),   J = l(x, x') + sum_m l(x, x'_m) + lambda R + l(x, x'_g) + alpha J_aux

R is the encoder's penalty, and x'_g the decoder's reconstruction of a gated encoder's second code, which does not move
the decoder. With prefixes m (Matryoshka), x'_m is the reconstruction from the first m units, so that these hold the
most general features. J_aux lets units that have not been active for long learn the error of the others:

    J_aux = ||e - e'||^2,   e = sg(x - x'),   e' = decoder(z_dead) - decoder(0),
    z_dead = the k_aux largest of relu(a) among these units

Of data of any mean and scale, `standardised` parts take and return examples in the units of the data, and `in_units`
computes the objective of the standardised ones, so that weights mean the same whatever these units are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients, networks
from genjax.losses import Reconstruction, squared_error
from genjax.models import autoencoder, descent
from genjax.networks import STANDARD, Dictionary, SparseCode, SparseEncoder, Standard, k_sparse
from genjax.types import Array, Batch, Key, Model, Network, Params, check_networks

MOST = 2.0**24  # up to which float32 counts examples


class SparseAutoencoder(NamedTuple):
    """The parts; the params are {"encoder", "decoder"}, and "inactive_for" [d] with `Revival`."""

    encoder: SparseEncoder
    decoder: Network | Dictionary  # z [B, d] -> what the reconstruction takes; its atoms should have norm 1
    reconstruction: Reconstruction

    @property
    def autoencoder(self) -> autoencoder.Autoencoder:
        """The autoencoder in evaluation, as the functions of `models.autoencoder` take it."""
        return autoencoder.Autoencoder(
            Network(self.encoder.init, self.encoder.apply),
            Network(self.decoder.init, self.decoder.apply),
            self.reconstruction,
        )


class Revival(NamedTuple):
    """The auxiliary term J_aux (Gao et al. 2024, section A.2)."""

    num_units: int  # d
    weight: float = 1 / 32  # alpha
    at_most: int = 512  # k_aux
    after: float = 10_000_000  # examples without activity after which a unit is dead


def init_params(key: Key, *, parts: SparseAutoencoder, revival: Revival | None = None) -> Params:
    """Fresh parameters of both networks."""
    if not isinstance(parts.decoder, Dictionary):
        check_networks(decoder=parts.decoder)
    encoder_key, decoder_key = jax.random.split(key)
    params = {"encoder": parts.encoder.init(encoder_key), "decoder": parts.decoder.init(decoder_key)}
    return params if revival is None else params | {"inactive_for": jnp.zeros(revival.num_units)}


def objective(
    parts: SparseAutoencoder,
    *,
    weight: float = 0.0,
    prefixes: Sequence[int] = (),
    revival: Revival | None = None,
    evaluation: bool = False,
) -> gradients.Objective:
    """The objective J of this module.

    Args:
      weight: lambda, of the encoder's penalty.
      prefixes: the numbers m of first units, each of which reconstructs too.
      revival: the auxiliary term; without one, units that died stay dead.
      evaluation: take the codes that the encoder has in evaluation, for `model(evaluation=...)`.

    Returns:
      `objective(params, batch, key) -> (loss [B], metrics [B], statistics)`: "reconstruction_loss", the encoder's
      penalty by its name; "prefix_loss", "gate_loss", "revival_loss" and "dead_units" where there are such terms.

    Source: Bussmann et al. 2025 (Matryoshka), equation 4; Rajamanoharan et al. 2024 (gated), equation 8; Gao et al.
    2024, section A.2.
    """

    def sparse(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array], Any]:
        del key
        code = parts.encoder.train(params["encoder"], batch.x)
        if evaluation:
            code = code._replace(z=parts.encoder.apply(params["encoder"], batch.x), active=None)
        output = _decoded(parts, params["decoder"], code)
        loss = parts.reconstruction.loss(output, batch.x)
        metrics = {"reconstruction_loss": loss}
        for name, value in code.penalty.items():
            loss += weight * value
            metrics[name] = value
        terms: dict[str, Array] = {}
        if prefixes:
            outputs = [_decoded(parts, params["decoder"], _first(m, code)) for m in prefixes]
            of_prefixes = [parts.reconstruction.loss(each, batch.x) for each in outputs]
            terms["prefix_loss"] = jnp.sum(jnp.stack(of_prefixes), axis=0)
        if code.gate is not None:
            of_gate = parts.decoder.apply(jax.lax.stop_gradient(params["decoder"]), code.gate)
            terms["gate_loss"] = parts.reconstruction.loss(of_gate, batch.x)
        for term in terms.values():
            loss += term
        statistics: dict[str, Any] = {"encoder": code.statistics}
        if revival is not None:
            dead = params["inactive_for"] >= revival.after
            terms["revival_loss"] = _revival_loss(parts, params, batch.x, output, code, dead, revival.at_most)
            loss += revival.weight * terms["revival_loss"]
            terms["dead_units"] = jnp.full(loss.shape, jnp.sum(dead, dtype=loss.dtype))
            active = jnp.sum(code.z > 0, axis=0, dtype=loss.dtype)
            statistics |= {"active": active, "num": jnp.full([], len(batch.x), loss.dtype)}
        return loss, metrics | terms, statistics

    return sparse


def _decoded(parts: SparseAutoencoder, params: Params, code: SparseCode) -> Array:
    """The decoder's output of a code, by its active units where that is quicker."""
    if code.active is not None and isinstance(parts.decoder, Dictionary):
        return parts.decoder.of_active(params, *code.active)
    return parts.decoder.apply(params, code.z)


def _first(num: int, code: SparseCode) -> SparseCode:
    """The code with the first units alone."""
    z = jnp.where(jnp.arange(code.z.shape[1])[None] < num, code.z, 0)
    if code.active is None:
        return code._replace(z=z)
    values = jnp.where(code.active.places < num, code.active.values, 0)
    return code._replace(z=z, active=code.active._replace(values=values))


def _revival_loss(
    parts: SparseAutoencoder, params: Params, x: Array, output: Array, code: SparseCode, dead: Array, at_most: int
) -> Array:
    """J_aux, [B]; 0 while no unit is dead."""
    error = jax.lax.stop_gradient(x - parts.reconstruction.mean(output))
    candidates = jnp.where(dead[None], jax.nn.relu(code.preactivation), 0)
    chosen = k_sparse(candidates, k=min(at_most, candidates.shape[1]))
    of_zero = parts.decoder.apply(params["decoder"], jnp.zeros_like(chosen[:1]))
    explained = parts.decoder.apply(params["decoder"], chosen) - of_zero
    return jnp.where(jnp.any(dead), squared_error(explained, error), 0)


def refresh(params: Params, statistics: Any, *, parts: SparseAutoencoder) -> Params:
    """The params with the batch's statistics folded in: thresholds, and for how many examples units were inactive."""
    params = params | {"encoder": parts.encoder.refresh(params["encoder"], statistics["encoder"])}
    if "inactive_for" not in params:
        return params
    waited = jnp.minimum(params["inactive_for"] + statistics["num"], MOST)
    return params | {"inactive_for": jnp.where(statistics["active"] > 0, 0, waited)}


def model(
    parts: SparseAutoencoder,
    optimizer: optax.GradientTransformation,
    objective: gradients.Objective | descent.Scheduled,
    *,
    evaluation: gradients.Objective | None = None,
    revival: Revival | None = None,
    averaging: float | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """A sparse autoencoder that trains on the given objective: `objective(parts)` of this module, or one of your own.

    Args:
      evaluation: as for `descent.model`; by default `objective`, whose codes are those of training.
      revival: the same as the objective's.
      averaging: as for `descent.model`.
      reduction: how gradients and statistics are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model; it cannot sample.
    """
    names = (*parts.encoder.frozen, *(("inactive_for",) if revival else ()))
    return descent.model(
        partial(init_params, parts=parts, revival=revival),
        gradients.frozen(optimizer, *names) if names else optimizer,
        objective,
        evaluation=evaluation,
        refresh=partial(refresh, parts=parts),
        averaging=averaging,
        reduction=reduction,
    )


def standardised(parts: SparseAutoencoder, shape: Sequence[int]) -> SparseAutoencoder:
    """The parts for examples [*shape] in their own units; see `networks.standardised_encoder`."""
    encoder = networks.standardised_encoder(parts.encoder, shape)
    return parts._replace(encoder=encoder, decoder=networks.restored_output(parts.autoencoder.decoder, shape))


def in_units(objective: gradients.Objective) -> gradients.Objective:
    """The objective of plain parts on standardised examples, for the params of `standardised` parts.

        J'(params, x) = J(networks of params, (x - shift) / scale)

    Its values are in squared standardised units: the sum of squares about the mean is D for examples of D values.
    """

    def standard(params: Params, batch: Batch, key: Key) -> Any:
        own = params | {name: params[name]["network"] for name in ("encoder", "decoder")}
        return objective(own, batch._replace(x=networks.standardise(params["encoder"][STANDARD], batch.x)), key)

    return standard


def starting_with(model: Model, standard: Standard) -> Model:
    """The model of `standardised` parts whose new states have this shift and scale."""
    return _starting(model, lambda params: networks.with_standard(params, standard))


def starting_transposed(model: Model, *, norm: float = 0.1, layer: str = "layer_1") -> Model:
    """The model whose new states have small atoms, and their transpose as the encoder's kernel.

        W_d,j = norm w_j / ||w_j||,   W_e = W_d^T,   w_j as the decoder draws it

    A unit then reads what it writes, so that fewer of them die. The smaller the kernel of `networks.unit_norm_rows` is,
    the larger are the angles by which Adam first turns the atoms.

    Args:
      model: of one layer in each direction, whose params are those of `networks.affine`, or of `standardised` parts.
      norm: of the atoms, > 0.
      layer: the name of both layers.

    Source: Gao et al. 2024, section 2.4; Conerly et al. 2024 (Update on how we train SAEs) for the norm.
    """

    def kernel(params: Params) -> Array:
        return params[layer]["kernel"] if layer in params else kernel(params["network"])

    def with_kernel(params: Params, new: Array) -> Params:
        if layer in params:
            return params | {layer: params[layer] | {"kernel": new}}
        return params | {"network": with_kernel(params["network"], new)}

    def transposed(params: Params) -> Params:
        drawn = kernel(params["decoder"])
        atoms = norm * drawn * jax.lax.rsqrt(jnp.sum(jnp.square(drawn), axis=1, keepdims=True))
        new = {"encoder": atoms.T, "decoder": atoms}
        return params | {name: with_kernel(params[name], own) for name, own in new.items()}

    return _starting(model, transposed)


def _starting(model: Model, change: Callable[[Params], Params]) -> Model:
    """The model whose new states have changed params, unless params are given."""

    def init(key: Key, params: Params = None) -> Any:
        return model.init(key, change(model.init(key).params) if params is None else params)

    return model._replace(init=init)
