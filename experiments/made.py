"""A masked autoencoder with an exact likelihood on binary images (MADE; Germain et al. 2015).

    python -m experiments.made
    python -m experiments.made --dataset=mnist --data_dir=DIR --num_steps=60000
    python -m experiments.made --num_masks=32

The second line is the paper's smallest network, one mask of a drawn order on one hidden layer of 500 units, for which
the paper and karpathy/pytorch-made report 94.5 nats: pixels binarized once, 100 epochs of Adam in batches of 100, and a
weight decay of 1e-4. With several masks the network is trained to be agnostic of its connections and, unless
--order=natural, of the order; the likelihood is then that of the masks' mixture.

Reported beside the held-out negative log-likelihood in nats are its standard error over the images, and the baseline
of independent pixels.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments import held_out_likelihood
from genjax import data, networks, runs
from genjax.data.outline import Outline
from genjax.errors import BadInput
from genjax.gradients import Reduction
from genjax.losses import BERNOULLI
from genjax.models import made
from genjax.networks.masked import Degrees
from genjax.runs import flag, showing
from genjax.types import Array, Batch, Key, Params


class Flags(runs.Flags):
    """Masked autoencoder for distribution estimation."""

    binarize: str = "static"
    num_steps: int = 1500
    batch_size: int = 100
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    weight_decay: float = 1e-4
    hidden: tuple[int, ...] = flag((500,), "widths of the hidden layers", at_least=1, at_most=10**6)
    activation: str = flag("relu", "activation of the hidden layers", choices=networks.ELEMENTWISE_ACTIVATIONS)
    num_masks: int = flag(1, "number of masks, which the updates train in turn", at_least=1, at_most=1000)
    order: str = flag("drawn", "order of the pixels: drawn for each mask, or row by row", choices=("drawn", "natural"))
    mask_seed: int = flag(0, "seed of the masks' degrees and orders", at_least=0, at_most=2**32 - 1)


def masks_of(flags: Flags, dim: int) -> list[Degrees]:
    """The degrees of every mask: the same in every run of these flags, whatever its seed."""
    draw = np.random.RandomState(flags.mask_seed)  # a stream that NumPy keeps frozen
    orders = (np.arange(dim) if flags.order == "natural" else draw.permutation(dim) for _ in range(flags.num_masks))
    return [networks.mask_degrees(order + 1, flags.hidden, draw=draw) for order in orders]


def require_binary(flags: Flags, dataset: data.Dataset) -> None:
    """Refuses grey images."""
    dataset.require_bounded("a density of bits", parameter="dataset")
    x = dataset.train.x
    if flags.binarize == "none" and not isinstance(x, Outline) and np.any((x != 0) & (x != dataset.scale)):
        raise BadInput(f"{dataset.name} has values between 0 and 1; use static or dynamic", parameter="binarize")


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The masked network and its model."""
    require_binary(flags, dataset)
    shape = dataset.train.x.shape[1:]
    activation = networks.ELEMENTWISE_ACTIVATIONS[flags.activation]
    parts = made.parts(shape, masks_of(flags, math.prod(shape)), activation=activation)
    objective = made.objective(parts)
    model = made.model(parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction)
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws samples, and measures the baseline and how far the likelihood of the test split is known."""
    parts = trained.parts
    draw = jax.jit(partial(made.sample, num=100, parts=parts))
    samples = draw(trained.params, key=trained.key)
    showing.save_samples(trained, samples, title="draws from p(x)")
    # Laplace's rule of succession keeps the share of a pixel away from 0 and 1
    train = trained.dataset.train.x
    share = (train.sum(axis=0, dtype=np.float64) / trained.dataset.scale + 1) / (len(train) + 2)
    logits = jnp.float32(np.log(share / (1 - share)))

    def both(params: Params, batch: Batch, key: Key) -> tuple[Array, Array]:
        pixels = BERNOULLI.negative_log_likelihood(jnp.broadcast_to(logits, batch.x.shape), batch.x)
        return made.negative_log_likelihood(params, batch.x, parts=parts), pixels

    exact, pixels = held_out_likelihood.over_test_split(both, trained, trained.key, binarize=flags.binarize, size=500)
    return {
        "negative_log_likelihood_spread": float(exact.std() / len(exact) ** 0.5),  # over images
        "pixels_negative_log_likelihood": float(np.mean(pixels, dtype=np.float64)),
    }


def applications(flags: Flags, parts: made.MADE) -> dict[str, runs.Application]:
    """The exact negative log-likelihood of each example, in nats."""

    def scores(params: Params, x: Array, key: Array) -> dict[str, Array]:
        return {"negative_log_likelihood": made.negative_log_likelihood(params, x, parts=parts)}

    return {"scores": runs.Application(scores)}


EXPERIMENT = runs.Experiment(
    "made",
    Flags,
    build,
    summarise,
    watch=("negative_log_likelihood",),
    applications=applications,
    metrics=lambda flags: {"loss": runs.Metric("nats", "lower")},
    headline=("negative_log_likelihood", "negative_log_likelihood_spread", "pixels_negative_log_likelihood"),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
