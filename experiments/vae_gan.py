"""A VAE-GAN: a VAE trained in the features of a discriminator, and against it (Larsen et al. 2016).

    python -m experiments.vae_gan
    python -m experiments.vae_gan --adaptive_weight
    python -m experiments.vae_gan --loss=hinge --distortion_weight=1 --adaptive_weight --start=1000
    python -m experiments.vae_gan --dataset=mnist --data_dir=DIR --network=dcgan --batch_size=64
    python -m experiments.vae_gan --dataset=folder:PATH --network=residual --latent_dim=64

The reconstruction is compared with its original in the last hidden layer of the discriminator, which tells data from
reconstructions and from samples; the decoder also plays against it. --reconstruction_weight is the paper's gamma: the
larger it is, the more the decoder rebuilds and the less it plays. With --adaptive_weight, the game is weighed in each
step so that its gradient in the decoder's last layer has the norm of the reconstruction's (Esser et al. 2021), and
gamma is relative to that; --start is the step from which the decoder plays. --distortion_weight adds the squared error
of the pixels, the other term of autoencoders with perceptual and adversarial terms.

Each evaluation draws samples from the same noise; their pictures are in the folder `along`, the last one also in
`samples.png`, and all of them in `training.gif`. The metrics are:

    psnr                of the reconstructions of held-out examples
    feature_loss        half the squared distance of these from the examples in the discriminator's features
    prior_moment_*      first and second moment of the codes in units of the prior's, 0 and 1 where they agree
    frechet_distance    of samples from held-out images in the features of a classifier (as in `experiments.gan`), if
                        they have labels and enough of them are held out, with the other distances beside it;
                        `generate --measure` prints the same for a run of `vae`
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from experiments import applications, code_moments, games, gan_parts
from genjax import data, losses, networks, runs
from genjax.drawing import pictures
from genjax.evaluation import images
from genjax.evaluation.sample_quality import AT_LEAST, sample_quality
from genjax.gradients import Reduction
from genjax.losses import DIAGONAL_GAUSSIAN
from genjax.models import vae, vae_gan
from genjax.runs import flag, sampling, showing
from genjax.types import Array, Codec, Key, Params


class Flags(runs.Flags):
    """VAE-GAN."""

    num_steps: int = 3000
    batch_size: int = 128
    learning_rate: float = flag(1e-3, "highest learning rate of all three players", at_least=0)
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    averaging: float = 0.99
    loss: str = flag("non_saturating", "losses of the discriminator and of the decoder", choices=games.LOSSES)
    reconstruction_weight: float = flag(
        1.0, "weight of the reconstruction in the decoder's loss: the paper's gamma", at_least=0
    )
    rate_weight: float = flag(0.05, "weight of the KL divergence in the encoder's loss", at_least=0)
    distortion_weight: float = flag(
        0.0, "weight of half the squared error of the data beside that of the features", at_least=0
    )
    adaptive_weight: bool = flag(
        False, "weigh the game by the norms of the gradients in the decoder's last layer, in each step"
    )
    start: int = flag(0, "step from which the decoder plays against the discriminator", at_least=0)
    penalty_weight: float = flag(0.1, "weight of the penalty R1 on the discriminator's slope", at_least=0)
    beta1: float = flag(0.5, "Adam's b1 for all players", at_least=0, at_most=0.999999)
    beta2: float = flag(0.9, "Adam's b2 for all players", at_least=0, at_most=0.999999)
    network: str = gan_parts.network("all three networks")
    hidden: tuple[int, ...] = flag(
        (128, 128), "widths of the hidden layers of all three MLPs", at_least=1, may_be_empty=True
    )
    features: tuple[int, ...] = flag(
        (32, 64), "channels of the convolutional encoder and discriminator; the decoder mirrors them", at_least=1
    )
    latent_dim: int = flag(8, "number of latent dimensions", at_least=1)
    num_samples: int = flag(
        2000, "number of samples drawn and measured at each evaluation", at_least=AT_LEAST, at_most=10**6
    )


def build_parts(flags: Flags, shape: tuple[int, ...]) -> vae_gan.VAEGAN:
    """Encoder and discriminator of one kind, and a decoder that mirrors them."""
    d = flags.latent_dim
    decoder = gan_parts.generator(flags, d, shape)  # which refuses vectors, if there are convolutions
    encoder = networks.gaussian_heads(gan_parts.discriminator(flags, shape, (2 * d,)))
    return vae_gan.VAEGAN(
        vae.VAE(encoder, decoder, losses.gaussian_likelihood(variance=1.0), d),
        gan_parts.discriminator(flags, shape, with_features=True),
        games.LOSSES[flags.loss],
    )


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """The networks, the game and the model."""
    gan_parts.check_samples(flags, dataset)
    parts = build_parts(flags, dataset.train.x.shape[1:])
    model = vae_gan.model(
        parts,
        *(runs.optimizer(flags, b1=flags.beta1, b2=flags.beta2) for _ in range(3)),
        weights=vae_gan.Weights(
            flags.reconstruction_weight,
            flags.rate_weight,
            flags.distortion_weight,
            (gan_parts.last_layer(flags),) if flags.adaptive_weight else (),
            flags.start,
        ),
        penalty=games.r1_of(flags),
        averaging=flags.averaging or None,
        reduction=reduction,
    )
    return runs.Built(model, parts)


def monitor(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws samples of the same noise; measures them, the reconstructions of held-out examples and their codes."""
    parts, x, params = trained.parts, jnp.asarray(trained.examples.x), trained.params
    samples = sampling.draw(trained.model, trained.state, flags.num_samples, trained.key)
    if samples.ndim == 4:
        path = gan_parts.picture_along(trained)
        pictures.save_samples(path, samples[:100], title=f"decoded draws from N(0, I) at step {trained.step}")
    rebuilt = jax.jit(partial(vae.reconstruct, parts=parts.vae))(params, x)
    feature_loss = jax.jit(partial(vae_gan.feature_loss, parts=parts))(params["discriminator"], rebuilt, x)
    low, high = trained.dataset.limits
    code_key, prior_key = jax.random.split(trained.key)
    posterior = jax.jit(partial(vae.encode, parts=parts.vae))(params, x)
    codes, _ = DIAGONAL_GAUSSIAN.sample_and_negative_log_density(posterior, code_key)
    found = {
        "psnr": float(images.set_psnr(rebuilt, x, peak=high - low)),
        "feature_loss": float(jnp.mean(feature_loss)),
        **code_moments.prior_moments(codes, jax.random.normal(prior_key, (10_000, flags.latent_dim))),
    }
    return found if trained.auxiliaries is None else found | sample_quality(samples, trained.auxiliaries)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Draws reconstructions and the map of the codes; joins the pictures along the training."""
    reconstruct = partial(vae.reconstruct, parts=trained.parts.vae)
    showing.save_reconstructions(trained, reconstruct, title="reconstructions from the means of their codes")
    if trained.examples.x.ndim == 4:
        gan_parts.join_pictures(trained)
    else:
        samples = sampling.draw(trained.model, trained.state, 1000, trained.key)
        showing.save_samples(trained, samples, title="decoded draws from N(0, I)")
    codes, _ = jax.jit(partial(vae.encode, parts=trained.parts.vae))(trained.params, trained.examples.x)
    names = trained.dataset.class_names
    pictures.save_latent_map(trained.workdir / "latent_map.png", codes, trained.classes, names=names)
    return {}


def codec(parts: vae_gan.VAEGAN) -> Codec:
    """The encoder's mean, and the decoder."""
    return vae.codec(parts.vae)


def generator(flags: Flags, parts: vae_gan.VAEGAN) -> runs.Generator:
    """How codes are decoded, made of data and drawn; no noise is added to what is decoded."""

    def encode(params: Params, x: Array, key: Key) -> Array:
        posterior = vae.encode(params, x, parts=parts.vae)
        return DIAGONAL_GAUSSIAN.sample_and_negative_log_density(posterior, key)[0]

    return runs.Generator(
        partial(vae.decode, parts=parts.vae),
        parts.vae.latent_dim,
        partial(vae.sample_prior, parts=parts.vae),
        encode=encode,
    )


def applications_of(flags: Flags, parts: vae_gan.VAEGAN) -> dict[str, runs.Application]:
    """Those of a VAE, with the discriminator's features; scores are distances of the reconstruction in both spaces."""

    def hidden(params: Params, x: Array, key: Key) -> Array:
        return vae_gan.features(params["discriminator"], x, parts=parts).reshape(len(x), -1)

    def scores(params: Params, x: Array, key: Key) -> dict[str, Array]:
        rebuilt = vae.reconstruct(params, x, parts=parts.vae)
        return {
            "squared_error": losses.squared_error(rebuilt, x),
            "feature_loss": vae_gan.feature_loss(params["discriminator"], rebuilt, x, parts=parts),
        }

    own = {"scores": runs.Application(scores), "features": runs.Application(hidden)}
    return applications.of_vae(flags, parts.vae) | own


EXPERIMENT = runs.Experiment(
    "vae_gan",
    Flags,
    build,
    summarise,
    watch=("discriminator_loss", "generator_loss", "reconstruction_loss", "rate"),
    prepare=gan_parts.prepare,
    monitor=monitor,
    codec=codec,
    generator=generator,
    applications=applications_of,
    headline=("frechet_distance", "precision", "recall", "psnr", "feature_loss", "prior_moment_second"),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
