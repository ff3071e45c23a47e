"""An adversarial autoencoder, whose codes a discriminator makes follow a prior (Makhzani et al. 2015).

    1. encoder and decoder lower the reconstruction loss,
    2. the discriminator learns z ~ N(0, I) from codes,   3. the encoder, as its generator, makes codes look like z

python adversarial_autoencoder.py --latent_dim=2
"""

from functools import partial

import jax

from genjax import gradients, networks, runs
from genjax.drawing import pictures
from genjax.losses import CROSS_ENTROPY, NON_SATURATING
from genjax.models import alternating, autoencoder
from genjax.models.alternating import Player
from genjax.runs import flag


class Flags(runs.Flags):
    """Adversarial autoencoder."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = flag((256,), "widths of the encoder's hidden layers, mirrored by the decoder", at_least=1)
    latent_dim: int = flag(4, "number of latent dimensions", at_least=1)
    adversarial_learning_rate: float = flag(3e-4, "of the discriminator, and of the encoder against it", at_least=0)


def init_params(key, *, parts, discriminator):
    autoencoder_key, discriminator_key = jax.random.split(key)
    return {
        "autoencoder": autoencoder.init_params(autoencoder_key, parts=parts),
        "discriminator": discriminator.init(discriminator_key),
    }


def reconstruction_objective(parts):
    reconstruction = autoencoder.objective(parts)
    return lambda own, others, batch, key: reconstruction(own, batch, key)


def logits(parts, discriminator, own, critic, batch, key):
    """The discriminator's of z ~ N(0, I), and of the codes."""
    codes = autoencoder.encode(own, batch.x, parts=parts)
    return (discriminator.apply(critic, z) for z in (jax.random.normal(key, codes.shape), codes))


def discriminator_objective(parts, discriminator):
    def objective(own, others, batch, key):
        real, fake = logits(parts, discriminator, others["autoencoder"], own, batch, key)
        loss = NON_SATURATING.discriminator(real, fake)
        return loss, {"discriminator_loss": loss, "real_logit": real, "fake_logit": fake}

    return objective


def generator_objective(parts, discriminator):
    def objective(own, others, batch, key):
        loss = NON_SATURATING.generator(*logits(parts, discriminator, own, others["discriminator"], batch, key))
        return loss, {"generator_loss": loss}

    return objective


def build(flags, dataset, reduction):
    shape = dataset.train.x.shape[1:]
    mlp = partial(networks.mlp, activation=jax.nn.relu)
    encoder = mlp(shape, (flags.latent_dim,), hidden=flags.hidden)
    decoder = mlp((flags.latent_dim,), shape, hidden=flags.hidden[::-1])
    discriminator = mlp((flags.latent_dim,), (), hidden=flags.hidden)
    parts = autoencoder.Autoencoder(encoder, decoder, CROSS_ENTROPY)
    adversary = runs.optimizer(flags, learning_rate=flags.adversarial_learning_rate, b1=0.5)
    generator = gradients.frozen(adversary, "decoder")
    players = [
        Player("autoencoder", reconstruction_objective(parts), runs.optimizer(flags)),
        Player("discriminator", discriminator_objective(parts, discriminator), adversary),
        Player("generator", generator_objective(parts, discriminator), generator, moves="autoencoder"),
    ]
    init = partial(init_params, parts=parts, discriminator=discriminator)

    def sample(state, num, key):
        z = jax.random.normal(key, (num, flags.latent_dim))
        return autoencoder.decode(state.params["autoencoder"], z, parts=parts)

    return runs.Built(alternating.model(init, players, reduction=reduction)._replace(sample=sample), parts)


def summarise(flags, trained):
    samples = trained.model.sample(trained.state, 100, trained.key)
    pictures.save_grid(trained.workdir / "samples.png", samples, columns=10)
    codes = autoencoder.encode(trained.params["autoencoder"], trained.examples.x, parts=trained.parts)
    pictures.save_latent_map(trained.workdir / "latent_map.png", codes, trained.examples.label)
    return {}


WATCH = ("reconstruction_loss", "discriminator_loss", "generator_loss")
EXPERIMENT = runs.Experiment("adversarial_autoencoder", Flags, build, summarise, watch=WATCH)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
