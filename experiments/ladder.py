"""A ladder VAE: layers of latent variables, each with a prior given the layer above it (Sonderby et al. 2016).

    python -m experiments.ladder
    python -m experiments.ladder --dataset=mnist --data_dir=DIR --binarize=dynamic --latent_dims=32,16,8 \\
        --hidden=512,256,128 --warm_up_steps=2000 --num_steps=10000

--latent_dims are the widths of the layers, that beside the data first; --hidden those of the deterministic layers of
the pass upwards, which the pass downwards mirrors. The weight of the rate rises over --warm_up_steps, without which the
upper layers are often left at their priors. rate_1, rate_2, ... are the rates of the layers, in nats.

It writes reconstructions, samples, and samples_given_top.png, in which each row has draws of the lower layers under one
draw of the top layer, to the run directory.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments import held_out_likelihood
from genjax import data, networks, runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.gradients import Objective, Reduction
from genjax.losses import BERNOULLI
from genjax.models import descent, ladder
from genjax.runs import flag, showing
from genjax.types import Array, Key, Params

ROWS, COLUMNS = 10, 10  # of draws given the top layer
NUM_DRAWS = 10  # over which the bound of an example is averaged


class Flags(runs.Flags):
    """Ladder VAE."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    latent_dims: tuple[int, ...] = flag(
        (16, 8), "numbers of latent dimensions of the layers, that beside the data first", at_least=1, max_entries=20
    )
    hidden: tuple[int, ...] = flag(
        (256, 128), "widths of the deterministic layers, as many as there are layers of latent variables", at_least=1
    )
    activation: str = flag("relu", "activation of the hidden layers", choices=networks.ELEMENTWISE_ACTIVATIONS)
    rate_weight: float = flag(1.0, "weight of the rate", at_least=0)
    warm_up_steps: int = flag(1000, "number of updates over which the weight of the rate rises from 0", at_least=0)
    num_importance_samples: int = flag(
        100,
        "number of importance samples for the likelihood of the test split; 0 to skip it",
        at_least=0,
        at_most=10**8,
    )


def build_parts(flags: Flags, shape: tuple[int, ...]) -> ladder.Ladder:
    """The networks: two hidden layers from one deterministic layer to the next, one to a prior."""
    if len(flags.hidden) != len(flags.latent_dims):
        raise BadInput(
            f"expected {len(flags.latent_dims)} widths, one for each of `latent_dims`, not {len(flags.hidden)}",
            parameter="hidden",
        )
    activation = networks.ELEMENTWISE_ACTIVATIONS[flags.activation]
    mlp = partial(networks.mlp, activation=activation)
    layers, below = [], shape
    for number, (dim, width) in enumerate(zip(flags.latent_dims, flags.hidden, strict=True)):
        above = flags.latent_dims[number + 1 : number + 2]
        prior = networks.gaussian_heads(mlp(above, (2 * dim,), hidden=(flags.hidden[number + 1],))) if above else None
        upward = mlp(below, (width,), hidden=(width,), output_activation=activation)
        layers.append(ladder.Layer(upward, networks.gaussian_heads(mlp((width,), (2 * dim,), hidden=())), prior, dim))
        below = (width,)
    decoder = mlp(flags.latent_dims[:1], shape, hidden=(flags.hidden[0], flags.hidden[0]))
    return ladder.Ladder(tuple(layers), decoder, BERNOULLI)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks, the objective and the model."""
    dataset.require_bounded("a Bernoulli likelihood", parameter="dataset")
    parts = build_parts(flags, dataset.train.x.shape[1:])

    def objective(rate_weight: Any) -> Objective:
        return ladder.objective(parts, rate_weight=rate_weight)

    scheduled: Objective | descent.Scheduled = objective(flags.rate_weight)
    if flags.warm_up_steps:
        warm_up = optax.linear_schedule(0.0, flags.rate_weight, flags.warm_up_steps)
        scheduled = descent.Scheduled(lambda step: objective(warm_up(step)))
    model = ladder.model(
        parts, runs.optimizer(flags), scheduled, averaging=flags.averaging or None, reduction=reduction
    )
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws reconstructions and samples, and measures the held-out likelihood by importance sampling."""
    parts, params = trained.parts, trained.params
    top_key, sample_key, under_key, likelihood_key = jax.random.split(trained.key, 4)
    title = "reconstructions, E[x|z] at the means of q(z|x)"
    showing.save_reconstructions(trained, partial(ladder.reconstruct, parts=parts), title=title)
    decode = jax.jit(partial(ladder.decode, parts=parts))
    top = ladder.sample_top(ROWS * COLUMNS, top_key, parts=parts)
    showing.save_samples(trained, decode(params, top, sample_key), title="E[x|z] at ancestral draws of z")
    if trained.examples.x.ndim == 4:
        under = decode(params, jnp.repeat(top[:ROWS], COLUMNS, axis=0), under_key)
        title = f"E[x|z], a draw of the top layer in each row and {COLUMNS} of the layers below it"
        path = trained.workdir / "samples_given_top.png"
        pictures.save_samples(path, trained.dataset.visible(under), title=title, columns=COLUMNS)
    if not flags.num_importance_samples:
        return {}
    return held_out_likelihood.by_importance(
        lambda params, batch: ladder.importance_sampler(params, batch.x, parts=parts),
        trained,
        likelihood_key,
        num_samples=flags.num_importance_samples,
        binarize=flags.binarize,
    )


def applications(flags: Flags, parts: ladder.Ladder) -> dict[str, runs.Application]:
    """Codes of all layers in a row, reconstructions, and the negative ELBO."""

    def scores(params: Params, x: Array, key: Key) -> dict[str, Array]:
        keys = jax.random.split(key, NUM_DRAWS)
        drawn = jax.vmap(lambda key: ladder.negative_elbo(params, x, key, parts=parts))(keys)
        return {"negative_elbo": jnp.mean(drawn, axis=0)}

    return {
        "codes": runs.Application(lambda params, x, key: ladder.encode(params, x, parts=parts)),
        "reconstructions": runs.Application(lambda params, x, key: ladder.reconstruct(params, x, parts=parts)),
        "scores": runs.Application(scores),
    }


EXPERIMENT = runs.Experiment(
    "ladder",
    Flags,
    build,
    summarise,
    watch=("negative_elbo", "distortion", "rate"),
    applications=applications,
    metrics=lambda flags: {
        "loss": runs.Metric("nats", "lower"),
        **{f"rate_{number}": runs.Metric("nats") for number in range(1, 1 + len(flags.latent_dims))},
    },
    headline=("negative_elbo", "distortion", "rate", *(f"rate_{number}" for number in range(1, 6))),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
