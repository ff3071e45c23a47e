"""The Optax optimizer of every experiment, made from the shared flags."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genjax.errors import BadInput, shorten
from genjax.runs.settings import OptimisationFlags


def optimizer(
    flags: OptimisationFlags,
    *,
    num_updates: int | None = None,
    learning_rate: float | optax.Schedule | None = None,
    ensemble: bool = False,
    **options: Any,
) -> optax.GradientTransformation:
    """The optimizer that the flags name, with its schedule, weight decay, clipping and accumulation.

    Gradients are averaged over `accumulate_steps` batches, clipped by their global norm, and passed to the Optax
    optimizer with its schedule and weight decay.

    Args:
      num_updates: number of batches that the schedule covers; by default `flags.num_steps`.
      learning_rate: replaces `flags.learning_rate`; a function of the number of updates also replaces
        `flags.learning_rate_schedule`.
      ensemble: whether the parameters are those of several networks, stacked along a first axis.
      **options: the page's defaults for the optimizer's arguments, which `flags.optimizer_options` override. Defaults
        that the optimizer does not take are ignored.

    Raises:
      BadInput: the name is not that of an Optax optimizer, an option is not one of its arguments, or the run ends
        before its first update.
    """
    batches = num_updates or flags.num_steps
    if flags.accumulate_steps > batches:
        raise BadInput(
            f"{flags.accumulate_steps} is more than the {batches} batches of the run", parameter="accumulate_steps"
        )
    make = _factory(flags.optimizer)
    decayed = None if flags.decay_biases else partial(matrices, num_stacked_axes=int(ensemble))
    taken = inspect.signature(make).parameters
    given = _options(flags)
    unknown = sorted(given.keys() - taken.keys())
    if unknown:
        raise BadInput(
            f"{flags.optimizer} takes {', '.join(taken)}, not {shorten(unknown[0])}", parameter="optimizer_options"
        )
    arguments = {name: value for name, value in options.items() if name in taken} | given
    if "weight_decay" in taken and "weight_decay" not in given:
        arguments["weight_decay"] = flags.weight_decay
        if "mask" in taken:
            arguments["mask"] = decayed
    rate = schedule(flags, num_updates=num_updates, learning_rate=learning_rate)
    made = _tried(lambda: make(rate, **arguments), flags)
    if flags.weight_decay and "weight_decay" not in taken:
        made = optax.chain(optax.add_decayed_weights(flags.weight_decay, decayed), made)
    if flags.clip_norm is not None:
        made = optax.chain(optax.clip_by_global_norm(flags.clip_norm), made)
    if flags.accumulate_steps > 1:
        # a sum, times a constant: XLA divides by the number of batches in one way here and in another there
        made = optax.chain(optax.scale(1 / flags.accumulate_steps), made)
        made = optax.MultiSteps(made, flags.accumulate_steps, use_grad_mean=False).gradient_transformation()
    return made


def schedule(
    flags: OptimisationFlags, *, num_updates: int | None = None, learning_rate: float | optax.Schedule | None = None
) -> float | optax.Schedule:
    """The learning rate as a function of the number of updates, or a number if it is constant.

    After a linear rise over `learning_rate_warm_up` updates, it falls over the remaining ones to
    `final_learning_rate` times its highest value: along half a cosine, a line or an exponential. A `learning_rate` that
    is a function is multiplied by the rise, without a shift.

    Raises:
      BadInput: an exponential schedule would end at 0.
    """
    warm_up = flags.learning_rate_warm_up
    if callable(learning_rate):
        rise = optax.linear_schedule(0.0, 1.0, warm_up)
        return (lambda step: rise(step) * learning_rate(step)) if warm_up else learning_rate
    peak = flags.learning_rate if learning_rate is None else learning_rate
    batches = num_updates or flags.num_steps
    falling = max(1, batches // flags.accumulate_steps - warm_up)
    end = flags.final_learning_rate
    if flags.learning_rate_schedule == "constant":
        main: Any = optax.constant_schedule(peak) if warm_up else peak
    elif flags.learning_rate_schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, falling, alpha=end)
    elif flags.learning_rate_schedule == "linear":
        main = optax.linear_schedule(peak, end * peak, falling)
    elif end > 0:
        main = optax.exponential_decay(peak, falling, end)
    else:
        raise BadInput(
            "exponential needs a `final_learning_rate` above 0, such as 0.01", parameter="learning_rate_schedule"
        )
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warm_up), main], [warm_up]) if warm_up else main


def matrices(params: Any, *, num_stacked_axes: int = 0) -> Any:
    """A mask of the arrays with two or more axes, which weight decay applies to: neither biases nor scales.

    The first `num_stacked_axes` axes, along which the parameters of several networks are stacked, do not count.
    """
    return jax.tree.map(lambda a: a.ndim > 1 + num_stacked_axes, params)


def _factory(name: str) -> Any:
    make = getattr(optax, name, None)
    if not callable(make) or inspect.isclass(make) or "learning_rate" not in inspect.signature(make).parameters:
        raise BadInput(
            f"expected an optimizer of Optax that has a learning rate, such as adam, adamw, sgd or lion, not "
            f"{shorten(name)!r}",
            parameter="optimizer",
        )
    return make


def _tried(make: Callable[[], Any], flags: OptimisationFlags) -> Any:
    """The optimizer, after an update of a matrix and a vector in which nothing is computed.

    Raises:
      BadInput: an option has a value that Optax cannot use.
    """

    def update(params: Any) -> Any:
        more = {"value": jnp.zeros(()), "grad": params, "value_fn": optax.tree.sum}
        return optax.with_extra_args_support(made).update(params, made.init(params), params, **more)

    shapes = {"kernel": jax.ShapeDtypeStruct((2, 2), jnp.float32), "bias": jax.ShapeDtypeStruct((2,), jnp.float32)}
    try:
        made = make()
        jax.eval_shape(update, shapes)
    except Exception as error:  # Optax checks little itself, so these are of any kind
        raise BadInput(
            f"{flags.optimizer} cannot be used so: {shorten(' '.join(str(error).split()))}",
            parameter="optimizer_options" if flags.optimizer_options else "optimizer",
        ) from error
    return made


def _options(flags: OptimisationFlags) -> dict[str, Any]:
    options = {}
    for option in flags.optimizer_options:
        name, _, text = option.partition("=")
        try:
            options[name] = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise BadInput(
                f"expected NAME=VALUE, as in momentum=0.9, not {shorten(option)!r}", parameter="optimizer_options"
            ) from None
    return options
