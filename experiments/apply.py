"""Applies a trained model to pictures, arrays or tables of your own: codes, reconstructions, scores, ...

    python -m experiments.apply --run=DIR --input=PICTURES --to=codes --out=codes.csv
    python -m experiments.apply --run=DIR --input=photo.png --resize --to=reconstructions
    python -m experiments.apply --run=DIR --input=codes.csv --to=decoded

What --to can be depends on the experiment: codes, reconstructions, scores, latent_mahalanobis and decoded (from codes)
of autoencoders and VAEs; denoised; compressed and decompressed; classes, probabilities and features of a classifier;
vectors of an identity encoder. A wrong value lists those of the run. No training data are read except for
latent_mahalanobis, which is the distance from their codes. A conditional model needs --label, the examples' class.

The input is a picture, a folder of pictures, a .npy or .npz array [N, ...], or a .csv or .parquet table with a row
per example. Pictures of another size are refused unless --resize is given. A suffix of --out chooses what is written:
.npz arrays, a .csv table, or a .png picture; into a folder go pictures of pictures, and tables and arrays of everything
else.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

from genjax import runs
from genjax.data import batching, examples
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import command, flag, opening, provenance

SHOWN = 20  # examples in an overview
SUFFIXES = (".npz", ".csv", ".png")


class Flags(opening.OpeningFlags):
    """Application."""

    input: str | None = flag(None, "picture, folder of pictures, or file of numbers: .npy, .npz, .csv or .parquet")
    to: str | None = flag(None, "what is computed: codes, reconstructions, scores, ...")
    of: str | None = flag(None, "the one result to keep of those that --to has, such as denoised_gaussian")
    out: str | None = flag(None, "output file (.npz, .csv or .png) or folder; by default DIR/applied")
    scale: float | None = flag(
        None,
        "number in an array or table that stands for 1; by default that of the training data in whole numbers, and 1 "
        "in others",
        at_least=1e-6,
    )
    resize: bool = flag(False, "cut pictures to the model's proportions, resize them, and convert their colours")
    batch_size: int = flag(500, "number of examples that are computed together", at_least=1, at_most=10**6)
    label: tuple[int, ...] = flag(
        (),
        "class of the examples, for a conditional model, or a class for each of them",
        at_least=0,
        may_be_empty=True,
        max_entries=10**6,
    )
    seed: int = flag(0, "seed of all random numbers", at_least=0, at_most=2**32 - 1)


class Rows(NamedTuple):
    """What a model is applied to, a part at a time."""

    names: list[str]
    kind: str  # as in `examples.Examples`, or "rows" if they are not the model's examples
    read: Callable[[int, int], Any]  # start, stop -> arrays [stop - start, ...]


def chosen(run: runs.Run, to: str | None) -> runs.Application:
    """The application of the run's experiment that has this name."""
    known = run.experiment.applications(run.flags, run.parts)
    if not known:
        raise BadInput(f"{run.directory}: a run of {run.experiment.name} computes nothing from examples")
    if to is None or to not in known:
        raise BadInput(f"expected one of {', '.join(known)}, for a run of {run.experiment.name}", parameter="to")
    return known[to]


def check_label(run: runs.Run, application: runs.Application, flags: Flags) -> None:
    """Checks that there are classes if the model needs them."""
    num_classes = application.num_classes
    if bool(flags.label) != bool(num_classes):
        problem = f"is conditional: give a class from 0 to {num_classes - 1}" if num_classes else "is not conditional"
        raise BadInput(f"{run.directory}: this run of {run.experiment.name} {problem}", parameter="label")
    if any(label >= num_classes for label in flags.label):
        raise BadInput(f"the run has classes 0 to {num_classes - 1}, not {max(flags.label)}", parameter="label")


def labels(application: runs.Application, flags: Flags, num: int) -> list[np.ndarray]:
    """The labels of `num` rows, [num], as the only entry; none if the model is not conditional."""
    if len(flags.label) not in (0, 1, num):
        raise BadInput(f"expected one class, or {num}, one for each example, not {len(flags.label)}", parameter="label")
    return [np.resize(np.array(flags.label, np.int32), num)] if application.num_classes else []


def open_rows(run: runs.Run, application: runs.Application, path: Path, flags: Flags) -> Rows:
    """The input as the application takes it."""
    if application.read is not None:
        read = application.read(path)
        num = len(jax.tree.leaves(read)[0])
        return Rows([str(i) for i in range(num)], "rows", lambda a, b: jax.tree.map(lambda leaf: leaf[a:b], read))
    found = examples.open_examples(path, run.dataset, scale=flags.scale, resize=flags.resize)
    print(f"{len(found.names)} examples from {path}, whose values are divided by {found.scale:g}", file=sys.stderr)
    return Rows(found.names, found.kind, found.read)


def computed(
    run: runs.Run, application: runs.Application, rows: Rows, flags: Flags
) -> Iterator[tuple[int, Any, dict[str, np.ndarray]]]:
    """Batches of rows in turn: the first one's place, the input, and the results by name."""
    key, size = jax.random.key(flags.seed), min(flags.batch_size, len(rows.names))
    fitted = ()
    if application.fit is not None:
        known = opening.read(run, run.dataset.train, jax.random.fold_in(key, len(rows.names)), at_most=10_000)
        fitted = (application.fit(run.params, known),)
    label = labels(application, flags, len(rows.names))
    binarized = run.flags.binarize != "none" and rows.kind != "rows"
    compiled = jax.jit(application.each)
    starts = range(0, len(rows.names), size)
    for number, start in enumerate(tqdm(starts, desc=flags.to, unit=" batches", disable=None)):
        draw_key, each_key = jax.random.split(jax.random.fold_in(key, number))
        x = rows.read(start, start + size)
        num = len(jax.tree.leaves(x)[0])
        if binarized:
            x = np.asarray(batching.dynamic_binarization(jnp.asarray(x), draw_key))
        given = x, [rows_of[start : start + num] for rows_of in label]
        whole, of_class = jax.tree.map(lambda leaf: np.resize(leaf, (size, *leaf.shape[1:])), given)  # compiled once
        found = compiled(run.params, whole, each_key, *of_class, *fitted)
        found = found if isinstance(found, dict) else {str(flags.to): found}
        if flags.of is not None and flags.of not in found:
            raise BadInput(f"expected one of {', '.join(found)}", parameter="of")
        kept = {name: np.asarray(value)[:num] for name, value in found.items() if flags.of in (None, name)}
        yield start, x, kept


def are_pictures(values: np.ndarray) -> bool:
    """Whether the values are grey or coloured images, [N, H, W, 1 or 3]."""
    return values.ndim == 4 and values.shape[-1] in (1, 3)


def save_picture(path: Path, image: np.ndarray) -> None:
    """Writes one image [H, W, C] in [0, 1], in its own size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(path, format="PNG")


def save_overview(path: Path, title: str, x: Any, values: np.ndarray) -> None:
    """Draws the first results, each below its input if that is an image of the same size."""
    rows = {"output": values[:SHOWN]}
    if isinstance(x, np.ndarray) and x.shape[1:] == values.shape[1:]:
        rows = {"input": x[:SHOWN]} | rows
    pictures.save_captioned_grid(path, np.stack(list(rows.values())), title=title, rows=list(rows))


def save_table(path: Path, names: list[str], results: dict[str, np.ndarray]) -> None:
    """Writes a row per example: its name, then the values, those of a vector in columns NAME_1, NAME_2, ..."""
    columns, flat = [], []
    for name, values in results.items():
        table = values.reshape(len(values), -1)
        columns += [name] if values.ndim == 1 else [f"{name}_{i}" for i in range(1, table.shape[1] + 1)]
        flat.append(table)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([examples.NAMES, *columns])
        for row, name in enumerate(names):
            writer.writerow([name, *(f"{value:.9g}" for table in flat for value in table[row].tolist())])


def save(out: Path, rows: Rows, results: dict[str, np.ndarray]) -> None:
    """Writes results to a file of the suffix's kind; to a folder tables of what came as one, and arrays of the rest."""
    if out.suffix == ".csv":
        save_table(out, rows.names, results)
    elif out.suffix == ".npz":
        np.savez(out, example=np.array(rows.names), **results)  # type: ignore[arg-type] # names are the page's
    else:
        for name, values in results.items():
            np.savez(out / f"{name}.npz", x=values, example=np.array(rows.names))
        tables = {name: values for name, values in results.items() if values.ndim <= 2 or rows.kind == "tables"}
        if tables:
            save_table(out / "results.csv", rows.names, tables)


def save_packed(out: Path, application: runs.Application, results: dict[str, np.ndarray]) -> None:
    """Writes each result as the arrays that the application packs it into."""
    assert application.pack is not None
    if out.suffix and (out.suffix != ".npz" or len(results) > 1):
        raise BadInput(f"give a folder, or a .npz file and, as `of`, one of {', '.join(results)}", parameter="out")
    for name, values in results.items():
        path = out if out.suffix else out / f"{name}.npz"
        np.savez_compressed(path, **application.pack(name, values))  # type: ignore[arg-type] # names are the page's
        print(f"{name}: {len(values)} examples in {path.stat().st_size} bytes, {path.name}")


def show(out: Path, title: str, rows: Rows, start: int, x: Any, results: dict[str, np.ndarray]) -> None:
    """Draws those results of a batch that are pictures: the first in an overview, and into a folder each of them."""
    drawn = {name: values for name, values in results.items() if are_pictures(values)}
    if out.suffix == ".png" and len(drawn) != 1:
        raise BadInput(f"{', '.join(results)} are not one set of pictures; give a folder or .npz file", parameter="out")
    for name, values in drawn.items():
        if out.suffix == ".png" and len(rows.names) == 1:
            save_picture(out, values[0])
        elif start == 0:
            save_overview(out if out.suffix else out / f"{name}.png", f"{name} {title}", x, values)
        if one_by_one(out, rows, values):
            for place, image in enumerate(values, start=start):
                save_picture(out / name / Path(rows.names[place]).with_suffix(".png"), image)


def one_by_one(out: Path, rows: Rows, values: np.ndarray) -> bool:
    """Whether results are written as a picture each, and not kept in memory: pictures of pictures, into a folder."""
    return are_pictures(values) and rows.kind == "pictures" and not out.suffix


def write(out: Path, run: runs.Run, application: runs.Application, rows: Rows, flags: Flags) -> dict[str, np.ndarray]:
    """Computes and writes everything; returns the results that are not pictures of one example each."""
    kept: dict[str, list[np.ndarray]] = {}
    for start, x, found in computed(run, application, rows, flags):
        if out.suffix in ("", ".png"):
            show(out, f"of {Path(str(flags.input)).name} by {run.experiment.name}", rows, start, x, found)
        for name, values in found.items():
            if out.suffix != ".png" and not one_by_one(out, rows, values):
                kept.setdefault(name, []).append(values)
    results = {name: np.concatenate(parts) for name, parts in kept.items()}
    if application.pack is not None:
        save_packed(out, application, results)
    elif results:
        save(out, rows, results)
    return results


def main(flags: Flags) -> None:
    """Reads, computes and writes."""
    for name in ("run", "input"):
        if not getattr(flags, name):
            raise BadInput("give the directory of a trained run, and an input", parameter=name)
    out = expand_user(flags.out or flags.directory / "applied", parameter="out")
    if out.suffix and out.suffix not in SUFFIXES:
        raise BadInput(f"expected a folder or a file of {', '.join(SUFFIXES)}, not {out.name!r}", parameter="out")
    if out.suffix:
        refuse_unwritable(out.parent, parameter="out")
    else:
        provenance.refuse_output(out, parameter="out")
    run = flags.open_run(with_data=False)
    application = chosen(run, flags.to)
    check_label(run, application, flags)
    if application.fit is not None:
        run = flags.open_run()
    rows = open_rows(run, application, expand_user(str(flags.input), parameter="input"), flags)
    with provenance.writing(out, "apply", flags, run, is_file=bool(out.suffix)) as draft:
        results = write(draft, run, application, rows, flags)
    scalar = [(name, values) for name, values in results.items() if values.ndim == 1 and values.dtype.kind == "f"]
    for name, values in scalar[:SHOWN]:
        print(f"{name}: mean {values.mean():.4f}, largest {values.max():.4f} of {rows.names[values.argmax()]}")
    print(f"{flags.to} of {len(rows.names)} examples by {run.directory}, step {run.step}: {out}")


if __name__ == "__main__":
    command.run(main, Flags)
