"""Networks of a game, stateful or not: their passes in training and in evaluation, and what follows an update.

A stateful network normalises by its batch in training. A discriminator normalises real and generated examples apart,
each by their own moments, and its moving averages follow both kinds in equal parts,

    r <- .9 r + .1 (b_real + b_fake) / 2

after each of its own updates; the passes that the other player makes through it leave the averages as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import add
from typing import Any

import jax

from genjax import gradients
from genjax.types import Key, Network, Params, StatefulNetwork

Either = Network | StatefulNetwork  # of a player
Statistics = tuple[Any, ...]  # of a stateful network in training one tree of sums; otherwise ()


def through(
    network: Either, params: Params, inputs: tuple[Any, ...], key: Key, *, number: int, evaluation: bool
) -> tuple[Any, Statistics]:
    """The output of a network, in training by the moments of the batch, and its statistics.

    Args:
      inputs: what the network is given.
      key: from which a stateful network draws dropout, if it has any, beside other draws of the same key.
      number: of this pass among the draws of the key.
      evaluation: a stateful network normalises by its moving averages, and drops nothing.
    """
    if evaluation or not isinstance(network, StatefulNetwork):
        return network.apply(params, *inputs), ()
    output, statistics = network.train(params, *inputs, key=jax.random.fold_in(key, number))
    return output, (statistics,)


def apart(
    network: Either, params: Params, real: tuple[Any, ...], fake: tuple[Any, ...], key: Key, *, evaluation: bool
) -> tuple[Any, Any, Statistics]:
    """The outputs of a discriminator for real and for fake inputs, each by their own moments, and its statistics."""
    # smaller numbers are those of other draws of this key: splitting a key folds in 0, 1, ...
    of_real, moments = through(network, params, real, key, number=3, evaluation=evaluation)
    of_fake, others = through(network, params, fake, key, number=4, evaluation=evaluation)
    return of_real, of_fake, jax.tree.map(add, moments, others)


def refresh(network: Either, project: Callable[[Params], Params] | None = None) -> gradients.Refresh | None:
    """What follows an update of a network: its moving averages, if it has any, and a projection of its params."""
    if not isinstance(network, StatefulNetwork):
        return None if project is None else lambda params, statistics: project(params)
    if project is None:
        return network.refresh
    return lambda params, statistics: project(network.refresh(params, statistics))


def check_penalty(discriminator: Either, penalty: Any) -> None:
    """Checks that what a penalty is of, the slope of the logit at an example, exists.

    Raises:
      ValueError: a penalty, and a discriminator whose logits are those of a batch. Its slope at fixed moments would
        exist, but smaller kernels lower it without effect, since the normalisation undoes them.
    """
    if penalty is not None and isinstance(discriminator, StatefulNetwork):
        raise ValueError(
            "a penalty is of the slope at one example, and a stateful discriminator judges a batch as a whole"
        )
