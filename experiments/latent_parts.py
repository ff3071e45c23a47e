"""The priors and posteriors by name of the pages whose model is a VAE, and what these pages draw and measure of them.

A new posterior is an entry of `latent_posteriors.KINDS` or `FLOWS`, a new prior one of `PRIORS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import reference_classifier
from experiments.latent_posteriors import POSTERIORS, Kind, check_dim, chosen
from genjax import data, losses, networks, runs
from genjax.data.outline import Outline
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.losses import Likelihood, Prior
from genjax.models import importance_weighted, vae
from genjax.runs import flag, sampling, showing
from genjax.types import Array, Network, Params

SHOWN_CLASSES, SHOWN_COMPONENTS = 20, 50  # in a picture
NUM_COUPLINGS = 4  # of a flow prior by default


class Setting(NamedTuple):
    """What a prior is built from."""

    flags: Any
    dataset: data.Dataset
    kind: Kind
    encoder: Network
    num_classes: int  # of a conditional model


class Chosen(NamedTuple):
    """A prior, and which of the model's params it reads, by default its own."""

    prior: Prior
    params: Callable[[Params], Params] = vae.VAE._field_defaults["prior_params"]


def _standard(setting: Setting) -> Chosen:
    return Chosen(setting.kind.prior)


def _refuse_on_sphere(setting: Setting) -> None:
    if setting.kind.spherical:
        raise BadInput(
            f"{setting.flags.prior} is a density of all of space, and the codes of von_mises_fisher lie on a sphere; "
            "use standard or vamp",
            parameter="prior",
        )


def _mixture(setting: Setting) -> Chosen:
    _refuse_on_sphere(setting)
    return Chosen(losses.mixture_prior(setting.flags.num_components, setting.flags.latent_dim))


def _flow(setting: Setting) -> Chosen:
    """The couplings of a conditional model read the label."""
    _refuse_on_sphere(setting)
    d, num_classes, num_layers = setting.flags.latent_dim, setting.num_classes, setting.flags.num_flow_layers
    check_dim(d, at_least=2)
    num_layers = num_layers or NUM_COUPLINGS
    layers = networks.coupling_flow(d, num_layers, hidden=(64,), activation=jnp.tanh, context_dim=num_classes)
    prior = losses.flow_prior(layers)
    if not num_classes:
        return Chosen(prior)
    one_hot = partial(jax.nn.one_hot, num_classes=num_classes)
    return Chosen(
        prior._replace(
            negative_log_density=lambda params, z, label: prior.negative_log_density(params, z, one_hot(label)),
            sample=lambda params, shape, key, label: prior.sample(params, shape, key, one_hot(label)),
        )
    )


def _vamp(setting: Setting) -> Chosen:
    """The pseudo-inputs of a conditional model have labels, the classes in turn."""
    dataset, num, posterior = setting.dataset, setting.flags.num_components, setting.kind.posterior
    if posterior.negative_log_density is None:
        raise BadInput(
            f"a VampPrior needs the density of its posteriors, which {setting.flags.posterior} has at draws alone",
            parameter="prior",
        )
    label = (jnp.arange(num) % setting.num_classes,) if setting.num_classes else ()
    start, scale = np.zeros((num, *dataset.train.x.shape[1:]), np.float32), 0.0
    if not isinstance(dataset.train.x, Outline):  # of a trained run, whose pseudo-inputs are in the checkpoint
        if setting.flags.pseudo_inputs == "data":
            start = rows_of_data(dataset, num, setting.num_classes)
        else:
            known = dataset.scaled(dataset.train.sample(10_000))
            start, scale = start + known.mean(axis=0), 0.01
    prior = losses.vamp_prior(setting.encoder, jnp.asarray(start), scale=scale, posterior=posterior, context=label)
    return Chosen(prior, vae.with_encoder)


def rows_of_data(dataset: data.Dataset, num: int, num_classes: int) -> np.ndarray:
    """A fixed choice of `num` training examples; with classes, row k is of class k % num_classes where it has some."""
    train, stride = dataset.train, max(1, num_classes)
    rows = np.zeros(num, int)
    for c in range(min(stride, num)):
        of_class = np.flatnonzero(train.label == c) if num_classes else np.arange(len(train.x))
        of_class = of_class if len(of_class) else np.arange(len(train.x))
        wanted = len(rows[c::stride])
        rows[c::stride] = np.resize(of_class[data.choose(len(of_class), wanted)], wanted)
    return np.asarray(dataset.scaled(train._replace(x=train.x[rows])))


def _of_class(setting: Setting) -> Chosen:
    _refuse_on_sphere(setting)
    if not setting.num_classes:
        raise BadInput("a Gaussian for each class needs a model that is `conditional`", parameter="prior")
    prior = losses.class_prior(setting.num_classes, setting.flags.latent_dim)
    return Chosen(prior if setting.flags.posterior == "diagonal" else prior._replace(kl=None))


PRIORS: Mapping[str, Callable[[Setting], Chosen]] = {
    "standard": _standard,
    "mixture": _mixture,
    "flow": _flow,
    "vamp": _vamp,
    "class": _of_class,
}


class Flags(runs.Record):
    """Prior and posterior."""

    prior: str = flag(
        "standard",
        "prior p(z): standard (N(0, I), or uniform on the sphere or over categories), a learned mixture of Gaussians, "
        "a learned flow of affine couplings, vamp (a VampPrior), or class (a learned Gaussian for each class of a "
        "conditional model)",
        choices=PRIORS,
        newer=True,
    )
    num_components: int = flag(
        50, "number of Gaussians of the mixture, or of pseudo-inputs of the VampPrior", at_least=1, newer=True
    )
    pseudo_inputs: str = flag(
        "data",
        "what the pseudo-inputs of the VampPrior are before training: training examples, or noise around their mean",
        choices=("data", "mean"),
        newer=True,
    )
    posterior: str = flag("diagonal", "family of the posterior q(z|x)", choices=POSTERIORS, newer=True)
    num_flow_layers: int | None = flag(
        None,
        "number of layers of the flow of a prior or posterior that has one; by default 4 of a flow prior, 10 of a "
        "planar posterior and 4 of an iaf posterior",
        at_least=1,
        at_most=1000,
        newer=True,
    )
    num_categories: int = flag(
        10, "values of each categorical variable; they divide latent_dim, the entries of a code", at_least=2, newer=True
    )
    temperature: float = flag(
        1.0, "temperature of the relaxed draws of categorical variables at the first update", at_least=1e-3, newer=True
    )
    final_temperature: float = flag(
        0.5, "temperature at the last update, to which it falls exponentially", at_least=1e-3, newer=True
    )
    straight_through: bool = flag(
        False, "train with one-hot draws of categorical variables, with the relaxed draws' gradient", newer=True
    )
    conditional: bool = flag(False, "condition the encoder and the decoder on the label", newer=True)


class Shapes(NamedTuple):
    """What the networks of a VAE take and return; labels included, and before the heads."""

    x: tuple[int, ...]  # the encoder's input
    outputs: int  # of the encoder
    codes: int  # the decoder's input
    decoded: tuple[int, ...]  # the decoder's output


def build(
    flags: Any,
    dataset: data.Dataset,
    make: Callable[[Shapes], tuple[Network, Network]],
    likelihood: Callable[[Network], tuple[Network, Likelihood]],
    *,
    flat: bool,
) -> vae.VAE:
    """The VAE of these flags.

    Args:
      flags: those of this module, and `latent_dim`.
      make: shapes -> the networks of encoder and decoder.
      likelihood: decoder -> the decoder with the parameters of the likelihood, and the likelihood.
      flat: whether the label goes into the encoder once, beside all of x, and not at each pixel.
    """
    d, kind = flags.latent_dim, chosen(flags)
    if kind.spherical and d < 2:
        raise BadInput(f"a sphere is in 2 dimensions or more, not in {d}", parameter="latent_dim")
    num_classes = dataset.require_classes("a conditional model", parameter="conditional") if flags.conditional else 0
    shape = dataset.train.x.shape[1:]
    *size, channels = (math.prod(shape),) if flat and num_classes else shape
    encoder, decoder = make(Shapes((*size, channels + num_classes), kind.num_outputs(d), d + num_classes, shape))
    if num_classes:
        encoder, decoder = (networks.with_label(network, num_classes) for network in (encoder, decoder))
        encoder = networks.flattened(encoder) if flat else encoder
    encoder = kind.heads(encoder, d)
    if kind.spherical:  # so that a code of any length, as on a walk, stands for its direction
        decoder = _of_directions(decoder)
    decoder, density = likelihood(decoder)
    prior, prior_params = PRIORS[flags.prior](Setting(flags, dataset, kind, encoder, num_classes))
    parts = vae.VAE(encoder, decoder, density, d, prior, kind.posterior, prior_params=prior_params)
    return parts._replace(context=vae.LabelContext(num_classes)) if num_classes else parts


def _of_directions(decoder: Network) -> Network:
    def apply(params: Params, z: Array, *context: Any) -> Any:
        return decoder.apply(params, networks.unit_vectors(z), *context)

    return Network(decoder.init, apply)


def prior_name(flags: Any) -> str:
    """The prior in words, for titles."""
    return {
        "standard": chosen(flags).prior_name,
        "flow": "the learned flow" + " of each class" * flags.conditional,
        "mixture": f"the learned mixture of {flags.num_components} Gaussians",
        "vamp": f"the VampPrior of {flags.num_components} pseudo-inputs",
        "class": "the Gaussian of each class",
    }[flags.prior]


# Pictures


def save_pictures(flags: Any, trained: runs.Trained, samples_key: Array) -> Array:
    """Writes reconstructions, samples and the components of a learned prior; returns the codes of the examples."""
    params, parts = trained.params, trained.parts
    title = "reconstructions, E[x|z] at the mean of q(z|x)"
    examples = trained.examples
    showing.save_reconstructions(trained, partial(vae.reconstruct, parts=parts), title=title, context=parts.context)
    _save_samples(flags, trained, samples_key)
    if flags.prior in ("mixture", "vamp") and examples.x.ndim == 4:
        _save_components(flags, trained)
    posterior = jax.jit(partial(vae.encode, parts=parts))(params, examples.x, *parts.context(examples))
    return parts.posterior.mean(posterior)


def _save_samples(flags: Any, trained: runs.Trained, key: Array) -> None:
    """Writes samples.png: 100 samples, or ten of each class, one class in a column."""
    parts, classes = trained.parts, vae.num_classes(trained.parts)
    shown = min(classes, SHOWN_CLASSES)
    num = 10 * shown if classes else 100
    label = (jnp.arange(num) % shown,) if classes else ()
    z = vae.sample_prior(trained.params, num, key, *label, parts=parts)
    samples = jax.jit(partial(vae.decode, parts=parts))(trained.params, z, *label)
    captions = pictures.class_captions(range(shown), trained.dataset.class_names)
    title = f"E[x|z] at z drawn from {prior_name(flags)}"
    showing.save_samples(trained, samples, title=title, columns=shown or 10, captions=captions)


def _save_components(flags: Any, trained: runs.Trained) -> None:
    """Writes components.png: what the components of a learned prior decode to, those of the largest weight first."""
    params, parts, path = trained.params, trained.parts, Path(trained.workdir) / "components.png"
    num, classes = flags.num_components, vae.num_classes(trained.parts)
    label = (jnp.arange(num) % classes,) if classes else ()
    if flags.prior == "mixture":
        order = jnp.argsort(-params["prior"]["logits"])[:SHOWN_COMPONENTS]
        images = vae.decode(params, params["prior"]["mean"][order], *(a[: len(order)] for a in label), parts=parts)
        title = f"E[x|z] at the means of the prior's Gaussians, the largest weight first ({len(order)} of {num})"
        title += ", of the classes in turn" if classes else ""
        pictures.save_samples(path, trained.dataset.visible(images), title=title)
        return
    u, label = params["prior"][:SHOWN_COMPONENTS], tuple(a[:SHOWN_COMPONENTS] for a in label)
    decoded = vae.reconstruct(params, u, *label, parts=parts)
    seen, made = (np.clip(trained.dataset.visible(a), 0, 1) for a in (u, decoded))
    title = f"pseudo-inputs of the prior, and E[x|z] at the means of their posteriors ({len(u)} of {num})"
    pictures.save_reconstructions(path, seen, made, title=title, names=("pseudo-input", "decoded"))


# Measures


def prepare(flags: Any, dataset: data.Dataset, built: runs.Built, cache: Path) -> runs.Built:
    """Finds or trains the classifier that the samples of a conditional model of images are read by."""
    if not vae.num_classes(built.parts) or dataset.train.x.ndim != 4 or (dataset.num_classes or 0) < 2:
        return built
    return built._replace(auxiliaries=reference_classifier.predictor(flags, dataset, cache))


def class_accuracy(trained: runs.Trained, num: int = 1000) -> dict[str, float]:
    """How often samples of a class are classified as it, beside the held-out examples themselves."""
    if trained.auxiliaries is None:
        return {}
    label = np.arange(num, dtype=np.int32) % vae.num_classes(trained.parts)
    samples = sampling.draw(trained.model, trained.state, num, trained.key, jnp.asarray(label))
    return {
        "class_accuracy": float(np.mean(trained.auxiliaries.predict(samples) == label)),
        "held_out_class_accuracy": trained.auxiliaries.accuracy,
    }


def importance_sampler(params: Params, examples: Any, *, parts: vae.VAE) -> Callable[[Array], Array]:
    """`importance_weighted.importance_sampler` of examples with their labels, if the model is conditional."""
    return importance_weighted.importance_sampler(params, examples.x, *parts.context(examples), parts=parts)


def has_gaussian_rate_parts(flags: Any) -> bool:
    """Whether `evaluation.latent.rate_parts` applies: a diagonal posterior beside N(0, I)."""
    return (flags.prior, flags.posterior) == ("standard", "diagonal")
