"""Features of an overcomplete sparse autoencoder (Olshausen & Field 1996; Makhzani & Frey 2014), and their value.

    python -m experiments.sparse
    python -m experiments.sparse --sparsity=k_sparse --active_units=16
    python -m experiments.sparse --dictionary --sparsity=k_sparse --active_units=4
    python -m experiments.sparse --dataset=file:activations.npy --sparsity=batch_top_k --num_units=4096 \\
        --revival_weight=0.03125 --prefixes=256,1024

    z = relu(W_e x + b_e) with (lambda/2) ||z||_1 in the objective, or its k largest,   x' = W_d z + b_d

Data with values outside [0, 1], such as activations of a network, are standardised: by the mean of each value, and by
one scale for all of them (--standardise), so that penalties mean the same in any units. One scale keeps the directions
of the features and the shares of the variance; a scale for each column would weigh the columns anew. Mean and scale are
among the parameters: `apply`, `generate` and the exported functions take and return values in the units of the data,
and only `reconstruction_loss` is in standardised ones, where the mean of all has a loss of D for examples of D values.
`loss_recovered` tells what reconstructions in the place of activations cost the network that reads them. Activations
beyond memory are streamed from an .npz with x_train and x_test, as `np.savez` writes it.

strongest.csv lists, for the most active units, the training examples in which each is most active: `row` r is
`runs.open(DIR).dataset.train.x[r]`.

Other codes are those of the B k largest units of a batch, of units with learned thresholds (JumpReLU) or with gates
apart from sizes. With --prefixes the first units hold the most general features, and with --revival_weight units that
have died come back. The largest units start with small atoms, and with their transpose as the encoder (--start_norm),
without which BatchTopK misses some atoms of a known dictionary.

A linear probe is trained on the frozen code with `--labels_per_class` labels, and again for many draws of these labels.
It is compared, on the same draws, with probes on the raw pixels, on as many principal components as the code has units
(at most as many as there are pixels, where they are a rotation of them), and on as many random ReLU features.
`gain_over_...` is the mean of the paired differences in accuracy and `..._standard_error` its standard error; the
printed verdict is a gain only where the mean exceeds twice the error.

With `--dictionary`, the examples are drawn anew at every step, and those of the data set are not used: x = z A + noise,
with 64 atoms of norm 1 in R^32, 4 of them active with sizes in [1/2, 3/2], and noise of 1 % of the norm.
`atoms_recovered` is the share of true atoms that a learned one matches with |cos| >= 0.95: nearly all of them, where
principal components match none. The run directory has a picture of the learned features (the rows of W_d), or a chart
of how well the atoms are matched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments import applications, label_probes, sparse_codes
from genjax import data, networks, runs
from genjax.drawing import charts, pictures
from genjax.gradients import Reduction
from genjax.models import autoencoder, descent
from genjax.runs import flag
from genjax.types import Array, Batch, Key, Metrics, Model

NUM_ATOMS, DIM, NUM_ACTIVE, NOISE = 64, 32, 4, 0.01  # of the known dictionary


class Flags(sparse_codes.Flags, label_probes.Flags, runs.Flags):
    """Sparse autoencoder."""

    num_steps: int = 4000
    batch_size: int = 256
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    eval_every: int = 1000
    num_units: int = flag(256, "number of units of the code", at_least=1)
    dictionary: bool = flag(False, "recover a known dictionary from examples drawn at every step")


def build(flags: Flags, dataset: data.Dataset, reduction: Reduction) -> runs.Built:
    """One layer in each direction with a sparse code between them, the objective and the model."""
    if not flags.dictionary:
        label_probes.check(flags, dataset)
    shape = (DIM,) if flags.dictionary else dataset.train.x.shape[1:]
    encoder, decoder = networks.affine(shape, (flags.num_units,)), networks.dictionary(flags.num_units, shape)
    parts = sparse_codes.build(flags, encoder, decoder)
    model, parts = sparse_codes.model(flags, parts, reduction, shape=shape)
    if flags.dictionary:
        model = drawing(model, partial(sparse_mixtures, atoms=true_atoms()))
    return runs.Built(model, parts.autoencoder)


def true_atoms() -> Array:
    """The known dictionary A, [64, 32], with rows of norm 1; the same for every seed of the run."""
    atoms = np.random.RandomState(0).normal(size=(NUM_ATOMS, DIM))
    return jnp.asarray(atoms / np.linalg.norm(atoms, axis=1, keepdims=True), jnp.float32)


def sparse_mixtures(num: int, key: Key, *, atoms: Array) -> Array:
    """Draws of x = z A + noise.

    4 entries of z are in [1/2, 3/2] and the others 0; the noise has 1 % of the norm of z A.

    Args:
      atoms: A [K, D].

    Returns:
      [num, D].
    """
    place_key, size_key, noise_key = jax.random.split(key, 3)
    places = networks.k_sparse(jax.random.uniform(place_key, (num, len(atoms))), k=NUM_ACTIVE) > 0
    x = (places * jax.random.uniform(size_key, places.shape, minval=0.5, maxval=1.5)) @ atoms
    scale = NOISE * jnp.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(x.shape[1])
    return x + scale * jax.random.normal(noise_key, x.shape)


def drawing(model: Model, draw: Callable[[int, Key], Array]) -> Model:
    """The model on fresh draws in place of the batch, as many as the batch has examples."""

    def drawn(batch: Batch, key: Key) -> tuple[Batch, Key]:
        draw_key, model_key = jax.random.split(key)
        return Batch(draw(len(batch.x), draw_key)), model_key

    def train_step(state: descent.State, batch: Batch, key: Key) -> tuple[descent.State, Metrics]:
        return model.train_step(state, *drawn(batch, jax.random.fold_in(key, state.step)))

    def evaluate(state: descent.State, batch: Batch, key: Key) -> Metrics:
        return model.evaluate(state, *drawn(batch, key))

    return model._replace(train_step=train_step, evaluate=evaluate)


def summarise(flags: Flags, trained: runs.Trained) -> dict[str, float]:
    """Compares the features with the known dictionary, or with others by linear probes."""
    decoder = trained.params["decoder"]
    kernel = np.asarray(decoder.get("network", decoder)["layer_1"]["kernel"])
    features = kernel / np.linalg.norm(kernel, axis=1, keepdims=True)
    return measure_recovery(trained, features) if flags.dictionary else measure_features(flags, trained, features)


def measure_recovery(trained: runs.Trained, features: np.ndarray) -> dict[str, float]:
    """How many of the true atoms were learned, by the autoencoder and by PCA."""
    from sklearn.decomposition import PCA

    atoms = true_atoms()
    x = np.asarray(sparse_mixtures(20_000, trained.key, atoms=atoms), np.float64)
    components = np.asarray(PCA(svd_solver="covariance_eigh").fit(x).components_)
    cosines = {"": best_cosines(atoms, features), "pca_": best_cosines(atoms, components)}
    names = {"": "sparse autoencoder", "pca_": "principal components"}
    charts.save_lines(
        trained.workdir / "atoms.png",
        {names[prefix]: (np.arange(1, 1 + len(values)), np.sort(values)[::-1]) for prefix, values in cosines.items()},
        xlabel="true atoms, best matched first",
        ylabel="|cos| to the nearest learned one",
        title=f"{NUM_ATOMS} atoms in {DIM} dimensions, {NUM_ACTIVE} active, {NOISE:.0%} noise",
    )
    codes = encoded(trained, np.asarray(x, np.float32))
    rebuilt = decoded(trained, codes)
    sparse_codes.draw_densities(trained.workdir / "densities.png", codes)
    recovered = {f"{prefix}atoms_recovered": float((values >= 0.95).mean()) for prefix, values in cosines.items()}
    mean = {f"{prefix}mean_cosine": float(values.mean()) for prefix, values in cosines.items()}
    return recovered | mean | sparse_codes.measure(codes, x, rebuilt, features)


def encoded(trained: runs.Trained, x: np.ndarray) -> np.ndarray:
    """The codes of examples."""
    return np.asarray(jax.jit(partial(autoencoder.encode, parts=trained.parts))(trained.params, x))


def decoded(trained: runs.Trained, z: np.ndarray) -> np.ndarray:
    """The reconstructions of codes."""
    return np.asarray(jax.jit(partial(autoencoder.decode, parts=trained.parts))(trained.params, z))


def best_cosines(atoms: np.ndarray | Array, features: np.ndarray) -> np.ndarray:
    """The largest |cos| of each atom to a feature: rows of norm 1, [A, D] and [F, D] -> [A]."""
    return np.abs(np.asarray(atoms, np.float64) @ features.T).max(axis=1)


def measure_features(flags: Flags, trained: runs.Trained, features: np.ndarray) -> dict[str, float]:
    """Draws the features, and measures how sparse the code is; with labels, probes it beside other features."""
    x, known = np.asarray(trained.examples.x), label_probes.known(trained.dataset)
    codes, known_codes = encoded(trained, x), encoded(trained, known)
    rebuilt = decoded(trained, codes)
    sparse_codes.draw_densities(trained.workdir / "densities.png", known_codes)
    rows = data.choose(len(trained.dataset.train.x), label_probes.AT_MOST)
    sparse_codes.save_strongest(trained.workdir / "strongest.csv", known_codes, rows)
    if x.ndim == 4:
        most_active_first = np.argsort(-known_codes.mean(axis=0), kind="stable")
        drawn = pictures.signed(features[most_active_first[:256]].reshape(-1, *x.shape[1:]))
        title = f"the decoder's features of {len(drawn)} units, the most active first (grey is 0)"
        pictures.save_samples(trained.workdir / "features.png", drawn, title=title, columns=16)
        sparse_codes.draw_strongest(trained.workdir / "strongest.png", codes, x, features)
    metrics = {
        "active_share": float((codes > 0).mean()),
        "dead_units": float((known_codes == 0).all(axis=0).sum()),
    } | sparse_codes.measure(codes, x, rebuilt, features)
    candidates = {"": (known_codes, codes)} | other_features(flags, known, x)
    return metrics | label_probes.accuracies(flags, trained, candidates, seed=flags.seed)


def other_features(flags: Flags, known: np.ndarray, x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Other features of the same examples: prefix -> (of the training set, of the held-out set)."""
    from sklearn.decomposition import PCA

    flat_known, flat = (images.reshape(len(images), -1).astype(np.float64) for images in (known, x))
    pca = PCA(min(flags.num_units, *flat_known.shape), svd_solver="covariance_eigh").fit(flat_known)
    draw = np.random.RandomState(flags.seed)
    weights = draw.normal(size=(flat.shape[1], flags.num_units)) / np.sqrt(flat.shape[1])
    mean = flat_known.mean(axis=0)
    return {
        "raw_": (flat_known, flat),
        "pca_": (pca.transform(flat_known), pca.transform(flat)),
        "random_": (np.maximum(0, (flat_known - mean) @ weights), np.maximum(0, (flat - mean) @ weights)),
    }


EXPERIMENT = runs.Experiment(
    "sparse",
    Flags,
    build,
    summarise,
    resolve=sparse_codes.resolve,
    prepare=sparse_codes.prepare,
    watch=("reconstruction_loss",),
    codec=autoencoder.codec,
    # the examples of the dictionary are not those of the data set, whose shape an input would have
    applications=lambda flags, parts: {} if flags.dictionary else applications.of_autoencoder(flags, parts),
    generator=lambda flags, parts: applications.autoencoder_generator(flags, parts, latent_dim=flags.num_units),
    metrics=applications.reconstruction_metrics,
    headline=("reconstruction_loss", "active_share", "probe_accuracy", "gain_over_raw", "gain_over_pca"),
)

if __name__ == "__main__":
    runs.main(EXPERIMENT)
