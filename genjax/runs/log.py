"""Writes the metrics of a run, metrics.jsonl, which only grows, and is cut where a run resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genjax.errors import BadInput
from genjax.paths import replacing
from genjax.runs.stored import log_of, metric_lines, read_metrics


def sync(path: Path) -> None:
    """Flushes a file to the disk."""
    with open(path, "a") as file:
        os.fsync(file.fileno())


def append_metrics(path: Path, step: int, split: str, metrics: dict[str, Any]) -> None:
    """Adds a line {"step", "split", metrics by name} to metrics.jsonl; with several seeds, each metric is a list."""
    with open(path, "a") as file:
        file.write(json.dumps({"step": step, "split": split} | metrics) + "\n")


def cut_metrics(path: Path, *, upto: int, log: dict[str, Any] | None = None) -> None:
    """Removes the lines after step `upto`, whose work was lost when the run was killed.

    Args:
      log: what `stored.log_of` gave at that step, if it is known.

    Raises:
      BadInput: the lines up to there are not those that were written.
    """
    lines = metric_lines(path) if upto and path.exists() else []
    read = read_metrics(path) if lines else []
    kept = lines[: sum(line["step"] <= upto for line in read)]
    if log is not None:
        check_log(path, lines, log, at=f"step {upto}")
        kept = lines[: log["lines"]]
    with replacing(path) as file:
        file.write(b"".join(kept))


def check_log(path: Path, lines: Sequence[bytes], log: Mapping[str, Any], *, at: str) -> None:
    """Checks the first lines of a metrics.jsonl against what a checkpoint recorded of them.

    Raises:
      BadInput: there are fewer, or they differ.
    """
    num = log["lines"]
    if len(lines) < num:
        raise BadInput(
            f"{path} has {len(lines)} lines, of the {num} that it had at {at}; restore it, or start in another "
            "`workdir`"
        )
    if log_of(lines[:num]) != log:
        raise BadInput(f"{path} has other lines than it had at {at}; restore it, or start in another `workdir`")
