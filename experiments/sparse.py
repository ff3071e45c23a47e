"""Features of an overcomplete sparse autoencoder (Olshausen & Field 1996; Makhzani & Frey 2014), and their worth.

    python -m experiments.sparse
    python -m experiments.sparse --sparsity=k_sparse --active_units=16
    python -m experiments.sparse --dictionary --sparsity=k_sparse --active_units=4

    z = relu(W_e x + b_e) with (lambda/2) ||z||_1 in the objective, or k_sparse of it,   x' = W_d z + b_d

A linear probe on the frozen code, of `--labels_per_class` labels a class, is repeated over draws of these labels, each
draw the same for all features: raw pixels, as many principal components (no more than there are pixels: then they are a
rotation of them, and as good), and as many random ReLU features. `gain_over_...` is the mean of the paired differences
in accuracy and `..._standard_error` its standard error; a gain is claimed, in words, only above twice that.

With `--dictionary` the data set is read and not used. What is learned from is drawn at every step: x = z A + noise, 64
unit atoms in R^32, 4 of them active with sizes in [1/2, 3/2], noise of 1 % of the norm. `atoms_recovered` is the share
of true atoms that a learned one matches with |cos| >= 0.95: all of them in a quarter of a minute, of which principal
components match none. It leaves the learned features (rows of W_d) as a picture, or how well the atoms are matched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from threadpoolctl import threadpool_limits

from experiments import common, training
from genjax import data, networks
from genjax.drawing import charts, pictures
from genjax.errors import BadInput
from genjax.evaluation import probes
from genjax.losses import SQUARED_ERROR
from genjax.models import autoencoder, descent
from genjax.types import Array, Batch, Key, Metrics, Model


def define_flags() -> None:
    """Defines the flags of the experiment."""
    common.define_shared_flags(num_steps=4000, batch_size=256, learning_rate=1e-3, eval_every=1000)
    flags.DEFINE_integer("num_units", 256, "width of the code", lower_bound=1)
    flags.DEFINE_enum("sparsity", "l1", ["l1", "k_sparse"], "what makes the code sparse")
    flags.DEFINE_integer("active_units", 16, "k of k_sparse", lower_bound=1)
    flags.DEFINE_float("code_l1", 0.2, "lambda of l1", lower_bound=0.0)
    flags.DEFINE_integer("labels_per_class", 10, "labels that a probe sees", lower_bound=5)
    flags.DEFINE_integer("num_draws", 20, "draws of these labels", lower_bound=2)
    flags.DEFINE_bool("dictionary", False, "learn a known dictionary, instead of the data set")


AT_MOST = 10000  # training examples whose labels may be drawn, and that PCA is fitted to
NUM_ATOMS, DIM, NUM_ACTIVE, NOISE = 64, 32, 4, 0.01  # of the known dictionary


def build_parts(config: common.Config, example_shape: tuple[int, ...]) -> autoencoder.Autoencoder:
    """One layer each way, a sparse code between."""
    encoder = networks.mlp(example_shape, (config.num_units,), hidden=(), activation=jax.nn.relu)
    decoder = networks.mlp((config.num_units,), example_shape, hidden=(), activation=jax.nn.relu)
    k = min(config.active_units, config.num_units)
    code = {"k_sparse": lambda a: networks.k_sparse(jax.nn.relu(a), k=k), "l1": jax.nn.relu}[config.sparsity]
    return autoencoder.Autoencoder(encoder, networks.unit_norm_rows(decoder), SQUARED_ERROR, code)


def example_shape(config: common.Config, dataset: data.Dataset) -> tuple[int, ...]:
    """Of what is learned from."""
    return (DIM,) if config.dictionary else dataset.train.x.shape[1:]


def build(config: common.Config, dataset: data.Dataset) -> Model:
    """The model that the flags name, its learning rate falling to 0 along a cosine."""
    if dataset.train.label is not None and not config.dictionary:
        fewest = np.unique(dataset.train.label[:AT_MOST], return_counts=True)[1].min()
        if fewest < config.labels_per_class:
            raise BadInput(f"--labels_per_class={config.labels_per_class}: the smallest class has {fewest} examples")
    parts = build_parts(config, example_shape(config, dataset))
    penalties = {"k_sparse": (), "l1": (autoencoder.code_l1_penalty(config.code_l1),)}[config.sparsity]
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.num_steps))
    model = autoencoder.model(
        parts, optimizer, autoencoder.objective(parts, penalties=penalties), reduction=config.reduction
    )
    return drawing(model, partial(sparse_mixtures, atoms=true_atoms())) if config.dictionary else model


def true_atoms() -> Array:
    """The known dictionary A, [64, 32], rows of norm 1; the same for every seed of the run."""
    atoms = np.random.RandomState(0).normal(size=(NUM_ATOMS, DIM))
    return jnp.asarray(atoms / np.linalg.norm(atoms, axis=1, keepdims=True), jnp.float32)


def sparse_mixtures(num: int, key: Key, *, atoms: Array) -> Array:
    """Draws of x = z A + noise, [num, D]: 4 entries of z are in [1/2, 3/2], the others 0; noise has 1 % of the norm."""
    place_key, size_key, noise_key = jax.random.split(key, 3)
    places = networks.k_sparse(jax.random.uniform(place_key, (num, len(atoms))), k=NUM_ACTIVE) > 0
    x = (places * jax.random.uniform(size_key, places.shape, minval=0.5, maxval=1.5)) @ atoms
    scale = NOISE * jnp.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
    return x + scale * jax.random.normal(noise_key, x.shape)


def drawing(model: Model, draw: Callable[[int, Key], Array]) -> Model:
    """The model on fresh draws, as many as each batch has examples, in place of the batch."""

    def drawn(batch: Batch, key: Key) -> tuple[Batch, Key]:
        draw_key, model_key = jax.random.split(key)
        return Batch(draw(len(batch.x), draw_key)), model_key

    def train_step(state: descent.State, batch: Batch, key: Key) -> tuple[descent.State, Metrics]:
        return model.train_step(state, *drawn(batch, jax.random.fold_in(key, state.step)))

    def evaluate(state: descent.State, batch: Batch, key: Key) -> Metrics:
        return model.evaluate(state, *drawn(batch, key))

    return model._replace(train_step=train_step, evaluate=evaluate)


@threadpool_limits.wrap(limits=1)  # the last bits of linear algebra depend on the number of threads
def conclude(config: common.Config, finished: common.Finished) -> dict[str, float]:
    """Holds the features against a known dictionary, or against others by linear probes."""
    kernel = np.asarray(finished.state.params["decoder"]["layer_1"]["kernel"])
    features = kernel / np.linalg.norm(kernel, axis=1, keepdims=True)
    return recovery(finished, features) if config.dictionary else worth(config, finished, features)


def recovery(finished: common.Finished, features: np.ndarray) -> dict[str, float]:
    """How many of the true atoms were learned, by the autoencoder and by PCA."""
    from sklearn.decomposition import PCA

    atoms = true_atoms()
    x = np.asarray(sparse_mixtures(20_000, finished.key, atoms=atoms), np.float64)
    components = np.asarray(PCA(svd_solver="covariance_eigh").fit(x).components_)
    cosines = {"": best_cosines(atoms, features), "pca_": best_cosines(atoms, components)}
    names = {"": "sparse autoencoder", "pca_": "principal components"}
    charts.save_lines(
        finished.workdir / "atoms.png",
        {names[prefix]: (np.arange(1, 1 + len(values)), np.sort(values)[::-1]) for prefix, values in cosines.items()},
        xlabel="true atoms, best matched first",
        ylabel="|cos| to the nearest learned one",
        title=f"{NUM_ATOMS} atoms in {DIM} dimensions, {NUM_ACTIVE} active, {NOISE:.0%} noise",
    )
    return {f"{prefix}atoms_recovered": float((values >= 0.95).mean()) for prefix, values in cosines.items()} | {
        f"{prefix}mean_cosine": float(values.mean()) for prefix, values in cosines.items()
    }


def best_cosines(atoms: np.ndarray | Array, features: np.ndarray) -> np.ndarray:
    """The largest |cos| of each atom to a feature: rows of norm 1, [A, D] and [F, D] -> [A]."""
    return np.abs(np.asarray(atoms, np.float64) @ features.T).max(axis=1)


def worth(config: common.Config, finished: common.Finished, features: np.ndarray) -> dict[str, float]:
    """Probes the code and its rivals on the same draws of labels, and draws the features."""
    dataset, params = finished.dataset, finished.state.params
    x, known = np.asarray(finished.examples.x), (dataset.train.x[:AT_MOST] / dataset.scale).astype(np.float32)
    encode = jax.jit(partial(autoencoder.encode, parts=build_parts(config, x.shape[1:])))
    codes, known_codes = np.asarray(encode(params, x)), np.asarray(encode(params, known))
    used = np.argsort(-known_codes.mean(axis=0), kind="stable")  # most active first
    if x.ndim == 4:
        shown = features[used[:256]].reshape(-1, *x.shape[1:])
        largest = np.abs(shown).max(axis=(1, 2, 3), keepdims=True)
        pictures.save_grid(finished.workdir / "features.png", 0.5 + 0.5 * shown / largest, columns=16)
    metrics = {
        "active_share": float((codes > 0).mean()),
        "dead_units": float((known_codes == 0).all(axis=0).sum()),
    }
    if dataset.train.label is None or finished.examples.label is None:
        return metrics
    labels, test_labels = dataset.train.label[:AT_MOST], finished.examples.label
    rows = probes.draw_labels(labels, per_class=config.labels_per_class, draws=config.num_draws, seed=config.seed)
    rivals = {"": (known_codes, codes)} | rival_features(config, known, x)
    found = {
        prefix: probes.linear_probe(of_train, labels, of_test, test_labels, rows=rows)
        for prefix, (of_train, of_test) in rivals.items()
    }
    for prefix, probe in found.items():
        metrics[f"{prefix}probe_accuracy"] = probe.mean
        metrics[f"{prefix}probe_accuracy_standard_error"] = probe.standard_error
    for prefix in list(found)[1:]:
        gain = probes.Probe(found[""].accuracies - found[prefix].accuracies)
        metrics[f"gain_over_{prefix.rstrip('_')}"] = gain.mean
        metrics[f"gain_over_{prefix.rstrip('_')}_standard_error"] = gain.standard_error
        verdict = "a gain" if gain.mean > 2 * gain.standard_error else "no gain"
        print(f"{verdict} over {prefix.rstrip('_')}: {gain.mean:+.4f} +- {gain.standard_error:.4f}")
    return metrics


def rival_features(config: common.Config, known: np.ndarray, x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Other features of the same examples: name -> (of the training set, of the held-out set)."""
    from sklearn.decomposition import PCA

    flat_known, flat = (images.reshape(len(images), -1).astype(np.float64) for images in (known, x))
    pca = PCA(min(config.num_units, *flat_known.shape), svd_solver="covariance_eigh").fit(flat_known)
    draw = np.random.RandomState(config.seed)
    weights = draw.normal(size=(flat.shape[1], config.num_units)) / np.sqrt(flat.shape[1])
    mean = flat_known.mean(axis=0)
    return {
        "raw_": (flat_known, flat),
        "pca_": (pca.transform(flat_known), pca.transform(flat)),
        "random_": (np.maximum(0, (flat_known - mean) @ weights), np.maximum(0, (flat - mean) @ weights)),
    }


EXPERIMENT = common.Experiment("sparse", define_flags, build, conclude, watch=("reconstruction_loss",))

if __name__ == "__main__":
    training.main(EXPERIMENT)
