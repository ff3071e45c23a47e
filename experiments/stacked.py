"""A classifier whose layers are pretrained one by one as denoising autoencoders (Vincent et al. 2010).

    python -m experiments.stacked
    python -m experiments.stacked --pretraining_steps=0

Each layer learns for --pretraining_steps to reconstruct the codes of the layers below it, a share of which is set to 0
(--masking); the remaining steps fine-tune all encoders and a linear layer to tell the classes. The second command has
no pretraining. The run directory has the weights of the first layer's units as pictures, and a table of the mistakes.
"""

from __future__ import annotations

import itertools

import jax
import numpy as np

from experiments import applications, mistakes
from genjax import data, networks, runs, stochastic
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.gradients import Reduction
from genjax.losses import RECONSTRUCTIONS
from genjax.models import autoencoder, stacked
from genjax.runs import flag


class Flags(runs.Flags):
    """Stacked denoising autoencoders."""

    num_steps: int = 6000
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    hidden: tuple[int, ...] = flag((256, 256, 256), "widths of the layers", at_least=1)
    masking: tuple[float, ...] = flag(
        (0.2,), "share of a layer's input that is set to 0 in pretraining, or one for each layer", at_least=0, at_most=1
    )
    pretraining_steps: int = flag(1000, "steps for which each layer is pretrained; 0 for no pretraining", at_least=0)
    pretraining_learning_rate: float = flag(1e-3, "learning rate of the pretraining", at_least=0)


def build_parts(flags: Flags, shape: tuple[int, ...], num_classes: int) -> stacked.Stacked:
    """Layers of sigmoid units, each with a decoder to the units below it, and a linear layer for the classes."""
    sizes = [shape, *((width,) for width in flags.hidden)]
    layers = tuple(
        autoencoder.Autoencoder(
            networks.mlp(below, above, hidden=(), activation=jax.nn.sigmoid),
            networks.mlp(above, below, hidden=(), activation=jax.nn.sigmoid),
            RECONSTRUCTIONS["cross_entropy"],
            jax.nn.sigmoid,
        )
        for below, above in itertools.pairwise(sizes)
    )
    return stacked.Stacked(layers, networks.mlp(sizes[-1], (num_classes,), hidden=(), activation=jax.nn.sigmoid))


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The layers, the optimizers of the two phases and the model."""
    num_classes = dataset.require_classes("a classifier", at_least=2, parameter="dataset")
    dataset.require_bounded("cross-entropy", parameter="dataset")
    if len(flags.masking) not in (1, len(flags.hidden)):
        raise BadInput(
            f"expected one share, or {len(flags.hidden)}, one per layer, not {len(flags.masking)}", parameter="masking"
        )
    masking = flags.masking if len(flags.masking) > 1 else flags.masking * len(flags.hidden)
    before = flags.pretraining_steps * len(flags.hidden)
    if before >= flags.num_steps:
        raise BadInput(
            f"pretraining takes {before} of the {flags.num_steps} steps, which leaves none for fine-tuning",
            parameter="pretraining_steps",
        )
    parts = build_parts(flags, dataset.train.x.shape[1:], num_classes)
    model = stacked.model(
        parts,
        runs.optimizer(
            flags, num_updates=flags.pretraining_steps or None, learning_rate=flags.pretraining_learning_rate
        ),
        runs.optimizer(flags, num_updates=flags.num_steps - before),
        pretraining_steps=flags.pretraining_steps,
        corruptions=[stochastic.masking_noise(probability=share) for share in masking],
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws the weights of the first layer's units, and the table of mistakes."""
    shape = trained.examples.x.shape[1:]
    kernel = np.asarray(trained.params["body"][0]["encoder"]["layer_1"]["kernel"])  # [D, width]
    if len(shape) == 3:
        units = data.choose(kernel.shape[1], 100)
        drawn = pictures.signed(kernel.T[units].reshape(-1, *shape))
        pictures.save_samples(trained.workdir / "features.png", drawn, title="weights of units of the first layer")
    mistakes.save(trained, stacked.as_classifier(trained.parts))
    return {}


def of_classifier(flags: Flags, parts: stacked.Stacked) -> dict[str, runs.Application]:
    """Those of any classifier."""
    return applications.of_classifier(flags, stacked.as_classifier(parts))


EXPERIMENT = runs.Experiment(
    "stacked",
    Flags,
    build,
    summarise,
    watch=("cross_entropy", "accuracy"),
    applications=of_classifier,
    metrics=lambda flags: {"loss": runs.Metric("nats", "lower")},
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
