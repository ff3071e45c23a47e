"""Prints the hashes of short runs with `--portable_bits`, to compare processors.

    python -m tests.portable_hashes
    python -m tests.portable_hashes --only=vae --num_steps=10

Without arguments, each run is a process of its own, with XLA's optimizer as in a user's run. Those that are known are
in `KNOWN`, by the versions of JAX that give them; the exit status is 1 if one differs. With arguments, this process
trains one of them without evaluating it, which is little enough work for an emulated processor:

    qemu-x86_64 -cpu Haswell python -m tests.portable_hashes --only=vae --num_steps=10
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

from genjax import gradients
from genjax.training import determinism
from genjax.training.digest import params_sha256
from genjax.training.fit import fit

RUNS = {
    "autoencoder": ("autoencoder",),
    "vae": ("vae",),
    "vae-convolutional": ("vae", "--network=convolutional"),
    "gan": ("gan",),
    "iwae": ("iwae",),
}
NUM_STEPS = 200

KNOWN: dict[str, dict[str, str]] = {
    "0.10.2": {
        "autoencoder": "a0e5d19860f7fce387b9accf58a8e3472a1023edc50200e1835f5c6afefc37d8",
        "vae": "5df17bf80387f9c8a918af6e53f27519e73735e4c5a5d0a1a6da7bc159fef51d",
        "vae-convolutional": "124e67cbe413102e5ba7b4f0321a523d5a36697b5ed7fd485e2e3ab5a942d676",
        "gan": "241b4043e56447eb00116adee4f0817c28096ef18bf617a0248ad23c7d70fb61",
        "iwae": "20e372d033daa4ec567f15fed3cc688a9b1136103f8cd06ec5da51e2eeb6fb1f",
    },
    "0.11.2": {
        "autoencoder": "0161e85696b960c5d5a6a7472f9531b9a00df972495f74995302e21c07d0d284",
        "vae": "1abf3a24eb3438ff8dde68842efcf1d335d960e3487384a9e014f9b2044c447f",
        "vae-convolutional": "124e67cbe413102e5ba7b4f0321a523d5a36697b5ed7fd485e2e3ab5a942d676",
        "gan": "d529878c1f90eb337765e6ca8e96f45e2cf62bcf8afe843aa46a39ef08bca3ab",
        "iwae": "ba9187c48fe5340af9ba85e26023e5e0bca3ce968a0f389d9884de62ba1e0091",
    },
}
"""`params_sha256` of the runs, by the version of JAX."""


def user_environment() -> dict[str, str]:
    """The environment without the settings by which tests save time."""
    return {key: x for key, x in os.environ.items() if key not in ("NPROC", "XLA_FLAGS")} | {"JAX_PLATFORMS": "cpu"}


def trained(name: str, *more: str, num_steps: int = NUM_STEPS, **environment: str) -> str:
    """The `params_sha256` of a run."""
    page, *flags = RUNS[name]
    with tempfile.TemporaryDirectory() as folder:
        steps = f"--num_steps={num_steps}", f"--eval_every={num_steps}", f"--log_every={num_steps}"
        command = [sys.executable, "-m", f"experiments.{page}", *flags, "--portable_bits", *steps]
        subprocess.run(
            [*command, f"--workdir={folder}/run", *more],
            env=user_environment() | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=True,
        )
        return json.loads((Path(folder) / "run" / "manifest.json").read_text())["params_sha256"]


def trained_here(name: str, num_steps: int) -> str:
    """The hash of the parameters after some steps of a run in this process, without its evaluations."""
    determinism.set_up(portable_bits=True)
    page, *flags = RUNS[name]
    module = importlib.import_module(f"experiments.{page}")
    own = module.Flags(num_steps=num_steps, **dict(flag.removeprefix("--").split("=") for flag in flags))
    stored = module.EXPERIMENT.load(own)
    own = module.EXPERIMENT.resolve(own, stored)
    model = module.EXPERIMENT.build(own, stored, gradients.whole_batch).model
    source = module.EXPERIMENT.source(own, stored)
    return params_sha256(fit(model, source, seed=0, num_steps=num_steps, eval_every=0, progress=False).params)


def main() -> int:
    """Trains and compares; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.portable_hashes")
    parser.add_argument("--only", choices=RUNS, help="train this one in this process")
    parser.add_argument("--num_steps", type=int, default=10, help="its number of steps")
    chosen = parser.parse_args()
    if chosen.only:
        print(f"{chosen.only}, {chosen.num_steps} steps: {trained_here(chosen.only, chosen.num_steps)}")
        return 0
    known, differs = KNOWN.get(jax.__version__, {}), False
    for name in RUNS:
        found = trained(name)
        verdict = "" if name not in known else "as known" if found == known[name] else f"known: {known[name]}"
        differs |= name in known and found != known[name]
        print(f"{name} {found} {verdict}", flush=True)
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
