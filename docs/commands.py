"""Runs every command that the README, the site and the experiments' docstrings show, as a reader would.

    python -m docs.commands
    python -m docs.commands --only=vae --only=generate
    python -m docs.commands --whole --data_dir=DIR

The commands run in a temporary folder, one after the other, with small stand-ins for what a reader would name (a run,
a folder of pictures, ...). Trainings are cut to a few steps, unless --whole is given. Commands that need prepared data
run if --data_dir has them; those that need a package that is not installed are left out. Each command gets a line with
its time, and the exit status is 1 if one of them fails.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from genjax.data import faces

ROOT = Path(__file__).resolve().parents[1]
CUT = {  # flags that cut a training
    "apply": (),
    "benchmark": None,  # too long in any form
    "benchmark.scaling": None,
    "bigan": ("--num_steps=20", "--eval_every=20", "--num_known=1000"),
    "compare": (),
    "compare_samples": (),
    "compression": ("--num_steps=20", "--latent_dims=4,8"),
    "disentanglement": ("--num_steps=20", "--num_seeds=1"),
    "export": (),
    "generate": (),
    "identity_encoder": ("--num_steps=4",),
    "identity_swap": ("--num_steps=2", "--encoder_steps=4", "--regressor_steps=0"),
    "iwae": ("--num_steps=20", "--num_samples=5", "--stages=1", "--num_test_samples=20"),
    "latent_space": (),
    "lemmas": (),
    "learned_compression": ("--num_steps=20", "--distortion_weights=4,16"),
    "loss_recovered": (),
    "lossless": (),
    "lossy": (),
    "prepare": (),
    "report": (),
    "reproduce": (),
    "reproduction": ("--num_steps=20",),
    "same_bits": ("--models=vae", "--ways=alone,devices-2", "--num_steps=20"),
    "stacked": ("--num_steps=20", "--pretraining_steps=2"),
    "swap_faces": (),
    "track": (),
}
CUT_OF_OTHERS = ("--num_steps=20", "--eval_every=20")
MADE_FIRST = (  # runs that other commands open
    "vae --latent_dim=2 --workdir=runs/a",
    "vae --latent_dim=2 --workdir=runs/again",
    "generate --run=runs/a",
    "vae --latent_dim=2 --seed=1 --workdir=runs/b",
    "vae --binarize=static --workdir=runs/binary",
    "autoencoder --latent_dim=2 --workdir=runs/autoencoder",
    "vae --dataset=sprites --latent_dim=4 --workdir=runs/sprites",
    "gan --dataset=digits --conditional --workdir=runs/conditional",
    "identity_swap --workdir=runs/swap",
    "learned_compression --dataset=folder:shapes --image_size=8 --workdir=runs/codec",
    "autoencoder --dataset=folder:shapes --image_size=16 --latent_dim=4 --workdir=runs/shapes",
)
RUNS = {
    "swap_faces": "runs/swap",
    "lossless": "runs/binary",
    "lossy": "runs/codec",
}  # that stand for DIR, for commands with needs of their own
STAND_INS = {
    "runs/NAME": "runs/a",
    "DIR/generated": "runs/a/generated",
    "VAE": "runs/a",
    "AUTOENCODER": "runs/autoencoder",
    "PATH": "pictures",
    "PICTURES": "pictures/zero",
    "PEOPLE": "people",
    "FOLDER": "repository",
    "OTHER": "runs/again",
    "MODULE:FUNCTION": "genjax.losses:code_l1",
    "all": "made,vae",  # rows of the reproduction; the others measure for many minutes
    "TABLE.csv": "numbers.csv",
}


def commands() -> Iterator[tuple[str, str]]:
    """Each command once, with the page that shows it first."""
    pages = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
    shown = [
        (page, line)
        for page in pages
        if page.parent.name != "results"  # whose commands take hours
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.splitlines()
    ]
    for page in sorted((ROOT / "experiments").rglob("*.py")):
        text = re.sub(r"\\\n\s*", "", ast.get_docstring(ast.parse(page.read_text())) or "")  # one line of each command
        shown += [(page, line.strip()) for line in text.splitlines() if line.startswith("    ")]
    seen = set()
    for page, line in shown:
        command = line.partition(" #")[0].strip()
        if command.startswith("python -m experiments.") and command not in seen:
            seen.add(command)
            yield str(page.relative_to(ROOT)), command


def prepare() -> None:
    """Makes the pictures and the faces that stand for a reader's own, in the current folder."""
    draw = np.random.RandomState(0)
    for folder, side in (("pictures/zero", 8), ("pictures/one", 8), ("shapes/circles", 20), ("shapes/squares", 20)):
        Path(folder).mkdir(parents=True)
        for number in range(120):  # of which a tenth is held out
            Image.fromarray(draw.randint(0, 256, (side, side), np.uint8)).save(f"{folder}/{number:02}.png")
    Image.fromarray(draw.randint(0, 256, (30, 40, 3), np.uint8)).save("photo.png")
    rendered = faces.load().train
    assert rendered.label is not None
    for person in np.unique(rendered.label)[:12]:
        Path(f"people/{person:03}").mkdir(parents=True)
        for number, face in enumerate(rendered.x[rendered.label == person][:6]):
            Image.fromarray(face).save(f"people/{person:03}/{number}.png")
    np.save("activations.npy", draw.normal(size=(400, 64)))
    numbers = draw.normal(size=(400, 5))
    np.save("measurements.npy", numbers)
    np.savetxt("numbers.csv", numbers, delimiter=",")
    people = [
        f"{draw.poisson(3)},{draw.choice(['north', 'south'])},{draw.randint(18, 90)},{i % 10 == 0:d}"
        for i in range(400)
    ]
    Path("people.csv").write_text("\n".join(["visits,region,age,fraud", *people]))
    for name, face in zip("AB", rendered.x[:2], strict=True):
        Image.fromarray(face).save(f"{name}.png")


def stand_in(command: str, data_dir: str | None) -> str | None:
    """The command on stand-ins; None if it needs prepared data and there are none."""
    name = command.split()[2].removeprefix("experiments.")
    if "--archives" in command or ("--data_dir=DIR" in command and data_dir is None):
        return None
    command = command.replace("--data_dir=DIR", f"--data_dir={data_dir}").replace("--out=DIR", "--out=compared")
    run = RUNS.get(name, "runs/conditional" if "--label" in command else "runs/a")
    command = command.replace("--run=DIR", f"--run={run}").replace("--fake=DIR", f"--fake={run}")
    if name == "disentanglement":  # whose runs need data with known factors
        command = re.sub(r"--runs=\S+", "--runs=runs/sprites", command)
    for word, other in STAND_INS.items():
        command = re.sub(rf"(?<=[=:]){word}\b", other, command)
    return command


def run(command: str, *, whole: bool) -> tuple[str, float]:
    """Runs a command; returns how it ended, and the seconds that it took."""
    arguments = shlex.split(command)[1:]
    name = arguments[1].removeprefix("experiments.")
    cut = CUT.get(name, CUT_OF_OTHERS)
    tracker = next((a.removeprefix("--to=") for a in arguments if name == "track" and a.startswith("--to=")), None)
    missing = tracker if tracker and importlib.util.find_spec(tracker) is None else None
    if missing or (cut is None and not whole):
        return f"left out: {f'needs {missing}' if missing else 'takes minutes'}", 0.0
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *arguments, *(() if whole else cut or ())],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stderr.strip().splitlines() or [""])[-1]
    return ("" if done.returncode == 0 else f"status {done.returncode}: {last}"), time.monotonic() - began


def main() -> int:
    """Runs them all, or those of `--only`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="name of an experiment; may be given several times")
    parser.add_argument("--whole", action="store_true", help="do not cut trainings")
    parser.add_argument("--data_dir", help="directory of prepared data sets")
    given = parser.parse_args()
    data_dir = str(Path(given.data_dir).resolve()) if given.data_dir else None
    failed = 0
    with tempfile.TemporaryDirectory(prefix="commands-") as scratch:
        os.chdir(scratch)
        prepare()
        first = [("(made first)", f"python -m experiments.{command}") for command in MADE_FIRST]
        for page, shown in [*first, *commands()]:
            name = shown.split()[2].removeprefix("experiments.")
            if given.only and name not in given.only and page != "(made first)":
                continue
            command = stand_in(shown, data_dir)
            how, seconds = (
                ("left out: needs prepared data", 0.0) if command is None else run(command, whole=given.whole)
            )
            failed += how.startswith("status")
            mark = "FAILED" if how.startswith("status") else "-" if how else "ok"
            print(f"{mark:6} {seconds:5.0f} s  {page}: {shown}", flush=True)
            if how:
                print(f"       {how}", flush=True)
        os.chdir(ROOT)
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
