"""Reads the files of a run directory, which may be damaged, or from somebody else: each is checked before it is used.

Every reader opens regular files only, of a bounded size, and returns values whose shape is checked. Whatever is wrong
is a `BadInput` of one line that names the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from genjax.errors import BadInput

JSON_AT_MOST, METRICS_AT_MOST = 2**26, 2**31  # bytes


class Entry(NamedTuple):
    """An entry of a JSON object: whether a value is valid, and what is expected instead."""

    is_valid: Callable[[Any], bool]
    expected: str
    is_optional: bool = False  # where versions before it did not write the entry


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _maps(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is an object whose values are all valid."""
    return lambda value: isinstance(value, dict) and all(map(is_valid, value.values()))


def _lists(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_valid, value))


def _either(*checks: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: any(check(value) for check in checks)


def _is_none(value: Any) -> bool:
    return value is None


_TEXT, _WHOLE, _NUMBER = Entry(_is_text, "text"), Entry(_is_whole, "a whole number"), Entry(_is_number, "a number")
_SHA256 = Entry(_is_sha256, "a SHA-256")
_METRICS = Entry(_maps(_is_number), "numbers by name")
_HASHES = Entry(_either(_is_sha256, _maps(_is_sha256)), "a SHA-256, or one by seed")

_NAME = Entry(lambda value: _is_text(value) and value.isprintable() and 0 < len(value) <= 100, "a name")


def _is_outline(value: Any) -> bool:
    """Whether a value is what `data.outline.record` gives."""
    shapes = _maps(
        lambda array: isinstance(array, list) and len(array) == 2 and _is_text(array[0]) and _lists(_is_whole)(array[1])
    )
    return (
        isinstance(value, dict)
        and all(shapes(value.get(name)) and "x" in value[name] for name in ("train", "test"))
        and _is_number(value.get("scale"))
        and _either(_is_none, _is_whole)(value.get("num_classes"))
        and _either(_is_none, _lists(_is_text))(value.get("class_names"))
    )


def _is_selected(value: Any) -> bool:
    """Whether a value is what `Selection.best` gives."""
    return (
        isinstance(value, dict)
        and value.keys() == {"step", "metric", "value"}
        and _is_whole(value["step"])
        and _is_text(value["metric"])
        and _is_number(value["value"])
    )


def _is_bits_of(value: Any) -> bool:
    """Whether a value is what `devices.bits_of` gives."""
    return _is_whole(value) or (_is_text(value) and re.fullmatch(r"any|[0-9]+ seeds by vmap", value) is not None)


CONFIG = {"experiment": _NAME}  # what config.json holds beside the flags

MANIFEST = {
    "seed": _WHOLE,
    "data_fingerprint": _TEXT,
    "data": Entry(_is_outline, "an outline of a data set", True),
    "python": _TEXT,
    "packages": Entry(_maps(_either(_is_text, _is_none)), "versions by name"),
    "backend": _TEXT,
    "device_kind": _TEXT,
    "bits_of_devices": Entry(_is_bits_of, 'a whole number, "any" or "N seeds by vmap"'),
    "processor": _TEXT,
    "cpu_threads": Entry(_either(_is_whole, _is_none), "a whole number or null"),
    "xla_flags": _TEXT,
    "jax_settings": Entry(_maps(lambda value: not isinstance(value, dict | list)), "values by name", True),
    "git_commit": Entry(_either(_is_text, _is_none), "text or null"),
    "steps_done": _WHOLE,
    "params_sha256": Entry(_either(_is_none, _HASHES.is_valid), "null, a SHA-256, or one by seed"),
    "mixed": Entry(_lists(_is_text), "a list of text", True),
    "history": Entry(_lists(_maps(_either(_is_number, _is_text))), "a list of earlier values by name", True),
    "run": Entry(_is_text, "text", True),
    "initial_params_sha256": _SHA256._replace(is_optional=True),
    "auxiliaries": Entry(_maps(_is_sha256), "a SHA-256 by name", True),
    "config_sha256": _SHA256._replace(is_optional=True),
    "config_sha256_before": _SHA256._replace(is_optional=True),
    "summary_sha256": _SHA256._replace(is_optional=True),
}
"""What manifest.json holds, by name."""

SUMMARY = {
    "experiment": _NAME,
    "num_steps": _WHOLE,
    "seconds": _NUMBER,
    "steps_per_second": _NUMBER,
    "metrics": _METRICS,
    "metrics_deviation": _METRICS._replace(is_optional=True),
    "metrics_standard_error": _METRICS._replace(is_optional=True),
    "metrics_of_seeds": Entry(_maps(_METRICS.is_valid), "numbers by name, for each seed", True),
    "selected": Entry(_is_selected, "a step, with the name and value of a metric", True),
    "remarks": Entry(_lists(_is_text), "a list of text", True),
    "params_sha256": _HASHES,
}
"""What summary.json holds, by name."""

CONDITIONS = ("python", "packages", "backend", "device_kind", "processor", "cpu_threads", "xla_flags", "jax_settings")
"""The entries of a manifest on which the bytes that a command makes of a run may depend."""

MADE = {
    "command": _NAME,
    "flags": Entry(_maps(lambda value: not isinstance(value, dict)), "values by name"),
    "params_sha256": Entry(_maps(_is_sha256), "a SHA-256 by name"),
    "input_sha256": _SHA256._replace(is_optional=True),
    **{name: MANIFEST[name] for name in (*CONDITIONS, "git_commit")},
    "files": Entry(_maps(_is_sha256), "a SHA-256 by name"),
}
"""What the record of a command holds, by name."""

SEAL = "sha256"
"""The entry of manifest.json that holds the digest of all others."""


def digest_of(value: Any) -> str:
    """The SHA-256 of a JSON value, whatever the order of its keys and its layout."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with its own digest."""
    rest = {name: value for name, value in manifest.items() if name != SEAL}
    return rest | {SEAL: digest_of(rest)}


def read_json(path: Path) -> Any:
    """Reads one of a run's JSON files.

    Raises:
      BadInput: the file is missing, is not a regular file, or is not valid JSON.
    """
    return _parse(read_bytes(path, JSON_AT_MOST), f"{path} is not valid JSON")


def read_config(workdir: Path) -> dict[str, Any]:
    """Reads the config.json of a run directory, {"experiment", flags by name}; an experiment's record checks the flags.

    Raises:
      BadInput: the file is missing, or is not the config.json of a run.
    """
    return read_config_file(workdir / "config.json")


def read_config_file(path: Path) -> dict[str, Any]:
    """Reads a config.json, wherever it is; raises as `read_config` does."""
    return _checked(path, read_json(path), CONFIG)


def read_manifest(workdir: Path) -> dict[str, Any]:
    """Reads the manifest.json of a run directory.

    Raises:
      BadInput: the file is missing, is not a manifest, or has been changed since it was written.
    """
    path = workdir / "manifest.json"
    found = _checked(path, read_json(path), MANIFEST)
    seals = {SEAL, "run", "config_sha256"}  # versions before them wrote none
    if seals & found.keys() and (not seals <= found.keys() or sealed(found) != found):
        raise BadInput(f"{path} is damaged: it does not have the digest that it was written with; restore it")
    return found


def read_summary(workdir: Path) -> dict[str, Any]:
    """Reads the summary.json of a finished run.

    Raises:
      BadInput: the file is missing, or is not a summary.
    """
    path = workdir / "summary.json"
    return _checked(path, read_json(path), SUMMARY)


def read_made(path: Path) -> dict[str, Any]:
    """Reads the record of what a command has made.

    Raises:
      BadInput: the file is missing, is not such a record, or has been changed since it was written.
    """
    found = _checked(path, read_json(path), MADE)
    if sealed(found) != found:
        raise BadInput(f"{path} is damaged: it does not have the digest that it was written with; make the files again")
    return found


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, without a last line that is incomplete because the run was killed.

    Raises:
      BadInput: the file is missing, or a line is not one of metrics in the order of the steps.
    """
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(metric_lines(path), start=1):
        where = f"{path} has a line {number} that is not"
        line = _parse(text, f"{where} valid JSON")
        names = isinstance(line, dict) and {"step", "split"} <= line.keys()
        if not names or not _is_whole(line["step"]) or line["split"] not in ("train", "validation", "test"):
            raise BadInput(f"{where} a line of metrics; {_REMEDY}")
        values = [value for name, value in line.items() if name not in ("step", "split")]
        if not all(_is_number(value) or _lists(_is_number)(value) for value in values):
            raise BadInput(f"{where} a line of numbers; {_REMEDY}")
        if lines and line["step"] < lines[-1]["step"]:
            raise BadInput(f"{where} in the order of the steps; {_REMEDY}")
        lines.append(line)
    return lines


def metric_lines(path: Path) -> list[bytes]:
    """The complete lines of a metrics.jsonl as they are stored, with their ends.

    Raises:
      BadInput: the file is missing or is not a regular file.
    """
    lines = read_bytes(path, METRICS_AT_MOST).splitlines(keepends=True)
    return lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]


def log_of(lines: Sequence[bytes]) -> dict[str, Any]:
    """What a checkpoint records of a metrics.jsonl: the number of its lines and their digest."""
    return {"lines": len(lines), "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}


_REMEDY = "restore it, or start in another `workdir`"


def read_bytes(path: Path, at_most: int) -> bytes:
    """The contents of a regular file; whatever else has its name is not waited for.

    Raises:
      BadInput: the file is missing, is not a regular file, or has more than `at_most` bytes.
    """
    try:
        with open(path, "rb", opener=lambda name, mode: os.open(name, mode | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadInput(f"{path} is not a regular file; {_REMEDY}")
            contents = file.read(at_most + 1) if found.st_size <= at_most else b""
    except (FileNotFoundError, NotADirectoryError):
        if not path.parent.exists():
            raise BadInput(f"{path.parent} does not exist") from None
        raise BadInput(f"{path.parent} is not a finished run: it has no {path.name}") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is not a regular file; {_REMEDY}") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if found.st_size > at_most or len(contents) > at_most:
        raise BadInput(f"{path} is larger than {at_most >> 20} MiB, the most that is read; {_REMEDY}")
    return contents


def _parse(contents: bytes, problem: str) -> Any:
    try:
        return json.loads(contents.decode())
    except RecursionError:
        raise BadInput(f"{problem} (nested too deeply); {_REMEDY}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{problem} (not in UTF-8); {_REMEDY}") from None
    except ValueError as error:
        raise BadInput(f"{problem} ({error}); {_REMEDY}") from None


def _checked(path: Path, value: Any, entries: dict[str, Entry]) -> dict[str, Any]:
    """The value, if it is an object that has these entries."""
    if not isinstance(value, dict):
        raise BadInput(f"{path} is not a JSON object with the entries of a run; {_REMEDY}")
    for name, entry in entries.items():
        if name not in value and not entry.is_optional:
            raise BadInput(f"{path} has no entry {name!r}; {_REMEDY}")
        if name in value and not entry.is_valid(value[name]):
            raise BadInput(f"{path} has an entry {name!r} that is not {entry.expected}; {_REMEDY}")
    return value
