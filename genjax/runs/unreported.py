"""The train metrics that an interrupted run has not reported yet."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genjax.paths import replacing
from genjax.runs.directory import UNREPORTED
from genjax.training.reading import Window

_STEPS = "_steps"  # no metric's name


def write(workdir: Path, step: int, window: Window) -> None:
    """Keeps the train metrics before an interruption at this step that no line of metrics.jsonl has reported yet."""
    with replacing(workdir / UNREPORTED) as file:
        arrays: dict[str, Any] = {_STEPS: np.array([window.start, step]), **window.values()}
        np.savez(file, **arrays)


def read(workdir: Path, step: int, *, warn: Callable[[str], None]) -> Window:
    """What `write` has kept at this step; a window without steps if there was no interruption there."""
    path = workdir / UNREPORTED
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as found:
            values = dict(found)
        start, upto = map(int, values.pop(_STEPS))
    except FileNotFoundError:
        return Window(step)
    except (OSError, EOFError, ValueError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        warn(f"{path} is damaged ({error}); the next line of metrics covers fewer steps")
        return Window(step)
    return Window(start, values) if upto == step else Window(step)
