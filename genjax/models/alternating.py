"""Players that take turns, each with its own objective, parameters and optimizer.

theta_p <- theta_p - update_p(grad_p J_p(theta_p; the others', batch, key)),   p = 1, ..., P in every step

In its turn, a player meets the current parameters of the others: players before it have already moved in this step,
those after it have not. Simultaneous descent of the same game may circle where taking turns does not (Goodfellow et
al. 2014, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from genjax import gradients
from genjax.errors import BadInput
from genjax.models import moving_average
from genjax.types import Array, Key, Metrics, Model, Params


class Player(NamedTuple):
    """A player: its objective, the name of its parameters, and how it updates them.

    Its `objective(own, others, batch, key) -> (loss [B], metrics {name: [B]})` may return statistics as a third value
    (see `gradients`). `own` are the params under its name, and `others` is {name: params} of all others and of what is
    frozen. With `moves`, `own` are those under that name instead: two players can then move the same params, each with
    its own objective and optimizer, as the encoder of an adversarial autoencoder is moved (Makhzani et al. 2015). Use
    `gradients.frozen` to keep a player's optimizer from part of its params.
    """

    name: str  # the key of its optimizer state, and of its params
    objective: gradients.Objective
    optimizer: optax.GradientTransformation
    steps: int | None = None  # updates per turn, see `model`
    refresh: gradients.Refresh | None = None  # (params, statistics) -> params after each update
    averaging: moving_average.Weight | None = None  # of its params over the steps; None keeps no average
    moves: str | None = None  # the key of its params, if it is not its name
    evaluation: gradients.Objective | None = None  # by which it is evaluated; None for its objective

    @property
    def own(self) -> str:
        """The key of its params."""
        return self.name if self.moves is None else self.moves


class State(NamedTuple):
    """The state that is carried from step to step."""

    step: Array  # [] int32, turns done by each player
    params: dict[str, Params]  # by the name of the player that moves them
    optimizer_states: dict[str, Any]  # by player
    average: dict[str, Params]  # of the params over the steps, where a player keeps one
    frozen: dict[str, Params]  # used by the objectives, changed by nothing

    @property
    def evaluation_params(self) -> dict[str, Params]:
        """The params for evaluation and sampling: their average if a player keeps one, otherwise the last ones."""
        return self.params | self.average


def model(
    init_params: Callable[[Key], dict[str, Params]],
    players: Sequence[Player],
    *,
    prepare: Callable[[State, Any, Key], Any] | None = None,
    frozen: Mapping[str, Params] | None = None,
    reduction: gradients.Reduction = gradients.whole_batch,
) -> Model:
    """A model of players that take turns in the given order, once per step.

    A player of `steps=k` cuts the batch into k equal parts and makes one update on each, with a separate key for each
    (the player's, split in k). A player of `steps=None` makes one update, with the player's key as it is, on the last
    part that the player before it used: the whole batch where no player has cut it.

    Args:
      init_params: key -> {name: params} of all that the players move.
      players: in the order of their turns.
      prepare: `prepare(state, batch, key)` turns the batch into the one that the players take, given the state before
        the step; the first axis of its arrays is that of the batch.
      frozen: {name: params}, which `others` shows to every player beside the other players' params.
      reduction: how the gradients of all players are taken over the batch, one of `genjax.gradients`.

    Returns:
      A Model whose state is a `State`; it cannot sample. A player's metrics are of its params before each update, means
      over its updates; "loss" is the last player's. `evaluate` is each player's `evaluation`, or its objective, on the
      whole batch, at the state's `evaluation_params`.

    Raises:
      ValueError: two players (or a frozen part) have the same name, or average the same params; at trace time, two
        players' metrics have the same name.
      BadInput: at trace time, a player's steps do not divide the batch.
    """
    _check_names(players, frozen or {})
    averaging = {player.own: player.averaging for player in players if player.averaging is not None}
    updates = {
        player.name: gradients.updater(player.objective, player.optimizer, reduction=reduction, refresh=player.refresh)
        for player in players
    }

    def init(key: Key, params: dict[str, Params] | None = None) -> State:
        params = init_params(key) if params is None else params
        return State(
            step=jnp.zeros([], jnp.int32),
            params=params,
            optimizer_states={player.name: player.optimizer.init(params[player.own]) for player in players},
            average={name: moving_average.start(params[name]) for name in averaging},
            frozen=jax.tree.map(jnp.copy, dict(frozen or {})),  # a copy, since the state may be donated
        )

    def dealt(state: State, batch: Any, key: Key) -> tuple[Any, list[Key]]:
        """The batch that the players take, and each player's key."""
        if prepare is None:
            return batch, list(jax.random.split(key, len(players)))
        prepare_key, *keys = jax.random.split(key, 1 + len(players))
        return prepare(state, batch, prepare_key), keys

    def train_step(state: State, batch: Any, key: Key) -> tuple[State, Metrics]:
        batch, keys = dealt(state, batch, jax.random.fold_in(key, state.step))
        params, optimizer_states = dict(state.params), dict(state.optimizer_states)
        metrics, last = {}, batch
        for player, player_key in zip(players, keys, strict=True):
            name, own = player.name, player.own
            moving, others = (params[own], optimizer_states[name]), _others(params | state.frozen, own)
            if player.steps is None:
                *moved, found = updates[name](*moving, others, last, player_key)
            else:
                *moved, found, last = _turn(updates[name], player.steps, moving, others, batch, player_key)
            params[own], optimizer_states[name] = moved
            metrics = _joined(metrics, found)
        average = {
            name: moving_average.update(state.average[name], params[name], weight(state.step))
            for name, weight in averaging.items()
        }
        step = state.step + 1
        return state._replace(step=step, params=params, optimizer_states=optimizer_states, average=average), metrics

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        batch, keys = dealt(state, batch, key)
        params, metrics = state.evaluation_params, {}
        for player, player_key in zip(players, keys, strict=True):
            others = _others(params | state.frozen, player.own)
            objective = player.objective if player.evaluation is None else player.evaluation
            found = objective(params[player.own], others, batch, player_key)
            metrics = _joined(metrics, gradients.batch_means(*found))
        return metrics

    return Model(init, train_step, evaluate)


def with_state(trained: Model, kind: type[State]) -> Model:
    """The same model with a state of another type, a subclass of `State` that has `evaluation_params` of its own.

    Its `evaluate` still meets the params of all players. It cannot sample until it is given a `sample`.
    """

    def init(key: Key, params: dict[str, Params] | None = None) -> State:
        return kind(*trained.init(key, params))

    def evaluate(state: State, batch: Any, key: Key) -> Metrics:
        return trained.evaluate(State(*state), batch, key)

    return Model(init, trained.train_step, evaluate)


def _check_names(players: Sequence[Player], frozen: Mapping[str, Params]) -> None:
    names = [player.name for player in players] + list(frozen)
    if len(set(names)) < len(names) or any(player.own in frozen for player in players):
        raise ValueError(f"players and frozen params must have distinct names, not {names}")
    averaged = [player.own for player in players if player.averaging is not None]
    if len(set(averaged)) < len(averaged):
        raise ValueError("two players average the same params")


def _others(params: dict[str, Params], name: str) -> dict[str, Params]:
    return {other: value for other, value in params.items() if other != name}


def _turn(
    update: Callable[..., tuple], steps: int, moving: tuple[Params, Any], others: Params, batch: Any, key: Key
) -> tuple[Params, Any, Metrics, Any]:
    """One update on each of the equal parts of a batch: params, optimizer state, mean metrics, and the last part."""
    num_rows = len(jax.tree.leaves(batch)[0])
    size, rest = divmod(num_rows, steps)
    if rest:
        raise BadInput(f"a batch of {num_rows} examples cannot be divided into {steps} equal parts")
    parts = jax.tree.map(lambda a: a.reshape(steps, size, *a.shape[1:]), batch)

    def one(moving: tuple[Params, Any], given: tuple[Any, Key]) -> tuple[tuple[Params, Any], Metrics]:
        params, optimizer_state, metrics = update(*moving, others, *given)
        return (params, optimizer_state), metrics

    moved, metrics = jax.lax.scan(one, moving, (parts, jax.random.split(key, steps)))
    return *moved, jax.tree.map(jnp.mean, metrics), jax.tree.map(lambda a: a[-1], parts)


def _joined(before: Metrics, found: Metrics) -> Metrics:
    """The metrics of one more player; its loss takes the place of that of the player before."""
    shared = before.keys() & found.keys() - {"loss"}
    if shared:
        raise ValueError(f"two players have metrics of the same name: {', '.join(sorted(shared))}")
    return before | found
