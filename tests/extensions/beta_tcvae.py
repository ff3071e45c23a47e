"""A beta-TCVAE: the total correlation alone is weighted, TC = KL(q(z) || prod_k q(z_k)) (Chen et al. 2018).

    KL(q(z|x) || p(z)) = I(x; z) + TC + sum_k KL(q(z_k) || p(z_k)),   q(z) = 1/N sum_n q(z|x_n)

python beta_tcvae.py --beta=6
python beta_tcvae.py --estimator=weighted
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax import networks, runs
from genjax.drawing import pictures
from genjax.losses import BERNOULLI
from genjax.models import vae
from genjax.runs import flag
from genjax.types import Array


class Flags(runs.Flags):
    """Beta-TCVAE."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    hidden: tuple[int, ...] = flag((256,), "widths of the encoder's hidden layers, mirrored by the decoder", at_least=1)
    latent_dim: int = flag(6, "number of latent dimensions", at_least=1)
    beta: float = flag(4.0, "weight of the total correlation", at_least=0)
    estimator: str = flag("stratified", "how q(z) is estimated by a batch", choices=("stratified", "weighted"))


class Split(NamedTuple):
    """The three parts of the rate, estimated by one draw of z, [B] each, in nats."""

    mutual_information: Array  # log q(z|x) - log q(z)
    total_correlation: Array  # log q(z) - sum_k log q(z_k)
    dimension_wise_kl: Array  # sum_k log q(z_k) - log p(z)


def log_weights(estimator, batch_size, num_examples):
    """log w [B, B], with which q(z) at the z of x_i is sum_j w_ij q(z|x_j) in a batch of B of N examples.

    weighted: w_ij = 1 / (N B). stratified: w_ii = 1/N and w_ij = (N - 1) / (N (B - 1)), which is unbiased: the paper's
    weights, averaged over the order of the batch (appendix C).
    """
    if estimator == "weighted":
        return jnp.full((batch_size, batch_size), -math.log(num_examples * batch_size))
    others = jnp.log((num_examples - 1) / (num_examples * max(1, batch_size - 1)))
    return jnp.where(jnp.eye(batch_size, dtype=bool), -math.log(num_examples), others)


def split_rate(params, drawn, log_w, *, parts):
    mean, log_variance = drawn.posterior
    by_dimension = jax.scipy.stats.norm.logpdf(drawn.z[:, None], mean[None], jnp.exp(log_variance / 2)[None])
    log_q = jax.nn.logsumexp(log_w + jnp.sum(by_dimension, axis=-1), axis=1)
    log_product = jnp.sum(jax.nn.logsumexp(log_w[..., None] + by_dimension, axis=1), axis=-1)
    log_p = -vae.negative_log_prior(params, drawn.z, parts=parts)
    return Split(-drawn.negative_log_q - log_q, log_q - log_product, log_product - log_p)


def objective(parts, *, beta, estimator, num_examples):
    def penalised(params, batch, key):
        drawn = vae.forward(params, batch.x, key, parts=parts)
        distortion = parts.likelihood.negative_log_likelihood(drawn.output, batch.x)
        split = split_rate(params, drawn, log_weights(estimator, len(batch.x), num_examples), parts=parts)
        loss = distortion + split.mutual_information + beta * split.total_correlation + split.dimension_wise_kl
        rate = jnp.sum(vae.rates(params, drawn, parts=parts), axis=-1)
        return loss, {"negative_elbo": distortion + rate, "distortion": distortion, "rate": rate} | split._asdict()

    return penalised


def build(flags, dataset, reduction):
    shape = dataset.train.x.shape[1:]
    encoder = networks.mlp(shape, (2 * flags.latent_dim,), hidden=flags.hidden, activation=jax.nn.relu)
    decoder = networks.mlp((flags.latent_dim,), shape, hidden=flags.hidden[::-1], activation=jax.nn.relu)
    parts = vae.VAE(networks.gaussian_heads(encoder), decoder, BERNOULLI, flags.latent_dim)
    penalised = objective(parts, beta=flags.beta, estimator=flags.estimator, num_examples=len(dataset.train.x))
    return runs.Built(vae.model(parts, runs.optimizer(flags), penalised, reduction=reduction), parts)


def summarise(flags, trained):
    samples = trained.model.sample(trained.state, 100, trained.key)
    pictures.save_grid(trained.workdir / "samples.png", samples, columns=10)
    return {}


WATCH = ("negative_elbo", "mutual_information", "total_correlation")
EXPERIMENT = runs.Experiment("beta_tcvae", Flags, build, summarise, watch=WATCH, codec=vae.codec)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
