"""Stacked autoencoders, pretrained layer by layer, and the classifier fine-tuned from them (Vincent et al. 2010).

    h_0 = x,   h_k = code_k(encoder_k(h_{k-1})),   h'_{k-1} = decoder_k(h_k),   p(y|x) = softmax(head(h_K))

The layers learn one after another, each on the codes of those below it, which stay as they are; it is a denoising
autoencoder if its input is corrupted. Then the encoders and the head learn together:

    J_k = E[l_k(h_{k-1}, decoder_k(code_k(encoder_k(corruption_k(h_{k-1})))))],   k = 1, ..., K
    J = E[-log p(y|x)]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.models import autoencoder, classifier, descent
from genjax.stochastic import Corruption
from genjax.types import Array, Batch, Key, Model, Network, Params


class Stacked(NamedTuple):
    """The parts of stacked autoencoders; their params are {"body": (those of each layer, ...), "head": ...}."""

    layers: tuple[autoencoder.Autoencoder, ...]  # the first of x [B, ...], each other of the codes of the one before
    head: Network  # h_K [B, d] -> logits [B, C]


def init_params(key: Key, *, parts: Stacked) -> Params:
    """Fresh parameters of all layers and of the head."""
    return classifier.init_params(key, parts=as_classifier(parts))


def encode(params: Params, x: Array, *, parts: Stacked, depth: int | None = None) -> Array:
    """The code h_k of the first `depth` layers, by default of all: x [B, ...] -> [B, d]."""
    for layer, own in zip(parts.layers[:depth], params["body"][:depth], strict=True):
        x = autoencoder.encode(own, x, parts=layer)
    return x


def decode(params: Params, code: Array, *, parts: Stacked) -> Array:
    """What the decoders make of the code of as many layers, from the last to the first: h_K [B, d] -> x' [B, ...]."""
    for layer, own in zip(parts.layers[::-1], params["body"][::-1], strict=True):
        code = autoencoder.decode(own, code, parts=layer)
    return code


def reconstruct(params: Params, x: Array, *, parts: Stacked) -> Array:
    """The decoded code, x [B, ...] -> x' [B, ...]: of use before fine-tuning, which moves the encoders alone."""
    return decode(params, encode(params, x, parts=parts), parts=parts)


def as_classifier(parts: Stacked) -> classifier.Classifier:
    """The encoders and the head as a classifier of the same params, whose features are h_K."""

    def init(key: Key) -> Params:
        keys = jax.random.split(key, len(parts.layers))
        return tuple(autoencoder.init_params(k, parts=layer) for k, layer in zip(keys, parts.layers, strict=True))

    def apply(body: Params, x: Array) -> Array:
        return encode({"body": body}, x, parts=parts)

    return classifier.Classifier(Network(init, apply), parts.head, activation=lambda h: h)


def objective(
    parts: Stacked, *, pretraining_steps: int, corruptions: Sequence[Corruption | None] = ()
) -> descent.Scheduled:
    """The objective of each step: J_1 for `pretraining_steps` updates, as many of J_2 up to J_K, and then J.

    A layer in pretraining gets no gradient from the layers above it, and sends none to those below it.

    Args:
      pretraining_steps: updates of each layer; 0 leaves the pretraining out.
      corruptions: of each layer's input h_{k-1}, drawn anew at every step; () for none.

    Returns:
      A schedule of `objective(params, batch, key) -> (loss [B], {"reconstruction_loss", "cross_entropy", "accuracy":
      [B]})`. The reconstruction loss is J_k, and in fine-tuning that of the last layer without corruption; the other
      two are the classifier's at any step.

    Raises:
      ValueError: corruptions of another number than the layers; when the returned objective gets a batch without
        labels.
    """
    if corruptions and len(corruptions) != len(parts.layers):
        raise ValueError(f"expected {len(parts.layers)} corruptions, one per layer, got {len(corruptions)}")
    classified = classifier.objective(as_classifier(parts))
    corrupted = [
        autoencoder.objective(layer, corruption=corruption, overcomplete=True)
        for layer, corruption in zip(parts.layers, corruptions or [None] * len(parts.layers), strict=True)
    ]
    plain = autoencoder.objective(parts.layers[-1], overcomplete=True)

    def of_layer(number: int, reconstructed: gradients.Objective) -> Callable[..., Array]:
        def reconstruction(params: Params, batch: Batch, key: Key) -> Array:
            below = jax.lax.stop_gradient(encode(params, batch.x, parts=parts, depth=number))
            return reconstructed(params["body"][number], Batch(below), key)[0]

        return reconstruction

    def pretraining(number: int) -> gradients.Objective:
        def pretrained(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
            loss = of_layer(number, corrupted[number])(params, batch, key)
            _, metrics = classified(jax.lax.stop_gradient(params), batch, key)
            return loss, metrics | {"reconstruction_loss": loss}

        return pretrained

    def fine_tuning(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        loss, metrics = classified(params, batch, key)
        metrics["reconstruction_loss"] = of_layer(-1, plain)(jax.lax.stop_gradient(params), batch, key)
        return loss, metrics

    stages = [*map(pretraining, range(len(parts.layers))), fine_tuning]

    def at(step: Array) -> gradients.Objective:
        return partial(jax.lax.switch, _stage(step, parts, pretraining_steps), stages)

    return descent.Scheduled(at)


def optimizer(
    parts: Stacked,
    pretraining: optax.GradientTransformation,
    fine_tuning: optax.GradientTransformation,
    *,
    pretraining_steps: int,
) -> optax.GradientTransformation:
    """An optimizer that moves one layer at a time in pretraining, and then the encoders and the head.

    What it does not move keeps its bits. Each layer, and the fine-tuning, has an optimizer state of its own.

    Args:
      pretraining, fine_tuning: what each layer, and encoders and head together, are moved by.
      pretraining_steps: as in `objective`.
    """

    def moves(params: Params, stage: int) -> Any:
        """Whether a leaf is moved in this stage: a layer's own, or all but the decoders."""
        last = stage == len(parts.layers)
        body = tuple(
            {name: jax.tree.map(lambda _, m=(last and name == "encoder") or k == stage: m, own[name]) for name in own}
            for k, own in enumerate(params["body"])
        )
        return {"body": body, "head": jax.tree.map(lambda _: last, params["head"])}

    def alone(rule: optax.GradientTransformation, stage: int) -> optax.GradientTransformationExtraArgs:
        def labels(params: Params) -> Any:
            return jax.tree.map(lambda moved: "moved" if moved else "kept", moves(params, stage))

        return optax.with_extra_args_support(optax.partition({"moved": rule, "kept": optax.set_to_zero()}, labels))

    rules = [alone(pretraining, k) for k in range(len(parts.layers))] + [alone(fine_tuning, len(parts.layers))]

    def init(params: Params) -> tuple[Array, tuple]:
        return jnp.zeros([], jnp.int32), tuple(rule.init(params) for rule in rules)

    def update(updates: Params, state: Any, params: Params = None, **more: Any) -> tuple[Params, Any]:
        count, states = state

        def by(stage: int) -> Callable[[Params, tuple, Params], tuple[Params, tuple]]:
            def move(updates: Params, states: tuple, params: Params) -> tuple[Params, tuple]:
                moved, new = rules[stage].update(updates, states[stage], params, **more)
                return moved, (*states[:stage], new, *states[stage + 1 :])

            return move

        stage = _stage(count, parts, pretraining_steps)
        moved, states = jax.lax.switch(stage, [by(k) for k in range(len(rules))], updates, states, params)
        return moved, (count + 1, states)

    return optax.GradientTransformationExtraArgs(init, update)


def _stage(step: Array, parts: Stacked, pretraining_steps: int) -> Array:
    """0 to K - 1 for the layer in pretraining, K for fine-tuning."""
    last = jnp.asarray(len(parts.layers), jnp.int32)
    return jnp.minimum(step // pretraining_steps, last) if pretraining_steps else last


def model(
    parts: Stacked,
    pretraining: optax.GradientTransformation,
    fine_tuning: optax.GradientTransformation,
    *,
    pretraining_steps: int,
    corruptions: Sequence[Corruption | None] = (),
    **options: Unpack[descent.Options],
) -> Model:
    """Stacked autoencoders that are pretrained and then fine-tuned, for K `pretraining_steps` + any number of steps.

    Args:
      pretraining, fine_tuning, pretraining_steps: as in `optimizer`.
      corruptions: as in `objective`.
      options: the keyword arguments of `descent.model`.

    Returns:
      A Model; it cannot sample.
    """
    rule = optimizer(parts, pretraining, fine_tuning, pretraining_steps=pretraining_steps)
    staged = objective(parts, pretraining_steps=pretraining_steps, corruptions=corruptions)
    return descent.model(partial(init_params, parts=parts), rule, staged, **options)
