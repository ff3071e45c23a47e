"""The run directory: a run's flags (config.json), circumstances (manifest.json), metrics (metrics.jsonl) and results
(summary.json). Every file is written completely or not at all, except metrics.jsonl, which only grows. While a run is
trained, its directory is locked."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from genjax.errors import BadInput
from genjax.paths import drafts, refuse_patterns, refuse_unwritable, replacing
from genjax.training import determinism

PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy", "orbax-checkpoint", "scikit-learn")
"""The packages whose versions belong to a run's identity: they determine its data, draws or arithmetic."""

LOCK = ".lock"

UNREPORTED = "unreported.npz"
"""Train metrics before an interruption that no line of metrics.jsonl has reported yet."""

FILES = ("config.json", "manifest.json", "metrics.jsonl", UNREPORTED, "summary.json")
"""The files that the runner replaces as a whole."""

IDENTITY = (
    "python",
    "packages",
    "backend",
    "device_kind",
    "bits_of_devices",
    "cpu_threads",
    "xla_flags",
    "jax_settings",
    "data_fingerprint",
)
"""The entries of the manifest that must agree before two runs' bits can be compared."""


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that a reader finds either the old file or the complete new one."""
    with replacing(path) as file:
        file.write(f"{json.dumps(value, indent=2)}\n".encode())


def read_json(path: Path) -> Any:
    """Reads one of a run's JSON files.

    Raises:
      BadInput: the file is missing or not valid JSON.
    """
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(f"{path.parent} is not a finished run: it has no {path.name}") from None
    except ValueError as error:
        raise BadInput(f"{path} is not valid JSON ({error}); restore it, or start in another `workdir`") from None


def read_config(workdir: Path) -> dict[str, Any]:
    """Reads the config.json of a run directory: {"experiment", flags by name}.

    Raises:
      BadInput: the file is missing, or is not the config.json of a run.
    """
    path = workdir / "config.json"
    config = read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("experiment"), str):
        raise BadInput(f"{path} does not name an experiment; restore it, or start in another `workdir`")
    return config


def _git_commit() -> str | None:
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def manifest(*, seed: int, data_fingerprint: str, bits_of_devices: int | str = 1) -> dict[str, Any]:
    """The circumstances of a run: data, versions, devices and settings; starts JAX's backend.

    Args:
      bits_of_devices: the number of devices that the bits depend on, or "any" if they do not depend on it.
    """
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    devices = jax.devices()
    return {
        "seed": seed,
        "data_fingerprint": data_fingerprint,
        "python": platform.python_version(),
        "packages": versions,
        "backend": jax.default_backend(),
        "device_kind": devices[0].device_kind,
        "device_count": len(devices),
        "process_count": jax.process_count(),
        "bits_of_devices": bits_of_devices,
        "processor": _processor(),
        "cpu_threads": int(os.environ["NPROC"]) if "NPROC" in os.environ else None,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_settings": determinism.jax_settings(),
        "git_commit": _git_commit(),
        "steps_done": 0,
        "params_sha256": None,
    }


def differences(recorded: dict[str, Any], now: dict[str, Any], names: tuple[str, ...] = IDENTITY) -> list[str]:
    """One phrase for each entry that differs: "packages.jax: 0.10.2 then, 0.12.0 now".

    A JAX setting that an older manifest does not record is taken to have had its default.
    """
    recorded, now = (
        one | {"jax_settings": determinism.JAX_SETTINGS | one.get("jax_settings", {})} for one in (recorded, now)
    )
    found = []
    for name in names:
        then, today = recorded.get(name), now.get(name)
        if isinstance(then, dict) and isinstance(today, dict):
            pairs = [(f"{name}.{key}", then.get(key), today.get(key)) for key in sorted({*then, *today})]
        else:
            pairs = [(name, then, today)]
        found += [f"{label}: {a} then, {b} now" for label, a, b in pairs if a != b]
    return found


def open_manifest(workdir: Path, now: dict[str, Any], *, warn: Callable[[str], None]) -> dict[str, Any]:
    """Writes and returns the current manifest of a run, at its first start and whenever it resumes.

    A run that resumes under other circumstances has bits of both; `warn` reports that, and the manifest keeps the
    differences under "mixed".

    Raises:
      BadInput: the data are not those that the run started with.
    """
    path = workdir / "manifest.json"
    if path.exists():
        recorded = read_json(path)
        if recorded["data_fingerprint"] != now["data_fingerprint"]:
            raise BadInput(
                f"{workdir} was started on data of fingerprint {recorded['data_fingerprint']}, not "
                f"{now['data_fingerprint']}; give that data, or another `workdir`"
            )
        changes = differences(recorded, now)
        if changes:
            warn(f"{workdir} resumes under other conditions ({'; '.join(changes)}): its bits are not reproducible")
            now = now | {"mixed": [*recorded.get("mixed", []), *changes]}
    write_json(path, now)
    return now


def claim(
    workdir: Path,
    config: dict[str, Any],
    *,
    free: Sequence[str],
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] = lambda recorded: recorded,
) -> None:
    """Creates the run directory for this configuration, or checks that it belongs to it; flags in `free` may differ.

    Where the run is finished, nothing is written but flags in `free` that have changed, if that is possible.

    Args:
      upgrade: turns a configuration written by an earlier version into what this version would write.

    Raises:
      BadInput: the directory holds a run with other flags, which the message names; it is not a run directory; or
        checkpoints cannot have its path.
    """
    refuse_patterns(workdir, parameter="workdir")
    path = workdir / "config.json"
    if path.exists():
        recorded = upgrade(read_config(workdir))
        names = sorted(k for k in {*recorded, *config} if k not in free and recorded.get(k) != config.get(k))
        if names:
            wanted = ", ".join(f"`{name}`={recorded.get(name)} (now {config.get(name)})" for name in names)
            raise BadInput(f"{workdir} holds a run with other values: {wanted}; give these, or another `workdir`")
    else:
        _refuse_foreign(workdir)
    if not is_finished(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, config)
    elif read_config(workdir) != config:  # its data, say, have moved
        with contextlib.suppress(OSError):
            write_json(path, config)


def sync(path: Path) -> None:
    """Flushes a file to the disk."""
    with open(path, "a") as file:
        os.fsync(file.fileno())


def append_metrics(path: Path, step: int, split: str, metrics: dict[str, Any]) -> None:
    """Adds a line {"step", "split", metrics by name} to metrics.jsonl; with several seeds, each metric is a list."""
    with open(path, "a") as file:
        file.write(json.dumps({"step": step, "split": split} | metrics) + "\n")


def cut_metrics(path: Path, *, upto: int) -> None:
    """Removes the lines after step `upto`, whose work was lost when the run was killed."""
    kept = [line for line in read_metrics(path) if line["step"] <= upto] if path.exists() else []
    with replacing(path) as file:
        file.write("".join(json.dumps(line) + "\n" for line in kept).encode())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, without a last line that is incomplete because the run was killed."""
    lines = path.read_text().splitlines(keepends=True)
    whole = lines if not lines or lines[-1].endswith("\n") else lines[:-1]
    try:
        return [json.loads(line) for line in whole]
    except ValueError as error:
        raise BadInput(
            f"{path} has a line that is not valid JSON ({error}); restore it, or start in another `workdir`"
        ) from None


def is_finished(workdir: Path) -> bool:
    """Whether the directory holds a finished run."""
    return os.path.exists(workdir / "summary.json")  # unlike that of Path, it raises nothing where access is refused


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Creates the run directory, keeps other processes from training in it, and removes what killed ones left of files.

    The operating system ends the lock with the process. Where it has no locks, nobody is kept out. Nothing is created
    where a run is finished.

    Raises:
      BadInput: another process is training there; the directory is not that of a run, or cannot be written to; or
        checkpoints cannot have its path.
    """
    refuse_patterns(workdir, parameter="workdir")
    path, finished = workdir / LOCK, is_finished(workdir)
    if not finished:
        refuse_unwritable(workdir, parameter="workdir")
        _refuse_foreign(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        if path.exists() or not finished:
            # filelock would fall back to a file without a lock, which outlives a process that is killed
            file = held.enter_context(open(path, "r" if finished else "a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput(
                    f"another process is training in {workdir}; let it finish, or give another `workdir`"
                ) from None
            except OSError:
                pass  # no locks here
        if not finished:
            for draft in _drafts(workdir):
                draft.unlink(missing_ok=True)
        yield


def _refuse_foreign(workdir: Path) -> None:
    if (workdir / "config.json").exists() or not workdir.exists():
        return
    if not workdir.is_dir() or {*workdir.iterdir()} - {workdir / LOCK, *_drafts(workdir)}:
        raise BadInput(f"{workdir} exists and is not a run directory; give another path", parameter="workdir")


def _drafts(workdir: Path) -> list[Path]:
    return [draft for name in FILES for draft in drafts(workdir / name)]
