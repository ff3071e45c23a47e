"""A VAE on sketches of random blocks: a page of your own, outside any clone.

python sketches.py --width=32 --num_seeds=2
"""

import jax.numpy as jnp
import numpy as np

from genjax import data, networks, runs
from genjax.drawing import pictures
from genjax.losses import BERNOULLI
from genjax.models import vae


class Flags(runs.Flags):
    """Sketches."""

    num_steps: int = 200  # shared flags, with the page's defaults
    batch_size: int = 32
    learning_rate: float = 3e-3
    width: int = runs.flag(16, "number of hidden units in each network", at_least=1)
    latent_dim: int = runs.flag(2, "number of latent dimensions", at_least=1)


def load(flags):
    blocks = np.random.RandomState(0).rand(500, 2, 2) > 0.5
    images = np.kron(blocks, np.ones((4, 4), np.float32))[..., None]
    return data.from_arrays("sketches", images[:400], images[400:])


def build(flags, dataset, reduction):
    shape, layers = dataset.train.x.shape[1:], dict(hidden=(flags.width,), activation=jnp.tanh)
    encoder = networks.gaussian_heads(networks.mlp(shape, (2 * flags.latent_dim,), **layers))
    decoder = networks.mlp((flags.latent_dim,), shape, **layers)
    parts = vae.VAE(encoder, decoder, BERNOULLI, flags.latent_dim)
    options = dict(averaging=flags.averaging or None, reduction=reduction)
    return runs.Built(vae.model(parts, runs.optimizer(flags), vae.objective(parts), **options), parts)


def summarise(flags, trained):
    samples = trained.model.sample(trained.state, 100, trained.key)
    pictures.save_grid(trained.workdir / "samples.png", samples, columns=10)
    return {"mean_pixel": float(jnp.mean(samples))}


EXPERIMENT = runs.Experiment("sketches", Flags, build, summarise, watch=("negative_elbo",), load=load)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
