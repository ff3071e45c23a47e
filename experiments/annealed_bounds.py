"""Bounds of the likelihood of a VAE by annealed importance sampling: their flags, and what pages measure by them.

    annealed_negative_log_likelihood           of held-out examples, estimated from above
    importance_negative_log_likelihood         of the same examples, by as many importance samples from the encoder as
                                               --num_annealing_steps times --num_chains
    drawn_upper_negative_log_likelihood        of examples drawn from the model, estimated from above
    drawn_lower_negative_log_likelihood        of the same, estimated from below by reverse chains
    annealing_gap                              the difference of the last two: at most so far from the truth is either

Each comes with its standard error: that of the chains, and for the gap that over the examples.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from experiments import held_out_likelihood, latent_parts
from experiments.held_out_likelihood import negative_mean
from genjax import runs
from genjax.errors import BadInput
from genjax.evaluation import annealing, likelihood
from genjax.evaluation.likelihood import Estimate
from genjax.models import vae
from genjax.runs import flag
from genjax.types import Array, Batch, Key, Params

TOGETHER = 50  # examples in a batch
STREAM = 2**20  # folded into a page's key, apart from what it folds in itself
METRICS = {"annealing_gap": runs.Metric("nats", "lower")}


class Flags(runs.Record):
    """Annealed importance sampling."""

    num_annealing_steps: int = flag(
        0,
        "number of temperatures between prior and posterior, by which the likelihood of held-out examples is measured, "
        "and that of draws of the model from above and below; 0 to skip it",
        at_least=0,
        at_most=10**6,
        newer=True,
    )
    num_chains: int = flag(16, "number of annealed chains for each example", at_least=1, at_most=10**6, newer=True)
    num_annealed: int = flag(
        100, "number of held-out examples, and of draws of the model, that are measured so", at_least=1, newer=True
    )
    num_leapfrog: int = flag(
        10, "number of leapfrog steps of a Hamiltonian transition", at_least=1, at_most=10**4, newer=True
    )


class Bounds(NamedTuple):
    """Estimates of log p(x) for each example, in nats."""

    lower: Estimate
    upper: Estimate


def check(flags: Any) -> None:
    """Refuses codes that chains would leave.

    Raises:
      BadInput: the codes lie on a sphere, or are one-hot.
    """
    where = {"von_mises_fisher": "lie on a sphere", "categorical": "are one-hot"}.get(flags.posterior)
    if flags.num_annealing_steps and where:
        raise BadInput(
            f"chains move in all of space, and the codes of {flags.posterior} {where}", parameter="num_annealing_steps"
        )


def path(params: Params, examples: Batch, *, parts: vae.VAE) -> annealing.Path:
    """The path from the prior of a VAE to the posteriors of the examples."""
    x, context = examples.x, parts.context(examples)

    def log_likelihood(z: Array) -> Array:
        return -parts.likelihood.negative_log_likelihood(parts.decoder.apply(params["decoder"], z, *context), x)

    return annealing.Path(
        lambda key: vae.sample_prior(params, len(x), key, *context, parts=parts),
        lambda z: -vae.negative_log_prior(params, z, *context, parts=parts),
        log_likelihood,
    )


def _lower(flags: Any, parts: vae.VAE, params: Params, examples: Batch, key: Key) -> Estimate:
    """The bound from below of each example, by forward chains."""
    pilot_key, chain_key = jax.random.split(key)
    along, b = path(params, examples, parts=parts), annealing.temperatures(flags.num_annealing_steps)
    sizes = annealing.tuned_step_sizes(along, b, pilot_key, num_leapfrog=flags.num_leapfrog)
    log_weight = annealing.forward_sampler(along, b, sizes, num_leapfrog=flags.num_leapfrog)
    return likelihood.log_likelihood(log_weight, chain_key, num_samples=flags.num_chains, chunk_size=16)


def _upper(flags: Any, parts: vae.VAE, params: Params, examples: Batch, z: Array, key: Key) -> Estimate:
    """The bound from above of examples that were drawn with these codes, by reverse chains."""
    pilot_key, chain_key = jax.random.split(key)
    along, b = path(params, examples, parts=parts), annealing.temperatures(flags.num_annealing_steps)
    sizes = annealing.tuned_step_sizes(along, b, pilot_key, num_leapfrog=flags.num_leapfrog)
    log_weight = annealing.reverse_sampler(along, z, b, sizes, num_leapfrog=flags.num_leapfrog)
    return annealing.upper_bound(log_weight, chain_key, num_samples=flags.num_chains, chunk_size=16)


def draw(params: Params, examples: Batch, key: Key, *, parts: vae.VAE) -> tuple[Batch, Array]:
    """As many examples from the model, in the same contexts, and the codes that they were drawn from."""
    z_key, x_key = jax.random.split(key)
    context = parts.context(examples)
    z = vae.sample_prior(params, len(examples.x), z_key, *context, parts=parts)
    x = parts.likelihood.sample(parts.decoder.apply(params["decoder"], z, *context), x_key)
    return examples._replace(x=x.reshape(examples.x.shape)), z


def on_draws(flags: Any, parts: vae.VAE, params: Params, examples: Batch, key: Key) -> Bounds:
    """Both bounds of examples that are drawn from the model in the contexts of the given ones."""
    draw_key, lower_key, upper_key = jax.random.split(key, 3)
    drawn, z = draw(params, examples, draw_key, parts=parts)
    lower = _lower(flags, parts, params, drawn, lower_key)
    return Bounds(lower, _upper(flags, parts, params, drawn, z, upper_key))


def by_encoder(flags: Any, parts: vae.VAE, params: Params, examples: Batch, key: Key) -> Estimate:
    """The importance-sampled estimate from as many draws as the chains have transitions."""
    log_weight = latent_parts.importance_sampler(params, examples, parts=parts)
    return likelihood.log_likelihood(log_weight, key, num_samples=flags.num_annealing_steps * flags.num_chains)


def measure(flags: Any, trained: runs.Trained) -> dict[str, float]:
    """The measures of this module, of held-out examples and of draws; nothing where the flags skip it."""
    if not flags.num_annealing_steps:
        return {}
    examples = jax.tree.map(lambda a: a[: flags.num_annealed], trained.examples)
    num = len(examples.x)
    print(
        f"annealed importance sampling of {num} held-out examples and {num} draws of the model: {flags.num_chains} "
        f"chains of {flags.num_annealing_steps} transitions for each",
        file=sys.stderr,
    )

    def in_batches(compute: Callable[..., Any], key: Key) -> Any:
        bound = partial(compute, flags, trained.parts)
        return held_out_likelihood.in_batches(bound, trained.params, examples, key, size=TOGETHER)

    held_key, encoder_key, draw_key = jax.random.split(jax.random.fold_in(trained.key, STREAM), 3)
    held, encoded = in_batches(_lower, held_key), in_batches(by_encoder, encoder_key)
    bounds = in_batches(on_draws, draw_key)
    gap = bounds.upper.value - bounds.lower.value
    measured = (
        negative_mean(held, "annealed_negative_log_likelihood")
        | negative_mean(encoded, "importance_negative_log_likelihood")
        | negative_mean(bounds.lower, "drawn_upper_negative_log_likelihood")
        | negative_mean(bounds.upper, "drawn_lower_negative_log_likelihood")
        | {"annealing_gap": float(gap.mean()), "annealing_gap_error": float(gap.std() / math.sqrt(num))}
    )
    for name in [name for name in measured if f"{name}_error" in measured]:
        print(f"{name:40} {measured[name]:10.4f} +- {measured[f'{name}_error']:.4f}")
    return measured
