"""A vector-quantised autoencoder, VQ-VAE, with an autoregressive prior over its codes (van den Oord et al. 2017).

    python -m experiments.vq
    python -m experiments.vq --quantizer=fsq --levels=5,5,5
    python -m experiments.vq --network=convolutional --dataset=mnist --data_dir=DIR --num_codes=64 --code_dim=8 \\
        --prior_layers=3 --batch_size=64 --num_steps=4000 --learning_rate=3e-3 --learning_rate_warm_up=200 \\
        --averaging=0.998

The codes are integers: `code_length` of them per example with an MLP, one for each place of the encoder's map with a
convolutional network, and as many times more as there are residual codebooks. The prior learns beside the autoencoder,
on the codes of the same batch, and neither sends the other a gradient. It writes reconstructions, samples from the
prior, the frequencies of the codes and learning curves to the run directory.

The last command takes about ten minutes of processor time. All 64 codes are then in use; a held-out digit costs 73 nats
(2.2 bits for each of its 49 codes, a distortion of 56 nats), and about four in five samples read as digits.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data, losses, networks, runs
from genjax.data import examples
from genjax.drawing import charts
from genjax.errors import BadInput
from genjax.evaluation import rate_distortion, transform_coding
from genjax.gradients import Reduction
from genjax.losses import BERNOULLI, gaussian_likelihood, squared_error
from genjax.models import vq
from genjax.runs import flag, showing
from genjax.types import Array, Batch, Key, Params


class Flags(runs.Flags):
    """Vector-quantised autoencoder."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    network: str = flag("mlp", "architecture of the encoder and the decoder", choices=("mlp", "convolutional"))
    hidden: tuple[int, ...] = flag(
        (256,), "widths of the MLP encoder's hidden layers; the decoder mirrors them", at_least=1, may_be_empty=True
    )
    features: tuple[int, ...] = flag(
        (32, 64),
        "channels of the convolutional encoder, which halves the image at each; the decoder mirrors them",
        at_least=1,
    )
    activation: str = flag(
        "relu",
        "activation of the hidden layers; glu, gated linear units, halves their widths",
        choices=networks.ACTIVATIONS,
    )
    likelihood: str = flag("bernoulli", "likelihood p(x|codes)", choices=("bernoulli", "gaussian"))
    variance: float = flag(0.05, "variance of the Gaussian likelihood", at_least=1e-6)
    quantizer: str = flag(
        "vq",
        "how codes are made: nearest entries of a codebook, of several codebooks in turn, or rounded dimensions",
        choices=("vq", "residual", "fsq"),
    )
    num_codes: int = flag(32, "number of entries of a codebook", at_least=1, at_most=2**16)
    code_dim: int = flag(4, "number of dimensions of an entry", at_least=1)
    code_length: int = flag(8, "number of codes per example of an MLP", at_least=1)
    num_codebooks: int = flag(2, "number of codebooks of --quantizer=residual", at_least=1, at_most=64)
    levels: tuple[int, ...] = flag(
        (8, 6, 5), "levels of each dimension of --quantizer=fsq; they replace --num_codes and --code_dim", at_least=2
    )
    codebook: str = flag(
        "moving_average", "how the entries of a codebook learn", choices=("moving_average", "gradient")
    )
    codebook_decay: float = flag(0.99, "decay of the codebook's moving averages", at_least=0, at_most=0.999999)
    restart: float = flag(
        0.1,
        "share of the mean count below which an entry of moving averages is restarted; 0 for never",
        at_least=0,
        at_most=0.4,
    )
    commitment_weight: float = flag(0.25, "weight of the commitment loss", at_least=0)
    prior_width: int = flag(64, "width of the transformer over the codes", at_least=1)
    prior_layers: int = flag(2, "number of its layers", at_least=1, at_most=1000)
    prior_heads: int = flag(4, "number of its attention heads, which divides the width", at_least=1)


def build_codebook(flags: Flags) -> networks.Codebook:
    """The codebook, or the codebooks, that the flags name."""
    if flags.quantizer == "fsq":
        if math.prod(flags.levels) > 2**16:
            raise BadInput(f"{math.prod(flags.levels)} codes are too many; give fewer levels", parameter="levels")
        return networks.scalar_codebook(flags.levels)
    if flags.codebook == "gradient":
        codebook = networks.learned_codebook(flags.num_codes, flags.code_dim)
    else:
        codebook = networks.averaged_codebook(
            flags.num_codes, flags.code_dim, decay=flags.codebook_decay, restart=flags.restart
        )
    return codebook if flags.quantizer == "vq" else networks.residual_codebook(codebook, flags.num_codebooks)


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks, the codebook, the prior and the model."""
    if flags.likelihood == "bernoulli":
        dataset.require_bounded("the likelihood bernoulli", parameter="likelihood")
    if flags.prior_width % flags.prior_heads:
        raise BadInput(f"the number of heads must divide `prior_width`, {flags.prior_width}", parameter="prior_heads")
    shape, activation = dataset.train.x.shape[1:], networks.ACTIVATIONS[flags.activation]
    codebook = build_codebook(flags)
    if flags.network == "mlp":
        grid: tuple[int, ...] = (flags.code_length,)
        encoder = networks.mlp(shape, (*grid, codebook.dim), hidden=flags.hidden, activation=activation)
        decoder = networks.mlp((*grid, codebook.dim), shape, hidden=flags.hidden[::-1], activation=activation)
    else:
        dataset.require_images("a convolutional network", parameter="network")
        grid = networks.map_shape(shape, len(flags.features))
        encoder = networks.map_encoder(shape, codebook.dim, features=flags.features, activation=activation)
        decoder = networks.map_decoder(codebook.dim, shape, features=flags.features, activation=activation)
    transformer = networks.causal_transformer(
        math.prod(grid) * codebook.depth,
        codebook.num_codes,
        width=flags.prior_width,
        num_layers=flags.prior_layers,
        num_heads=flags.prior_heads,
    )
    likelihood = BERNOULLI if flags.likelihood == "bernoulli" else gaussian_likelihood(variance=flags.variance)
    prior = losses.autoregressive(transformer, codebook.num_codes)
    parts = vq.VQ(encoder, decoder, likelihood, codebook, prior, grid)
    objective = vq.objective(parts, commitment_weight=flags.commitment_weight)
    model = vq.model(parts, runs.optimizer(flags), objective, averaging=flags.averaging or None, reduction=reduction)
    return runs.Built(model, parts)


def held_out_codes(trained: runs.Trained) -> np.ndarray:
    """The indices of the held-out examples, [N, L]."""
    index = jax.jit(partial(vq.encode, parts=trained.parts))(trained.params, trained.examples.x)
    return np.asarray(index)


def frequencies(index: np.ndarray, codebook: networks.Codebook) -> np.ndarray:
    """How often each code of each codebook occurs: indices [N, L] -> [depth, num_codes]."""
    return rate_distortion.histogram(index.reshape(-1, codebook.depth), num_symbols=codebook.num_codes)


def monitor(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """How evenly held-out examples use the codes, means over the codebooks.

    perplexity = exp(-sum_k p_k log p_k) of the frequencies p,   codebook_usage = the share of codes with p_k > 0
    """
    from scipy.stats import entropy

    counts = frequencies(held_out_codes(trained), trained.parts.codebook)
    return {
        "perplexity": float(np.mean(np.exp(entropy(counts, axis=1)))),
        "codebook_usage": float(np.mean(counts > 0)),
    }


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws reconstructions, samples from the prior and the frequencies of the codes; measures their rate."""
    params, parts = trained.params, trained.parts
    title = "reconstructions, E[x|k] at their codes k"
    showing.save_reconstructions(trained, partial(vq.reconstruct, parts=parts), title=title)
    sample = jax.jit(trained.model.sample, static_argnums=1)  # type: ignore[arg-type] # it can sample
    showing.save_samples(
        trained, sample(trained.state, 100, trained.key), title="E[x|k] at codes k drawn from the prior"
    )
    index = held_out_codes(trained)
    save_frequencies(trained.workdir / "codebook.png", frequencies(index, parts.codebook))
    rate = jax.jit(parts.prior.negative_log_density)(params["prior"], index)
    bits = float(np.asarray(rate, np.float64).mean()) / math.log(2)
    return monitor(flags, trained) | {
        "bits_per_code": bits / parts.num_indices,
        "bits_per_pixel": bits / math.prod(trained.examples.x.shape[1:3]),
    }


def save_frequencies(path: Path, counts: np.ndarray) -> None:
    """Draws the frequencies of the codes, the most frequent first, one line per codebook."""
    rank = np.arange(1, counts.shape[1] + 1)
    names = ["codes"] if len(counts) == 1 else [f"codebook {number}" for number in range(1, len(counts) + 1)]
    shares = np.sort(counts / counts.sum(axis=1, keepdims=True), axis=1)[:, ::-1]
    lines = {name: (rank, share) for name, share in zip(names, shares, strict=True)}
    charts.save_lines(
        path,
        lines | {"all codes equally often": (rank, np.full(len(rank), 1 / len(rank)))},
        xlabel="rank of the code",
        ylabel="frequency",
        title="codes of held-out examples",
    )


def decoded(params: Params, index: Array, *, parts: vq.VQ) -> Array:
    """The data of codes given as numbers of any type, [N, L]; one beyond the codebook's is moved to the last."""
    return vq.decode(params, jnp.clip(index.astype(jnp.int32), 0, parts.codebook.num_codes - 1), parts=parts)


def applications(flags: Flags, parts: vq.VQ) -> dict[str, runs.Application]:
    """Codes and their files, reconstructions, and scores, which are larger for examples unlike the training data."""
    encode = partial(vq.encode, parts=parts)
    symbols = rate_distortion.Quantiser(
        np.zeros(parts.num_indices), np.ones(parts.num_indices), parts.codebook.num_codes
    )

    def scores(params: Params, x: Array, key: Key) -> dict[str, Array]:
        _, metrics, _ = vq.objective(parts)(params, Batch(x), key)
        error = squared_error(vq.reconstruct(params, x, parts=parts), x)
        return metrics | {"squared_error": error}

    def rebuilt(params: Params, index: Array, key: Key) -> Array:
        return decoded(params, index, parts=parts)

    def read(path: Path) -> np.ndarray:
        index = transform_coding.read(path)
        if index.shape[1] != parts.num_indices:
            raise BadInput(f"{path} holds {index.shape[1]} codes per example; this run has {parts.num_indices}")
        return index

    return {
        "codes": runs.Application(lambda params, x, key: encode(params, x)),
        "reconstructions": runs.Application(lambda params, x, key: vq.reconstruct(params, x, parts=parts)),
        "scores": runs.Application(scores),
        "decoded": runs.Application(rebuilt, read=examples.read_rows),
        "compressed": runs.Application(
            lambda params, x, key: encode(params, x), pack=lambda name, index: transform_coding.pack(index, symbols)
        ),
        "decompressed": runs.Application(rebuilt, read=read),
    }


def generator(flags: Flags, parts: vq.VQ) -> runs.Generator:
    """How codes given by hand or drawn from the prior become new data."""
    return runs.Generator(partial(decoded, parts=parts), parts.num_indices, partial(vq.sample_prior, parts=parts))


EXPERIMENT = runs.Experiment(
    "vq",
    Flags,
    build,
    summarise,
    watch=("negative_elbo", "distortion", "rate"),
    monitor=monitor,
    applications=applications,
    generator=generator,
    metrics=lambda flags: {
        "loss": runs.Metric("nats", "lower"),
        "bits_per_code": runs.Metric("bits"),
        "bits_per_pixel": runs.Metric("bits"),
        "perplexity": runs.Metric("codes", "higher"),
        "codebook_usage": runs.Metric("", "higher"),
    },
    headline=("negative_elbo", "distortion", "rate", "perplexity", "codebook_usage", "bits_per_code", "bits_per_pixel"),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
