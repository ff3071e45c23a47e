"""Digests of the library's programs on fixed inputs, to notice a change that moves bits.

    python -m tests.bits
    python -m tests.bits --write

There is a digest for the value and the gradients of every public loss and of the networks, and for three steps of
every model of the contract and their metrics. The programs are compiled as those of a run are. Digests belong to a kind
of processor and to a version of JAX; those that are known are in tests/bits.json. The first command compares with them
and names the programs whose digests differ, with exit status 1. A processor or a program that is not in the file is no
failure, and is named too. The second command records this processor's digests: whoever commits a change of recorded
ones says why in CHANGELOG.md.

The plain test run compares too (`check`), with digests of the same programs as the tests compile them, which takes a
fraction of the time. The second command records these as well.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from genjax import networks
from genjax.training import determinism
from genjax.training.digest import params_sha256

FILE = Path(__file__).parent / "bits.json"
LENGTH = 16  # hexadecimal digits of a digest that are kept
WRITE = "WRITE_BITS"  # the environment variable with which tests record what they would compare
RECORDED_BY_TESTS = "tests/test_bits.py", "tests/models/test_contract.py"
VECTOR_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")


def kind() -> str:
    """The processor, as far as bits may depend on it, and the versions of JAX, whose compiler decides the rest."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line]
    except OSError:
        lines = []
    known = {name.strip(): value.strip() for name, value in lines}
    flags = set(known.get("flags", known.get("Features", "")).split())
    names = [known.get(name, "?") for name in ("vendor_id", "cpu family", "model")]
    vectors = [flag for flag in VECTOR_FLAGS if flag in flags]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib"))
    return f"{platform.machine()} {' '.join(names)} ({' '.join(vectors)}), {versions}"


def kind_of_tests() -> str:
    """The processor as `kind` has it, and how tests compile: by quick flags, for as many threads as there are cores."""
    return f"{kind()}, as tests compile, {os.cpu_count()} threads"


def check(name: str, tree: Any) -> None:
    """Fails if the bits of a tree that a test has computed are not those that are recorded for this processor."""
    file, here, digest = json.loads(FILE.read_text()), kind_of_tests(), params_sha256(tree)[:LENGTH]
    if WRITE in os.environ:
        write(here, file.get(here, {}) | {name: digest})
    elif name in file.get(here, {}):
        what_to_do = "if they are meant to move, run `python -m tests.bits --write` and say why in CHANGELOG.md"
        assert file[here][name] == digest, f"{name}: other bits than recorded: {what_to_do}"


def write(here: str, found: Mapping[str, str]) -> None:
    """Replaces the recorded digests of a kind of processor."""
    file = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.write_text(json.dumps(file | {here: dict(found)}, indent=1, sort_keys=True) + "\n")


def programs() -> dict[str, Callable[[], Any]]:
    """The programs by name; each gives a tree of arrays."""
    from tests.losses import test_contract as of_losses
    from tests.models import test_contract as of_models

    found: dict[str, Callable[[], Any]] = {}
    for name, (loss, *arguments) in of_losses.DIFFERENTIABLE.items():
        found[f"losses.{name}"] = lambda loss=loss, arguments=arguments: derivatives(loss, *map(np.float32, arguments))
    for name, (network, shape) in network_cases().items():
        found[f"networks.{name}"] = lambda network=network, shape=shape: derivatives_of_network(network, shape)
    for name, case in of_models.CASES.items():
        found[f"models.{name}"] = lambda case=case: three_steps(case.build(), of_models.batch_of(case))
    return found


def network_cases() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Networks by name, with the shape of one input."""
    image, features, blocks = (8, 8, 3), (4, 8), {"width": 8, "num_layers": 1, "num_heads": 2}
    layers: Any = {"features": features, "activation": jnp.tanh}
    return {
        "mlp": (networks.mlp((6,), (3,), hidden=(8, 8), activation=jax.nn.relu), (6,)),
        "convolutional_encoder": (
            networks.convolutional_encoder(image, (4,), **layers),
            image,
        ),
        "convolutional_decoder": (networks.convolutional_decoder(4, image, **layers), (4,)),
        "map_encoder": (networks.map_encoder(image, 2, **layers), image),
        "dcgan_generator": (networks.dcgan_generator(4, image, features=features), (4,)),
        "dcgan_discriminator": (networks.dcgan_discriminator(image, features=features), image),
        "residual_generator": (networks.residual_generator(4, image, features=features), (4,)),
        "residual_discriminator": (networks.residual_discriminator(image, features=features), image),
        "patch_discriminator": (networks.patch_discriminator(image, features=features), image),
        "spectral_norm": (networks.spectral_norm(networks.dcgan_discriminator(image, features=features))[0], image),
        "identity_network": (networks.identity_network(image, 4, features=features), image),
        "causal_transformer": (networks.causal_transformer(5, 3, **blocks), (5, 3)),
    }


def derivatives(function: Callable[..., Any], *arguments: Any) -> Any:
    """The value and the gradients of its sum with weights that are all different."""

    def weighted(*arguments: Any) -> tuple[Any, Any]:
        value = function(*arguments)
        return sum(jnp.sum(leaf * _weights(leaf)) for leaf in jax.tree.leaves(value)), value

    places = tuple(range(len(arguments)))
    (_, value), gradients = jax.jit(jax.value_and_grad(weighted, argnums=places, has_aux=True))(*arguments)
    return {"value": value, "gradients": gradients}


def _weights(leaf: Any) -> Any:
    return jnp.sin(1 + jnp.arange(leaf.size, dtype=jnp.float32)).reshape(leaf.shape)


def derivatives_of_network(network: Any, shape: tuple[int, ...]) -> Any:
    """Those of a network at four inputs, in its parameters and inputs."""
    x = jax.random.uniform(jax.random.key(2), (4, *shape), minval=-1.0)
    return derivatives(network.apply, network.init(jax.random.key(1)), x)


def three_steps(model: Any, batch: Any) -> Any:
    """The state after three steps, and their metrics and those of an evaluation."""
    state, metrics = jax.jit(model.init)(jax.random.key(3)), []
    step = jax.jit(model.train_step)
    for _ in range(3):
        state, found = step(state, batch, jax.random.key(4))
        metrics.append(found)
    return {"state": state, "metrics": metrics, "test": jax.jit(model.evaluate)(state, batch, jax.random.key(5))}


def digests(chosen: Mapping[str, Callable[[], Any]]) -> Iterator[tuple[str, str]]:
    """The digest of each program."""
    for name, program in tqdm(chosen.items(), file=sys.stderr):
        yield name, params_sha256(program())[:LENGTH]


def differences(recorded: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """A line for each program whose digest is another one."""
    return [
        f"{name}: recorded {recorded[name]}, now {digest}"
        for name, digest in found.items()
        if name in recorded and digest != recorded[name]
    ]


def main(arguments: list[str] | None = None) -> int:
    """Compares or records; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bits", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="record the digests of this processor")
    recording = parser.parse_args(arguments).write
    determinism.set_up()
    file = json.loads(FILE.read_text()) if FILE.exists() else {}
    here = kind()
    if here not in file and not recording:
        print(f"tests/bits.json has no digests of {here}; --write records them")
        return 0
    found = dict(digests(programs()))
    if recording:
        write(here, found)
        print(f"{len(found)} digests recorded for {here}", flush=True)
        return _record_by_tests()
    lines, new = differences(file[here], found), found.keys() - file[here].keys()
    if new:
        print(f"not recorded for this processor: {', '.join(sorted(new))}")
    print("\n".join(lines) or f"the same bits in all {len(found) - len(new)} programs that are recorded")
    return 1 if lines else 0


def _record_by_tests() -> int:
    """Has the tests that call `check` record their digests; returns their exit status."""
    as_users = {name: value for name, value in os.environ.items() if name not in ("NPROC", "XLA_FLAGS")}
    chosen = "-k", "four_functions or bits_that_are_recorded"
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses=0", *RECORDED_BY_TESTS, *chosen]
    return subprocess.run(command, env=as_users | {WRITE: "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
