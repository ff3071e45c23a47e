"""What every model of the library keeps, whatever it is: the contract of `genjax.types.Model`, one battery for all."""

import functools
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradients, losses, networks
from genjax.losses import BERNOULLI, HINGE, NON_SATURATING, RELATIVISTIC, SQUARED_ERROR
from genjax.models import (
    adversarial_autoencoder,
    alternating,
    autoencoder,
    bigan,
    classifier,
    descent,
    disentangling,
    factor_vae,
    flow,
    gan,
    identity_encoder,
    identity_swap,
    importance_weighted,
    info_gan,
    info_vae,
    ladder,
    learned_compression,
    made,
    masked_autoencoder,
    moving_average,
    regressor,
    semi_supervised,
    semi_supervised_adversarial,
    sfnn,
    sparse_autoencoder,
    stacked,
    vae,
    vae_gan,
    vq,
)
from genjax.models.top_k import TopK
from genjax.models.unrolling import Unrolling
from genjax.stochastic import gaussian_noise
from genjax.training.checkpoint import Checkpoints
from genjax.training.digest import flatten, params_sha256
from genjax.types import Batch, Network, Pair
from tests import bits

B, DIM, CLASSES = 4, 3, 2
ADAM = optax.adam(1e-2)


def mlp(num_in, num_out, hidden=(4, 4)):
    """Of hidden layers as wide in every network, so that two networks of one key would draw the same numbers."""
    return drawing(networks.mlp((num_in,), (num_out,) if num_out else (), hidden=hidden, activation=jnp.tanh))


def drawing(network):
    """A network whose init draws from its key itself, where Linen only folds numbers into it, which is no reuse."""
    return network._replace(init=lambda key: network.init(jax.random.split(key, 1)[0]))


def autoencoder_with(*penalties, code=None, hidden=(4, 4), corruption=None, **options):
    def build(**more):
        parts = autoencoder.Autoencoder(mlp(DIM, 2, hidden), mlp(2, DIM, hidden), SQUARED_ERROR, code)
        objective = autoencoder.objective(parts, penalties=penalties, corruption=corruption)
        return autoencoder.model(parts, ADAM, objective, **options, **more)

    return build


def sparse_with(make, **terms):
    """A sparse autoencoder with dead units, which two steps make of any unit."""

    def build(**more):
        parts = sparse_autoencoder.SparseAutoencoder(make(mlp(DIM, 5)), mlp(5, DIM), SQUARED_ERROR)
        revival = sparse_autoencoder.Revival(5, at_most=2, after=4)
        objective = sparse_autoencoder.objective(parts, revival=revival, **terms)
        return sparse_autoencoder.model(parts, ADAM, objective, revival=revival, **more)

    return build


def vae_of(objective, **options):
    def build(**more):
        parts = vae.VAE(networks.gaussian_heads(mlp(DIM, 4)), mlp(2, DIM), BERNOULLI, 2)
        return vae.model(parts, ADAM, objective(parts), **options, **more)

    return build


def flow_vae_of(objective):
    """A VAE whose prior is a flow of couplings and whose posterior has an inverse autoregressive one."""

    def build(**more):
        layers = dict(num_layers=2, hidden=(5,), activation=jnp.tanh)
        posterior = networks.inverse_autoregressive_flow(2, context_dim=3, **layers)
        encoder = networks.flow_heads(mlp(DIM, 7), drawing_flow(posterior), 2)
        prior = losses.flow_prior(drawing_flow(networks.coupling_flow(2, **layers)))
        parts = vae.VAE(encoder, mlp(2, DIM), BERNOULLI, 2, prior, losses.flow_posterior(posterior))
        return vae.model(parts, ADAM, objective(parts), **more)

    return build


def vae_with(encoder, **fields):
    def build(**more):
        parts = vae.VAE(encoder, mlp(2, DIM), BERNOULLI, 2, **fields)
        return vae.model(parts, ADAM, vae.objective(parts), **more)

    return build


def drawing_flow(of):
    """Of layers whose networks draw from their keys themselves, as `drawing` does."""
    return of._replace(init=lambda key: of.init(jax.random.split(key, 1)[0]))


def build_flow(**more):
    layers = drawing_flow(networks.masked_autoregressive_flow(DIM, 2, hidden=(5,), activation=jnp.tanh))
    parts = flow.FlowDensity(layers, (DIM,))
    return flow.model(parts, ADAM, flow.objective(parts), **more)


def made_of(num_masks):
    def build(**more):
        draw = np.random.RandomState(0)
        orders = [draw.permutation(DIM) + 1 for _ in range(num_masks)]
        masks = [networks.mask_degrees(order, (5, 4), draw=draw) for order in orders]
        parts = made.parts((DIM,), masks, activation=jnp.tanh)
        parts = parts._replace(network=drawing(parts.network))
        return made.model(parts, ADAM, made.objective(parts), **more)

    return build


GAUSSIAN_ENCODER = networks.gaussian_heads(mlp(DIM, 4))
VAMP = losses.vamp_prior(GAUSSIAN_ENCODER, jnp.linspace(0.1, 0.9, 3 * DIM).reshape(3, DIM))


def conditional_parts():
    return vae.VAE(
        networks.gaussian_heads(networks.with_label(mlp(DIM + CLASSES, 4), CLASSES)),
        networks.with_label(mlp(2 + CLASSES, DIM), CLASSES),
        BERNOULLI,
        2,
        losses.class_prior(CLASSES, 2),
        context=vae.LabelContext(CLASSES),
    )


def build_conditional(**more):
    parts = conditional_parts()
    return vae.model(parts, ADAM, vae.objective(parts), **more)


def build_learned_compression(**more):
    side = learned_compression.Hyperprior(drawing(networks.affine((2,), (3,))), drawing(networks.affine((3,), (2,))), 3)
    analysis, synthesis = drawing(networks.affine((DIM,), (2,))), drawing(networks.affine((2,), (DIM,)))
    parts = learned_compression.LearnedCompression(analysis, synthesis, SQUARED_ERROR, 2, side)
    return learned_compression.model(parts, ADAM, learned_compression.objective(parts, distortion_weight=4.0), **more)


def build_masked_autoencoder(**more):
    sizes = dict(width=4, num_layers=1, num_heads=2)
    encoder, decoder = networks.patch_encoder(4, 4, **sizes), networks.patch_decoder(4, 4, 4, **sizes)
    encoder, decoder = drawing(encoder), drawing(decoder)
    parts = masked_autoencoder.MaskedAutoencoder(encoder, decoder, (4, 4, 1), 2)
    return masked_autoencoder.model(parts, ADAM, masked_autoencoder.objective(parts, hidden_share=0.5), **more)


def build_stacked(**more):
    """In the pretraining of its first layer for the first two steps, and of its second one from then on."""
    layers = tuple(autoencoder.Autoencoder(mlp(*size), mlp(*size[::-1]), SQUARED_ERROR) for size in ((DIM, 5), (5, 4)))
    parts = stacked.Stacked(layers, mlp(4, CLASSES))
    noise = [gaussian_noise(scale=0.5)] * 2
    return stacked.model(parts, ADAM, ADAM, pretraining_steps=2, corruptions=noise, **more)


def build_semi_supervised(**more):
    parts = semi_supervised.SemiSupervised(conditional_parts(), classifier.Classifier(mlp(DIM, 4), mlp(4, CLASSES)))
    objective = semi_supervised.objective(parts, labelled_fraction=0.1, labelled_share=0.5, classification_weight=0.1)
    return semi_supervised.model(parts, ADAM, objective, **more)


def penalised(penalty):
    return vae_of(partial(vae.objective, penalties=[penalty]))


def build_factor_vae(**more):
    parts = vae.VAE(networks.gaussian_heads(mlp(DIM, 4)), mlp(2, DIM), BERNOULLI, 2)
    parts = factor_vae.FactorVAE(parts, mlp(2, 0))
    return factor_vae.model(parts, ADAM, ADAM, weight=3.0, averaging=0.9, **more)


def build_classifier(**more):
    parts = classifier.Classifier(mlp(DIM, 4), mlp(4, CLASSES))
    return classifier.model(parts, ADAM, classifier.objective(parts), **more)


def build_ladder(**more):
    above = networks.gaussian_heads(mlp(2, 6))
    layers = (
        ladder.Layer(mlp(DIM, 5), networks.gaussian_heads(mlp(5, 6)), above, 3),
        ladder.Layer(mlp(5, 4), networks.gaussian_heads(mlp(4, 4)), None, 2),
    )
    parts = ladder.Ladder(layers, mlp(3, DIM), BERNOULLI)
    return ladder.model(parts, ADAM, ladder.objective(parts), **more)


def build_regressor(**more):
    return regressor.model(mlp(DIM, DIM), ADAM, **more)


def build_sfnn(**more):
    parts = sfnn.SFNN(mlp(DIM, 4), networks.with_log_variance(mlp(4, DIM)), losses.GAUSSIAN, 2, jnp.tanh)
    return sfnn.model(parts, ADAM, sfnn.objective(parts, num_draws=3), **more)


def build_identity_encoder(**more):
    parts = identity_encoder.IdentityEncoder(mlp(DIM, 4), 4, CLASSES)
    return identity_encoder.model(parts, ADAM, margin=lambda step: 0.3, **more)


def gan_with(adversarial=NON_SATURATING, *, spectral=False, penalty=None, augmentation=None, top_k=None, **options):
    def build(**more):
        discriminator, project = mlp(DIM, 0), None
        if spectral:
            discriminator, project = networks.spectral_norm(discriminator)
        parts = gan.GAN(mlp(2, DIM), discriminator, adversarial, 2, augmentation=augmentation, top_k=top_k)
        return gan.model(parts, ADAM, ADAM, penalty=penalty, project=project, **options, **more)

    return build


def conditional_gan(discriminator, auxiliary_weight=None):
    def build(**more):
        generator = networks.with_label(mlp(2 + CLASSES, DIM), CLASSES)
        parts = gan.GAN(generator, discriminator, NON_SATURATING, 2, CLASSES, auxiliary_weight=auxiliary_weight)
        return gan.model(parts, ADAM, ADAM, **more)

    return build


def build_info_gan(**more):
    discriminator = networks.discriminator_heads(mlp(DIM, 1 + 3 + 2))
    parts = info_gan.InfoGAN(mlp(2 + 3 + 2, DIM), discriminator, NON_SATURATING, 2, num_categories=3, num_continuous=2)
    return info_gan.model(parts, ADAM, ADAM, weights=info_gan.Weights(), averaging=0.9, **more)


def gradient_penalty(critic, real, fake, key):
    return 10 * losses.gradient_penalty(critic, real, fake, key)


def aae_with(prior=losses.STANDARD_NORMAL, num_classes=0):
    def build(**more):
        parts = adversarial_autoencoder.AdversarialAutoencoder(
            autoencoder.Autoencoder(mlp(DIM, 2), mlp(2, DIM), SQUARED_ERROR),
            mlp(2 + num_classes, 0),
            2,
            prior,
            num_classes=num_classes,
        )
        return adversarial_autoencoder.model(parts, ADAM, ADAM, ADAM, penalty=r1_penalty, averaging=0.9, **more)

    return build


def build_semi_supervised_adversarial(**more):
    critics = [mlp(CLASSES, 0), mlp(2, 0)]
    parts = semi_supervised_adversarial.parts_of(
        mlp(DIM, CLASSES + 2), mlp(CLASSES + 2, DIM), critics, SQUARED_ERROR, num_classes=CLASSES, style_dim=2
    )
    shares = dict(labelled_fraction=0.1, labelled_share=0.5)
    return semi_supervised_adversarial.model(
        parts, ADAM, ADAM, ADAM, ADAM, **shares, penalty=r1_penalty, averaging=0.9, **more
    )


def r1_penalty(critic, real, fake, key):
    return losses.r1_penalty(critic, real)


def bigan_with(posterior=None, prior=losses.STANDARD_NORMAL):
    def build(**more):
        encoder = mlp(DIM, 2) if posterior is None else networks.gaussian_heads(mlp(DIM, 4))
        code = None if posterior is None else posterior.mean
        judge = mlp(DIM + 2, 0)
        parts = bigan.BiGAN(
            autoencoder.Autoencoder(encoder, mlp(2, DIM), SQUARED_ERROR, code),
            Network(judge.init, lambda params, x, z: judge.apply(params, jnp.concatenate([x, z], axis=1))),
            2,
            prior,
            posterior,
        )
        return bigan.model(parts, ADAM, ADAM, penalty=gradient_penalty, averaging=0.9, **more)

    return build


def vae_gan_with(**weights):
    def build(**more):
        judge = networks.mlp((DIM,), (), hidden=(4, 4), activation=jnp.tanh, with_features=True)
        likelihood = losses.gaussian_likelihood(variance=1.0)
        parts = vae_gan.VAEGAN(vae.VAE(GAUSSIAN_ENCODER, mlp(2, DIM), likelihood, 2), drawing(judge))
        options = dict(weights=vae_gan.Weights(**weights), penalty=r1_penalty, averaging=0.9)
        return vae_gan.model(parts, ADAM, ADAM, ADAM, **options, **more)

    return build


def build_identity_swap(**more):
    shape, encode = (2, 2, DIM), partial(identity_encoder.encode, parts=identity_encoder.IdentityEncoder(BODY, 4, 2))
    flat = drawing(networks.mlp((*shape[:2], DIM + 4), shape, hidden=(4, 4), activation=jnp.tanh))

    def swapped(params, x, v):
        everywhere = jnp.broadcast_to(v[:, None, None], (*x.shape[:3], 4))
        return flat.apply(params, jnp.concatenate([x, everywhere], axis=-1))

    def judged(params, x):
        maps = JUDGE.apply(params, x)
        return [maps, maps**2], maps[..., 0]

    judges = networks.multi_scale([Network(JUDGE.init, judged)])
    parts = identity_swap.IdentitySwap(Network(flat.init, swapped), judges, encode, identity_swap.FREER)
    return identity_swap.model(parts, BODY.init(jax.random.key(7)), ADAM, ADAM, **more)


BODY = networks.mlp((2, 2, DIM), (4,), hidden=(4,), activation=jnp.tanh)
JUDGE = networks.mlp((2, 2, DIM), (2, 2, DIM), hidden=(4, 4), activation=jnp.tanh)


def causal(length, num_codes):
    """Logits that are linear in the symbols before each place."""
    size, mask = length * num_codes, np.kron(np.triu(np.ones((length, length)), 1), np.ones((num_codes,) * 2))

    def apply(kernel, x):
        return (x.reshape(len(x), size) @ (kernel * mask.astype(kernel.dtype))).reshape(x.shape)

    return Network(lambda key: jax.random.normal(key, (size, size)), apply)


def vq_with(make_codebook):
    def build(**more):
        codebook = make_codebook(4, 2)
        parts = vq.VQ(
            drawing(networks.mlp((DIM,), (2, 2), hidden=(4, 4), activation=jnp.tanh)),
            drawing(networks.mlp((2, 2), (DIM,), hidden=(4, 4), activation=jnp.tanh)),
            BERNOULLI,
            codebook,
            losses.autoregressive(causal(2 * codebook.depth, 4), 4),
            (2,),
        )
        return vq.model(parts, ADAM, vq.objective(parts), **more)

    return build


def build_players(**more):
    """A saddle of two vectors, the first of which moves twice in each turn and keeps an average."""

    def of(name, other, sign):
        def objective(own, others, batch, key):
            loss = jnp.sum(own[None] * (own[None] + sign * others[other][None] * batch.x), axis=1)
            return loss, {f"{name}_loss": loss}

        return objective

    def init_params(key):
        return {name: jax.random.normal(k, DIM) for name, k in zip("xy", jax.random.split(key), strict=True)}

    players = [
        alternating.Player("x", of("x", "y", 1), ADAM, steps=2, averaging=moving_average.cumulative(0.9)),
        alternating.Player("y", of("y", "x", -1), ADAM),
    ]
    return alternating.model(init_params, players, **more)


def build_counter(**more):
    """A mean that is learned by gradients beside one that is refreshed by the batch's sums."""

    def objective(params, batch, key):
        loss = jnp.sum(jnp.square(params["learned"][None] - batch.x), axis=1)
        return loss, {"distance": loss}, {"sum": jnp.sum(batch.x, axis=0), "num": jnp.asarray(len(batch.x), jnp.int32)}

    def refresh(params, statistics):
        return params | {"running": 0.9 * params["running"] + 0.1 * statistics["sum"] / statistics["num"]}

    def init_params(key):
        return {"learned": jax.random.normal(key, DIM), "running": jnp.zeros(DIM)}

    return descent.model(init_params, gradients.frozen(ADAM, "running"), objective, refresh=refresh, **more)


class Case(NamedTuple):
    build: Any  # (reduction=...) -> Model
    draws: bool = False  # whether its objective draws from the key
    label: str = "class"
    sums: bool = True  # whether its loss is a mean of what each example has alone: not so of batch statistics


sigmoid = jax.nn.sigmoid
CASES = {
    "autoencoder": Case(autoencoder_with()),
    "denoising": Case(autoencoder_with(corruption=gaussian_noise(scale=0.5)), draws=True),
    "weight_l1": Case(autoencoder_with(autoencoder.weight_l1_penalty(0.1))),
    "weight_l2": Case(autoencoder_with(autoencoder.weight_l2_penalty(0.1), averaging=0.9)),
    "code_l1": Case(autoencoder_with(autoencoder.code_l1_penalty(0.1))),
    "code_kl": Case(autoencoder_with(autoencoder.code_kl_penalty(0.1, rate=0.2), code=sigmoid), sums=False),
    "rae_l2": Case(autoencoder_with(autoencoder.code_l2_penalty(0.1), autoencoder.decoder_l2_penalty(0.1))),
    "rae_gp": Case(autoencoder_with(autoencoder.decoder_jacobian_penalty(0.1)), draws=True),
    "wae_mmd": Case(
        autoencoder_with(
            autoencoder.mmd_penalty(0.1), sample_codes=lambda num, key: jax.random.normal(key, (num, 2)), averaging=0.9
        ),
        draws=True,
    ),
    "swae": Case(autoencoder_with(autoencoder.sliced_wasserstein_penalty(0.1, num_projections=3)), draws=True),
    "contractive": Case(autoencoder_with(autoencoder.contractive_penalty(0.1))),
    "hutchinson": Case(autoencoder_with(autoencoder.hutchinson_contractive_penalty(0.1)), draws=True),
    "sigmoid_layer": Case(
        autoencoder_with(autoencoder.sigmoid_layer_contractive_penalty(0.1), code=sigmoid, hidden=())
    ),
    "gated": Case(sparse_with(lambda network: networks.gated_units(network, 5), weight=0.1, prefixes=(2,))),
    "jump_relu": Case(sparse_with(lambda network: networks.jump_relu_units(network, 5), weight=0.1)),
    "batch_top_k": Case(sparse_with(partial(networks.batch_top_k_units, k=2)), sums=False),
    "vae": Case(vae_of(vae.objective, averaging=0.9), draws=True),
    "beta_tcvae": Case(penalised(disentangling.total_correlation_penalty(3.0, num_examples=20)), draws=True),
    "info_vae": Case(penalised(info_vae.mmd_penalty(3.0)), draws=True),
    "dip_ii": Case(penalised(disentangling.dip_ii_penalty(3.0)), draws=True),
    "factor_vae": Case(build_factor_vae, draws=True),
    "iwae": Case(vae_of(partial(importance_weighted.objective, num_samples=3)), draws=True),
    "dreg": Case(vae_of(partial(importance_weighted.doubly_reparameterized_objective, num_samples=3)), draws=True),
    "miwae": Case(
        vae_of(partial(importance_weighted.multiply_weighted_objective, num_samples=2, num_bounds=3)), draws=True
    ),
    "piwae": Case(
        vae_of(partial(importance_weighted.partially_weighted_objective, num_samples=2, num_bounds=3)), draws=True
    ),
    "ciwae": Case(vae_of(partial(importance_weighted.combined_objective, num_samples=3, beta=0.3)), draws=True),
    "ladder": Case(build_ladder, draws=True),
    "flow_vae": Case(flow_vae_of(vae.objective), draws=True),
    "flow_iwae": Case(flow_vae_of(partial(importance_weighted.objective, num_samples=3)), draws=True),
    "flow": Case(build_flow),
    "made": Case(made_of(1)),
    "made_of_two_masks": Case(made_of(2)),
    "vae_mixture": Case(vae_with(GAUSSIAN_ENCODER, prior=losses.mixture_prior(3, 2)), draws=True),
    "vae_vamp": Case(vae_with(GAUSSIAN_ENCODER, prior=VAMP, prior_params=vae.with_encoder), draws=True),
    "vae_spherical": Case(
        vae_with(
            networks.von_mises_fisher_heads(mlp(DIM, 3)),
            prior=losses.UNIFORM_ON_SPHERE,
            posterior=losses.VON_MISES_FISHER,
        ),
        draws=True,
    ),
    "vae_conditional": Case(build_conditional, draws=True),
    "semi_supervised": Case(build_semi_supervised, draws=True),
    "classifier": Case(build_classifier),
    "learned_compression": Case(build_learned_compression, draws=True),
    "masked_autoencoder": Case(build_masked_autoencoder, draws=True, label="image"),
    "stacked": Case(build_stacked, draws=True),
    "regressor": Case(build_regressor, label="vector"),
    "sfnn": Case(build_sfnn, draws=True, label="vector"),
    "identity_encoder": Case(build_identity_encoder),
    "gan": Case(gan_with(averaging=0.9, num_critic_steps=2), draws=True),
    "gan_conditional": Case(conditional_gan(networks.with_label(mlp(DIM + CLASSES, 0), CLASSES)), draws=True),
    "gan_projection": Case(conditional_gan(networks.label_projection(mlp(DIM, 1 + CLASSES), CLASSES)), draws=True),
    "gan_auxiliary": Case(conditional_gan(networks.discriminator_heads(mlp(DIM, 1 + CLASSES)), 0.5), draws=True),
    "info_gan": Case(build_info_gan, draws=True),
    "gan_spectral": Case(gan_with(HINGE, spectral=True), draws=True),
    "gan_penalised": Case(
        gan_with(RELATIVISTIC, penalty=gradient_penalty, augmentation=gaussian_noise(scale=0.1)), draws=True
    ),
    "gan_top_k": Case(gan_with(top_k=TopK(4), ahead=Unrolling(2, optax.sgd(0.1))), draws=True, sums=False),
    "bigan": Case(bigan_with(prior=losses.UNIFORM_ON_CUBE), draws=True),
    "bigan_gaussian": Case(bigan_with(losses.DIAGONAL_GAUSSIAN), draws=True),
    "adversarial_autoencoder": Case(aae_with(losses.ring_prior(CLASSES, classes=True), CLASSES), draws=True),
    "adversarial_autoencoder_unlabelled": Case(aae_with(), draws=True),
    "semi_supervised_adversarial": Case(build_semi_supervised_adversarial, draws=True),
    "vae_gan": Case(vae_gan_with(last_layer=("layer_3",), start=1), draws=True, sums=False),
    "vae_gan_fixed": Case(vae_gan_with(distortion=0.5), draws=True),
    "vq": Case(vq_with(networks.averaged_codebook)),
    "vq_residual": Case(vq_with(lambda *sizes: networks.residual_codebook(networks.learned_codebook(*sizes), 2))),
    "vq_fsq": Case(vq_with(lambda num, dim: networks.scalar_codebook((2,) * dim))),
    "identity_swap": Case(build_identity_swap, draws=True, label="pair"),
    "players": Case(build_players),
    "statistics": Case(build_counter),
}
VARIANTS = (
    "vae_conditional",
    "piwae",
    "dreg",
    "gan_auxiliary",
    "gan_conditional",
    "weight_l2",
    "hutchinson",
    "vae_gan_fixed",
    "bigan_gaussian",
    "adversarial_autoencoder_unlabelled",
    "semi_supervised_adversarial",
    "gan_top_k",
    "weight_l1",
    "code_l1",
    "sigmoid_layer",
    "gated",
    "gan_spectral",
    "gan_projection",
    "jump_relu",
    "miwae",
    "ciwae",
    "flow_vae",
    "flow_iwae",
    "vae_vamp",
    "beta_tcvae",
    "made_of_two_masks",
    "vae_mixture",
    "vae_spherical",
    "dip_ii",
    "info_vae",
    "rae_l2",
    "rae_gp",
    "swae",
    "vq_residual",
    "vq_fsq",
)


def params(cases):
    return [pytest.param(case, id=name, marks=[pytest.mark.slow] * (name in VARIANTS)) for name, case in cases.items()]


every_model = pytest.mark.parametrize("case", params(CASES))
a_few_models = pytest.mark.parametrize(  # the others in the slow run
    "case",
    [
        pytest.param(case, id=name, marks=[pytest.mark.slow] * (name not in ("vae", "gan")))
        for name, case in CASES.items()
    ],
)


def batch_of(case, dtype=jnp.float32):
    x = jax.random.uniform(jax.random.key(3), (2, B, 2, 2, DIM) if case.label == "pair" else (B, DIM), dtype)
    if case.label == "pair":
        return Pair(*x)
    if case.label == "image":
        x = jax.random.uniform(jax.random.key(3), (B, 4, 4, 1), dtype)
    return Batch(x, jnp.arange(B) % CLASSES if case.label == "class" else x[:, ::-1])


@functools.cache
def built(case):
    """The model, a batch, its step, compiled once for all tests that trace alike, and how often that was traced."""
    model, traces = case.build(), Counter()

    def train_step(state, batch, key):
        traces["train_step"] += 1
        return model.train_step(state, batch, key)

    return model, batch_of(case), jax.jit(train_step, donate_argnums=0), traces


def copied(state):
    """For a step, which consumes the state that it is given."""
    return jax.tree.map(jnp.copy, state)


def check_metrics(metrics, names=None):
    assert names is None or metrics.keys() == names
    assert "loss" in metrics
    for name, value in metrics.items():
        assert value.shape == () and value.dtype == jnp.float32 and np.isfinite(value), name


def check_initial_draws(params):
    """No two networks are drawn from one key, so that none of their kernels of equal shapes are equal."""
    kernels = [leaf for leaf in jax.tree.leaves(params) if np.std(leaf) > 0]
    for i, one in enumerate(kernels):
        for other in kernels[:i]:
            assert one.shape != other.shape or not np.array_equal(one, other)


@every_model
def test_the_four_functions(case, key, no_key_reuse, request):
    """One key for each draw; a state of arrays, safe to donate; one trace; metrics of the same names everywhere."""
    model, batch, step, traces = built(case)
    clone, names, before = jax.random.clone, None, traces.total()
    state = model.init(clone(key))
    shapes = jax.tree.map(lambda a: (a.shape, a.dtype), flatten(state))  # refuses what is not an array of numbers
    assert state.step == 0 and state.step.dtype == jnp.int32
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state))  # the step after it would be traced again
    for done in range(1, 4):
        state, metrics = step(state, batch, clone(key))
        check_metrics(metrics, names)
        names = metrics.keys()
        assert state.step == done
    # an identity swap takes turns: two steps later it is at the same one, and draws another roll
    _, one = step(copied(state), batch, clone(key))
    _, later = step(copied(state)._replace(step=state.step + 2), batch, clone(key))
    assert (float(one["loss"]) != float(later["loss"])) == case.draws
    assert traces.total() <= before + 1
    assert jax.tree.map(lambda a: (a.shape, a.dtype), flatten(state)) == shapes

    before = params_sha256(state)
    evaluate = jax.jit(model.evaluate)
    found = evaluate(state, batch, clone(key))
    check_metrics(found, names)
    chex.assert_trees_all_equal(evaluate(state, batch, clone(key)), found)
    if model.sample is not None:
        samples = model.sample(state, 5, clone(key))
        assert samples.shape == (5, DIM) and np.isfinite(samples).all()
        assert not np.array_equal(model.sample(state, 5, jax.random.key(9)), samples)
    assert params_sha256(state) == before
    check_initial_draws(model.init(clone(key)).params)  # donating a state took nothing from the model
    bits.check(f"models.{request.node.callspec.id}", {"state": state, "metrics": metrics, "test": found})


@a_few_models
def test_seeds_side_by_side_are_those_alone(case, key):
    model, batch, step, _ = built(case)
    state = model.init(key)
    # two states, of which the second has moved; two keys
    states = [state, step(copied(state), batch, key)[0]]
    keys = jax.random.split(key, 2)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    together = jax.jit(jax.vmap(model.train_step, in_axes=(0, None, 0)))(stacked, batch, keys)
    for i in range(2):
        one = step(states[i], batch, keys[i])
        chex.assert_trees_all_close(jax.tree.map(lambda a, i=i: a[i], together), one, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("case", params({name: case for name, case in CASES.items() if case.sums and not case.draws}))
def test_shards_in_order_are_the_whole_batch(case, key, no_key_reuse):
    model, batch, step, _ = built(case)
    sharded, state = case.build(reduction=gradients.ordered(2)), model.init(jax.random.clone(key))
    found = jax.jit(sharded.train_step)(state, batch, jax.random.clone(key))
    chex.assert_trees_all_close(found, step(state, batch, key), rtol=1e-4, atol=1e-5)


@a_few_models
def test_a_checkpoint_is_the_state(case, key, no_key_reuse, tmp_path):
    model, batch, step, _ = built(case)
    state, _ = step(model.init(jax.random.clone(key)), batch, jax.random.clone(key))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(0, state)
        restored = checkpoints.restore(jax.eval_shape(model.init, key))
    assert restored is not None
    assert type(restored[1]) is type(state) and params_sha256(restored[1]) == params_sha256(state)


@pytest.mark.parametrize(
    "dtype",
    [pytest.param(jnp.bfloat16, id="bfloat16"), pytest.param(jnp.float64, id="float64", marks=pytest.mark.slow)],
)
@every_model
def test_a_step_keeps_the_dtypes_of_the_state(case, dtype, key):
    with jax.enable_x64(dtype == jnp.float64):
        model, batch = case.build(), batch_of(case)

        def cast(tree):
            return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)

        state = jax.eval_shape(lambda key: cast(model.init(key)), key)
        after, metrics = jax.eval_shape(model.train_step, state, cast(batch), key)
        chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
        if dtype == jnp.float64:  # in lower precision some losses add in float32
            assert metrics["loss"].dtype == dtype


@pytest.mark.parametrize(
    ("init", "parts", "name"),
    [
        (vae.init_params, vae.VAE(nn.Dense(4), mlp(2, DIM), BERNOULLI, 2), "encoder"),
        (vae.init_params, vae.VAE(mlp(DIM, 4), nn.Dense(4), BERNOULLI, 2), "decoder"),
        (
            factor_vae.init_params,
            factor_vae.FactorVAE(vae.VAE(mlp(DIM, 4), mlp(2, DIM), BERNOULLI, 2), nn.Dense(1)),
            "discriminator",
        ),
        (autoencoder.init_params, autoencoder.Autoencoder(nn.Dense(4), mlp(2, DIM), SQUARED_ERROR), "encoder"),
        (classifier.init_params, classifier.Classifier(mlp(DIM, 4), nn.Dense(2)), "head"),
        (
            bigan.init_params,
            bigan.BiGAN(autoencoder.Autoencoder(mlp(DIM, 2), mlp(2, DIM), SQUARED_ERROR), nn.Dense(1), 2),
            "discriminator",
        ),
        (
            adversarial_autoencoder.init_params,
            adversarial_autoencoder.AdversarialAutoencoder(
                autoencoder.Autoencoder(mlp(DIM, 2), mlp(2, DIM), SQUARED_ERROR), nn.Dense(1), 2
            ),
            "discriminator",
        ),
        (
            vae_gan.init_params,
            vae_gan.VAEGAN(vae.VAE(mlp(DIM, 4), mlp(2, DIM), BERNOULLI, 2), nn.Dense(1)),
            "discriminator",
        ),
        (gan.init_params, gan.GAN(nn.Dense(4), mlp(DIM, 0), HINGE, 2), "generator"),
        (info_gan.init_params, info_gan.InfoGAN(mlp(4, DIM), nn.Dense(3), HINGE, 2, 2), "discriminator"),
        (ladder.init_params, ladder.Ladder((), nn.Dense(4), BERNOULLI), "decoder"),
        (vq.init_params, vq.VQ(mlp(DIM, 4), nn.Dense(4), *4 * (None,)), "decoder"),  # type: ignore[arg-type]
        (sfnn.init_params, sfnn.SFNN(nn.Dense(4), mlp(4, DIM), losses.GAUSSIAN, 2, jnp.tanh), "hidden"),
        (identity_encoder.init_params, identity_encoder.IdentityEncoder(nn.Dense(4), 4, CLASSES), "body"),
        (lambda key, parts: regressor.model(parts, ADAM), nn.Dense(4), "network"),
    ],
)
def test_a_module_in_the_place_of_a_network_is_named(key, init, parts, name):
    with pytest.raises(TypeError, match=f"^{name}: a value of type Dense is not a Network; genjax.networks.from_linen"):
        init(key, parts=parts)


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_a_decoder_of_other_codes_is_named(key, latent_dim):
    parts = vae.VAE(networks.gaussian_heads(mlp(DIM, 2 * latent_dim)), mlp(2, DIM), BERNOULLI, latent_dim)
    with pytest.raises(ValueError, match=rf"^latent_dim: the decoder does not take codes \[B, {latent_dim}\]"):
        vae.init_params(key, parts=parts)
