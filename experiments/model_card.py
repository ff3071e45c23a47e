"""The texts that go with an exported run: its model card, and how to call its compiled functions."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from genjax import runs
from genjax.errors import BadInput
from genjax.runs import command
from genjax.runs.metrics import describe, headline
from genjax.training.weights import LAYOUT

LICENSE = "Apache-2.0"

OF_FACES = """\
This model makes pictures of faces that are not real, and the commands of genjax label them as synthetic in their
metadata. Use it with pictures of people only if each of them has agreed to that use.
"""


def of_run(run: runs.Run, about: Mapping[str, Any], pictures: Sequence[str]) -> str:
    """The model card of a run, Markdown with a header of metadata."""
    name, data = run.experiment.name, about["flags"]["dataset"]
    what = (sys.modules[type(run.flags).__module__].__doc__ or name).strip().splitlines()[0]
    header = ["---", f"license: {LICENSE.lower()}", "library_name: genjax", "tags:", "- jax", f"- {name}", "---"]
    parts = [
        "\n".join(header),
        f"# {name} on {data}",
        f"{what.rstrip('.')}. Trained by genjax on `{data}` for {run.step} updates.",
    ]
    if name.startswith("identity_"):
        parts.append(OF_FACES.strip())
    parts += [_data(run, about), _metrics(run), _weights(about), _reproduce(run, about)]
    parts.append("\n".join(f"![{picture}]({picture})" for picture in pictures))
    parts.append(
        f"## Licence\n\ngenjax is licensed under {LICENSE}. The licence of the data may restrict the use of these "
        "weights further."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _data(run: runs.Run, about: Mapping[str, Any]) -> str:
    dataset = run.dataset
    sizes = f"{len(dataset.train.x)} training and {len(dataset.test.x)} held-out examples"
    of_shape = f"of shape {list(dataset.train.x.shape[1:])}"
    of_shape += f" in {dataset.num_classes} classes" if dataset.num_classes else ""
    fingerprint = about["manifest"]["data_fingerprint"]
    return (
        f"## Data\n\n`{about['flags']['dataset']}`: {sizes} {of_shape}, fingerprint `{fingerprint}`. "
        f"The model takes values divided by {dataset.scale:g}."
    )


def _metrics(run: runs.Run) -> str:
    """A table of the final test metrics; empty for a run that is not finished."""
    try:
        metrics = run.metrics
    except BadInput:
        return ""
    own = run.experiment.metrics(run.flags)
    lines = ["## Metrics", "", "On held-out data, at the end of training:", "", "| metric | value | unit | better |"]
    lines.append("| --- | --- | --- | --- |")
    first = headline(list(metrics), run.experiment.headline or run.experiment.watch)
    for name in [*first, *(name for name in metrics if name not in first)]:
        known = describe(name, own)
        lines.append(f"| {name} | {metrics[name]:.6g} | {known.unit} | {known.better} |")
    return "\n".join(lines)


def _weights(about: Mapping[str, Any]) -> str:
    which = "averaged over the steps" if about["parameters"] == "averaged" else "of the last step"
    return f"""\
## Weights

`model.safetensors` holds the parameters {which}. Their `params_sha256` is `{about["params_sha256"]}`.

```python
from safetensors.numpy import load_file

arrays = load_file("model.safetensors")  # NumPy arrays by name
```

{LAYOUT}

With genjax, another run starts from them:

```bash
python -m experiments.{about["experiment"]} --initial_weights=model.safetensors
```"""


def _reproduce(run: runs.Run, about: Mapping[str, Any]) -> str:
    flags = run.flags.replace(**{name: about["flags"][name] for name in ("dataset", "initial_weights")})
    default = command.arguments(type(flags)())
    own = [
        argument
        for argument in command.arguments(flags)
        if argument not in default and argument.partition("=")[0].removeprefix("--") in about["flags"]
    ]
    made = about["manifest"]
    versions = ", ".join(f"{name} {made['packages'][name]}" for name in ("jax", "flax", "optax", "numpy"))
    where = f"{made['device_kind']} ({made['backend']})"
    line = shlex.join(["python", "-m", f"experiments.{about['experiment']}", *own])
    return f"""\
## Reproduce

```bash
{line}
```

The parameters of the last step have `params_sha256` `{about["params_sha256_of_last"]}`, on {where} with Python \
{made["python"]}, {versions}, commit {made["git_commit"]}."""


def of_functions(run: runs.Run, listed: Mapping[str, Any]) -> str:
    """How to call exported functions, in Markdown."""
    dataset = run.dataset
    values = "in [0, 1]" if dataset.bounded else "of the training data"
    binary = "; they were drawn as 0 or 1 in training" if run.flags.binarize != "none" else ""
    rows = []
    for name, one in listed.items():
        inputs = ", ".join(f"{key}: {value}" for key, value in one["inputs"].items())
        rows.append(f"| `{name}` | {one['about']} | `{inputs}` | `{json.dumps(one['outputs'])}` |")
    first, one = next(iter(listed.items()))
    return f"""\
# Compiled functions of {run.experiment.name}, step {run.step}

They need JAX, its package flatbuffers and NumPy, and not genjax. The weights are in the files.

```python
from pathlib import Path

from jax import export

{first} = export.deserialize(bytearray(Path("{one["file"]}").read_bytes()))
outputs = {first}.call({", ".join(one["inputs"])})
```

| function | what it returns | inputs | outputs |
| --- | --- | --- | --- |
{chr(10).join(rows)}

- `rows` is any number of examples, from 1 on.
- `x` are values {values}: stored values divided by {dataset.scale:g}{binary}.
- `key` is the data of a random key, as `jax.random.key_data(jax.random.key(0))`.
- An input that is called `rows` only counts: `numpy.zeros(16, "uint8")` for 16 rows.
- Platforms: {", ".join(one["platforms"])}. On a CPU, the bits are those of genjax if the environment variable NPROC \
is {run.flags.cpu_threads} before JAX starts.
- functions.json holds the same in a form for programs.
"""
