"""Draws new samples of a trained generative model, or decodes a code of your own.

    python -m experiments.generate --run=DIR --num=1000 --seed=1
    python -m experiments.generate --run=DIR --label=3
    python -m experiments.generate --run=DIR --z=0.5,-1
    python -m experiments.generate --run=DIR --num=5000 --measure
    python -m experiments.generate --run=DIR --density=mixture

It writes samples.png (the first 100) and samples.npz to --out: all samples as x, with their label or their z if they
have one, and the run's step. The same run and flags give the same bits, whose SHA-256 is printed on the last line, and
`experiments.reproduce --made=FOLDER` makes all files again. The samples of a VAE are the means of p(x|z) at z ~ p(z);
with --draw they are drawn from p(x|z). A conditional model makes all classes in turn, or those of --label. --z sets z1,
z2, ... of one sample (per class), for autoencoders too; for many codes there is `experiments.apply --to=decoded`.

With --density, codes are drawn from a density that is fitted to those of the training data, in place of the prior,
which an autoencoder does not have: a gaussian, a mixture of --num_components Gaussians, a flow, or a VAE of the codes
(two_stage). It needs the training data, and codes that are vectors of numbers; it fits one density for all classes.

With --measure, the samples are compared with the run's own data by `genjax.evaluation.sample_quality`, and the measures
are written to quality.json (`experiments.compare_samples` takes pictures of any origin, and other features too). They
are taken in the features of a classifier of the data, or, if these have no classes or with --components, in principal
components. Measures that begin with ppca_ are of as many samples of probabilistic PCA with as many latent dimensions,
fitted to the training data: the linear model that a generative one has to beat. They are means of p(x|z) or draws from
it, as those of the run are.
"""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import code_density, reference_classifier, sample_measures
from genjax import memory, runs
from genjax.drawing import charts, pictures
from genjax.errors import BadInput
from genjax.evaluation import linear
from genjax.evaluation.sample_quality import sample_quality
from genjax.paths import expand_user
from genjax.runs import command, directory, flag, opening, provenance, sampling
from genjax.runs.settings import figure_formats
from genjax.types import Array, Key, Params

SHOWN = 100  # samples in the picture
REFERENCE = re.compile("^train_|^held_out_")  # measures that do not depend on the samples


class Flags(opening.OpeningFlags):
    """Samples."""

    num: int = flag(100, "number of samples", at_least=1, at_most=10**8)
    seed: int = flag(0, "seed of all random numbers", at_least=0, at_most=2**32 - 1)
    label: tuple[int, ...] = flag(
        (), "classes to make, of a conditional model; by default all", at_least=0, may_be_empty=True, max_entries=10**5
    )
    z: tuple[float, ...] = flag((), "code to decode, z1,z2,...; replaces --num", may_be_empty=True, max_entries=10**6)
    density: str | None = flag(
        None,
        "density to draw codes from in place of the prior, fitted to the codes of the training data",
        choices=code_density.DENSITIES,
    )
    num_components: int = flag(10, "number of Gaussians of a mixture, with --density", at_least=1)
    density_steps: int = flag(5000, "number of updates of a flow or a second VAE, with --density", at_least=1)
    draw: bool = flag(False, "draw from p(x|z), in place of its mean")
    measure: bool = flag(False, "compare the samples with the data: distances, precision, recall, classes found")
    components: bool = flag(False, "compare them in principal components, of data with classes too")
    out: str | None = flag(None, "output folder; by default DIR/generated")
    figure_formats: tuple[str, ...] = figure_formats()


def generator_of(run: runs.Run) -> runs.Generator | None:
    """How the run's model makes new data, if its experiment declares that."""
    declared = run.experiment.generator
    return None if declared is None else declared(run.flags, run.parts)


def labels(run: runs.Run, generator: runs.Generator | None, flags: Flags, num: int) -> np.ndarray | None:
    """The labels of `num` samples, the classes in turn; None for a model that is not conditional."""
    if generator is not None and not generator.num_classes and flags.label:
        raise BadInput(f"{run.directory}: this run of {run.experiment.name} is not conditional", parameter="label")
    num_classes = generator.num_classes if generator is not None else run.dataset.num_classes or 0
    if any(label >= num_classes for label in flags.label):
        raise BadInput(f"the run has classes 0 to {num_classes - 1}, not {max(flags.label)}", parameter="label")
    classes = np.array(flags.label or range(generator.num_classes if generator else 0), np.int32)
    return np.resize(classes, num) if len(classes) else None


def decoded(run: runs.Run, generator: runs.Generator, flags: Flags, z: np.ndarray, context: list[Array]) -> np.ndarray:
    """What codes [num, d] decode to: means, or draws."""
    if len(flags.z) != generator.latent_dim:
        raise BadInput(f"expected {generator.latent_dim} numbers, not {len(flags.z)}", parameter="z")
    if generator.draw is None or not flags.draw:
        return np.asarray(jax.jit(generator.decode)(run.params, z, *context))
    return np.asarray(jax.jit(generator.draw)(run.params, z, jax.random.key(flags.seed), *context))


def with_density(run: runs.Run, generator: runs.Generator | None, flags: Flags) -> runs.Generator:
    """The generator with a density fitted to the codes of the training data in place of its prior."""
    if generator is None or generator.encode is None:
        raise BadInput(
            f"a run of {run.experiment.name} has no codes that a density can be fitted to", parameter="density"
        )
    if flags.z:
        raise BadInput("give one of `density` and `z`", parameter="density")
    assert flags.density is not None
    apart = jax.random.fold_in(jax.random.key(flags.seed), 2**32 - 1)  # from the keys of the batches of samples
    codes_key, fit_key = jax.random.split(apart)
    z = code_density.codes(run, generator, codes_key)
    print(f"{flags.density} density of {z.shape[1]} dimensions, fitted to the codes of {len(z)} training examples")
    sample = code_density.fit(
        flags.density,
        z,
        fit_key,
        seed=flags.seed,
        num_components=flags.num_components,
        num_steps=flags.density_steps,
    )
    return generator._replace(prior=lambda params, num, key, *label: sample(num, key))


def drawn(run: runs.Run, generator: runs.Generator, flags: Flags, context: list[Array]) -> np.ndarray:
    """Draws x ~ p(x|z), or the means of p(x|z), at z ~ p(z), [num, ...]."""
    prior, draw = generator.prior, generator.draw
    assert prior is not None

    def sample(params: Params, num: int, key: Key, *context: Array) -> Array:
        z_key, x_key = jax.random.split(key)
        z = prior(params, num, z_key, *context)
        if not flags.draw:
            return generator.decode(params, z, *context)
        assert draw is not None
        return draw(params, z, x_key, *context)

    key = jax.random.key(flags.seed)
    return sampling.draw(run.model._replace(sample=sample), run.params, flags.num, key, *context)


def make(run: runs.Run, flags: Flags) -> dict[str, np.ndarray]:
    """The samples, and their labels and code if they have any: the arrays of samples.npz."""
    generator = generator_of(run)
    if flags.z and generator is None:
        raise BadInput(f"a run of {run.experiment.name} cannot decode a code", parameter="z")
    if flags.draw and (generator is None or generator.draw is None):
        raise BadInput(f"a run of {run.experiment.name} has no p(x|z) to draw from", parameter="draw")
    if flags.density:
        generator = with_density(run, generator, flags)
    elif not flags.z and run.model.sample is None:
        hint = "" if generator is None else "; give a code as `z`"
        hint += "" if generator is None or generator.encode is None else ", or fit a density to the codes by `density`"
        raise BadInput(f"{run.directory}: a run of {run.experiment.name} cannot draw new samples{hint}")
    num = flags.num if generator is None or not flags.z else len(flags.label) or generator.num_classes or 1
    memory.require(4 * num * math.prod(run.dataset.train.x.shape[1:]), f"a set of {num} samples", parameter="num")
    label = labels(run, generator, flags, num)
    context = [] if label is None else [jnp.asarray(label)]
    made = {} if label is None else {"label": label}
    if generator is not None and flags.z:
        made["z"] = np.tile(np.array(flags.z, np.float32), (num, 1))
        return {"x": decoded(run, generator, flags, made["z"], context), **made}
    if generator is not None and (flags.draw or flags.density):
        return {"x": drawn(run, generator, flags, context), **made}
    return {"x": run.sample(num, jax.random.key(flags.seed), *context), **made}


def save_picture(path: Path, run: runs.Run, made: dict[str, np.ndarray], flags: Flags) -> None:
    """Draws the first images, those of one class in one column, or all vectors as points."""
    x, label = made["x"][:SHOWN], made.get("label")
    classes = list(dict.fromkeys(label.tolist())) if label is not None else []
    several = 1 < len(classes) <= 20
    columns = min(len(classes) * max(1, 10 // len(classes)) if several else 10, len(x))  # whole cycles of the classes
    kind = "draws from p(x|z)" if flags.draw else "samples"
    how = f"at z = ({', '.join(f'{value:g}' for value in flags.z)})" if flags.z else f"seed {flags.seed}"
    how += f", codes of a {flags.density} density" if flags.density else ""
    of_class = f", class {classes[0]}" if len(classes) == 1 else ""
    title = f"{kind} of {run.experiment.name} on {run.dataset.name}, step {run.step}, {how}{of_class}"
    if x.ndim != 4:
        charts.save_points(path, {kind: made["x"]}, title=title)
        return
    captions = pictures.class_captions(np.resize(classes, columns).tolist(), run.dataset.class_names) if several else []
    pictures.save_samples(path, x, title=title, columns=columns, captions=captions)


def measure(run: runs.Run, x: np.ndarray, flags: Flags, label: np.ndarray | None = None) -> dict[str, float]:
    """How the samples compare with the run's data, and how those of probabilistic PCA do.

    Args:
      label: the classes that were asked of a conditional model.
    """
    if flags.components or (run.dataset.num_classes or 0) < 2:
        reference = reference_classifier.without_classes(run.dataset, num_samples=len(x))
    else:
        cache = run.directory.resolve().parent
        reference = reference_classifier.reference(run.flags, run.dataset, num_samples=len(x), cache=cache)
    found, generator = sample_measures.measured(x, label, run.dataset, reference), generator_of(run)
    known = run.dataset.scaled(run.dataset.train.sample(10_000))
    if generator is None or generator.latent_dim >= min(len(known), known[0].size):
        return found
    of_linear = sample_quality(
        linear.sample_probabilistic_pca(
            known, len(x), latent_dim=generator.latent_dim, noise=flags.draw, seed=flags.seed
        ),
        reference,
    )
    return found | {f"ppca_{name}": value for name, value in of_linear.items() if not REFERENCE.search(name)}


def main(flags: Flags) -> None:
    """Draws, measures and writes."""
    out = expand_user(flags.out or flags.directory / "generated", parameter="out")
    provenance.refuse_output(out, parameter="out")
    run = flags.open_run(with_data=flags.measure or flags.density is not None)
    made = make(run, flags)
    x = made["x"]
    quality: dict[str, float] = {}
    with provenance.writing(out, "generate", flags, run) as folder:
        # none of the names is an argument of `savez`
        np.savez(folder / "samples.npz", step=run.step, **made)  # type: ignore[arg-type]
        save_picture(folder / "samples.png", run, made, flags)
        if flags.measure:
            quality = measure(run, x, flags, made.get("label"))
            directory.write_json(folder / "quality.json", {"step": run.step, **quality})
    if quality:
        print(", ".join(f"{name} {value:.4f}" for name, value in quality.items()))
    sha256 = hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()
    print(f"{len(x)} samples of {run.directory}, step {run.step}, seed {flags.seed}, sha256 {sha256}; {out}")


if __name__ == "__main__":
    command.run(main, Flags)
