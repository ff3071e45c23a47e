"""An experiment of one's own, outside any clone: a VAE of hand-written networks on sketches of random strokes.

python sketches.py
python sketches.py --width=32 --num_seeds=2
"""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data, runs
from genjax.drawing import pictures
from genjax.losses import BERNOULLI
from genjax.models import vae
from genjax.runs import flag
from genjax.types import Network


class Flags(runs.Flags):
    """Sketches."""

    num_steps: int = 200
    batch_size: int = 32
    learning_rate: float = 3e-3
    width: int = flag(16, "hidden units of either network", at_least=1)
    latent_dim: int = flag(2, "number of latent dimensions", at_least=1)


def load(flags):
    draw = np.random.RandomState(0)
    strokes = np.kron(draw.rand(500, 2, 2) > 0.5, np.ones((4, 4)))[..., None].astype(np.float32)
    return data.from_arrays("sketches", strokes[:400], strokes[400:])


def two_layers(inputs, width, outputs):
    def init(key):
        a, b = jax.random.split(key)
        return jax.random.normal(a, (inputs, width)) / inputs**0.5, jax.random.normal(b, (width, outputs)) / width**0.5

    return Network(init, lambda params, x: jnp.tanh(x.reshape(len(x), -1) @ params[0]) @ params[1])


def build(flags, dataset, reduction):
    body, decoder = two_layers(64, flags.width, 2 * flags.latent_dim), two_layers(flags.latent_dim, flags.width, 64)
    encoder = Network(body.init, lambda params, x: tuple(jnp.split(body.apply(params, x), 2, axis=1)))
    images = Network(decoder.init, lambda params, z: decoder.apply(params, z).reshape(-1, 8, 8, 1))
    parts = vae.VAE(encoder, images, BERNOULLI, flags.latent_dim)
    return runs.Built(vae.model(parts, runs.optimizer(flags), vae.objective(parts), reduction=reduction), parts)


def summarise(flags, trained):
    samples = trained.model.sample(trained.state, 100, trained.key)
    pictures.save_grid(trained.workdir / "samples.png", samples, columns=10)
    return {"mean_pixel": float(jnp.mean(samples))}


EXPERIMENT = runs.Experiment("sketches", Flags, build, summarise, watch=("negative_elbo",), load=load)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
