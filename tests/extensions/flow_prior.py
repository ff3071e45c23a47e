"""A VAE with a learned prior, a normalizing flow of affine couplings (RealNVP; Dinh et al. 2017).

    p(z) = N(u; 0, I) prod_l |det df_l/df_{l-1}|,   u = f_L(...f_1(z))

python flow_prior.py --num_layers=6
"""

import jax
import jax.numpy as jnp

from genjax import networks, runs
from genjax.drawing import pictures
from genjax.losses import BERNOULLI, flow_prior
from genjax.models import vae
from genjax.runs import flag


class Flags(runs.Flags):
    """VAE with a flow as its prior."""

    num_steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = flag((256,), "widths of the encoder's hidden layers, mirrored by the decoder", at_least=1)
    latent_dim: int = flag(4, "number of latent dimensions", at_least=2)
    num_layers: int = flag(4, "layers of the flow", at_least=1)
    flow_width: int = flag(32, "hidden units of the network in each layer of the flow", at_least=1)


def build(flags, dataset, reduction):
    shape, d = dataset.train.x.shape[1:], flags.latent_dim
    encoder = networks.mlp(shape, (2 * d,), hidden=flags.hidden, activation=jax.nn.relu)
    decoder = networks.mlp((d,), shape, hidden=flags.hidden[::-1], activation=jax.nn.relu)
    flow = networks.coupling_flow(d, flags.num_layers, hidden=(flags.flow_width,), activation=jnp.tanh)
    parts = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, d, flow_prior(flow))
    return runs.Built(vae.model(parts, runs.optimizer(flags), vae.objective(parts), reduction=reduction), parts)


def summarise(flags, trained):
    samples = trained.model.sample(trained.state, 100, trained.key)
    pictures.save_grid(trained.workdir / "samples.png", samples, columns=10)
    codes = vae.sample_prior(trained.params, 1000, trained.key, parts=trained.parts)
    pictures.save_latent_map(trained.workdir / "prior.png", codes, None)
    return {}


WATCH = ("negative_elbo", "distortion", "rate")
EXPERIMENT = runs.Experiment("flow_prior", Flags, build, summarise, watch=WATCH, codec=vae.codec)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
