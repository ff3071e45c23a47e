"""A VAE of networks with batch normalisation and dropout, which act differently in training and afterwards.

python normalised.py --dropout=0.1
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax import gradients, networks, runs
from genjax.drawing import pictures
from genjax.losses import BERNOULLI, DIAGONAL_GAUSSIAN, gaussian_kl_to_standard
from genjax.models import vae
from genjax.runs import flag
from genjax.types import Network


class Flags(runs.Flags):
    """VAE with batch normalisation."""

    num_steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = flag((128, 128), "widths of either network's hidden layers", at_least=1)
    latent_dim: int = flag(4, "number of latent dimensions", at_least=1)
    dropout: float = flag(0.05, "share of the hidden units that are set to 0 in training", at_least=0, at_most=0.99)
    momentum: float = flag(0.95, "of the running moments", at_least=0, at_most=1)


class Layers(nn.Module):
    hidden: tuple[int, ...]
    outputs: int
    head: Callable
    dropout: float
    momentum: float

    @nn.compact
    def __call__(self, x, *, train):
        h = x.reshape(len(x), -1)
        for width in self.hidden:
            h = nn.BatchNorm(use_running_average=not train, momentum=self.momentum)(nn.Dense(width)(h))
            h = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(h))
        return self.head(nn.Dense(self.outputs)(h))


def build_networks(flags, shape):
    """Encoder and decoder, each a StatefulNetwork."""

    def network(inputs, outputs, head):
        module = Layers(flags.hidden, outputs, head, flags.dropout, flags.momentum)
        return networks.stateful_from_linen(module, inputs, training={"train": True}, evaluation={"train": False})

    return {
        "encoder": network(shape, 2 * flags.latent_dim, lambda y: tuple(jnp.split(y, 2, axis=-1))),
        "decoder": network((flags.latent_dim,), math.prod(shape), lambda y: y.reshape(-1, *shape)),
    }


def training_objective(made):
    """The negative ELBO of `vae.objective`, by the networks as they are in training."""

    def objective(params, batch, key):
        encoder_key, z_key, decoder_key = jax.random.split(key, 3)
        posterior, of_encoder = made["encoder"].train(params["encoder"], batch.x, key=encoder_key)
        z, _ = DIAGONAL_GAUSSIAN.sample_and_negative_log_density(posterior, z_key)
        logits, of_decoder = made["decoder"].train(params["decoder"], z, key=decoder_key)
        distortion, rate = BERNOULLI.negative_log_likelihood(logits, batch.x), gaussian_kl_to_standard(*posterior)
        metrics = {"negative_elbo": distortion + rate, "distortion": distortion, "rate": rate}
        return distortion + rate, metrics, {"encoder": of_encoder, "decoder": of_decoder}

    return objective


def build(flags, dataset, reduction):
    made = build_networks(flags, dataset.train.x.shape[1:])
    encoder, decoder = (Network(network.init, network.apply) for network in made.values())
    parts = vae.VAE(encoder, decoder, BERNOULLI, flags.latent_dim)
    model = vae.model(
        parts,
        gradients.frozen(runs.optimizer(flags), "batch_stats"),
        training_objective(made),
        evaluation=vae.objective(parts),
        refresh=lambda params, found: {name: made[name].refresh(params[name], found[name]) for name in made},
        reduction=reduction,
    )
    return runs.Built(model, parts)


def summarise(flags, trained):
    samples = trained.model.sample(trained.state, 100, trained.key)
    pictures.save_grid(trained.workdir / "samples.png", samples, columns=10)
    return {}


WATCH = ("negative_elbo", "distortion", "rate")
EXPERIMENT = runs.Experiment("normalised", Flags, build, summarise, watch=WATCH, codec=vae.codec)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
