"""What sparse autoencoders reach here and in SAELens, on the same array with the same settings.

    python -m experiments.benchmark.sparse_codes
    python -m experiments.benchmark.sparse_codes --dataset=file:activations.npz --num_units=1024 --active_units=16

It needs the extra `bench`. Without --dataset the array holds 100 000 examples of the known dictionary of
`experiments.sparse`, as they are; an array of the user's is standardised for both libraries, by the mean of each value
and one scale. Each of --codes is trained by `experiments.sparse` and by SAELens's own trainer, with the same numbers of
units, steps and examples in a batch, Adam at a learning rate that falls along a cosine, gradients clipped to a norm of
1, and the same penalties with the same weights and bandwidth.

Of held-out examples, the table has L0, the mean number of active units, and the explained variance; among at most
20 000 training examples, how many units are never active; and the share of the dictionary's atoms that are found.

The libraries differ in what they have no setting for. SAELens starts with atoms of norm .1 and with their transpose as
the encoder, which is so here for the k largest units alone. It subtracts the decoder's bias from the input, and leaves
the norms of atoms free, by which it multiplies penalties and, for the k largest, units; here atoms have norm 1. As its
encoder starts so small, thresholds of JumpReLU start where it has them, at .01; at the bandwidth, no unit would ever be
active. Its gates move the decoder too, its thresholds are parameters where here their logarithms are, and at most D / 2
dead units learn the error of the others, where here half of all units may.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import sparse
from genjax import data, networks, runs
from genjax.errors import BadInput
from genjax.evaluation import sparse_codes
from genjax.runs import command
from genjax.runs.flags import Record, flag
from genjax.training import determinism

CODES = ("l1", "k_sparse", "batch_top_k", "jump_relu", "gated")
DRAWN, HELD_OUT = 100_000, 10_000  # examples of the dictionary
AT_MOST = 20_000  # examples that are measured


class Flags(Record):
    """Sparse codes of two libraries."""

    dataset: str | None = flag(None, "array of activations, file:PATH; by default examples of a known dictionary")
    codes: tuple[str, ...] = flag(CODES, "how codes are sparse", choices=CODES)
    num_units: int = flag(256, "number of units", at_least=2)
    active_units: int = flag(4, "number of units that a k_sparse or batch_top_k code keeps", at_least=1)
    code_l1: float = flag(1.0, "weight lambda of the penalty (lambda / 2) ||z||_1 of l1", at_least=0)
    l0_weight: float = flag(0.2, "weight of the number of active units of jump_relu", at_least=0)
    gate_weight: float = flag(1.5, "weight of the sizes of the gates of gated", at_least=0)
    bandwidth: float = flag(0.2, "bandwidth of jump_relu, and here its threshold at the start", at_least=1e-6)
    revival_weight: float = flag(
        1 / 32, "weight of the error that dead units learn, of k_sparse and batch_top_k", at_least=0
    )
    dead_after: int = flag(200, "number of steps without activity after which a unit is dead", at_least=1)
    num_steps: int = flag(4000, "number of steps", at_least=1)
    batch_size: int = flag(256, "examples in a batch", at_least=1)
    learning_rate: float = flag(1e-3, "learning rate of Adam at the start", at_least=1e-9)
    seed: int = flag(0, "seed of both", at_least=0)
    cpu_threads: int = flag(2, "number of threads of each library", at_least=1, at_most=1024)


def save_dictionary(path: Path) -> None:
    """Writes examples of the known dictionary of `experiments.sparse`, x_train and x_test."""
    draw, atoms = jax.jit(sparse.sparse_mixtures, static_argnums=0), sparse.true_atoms()
    keys = jax.random.split(jax.random.key(0))
    x_train, x_test = draw(DRAWN, keys[0], atoms=atoms), draw(HELD_OUT, keys[1], atoms=atoms)
    np.savez(path, x_train=np.asarray(x_train), x_test=np.asarray(x_test))


def ours(flags: Flags, code: str, dataset: str, workdir: Path) -> runs.Run:
    """A run of `experiments.sparse`."""
    revived = code in ("k_sparse", "batch_top_k")
    given = sparse.Flags(
        dataset=dataset,
        standardise="always" if flags.dataset else "never",
        sparsity=code,
        num_units=flags.num_units,
        active_units=flags.active_units,
        code_l1=flags.code_l1,
        sparsity_weight=flags.gate_weight if code == "gated" else flags.l0_weight,
        bandwidth=flags.bandwidth,
        revival_weight=flags.revival_weight if revived else 0.0,
        revive_after=flags.dead_after * flags.batch_size,
        num_steps=flags.num_steps,
        batch_size=flags.batch_size,
        learning_rate=flags.learning_rate,
        clip_norm=1.0,
        eval_every=flags.num_steps,
        seed=flags.seed,
        cpu_threads=flags.cpu_threads,
    )
    return runs.train(sparse.EXPERIMENT, given, workdir=workdir)


def codes_of(run: runs.Run, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codes of examples, and their reconstructions."""
    codec = run.codec()
    z = jax.jit(codec.encoder.apply)(run.params["encoder"], x)
    return np.asarray(z), np.asarray(jax.jit(codec.decoder.apply)(run.params["decoder"], z))


def measure(x: np.ndarray, z: np.ndarray, rebuilt: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """What is reached.

    Args:
      x: held-out examples [N, D].
      z: their codes [N, d].
      rebuilt: their reconstructions [N, D].
      known: codes of training examples [M, d].
    """
    return {
        "L0": float(np.mean(sparse_codes.l0(jnp.asarray(z)))),
        "explained variance": float(sparse_codes.explained_variance(jnp.asarray(x), jnp.asarray(rebuilt))),
        "dead units": float((known == 0).all(axis=0).sum()),
    }


def compare(flags: Flags, code: str, dataset: str, workdir: Path) -> dict[str, dict[str, float]]:
    """What both libraries reach with a code: library -> measures."""
    from experiments.benchmark import sae_lens_models

    run = ours(flags, code, dataset, workdir / code)
    train, test = (np.asarray(split.x, np.float32) for split in (run.dataset.train, run.dataset.test))
    known, held_out = train[data.choose(len(train), AT_MOST)], test[data.choose(len(test), AT_MOST)]
    found = {"genjax": measure(held_out, *codes_of(run, held_out), codes_of(run, known)[0])}
    as_it_is = networks.Standard(np.zeros(train.shape[1:], np.float32), 1.0)
    standard = networks.fit_standard(train) if flags.dataset else as_it_is
    shift, scale = np.float32(standard.shift), np.float32(standard.scale)
    theirs = sae_lens_models.train(flags, code, (train - shift) / scale)
    z = theirs.encode((held_out - shift) / scale)
    rebuilt = theirs.decode(z) * scale + shift
    found["SAELens"] = measure(held_out, z, rebuilt, theirs.encode((known - shift) / scale))
    if not flags.dataset:
        own: Any = run.params["decoder"]["layer_1"]["kernel"]
        for library, atoms in (("genjax", np.asarray(own)), ("SAELens", theirs.atoms)):
            directions = atoms / np.maximum(np.linalg.norm(atoms, axis=1, keepdims=True), 1e-12)
            cosines = sparse.best_cosines(sparse.true_atoms(), directions)
            found[library]["atoms found"] = float((cosines >= 0.95).mean())
    return found


def table(found: dict[tuple[str, str], dict[str, float]]) -> str:
    """One line for each code and library."""
    names = list(next(iter(found.values())))
    lines = [f"{'code':14}{'library':10}" + "".join(f"{name:>20}" for name in names)]
    for (code, library), measures in found.items():
        lines.append(f"{code:14}{library:10}" + "".join(f"{measures[name]:20.4g}" for name in names))
    return "\n".join(lines)


def main(flags: Flags) -> None:
    """Trains with both libraries, and prints what they reach."""
    if not importlib.util.find_spec("sae_lens"):
        raise BadInput("SAELens is not installed; it comes with the extra `bench`")
    determinism.set_up(cpu_threads=flags.cpu_threads)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = flags.dataset
        if dataset is None:
            save_dictionary(Path(folder) / "dictionary.npz")
            dataset = f"file:{Path(folder) / 'dictionary.npz'}"
        for code in flags.codes:
            for library, measures in compare(flags, code, dataset, Path(folder)).items():
                found[code, library] = measures
    print(table(found))


if __name__ == "__main__":
    command.run(main, Flags)
