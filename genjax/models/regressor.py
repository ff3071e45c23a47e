"""Regression of a vector by a network, which predicts the known factors of a rendered picture.

y = f(x; theta),   J = E ||f(x) - y||^2
"""

from __future__ import annotations

from typing import Unpack

import optax

from genjax import gradients
from genjax.losses import squared_error
from genjax.models import descent
from genjax.types import Array, Batch, Key, Model, Network, Params, check_networks


def objective(network: Network) -> gradients.Objective:
    """The squared error summed over the outputs: the negative log-likelihood of a unit Gaussian, up to its constant.

    Args:
      network: x [B, ...] -> [B, D].

    Returns:
      `objective(params, batch, key) -> (loss [B], {"squared_error": [B]})` for batches whose label is y [B, D]. It
      draws nothing.

    Raises:
      ValueError: when the returned objective gets a batch without labels.
    """

    def regressed(params: Params, batch: Batch, key: Key) -> tuple[Array, dict[str, Array]]:
        if batch.label is None:
            raise ValueError("a regression needs targets, as in Batch(x, y); this batch has none")
        loss = squared_error(network.apply(params, batch.x), batch.label)
        return loss, {"squared_error": loss}

    return regressed


def model(network: Network, optimizer: optax.GradientTransformation, **options: Unpack[descent.Options]) -> Model:
    """A network that is trained to give the batch's label.

    Args:
      options: the keyword arguments of `descent.model`.

    Returns:
      A Model; it cannot sample.
    """
    check_networks(network=network)
    return descent.model(network.init, optimizer, objective(network), **options)
