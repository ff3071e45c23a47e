"""Exports a trained run for programs that do not have genjax.

    python -m experiments.export --run=DIR --to=safetensors
    python -m experiments.export --run=DIR --to=stablehlo --functions=codes,decode
    python -m experiments.export --run=DIR --to=hub --out=FOLDER

    safetensors  a file of the parameters for evaluation and sampling, by the names of their paths. If the model keeps
                 an average, these are the averaged ones. Its metadata hold the run's numbers, `params_sha256` of the
                 arrays in the file, and the layout. `--initial_weights=FILE` starts another run from it.
    npz          the same arrays for NumPy
    stablehlo    a folder of compiled functions, for a CPU, CUDA and a TPU and any number of rows, with the weights in
                 them. They run with JAX alone, and give the same bits as genjax on the same device. README.md there
                 says how. By default all functions that need no training data are exported.
    hub          a folder in the form of a model repository: model.safetensors, config.json, a model card README.md, and
                 the run's pictures. Nothing is uploaded.

Layout of the arrays: a dense kernel is [in, out], the transpose of PyTorch's Linear.weight. A convolution's kernel is
[height, width, in, out] for images [N, H, W, C]; PyTorch's Conv2d.weight is kernel.transpose(3, 2, 0, 1). For a
transposed convolution, ConvTranspose2d.weight is kernel[::-1, ::-1].transpose(2, 3, 0, 1). Nothing that exists is
written over. NAME.made.json beside the export is how it was made, for `experiments.reproduce --made=NAME`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from experiments import model_card
from genjax import runs
from genjax.errors import BadInput
from genjax.paths import expand_user, refuse_unwritable
from genjax.runs import command, directory, exporting, flag, opening, provenance
from genjax.training import weights

FORMS = {"safetensors": "model.safetensors", "npz": "model.npz", "stablehlo": "stablehlo", "hub": "hub"}
"""The forms, and the default name of what is written."""


class Flags(opening.OpeningFlags):
    """Export."""

    to: str = flag("safetensors", "form of the export", choices=FORMS)
    functions: tuple[str, ...] = flag(
        (), "functions to compile, such as codes,decode,sample; by default all that need no data", may_be_empty=True
    )
    out: str | None = flag(None, "file or folder to write; by default DIR/exported/NAME")


def save_weights(path: Path, run: runs.Run, to: str) -> None:
    """Writes the parameters as one file."""
    if to == "npz":
        weights.save_npz(path, run.params)
    else:
        weights.save(path, run.params, exporting.about(run))


def chosen(run: runs.Run, names: tuple[str, ...]) -> dict[str, exporting.Function]:
    """The functions of a run that are to be exported."""
    known = exporting.functions(run)
    if not known:
        raise BadInput(f"{run.directory}: a run of {run.experiment.name} has no function to export")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BadInput(
            f"expected some of {', '.join(known)}, for a run of {run.experiment.name}, not {unknown[0]!r}",
            parameter="functions",
        )
    return {name: one for name, one in known.items() if (name in names if names else not one.needs_data)}


def save_functions(folder: Path, run: runs.Run, functions: dict[str, exporting.Function], *, by_name: bool) -> None:
    """Writes compiled functions, with functions.json and README.md.

    Args:
      by_name: whether the user asked for these functions, so that one that cannot be exported is an error.
    """
    exported: dict[str, exporting.Exported] = {}
    for name, function in functions.items():
        try:
            exported[name] = exporting.export(name, function)
        except BadInput as error:
            if by_name or "flatbuffers" in str(error):
                raise
            print(f"left out: {error}", file=sys.stderr)
            continue
        (folder / f"{name}.jax_export").write_bytes(exported[name].serialized)
    if not exported:
        raise BadInput(f"{run.directory}: none of {', '.join(functions)} can be exported")
    listed = exporting.described(exported, functions)
    directory.write_json(folder / "functions.json", {**exporting.about(run), "functions": listed})
    (folder / "README.md").write_text(model_card.of_functions(run, listed), encoding="utf-8")


def save_repository(folder: Path, run: runs.Run) -> None:
    """Writes a folder in the form of a model repository."""
    about = exporting.about(run)
    save_weights(folder / "model.safetensors", run, "safetensors")
    config = {"experiment": run.experiment.name, "library_name": "genjax", **exporting.shareable(run.flags)}
    directory.write_json(folder / "config.json", config)
    pictures = sorted(path for pattern in ("*.png", "*.gif") for path in run.directory.glob(pattern) if path.is_file())
    for path in pictures:
        shutil.copyfile(path, folder / path.name)
    card = model_card.of_run(run, about, [path.name for path in pictures])
    (folder / "README.md").write_text(card, encoding="utf-8")


def in_new_folder(output: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a folder that appears as `output` when it is complete."""
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        write(unfinished)
        unfinished.rename(output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def main(flags: Flags) -> None:
    """Opens the run and writes what is asked for."""
    if flags.functions and flags.to != "stablehlo":
        raise BadInput("only --to=stablehlo has functions", parameter="functions")
    output = flags.directory / "exported" / FORMS[flags.to]
    if flags.out is not None:
        output = expand_user(flags.out, parameter="out")
    if os.path.lexists(output):
        raise BadInput(f"{output} exists, and is not written over; give another path", parameter="out")
    refuse_unwritable(output.parent, parameter="out")
    run = flags.open_run(with_data=False)
    functions = chosen(run, flags.functions) if flags.to == "stablehlo" else {}
    if any(function.needs_data for function in functions.values()):
        run = flags.open_run()
        functions = chosen(run, flags.functions)
    output.parent.mkdir(parents=True, exist_ok=True)
    if flags.to == "stablehlo":
        in_new_folder(output, lambda folder: save_functions(folder, run, functions, by_name=bool(flags.functions)))
    elif flags.to == "hub":
        in_new_folder(output, lambda folder: save_repository(folder, run))
    else:
        save_weights(output, run, flags.to)
    files = provenance.files_in(output) if output.is_dir() else [output]
    provenance.keep(provenance.beside(output), "export", flags, [run], files)
    about = exporting.about(run)
    print(
        f"{about['parameters']} parameters of {run.directory}, step {run.step}, as {flags.to}: params_sha256 "
        f"{about['params_sha256']}; {output}"
    )


if __name__ == "__main__":
    command.run(main, Flags)
