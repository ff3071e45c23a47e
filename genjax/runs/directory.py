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
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from genjax.errors import BadInput, shorten
from genjax.paths import drafts, refuse_patterns, refuse_unwritable, replacing
from genjax.runs.code import commit, keep_changes
from genjax.runs.stored import (
    digest_of,
    read_config,
    read_manifest,
    sealed,
)
from genjax.runs.stored import read_json as read_json  # the readers are used under this module's name
from genjax.runs.stored import read_metrics as read_metrics
from genjax.runs.stored import read_summary as read_summary
from genjax.training import determinism

PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy", "orbax-checkpoint", "scikit-learn")
"""The packages whose versions belong to a run's identity: they determine its data, draws or arithmetic."""

LOCK = ".lock"  # the file that is locked while a run is trained

BEST = "best"
"""The folder with the checkpoint of the best evaluation, of a run that ends with its parameters."""

UNREPORTED = "unreported.npz"
"""Train metrics before an interruption that no line of metrics.jsonl has reported yet."""

FILES = ("config.json", "manifest.json", "metrics.jsonl", UNREPORTED, "summary.json", "report.html")
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


BEFORE = "config_sha256_before"
"""The entry of the manifest that holds the digest of the config.json before the last change."""

AUXILIARIES = "auxiliaries"
"""The entry of the manifest that holds the digests of auxiliary models, by the names of their folders."""


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that a reader finds either the old file or the complete new one."""
    with replacing(path) as file:
        file.write(f"{json.dumps(value, indent=2)}\n".encode())


def processor() -> str:
    """The name of the processor's model."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """The versions of packages by name; None where one is not installed."""
    found: dict[str, str | None] = dict.fromkeys(packages)
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def manifest(*, seed: int, data_fingerprint: str, bits_of_devices: int | str = 1) -> dict[str, Any]:
    """The circumstances of a run: data, versions, devices and settings; starts JAX's backend.

    Args:
      bits_of_devices: the number of devices that the bits depend on, or "any" if they do not depend on it.
    """
    devices = jax.devices()
    return {
        "seed": seed,
        "data_fingerprint": data_fingerprint,
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "backend": jax.default_backend(),
        "device_kind": devices[0].device_kind,
        "device_count": len(devices),
        "process_count": jax.process_count(),
        "bits_of_devices": bits_of_devices,
        "processor": processor(),
        "cpu_threads": int(os.environ["NPROC"]) if "NPROC" in os.environ else None,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_settings": determinism.jax_settings(),
        "git_commit": commit(),
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


def open_manifest(
    workdir: Path,
    now: dict[str, Any],
    config: dict[str, Any],
    *,
    warn: Callable[[str], None],
    free: Sequence[str] = (),
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes and returns the current manifest of a run, at its first start and whenever it resumes; then config.json.

    A run that resumes under other circumstances has bits of both; `warn` reports that, and the manifest keeps the
    differences under "mixed". The values of flags that have changed since are kept under "history".

    Args:
      config: the contents of config.json, whose digest the manifest holds.
      free: flags that do not belong to that digest.
      earlier: the values, up to now, of flags that change; from `claim`.

    Raises:
      BadInput: the data are not those that the run started with, or the manifest is damaged or missing.
    """
    started = any((workdir / "checkpoints").glob("[0-9]*"))
    if started or (workdir / "manifest.json").exists():
        recorded = read_manifest(workdir)
        if recorded["data_fingerprint"] != now["data_fingerprint"]:
            raise BadInput(
                f"{workdir} was started on data of fingerprint {recorded['data_fingerprint']}, not "
                f"{now['data_fingerprint']}; give that data, or another `workdir`"
            )
        changes = differences(recorded, now)
        if changes:
            warn(f"{workdir} resumes under other conditions ({'; '.join(changes)}): its bits are not reproducible")
            now = now | {"mixed": [*recorded.get("mixed", []), *changes]}
        elif "mixed" in recorded:
            now = now | {"mixed": recorded["mixed"]}
        before, after = recorded.get("config_sha256"), config_digest(config, free)
        bound = {"run": recorded["run"]} if "run" in recorded else {}  # versions before it bound no files
        changed = before != after
        bound |= {BEFORE: before} if bound and changed else {k: v for k, v in recorded.items() if k == BEFORE}
        bound |= {k: v for k, v in recorded.items() if k == AUXILIARIES}
        history = [*recorded.get("history", []), *([dict(earlier)] if earlier and changed else [])]
        now = now | bound | ({"history": history} if history else {})
    else:
        now = now | {"run": uuid.uuid4().hex}
    now = now | {"config_sha256": config_digest(config, free)}
    write_manifest(workdir, now)
    write_json(workdir / "config.json", config)
    keep_changes(workdir, now["git_commit"])
    return now


def replace_config(workdir: Path, config: dict[str, Any], free: Sequence[str]) -> None:
    """Replaces the config.json of a run, and its digest in the manifest."""
    manifest = read_manifest(workdir)
    digests = {"config_sha256": config_digest(config, free), BEFORE: manifest.get("config_sha256")}
    if digests["config_sha256"] != digests[BEFORE]:
        write_manifest(workdir, manifest | digests)
    write_json(workdir / "config.json", config)


def write_manifest(workdir: Path, manifest: dict[str, Any]) -> None:
    """Writes manifest.json with its own digest."""
    bound = "run" in manifest
    digests = ("config_sha256", BEFORE, "summary_sha256")
    kept = manifest if bound else {name: value for name, value in manifest.items() if name not in digests}
    write_json(workdir / "manifest.json", sealed(kept) if bound else kept)


def config_digest(config: Mapping[str, Any], free: Sequence[str]) -> str:
    """The digest of a configuration without the flags in `free`."""
    return digest_of({name: value for name, value in config.items() if name not in free})


def check_config(workdir: Path, config: Mapping[str, Any], manifest: Mapping[str, Any], free: Sequence[str]) -> None:
    """Checks that config.json is the one that the manifest was written with.

    Raises:
      BadInput: it is another one. The one before is accepted, because a kill while both are written leaves it.
    """
    known = (manifest.get("config_sha256"), manifest.get(BEFORE))
    if "run" in manifest and config_digest(config, free) not in known:
        raise BadInput(
            f"{workdir / 'config.json'} is not the one that manifest.json was written with; restore it, or start in "
            "another `workdir`"
        )


def claim(
    workdir: Path,
    config: dict[str, Any],
    *,
    free: Sequence[str],
    upgrade: Callable[[dict[str, Any]], dict[str, Any]] = lambda recorded: recorded,
    objection: Callable[[dict[str, Any], list[str]], str | None] = lambda recorded, names: "",
) -> dict[str, Any]:
    """Creates the run directory for this configuration, or checks that it belongs to it; flags in `free` may differ.

    To a directory that holds a run nothing is written.

    Args:
      upgrade: turns a configuration written by an earlier version into what this version would write.
      objection: why these flags cannot change from the recorded configuration, in words that may be empty, or None if
        they can.

    Returns:
      The recorded values of the flags that change.

    Raises:
      BadInput: the directory holds a run with other flags, which the message names; it is not a run directory; or
        checkpoints cannot have its path.
    """
    refuse_patterns(workdir, parameter="workdir")
    path = workdir / "config.json"
    if path.exists():
        stored = read_config(workdir)
        if (workdir / "manifest.json").exists():
            check_config(workdir, stored, read_manifest(workdir), free)
        recorded = upgrade(stored)
        names = sorted(k for k in {*recorded, *config} if k not in free and recorded.get(k) != config.get(k))
        why = objection(recorded, names) if names else None
        if why is not None:
            wanted = ", ".join(
                f"`{name}`={shorten(str(recorded.get(name)))} (now {config.get(name)})" for name in names
            )
            raise BadInput(f"{workdir} holds a run with other values: {wanted}{why}; give these, or another `workdir`")
        return {name: recorded.get(name) for name in names}
    _refuse_foreign(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(path, config)
    return {}


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
