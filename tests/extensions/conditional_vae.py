"""A conditional VAE, p(x|y) = E_{z ~ p(z|y)} p(x|z, y) of the label y (Sohn, Lee & Yan 2015), here of digits.

python conditional_vae.py
python conditional_vae.py --latent_dim=2 --num_steps=4000
"""

import jax
import jax.numpy as jnp

from genjax import networks, runs
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.losses import BERNOULLI, class_prior
from genjax.models import vae
from genjax.runs import flag


class Flags(runs.Flags):
    """Conditional variational autoencoder."""

    num_steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = flag((256,), "widths of the encoder's hidden layers, mirrored by the decoder", at_least=1)
    latent_dim: int = flag(4, "number of latent dimensions", at_least=1)


def build(flags, dataset, reduction):
    *size, channels = shape = dataset.train.x.shape[1:]
    num_classes = dataset.num_classes
    if num_classes is None:
        raise BadInput(f"{dataset.name} has no labels", parameter="dataset")
    encoder = networks.mlp(
        (*size, channels + num_classes), (2 * flags.latent_dim,), hidden=flags.hidden, activation=jax.nn.relu
    )
    decoder = networks.mlp((flags.latent_dim + num_classes,), shape, hidden=flags.hidden[::-1], activation=jax.nn.relu)
    parts = vae.VAE(
        networks.gaussian_heads(networks.with_label(encoder, num_classes)),
        networks.with_label(decoder, num_classes),
        BERNOULLI,
        flags.latent_dim,
        class_prior(num_classes, flags.latent_dim),
        context=vae.LabelContext(num_classes),
    )
    return runs.Built(vae.model(parts, runs.optimizer(flags), vae.objective(parts), reduction=reduction), parts)


def summarise(flags, trained):
    num_classes = trained.dataset.num_classes
    label = jnp.arange(10 * num_classes) % num_classes  # a column per class
    samples = trained.model.sample(trained.state, len(label), trained.key, label)
    pictures.save_grid(trained.workdir / "samples.png", samples, columns=num_classes)
    return {}


EXPERIMENT = runs.Experiment("conditional_vae", Flags, build, summarise, watch=("negative_elbo", "distortion", "rate"))

if __name__ == "__main__":
    runs.main(EXPERIMENT)
