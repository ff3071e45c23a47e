"""A VQ-VAE, whose codes are rows of a codebook that follows the encoder's outputs (van den Oord et al. 2017).

    z = e_k,  k = argmin_k ||z_e(x) - e_k||;   J = -log p(x|z) + beta ||z_e(x) - sg(e_k)||^2
    n_k <- g n_k + (1 - g) #{z_e nearest to e_k},   m_k <- g m_k + (1 - g) sum of those z_e,   e_k = m_k / n_k

python vq_vae.py --codebook_size=32 --num_codes=8
"""

from functools import partial

import jax
import jax.numpy as jnp

from genjax import gradients, networks, runs
from genjax.drawing import pictures
from genjax.losses import CROSS_ENTROPY
from genjax.models import autoencoder, descent
from genjax.runs import flag


class Flags(runs.Flags):
    """VQ-VAE."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = flag((256,), "widths of the encoder's hidden layers, mirrored by the decoder", at_least=1)
    num_codes: int = flag(8, "codes per example, L", at_least=1)
    code_dim: int = flag(4, "dimensions of a code", at_least=1)
    codebook_size: int = flag(32, "entries of the codebook, K", at_least=1)
    commitment: float = flag(0.25, "weight of the commitment loss, beta", at_least=0)
    decay: float = flag(0.99, "of the codebook's moving averages, g", at_least=0, at_most=1)


def entries(codebook):
    """e [K, d]; an entry that was not the nearest for very long goes to 0."""
    return codebook["sum"] / jnp.maximum(codebook["count"], 1e-5)[:, None]


def quantize(codebook, encoded):
    """The nearest entries [B, L, d], and their indices [B, L]."""
    e = entries(codebook)
    index = jnp.argmin(jnp.sum((encoded[..., None, :] - e[None, None]) ** 2, axis=-1), axis=-1)
    return e[index], index


def init_params(key, *, parts, codebook_size, code_dim):
    codebook_key, key = jax.random.split(key)
    codebook = {"count": jnp.ones(codebook_size), "sum": jax.random.normal(codebook_key, (codebook_size, code_dim))}
    return autoencoder.init_params(key, parts=parts) | {"codebook": codebook}


def objective(parts, *, commitment):
    def quantized(params, batch, key):
        encoded = autoencoder.encode(params, batch.x, parts=parts)
        nearest, index = jax.lax.stop_gradient(quantize(params["codebook"], encoded))
        straight = encoded + jax.lax.stop_gradient(nearest - encoded)
        reconstruction = parts.reconstruction.loss(parts.decoder.apply(params["decoder"], straight), batch.x)
        distance = jnp.sum((encoded - nearest) ** 2, axis=(1, 2))
        used = jax.nn.one_hot(index, len(params["codebook"]["count"]))  # [B, L, K]
        count, total = jnp.sum(used, axis=(0, 1)), jnp.einsum("blk,bld->kd", used, jax.lax.stop_gradient(encoded))
        perplexity = jnp.exp(jnp.sum(jax.scipy.special.entr(count / jnp.sum(count))))
        metrics = {
            "reconstruction_loss": reconstruction,
            "commitment": distance,
            "perplexity": 0 * distance + perplexity,
        }
        return reconstruction + commitment * distance, metrics, {"count": count, "sum": total}

    return quantized


def follow(params, found, *, decay):
    moved = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, params["codebook"], found)
    return params | {"codebook": moved}


def build(flags, dataset, reduction):
    shape, codes = dataset.train.x.shape[1:], (flags.num_codes, flags.code_dim)
    encoder = networks.mlp(shape, codes, hidden=flags.hidden, activation=jax.nn.relu)
    decoder = networks.mlp(codes, shape, hidden=flags.hidden[::-1], activation=jax.nn.relu)
    parts = autoencoder.Autoencoder(encoder, decoder, CROSS_ENTROPY)
    model = descent.model(
        partial(init_params, parts=parts, codebook_size=flags.codebook_size, code_dim=flags.code_dim),
        gradients.frozen(runs.optimizer(flags), "codebook"),
        objective(parts, commitment=flags.commitment),
        refresh=partial(follow, decay=flags.decay),
        reduction=reduction,
    )
    return runs.Built(model, parts)


def summarise(flags, trained):
    params, parts, x = trained.params, trained.parts, trained.examples.x[:50]
    z, _ = quantize(params["codebook"], autoencoder.encode(params, x, parts=parts))
    pairs = pictures.interleave_rows(x, autoencoder.decode(params, z, parts=parts), columns=10)
    pictures.save_grid(trained.workdir / "reconstructions.png", pairs, columns=10)
    return {}


WATCH = ("reconstruction_loss", "commitment", "perplexity")
EXPERIMENT = runs.Experiment("vq_vae", Flags, build, summarise, watch=WATCH)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
