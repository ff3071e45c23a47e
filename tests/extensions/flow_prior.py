"""A VAE with a learned prior, a normalizing flow of affine couplings (RealNVP; Dinh et al. 2017, equations 7 and 8).

    p(z) = N(u; 0, I) prod_l |det df_l/df_{l-1}|,   u = f_L(...f_1(z)),
    f_l(z) = b z + (1 - b) (z e^{s(b z)} + t(b z)),   b_j = 1 for every other j, in turn

python flow_prior.py --num_layers=6
"""

import jax
import jax.numpy as jnp

from genjax import networks, runs
from genjax.drawing import pictures
from genjax.losses import BERNOULLI, STANDARD_NORMAL, Prior
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


def coupling(network, params, z, layer):
    """s and t of a layer, 0 where it keeps z, from what it keeps."""
    kept = (jnp.arange(z.shape[1]) % 2 == layer % 2)[None]
    s, t = jnp.split(network.apply(params, jnp.where(kept, z, 0)), 2, axis=1)
    return jnp.where(kept, 0, jnp.tanh(s)), jnp.where(kept, 0, t)  # e^s from 1/e to e


def to_noise(network, params, z):
    """u [B, d], and log |det du/dz| [B]."""
    log_determinant = jnp.zeros(len(z))
    for layer, of_layer in enumerate(params):
        s, t = coupling(network, of_layer, z, layer)
        z, log_determinant = z * jnp.exp(s) + t, log_determinant + jnp.sum(s, axis=1)
    return z, log_determinant


def from_noise(network, params, u):
    for layer, of_layer in reversed(list(enumerate(params))):
        s, t = coupling(network, of_layer, u, layer)
        u = (u - t) * jnp.exp(-s)
    return u


def flow_prior(network, num_layers):
    """The prior of z [B, d], of which each layer has a network z -> (s, t) [B, 2d]."""

    def negative_log_density(params, z):
        u, log_determinant = to_noise(network, params, z)
        return STANDARD_NORMAL.negative_log_density((), u) - log_determinant

    return Prior(
        init=lambda key: [network.init(each) for each in jax.random.split(key, num_layers)],
        negative_log_density=negative_log_density,
        sample=lambda params, shape, key: from_noise(network, params, jax.random.normal(key, shape)),
    )


def build(flags, dataset, reduction):
    shape, d = dataset.train.x.shape[1:], flags.latent_dim
    encoder = networks.mlp(shape, (2 * d,), hidden=flags.hidden, activation=jax.nn.relu)
    decoder = networks.mlp((d,), shape, hidden=flags.hidden[::-1], activation=jax.nn.relu)
    network = networks.mlp((d,), (2 * d,), hidden=(flags.flow_width,), activation=jnp.tanh)
    prior = flow_prior(network, flags.num_layers)
    parts = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, d, prior)
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
