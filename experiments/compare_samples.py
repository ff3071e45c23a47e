"""Compares samples with real data: two folders of pictures, or what a trained model draws and any data set.

    python -m experiments.compare_samples --real=folder:PATH --fake=PICTURES
    python -m experiments.compare_samples --fake=DIR --num=1000
    python -m experiments.compare_samples --real=folder:PATH --fake=PICTURES --features=pixels

--real is a folder of pictures or the name of any data set. Its held-out examples (a tenth of a folder, or its subfolder
`test`) are what samples are compared with, and its training examples are what they may be copies of. --fake is a folder
of pictures, in subfolders named like those of --real if they are of classes; a .npz as `generate` writes it; or the
directory of a run, of which --num samples are drawn, and whose own data are the default of --real.

A Frechet distance and all other measures are of the features that are named: of a classifier, which is trained on the
real data first, if these have classes; of principal components; the pixels themselves; or a function of your own,
MODULE:FUNCTION, which takes pictures [N, H, W, C] in [0, 1] to features [N, D]. Numbers in different features cannot be
compared, nor those of different numbers of samples.

- frechet_distance, kernel_distance and mind are distances from the held-out examples; precision and density are about
  fidelity, recall and coverage about diversity. vendi_score is the effective number of different samples.
- authenticity is the share of samples that are no copies, and data_copying the statistic C_T, which is far below 0 for
  copies. nearest_training_distance is the median distance to the nearest training example.
- class_accuracy_score is the accuracy on the held-out examples of a linear classifier of pixels that was fitted to
  the samples alone, if these have classes.

The second column is the floor of noise: the same of training examples in the place of the samples. A number after ± is
a standard error: by the jackknife, over blocks (kernel_distance), of a binomial share, or of C_T where there is no
copying. It writes samples.json, samples.md, and nearest.png: samples at random, then those nearest to the training
examples, above their nearest training examples.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import generate, sample_measures
from experiments.compare import markdown
from genjax import data, runs
from genjax.data import array_file, examples, tfds
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.evaluation import neighbours
from genjax.evaluation.sample_quality import AT_LEAST, AT_MOST, Reference
from genjax.paths import expand_user
from genjax.runs import Record, command, directory, flag, metrics, opening, provenance
from genjax.runs.settings import figure_formats
from genjax.training import determinism

COLUMNS, NEIGHBOURS = 10, 3  # of the picture: samples in a row, and real examples below each


class Flags(Record):
    """Comparison of samples."""

    real: str | None = flag(None, "real data: a folder of pictures, or the name of a data set; by default the run's")
    fake: str | None = flag(None, "samples: a folder of pictures, a .npz or .npy, or the directory of a run")
    features: str | None = flag(
        None,
        "features to compare in: classifier, components, pixels or MODULE:FUNCTION; by default those of a classifier, "
        "or components if there are no classes",
    )
    num: int = flag(2000, "number of samples drawn of a run", at_least=AT_LEAST, at_most=AT_MOST)
    seed: int = flag(0, "seed of the samples of a run", at_least=0, at_most=2**32 - 1)
    image_size: tuple[int, ...] | None = flag(
        None,
        "height and width, as H or HxW, to which the pictures of a real folder are cut and resized",
        at_least=1,
        at_most=2**14,
        separator="x",
    )
    resize: bool = flag(False, "cut and resize the pictures of a folder of samples to those of the real data")
    data_dir: str | None = flag(None, "directory of data sets of TensorFlow Datasets")
    page: str | None = flag(None, "module that defines the run's experiment; by default the one in `experiments`")
    step: int | None = flag(None, "step of the checkpoint to draw from, by default the last", at_least=0)
    out: str = flag("compared_samples", "output folder")
    figure_formats: tuple[str, ...] = figure_formats()


class Samples(NamedTuple):
    """What is compared with the data."""

    x: np.ndarray  # [N, ...] in [0, 1]
    label: np.ndarray | None  # [N], the classes that they are meant to be of


def open_run(flags: Flags, path: Path) -> runs.Run | None:
    """The run whose directory `fake` is, or None."""
    if not (path / "config.json").is_file():
        return None
    experiment = opening.of_module(flags.page) if flags.page else None
    without = flags.real is not None
    run = opening.open(path, experiment=experiment, data_dir=flags.data_dir, with_data=not without, step=flags.step)
    if run.model.sample is None:
        raise BadInput(
            f"{path}: a run of {run.experiment.name} cannot draw new samples; give a file of samples, such as "
            "`generate` writes",
            parameter="fake",
        )
    return run


def real_data(flags: Flags, run: runs.Run | None) -> data.Dataset:
    """The real data, with enough examples in both splits."""
    if flags.real is None:
        if run is None:
            raise BadInput("give the real data, such as folder:PATH", parameter="real")
        dataset = run.dataset
    else:
        name = f"folder:{flags.real}" if expand_user(flags.real, parameter="real").is_dir() else flags.real
        if flags.image_size and not name.startswith("folder:"):
            raise BadInput(f"{name} is not a folder of pictures", parameter="image_size")
        try:
            dataset = data.load(name, data_dir=flags.data_dir, size=flags.image_size)
        except tfds.NotPrepared:
            raise
        except BadInput as error:
            raise BadInput(error.message, parameter="real") from None
    held_out, known = len(dataset.test.x), len(dataset.train.x)
    if held_out < AT_LEAST or known < 2 * AT_LEAST:
        raise BadInput(
            f"{dataset.name} has {known} training and {held_out} held-out examples; {2 * AT_LEAST} and {AT_LEAST} are "
            "needed, and a tenth of a folder is held out unless it has subfolders train and test",
            parameter="real",
        )
    return dataset


def read_samples(flags: Flags, path: Path, dataset: data.Dataset) -> Samples:
    """The samples of a folder or a file: all, or a fixed random choice of them."""
    is_file = path.is_file() and path.suffix in (".npz", ".npy")
    if not (path.is_dir() or is_file):
        raise BadInput(f"{path} is not a folder, a .npz, a .npy or the directory of a run", parameter="fake")
    try:
        found = examples.open_examples(path, dataset, resize=flags.resize)
        rows = data.choose(len(found.names), AT_MOST)
        x = np.concatenate([found.read(row, row + 1) for row in rows])
        stored = array_file.read(path).get("label") if path.suffix == ".npz" else None
    except BadInput as error:
        raise BadInput(error.message.replace("the model takes", "the real data are"), parameter="fake") from None
    if stored is not None and stored.shape == (len(found.names),):
        return Samples(x, stored[rows])
    known = {name: number for number, name in enumerate(dataset.class_names or ())}
    folders = [found.names[row].partition("/")[0] for row in rows]
    return Samples(x, np.array([known[folder] for folder in folders]) if known.keys() >= {*folders} else None)


def draw_samples(flags: Flags, run: runs.Run, dataset: data.Dataset) -> Samples:
    """Samples of a run, and the classes that were asked of it."""
    made = generate.make(run, generate.Flags(num=flags.num, seed=flags.seed))
    shape = dataset.train.x.shape[1:]
    if made["x"].shape[1:] != shape:
        sizes = [list(made["x"].shape[1:]), list(shape)]
        raise BadInput(f"the run's samples are {sizes[0]}, and the real data {sizes[1]}", parameter="fake")
    return Samples(made["x"], made.get("label"))


def save_picture(path: Path, x: np.ndarray, dataset: data.Dataset, reference: Reference) -> None:
    """Draws samples at random, and those nearest to the training examples, above their nearest training examples."""
    known = dataset.train.sample(20_000)
    found = neighbours.nearest(
        reference.features(x), reference.features(dataset.scaled(known)), num_neighbours=NEIGHBOURS
    )
    nearest = np.argsort(found.distance[:, 0], kind="stable")[:COLUMNS]
    shown = np.concatenate([data.choose(len(x), COLUMNS), nearest])
    others = [dataset.scaled(known.at(found.index[shown, place])) for place in range(found.index.shape[1])]
    names = ["sample", *(["nearest real", "second", "third"][: len(others)])]
    title = "samples at random, and those nearest to training examples"
    pictures.save_reconstructions(
        path,
        dataset.visible(x[shown]),
        *(dataset.visible(other) for other in others),
        title=title,
        names=names,
        columns=COLUMNS,
    )


def table(samples: dict[str, float], of_data: dict[str, float], num_samples: int, num_data: int) -> str:
    """All measures in Markdown, with their standard errors."""

    def cell(values: dict[str, float], name: str) -> str:
        if name not in values:
            return ""
        error = f" ± {values[f'{name}_error']:.2g}" if f"{name}_error" in values else ""
        return f"{values[name]:.4g}{error}"

    cells = [
        [name, cell(samples, name), cell(of_data, name), metrics.describe(name).better]
        for name in samples
        if not name.endswith("_error")
    ]
    return markdown(["measure", f"{num_samples} samples", f"{num_data} real in their place", "better"], cells)


def main(flags: Flags) -> None:
    """Reads, draws, measures and writes."""
    if not flags.fake:
        raise BadInput("give the samples: a folder of pictures, or the directory of a run", parameter="fake")
    if flags.features and flags.features not in sample_measures.NAMED:
        sample_measures.imported(flags.features)  # before any work
    out = expand_user(flags.out, parameter="out")
    provenance.refuse_output(out, parameter="out")
    path = expand_user(flags.fake.removeprefix("folder:"), parameter="fake")
    run = open_run(flags, path)
    if run is None:
        determinism.set_up()
    dataset = real_data(flags, run)
    samples = read_samples(flags, path, dataset) if run is None else draw_samples(flags, run, dataset)
    x, num_samples = samples.x, len(samples.x)
    if num_samples < AT_LEAST:
        raise BadInput(f"{num_samples} samples are too few to compare; {AT_LEAST} are needed", parameter="fake")
    of_data = run.flags if run is not None and flags.real is None else runs.Flags(dataset=dataset.name)
    cache = run.directory.resolve().parent if run is not None else out
    out.mkdir(parents=True, exist_ok=True)
    reference = sample_measures.reference(flags.features, of_data, dataset, num_samples=num_samples, cache=cache)
    found = sample_measures.measured(x, samples.label, dataset, reference)
    floor, num_data = sample_measures.noise_floor(dataset, reference, num_samples=num_samples)
    text = table(found, floor, num_samples, num_data)
    (out / "samples.md").write_text(text, encoding="utf-8")
    about = {"real": dataset.name, "fake": flags.fake, "features": flags.features or "default", "seed": flags.seed}
    numbers = {"num_features": reference.test.shape[1], "num_samples": num_samples, "num_data": num_data}
    directory.write_json(out / "samples.json", {**about, **numbers, "samples": found, "data": floor})
    if x.ndim == 4:
        save_picture(out / "nearest.png", x, dataset, reference)
    print(text)
    print(f"{num_samples} samples of {flags.fake} beside {dataset.name}: {out}")


if __name__ == "__main__":
    command.run(main, Flags)
