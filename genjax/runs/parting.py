"""Where two runs part: the first checkpoint that both keep with other bits, and what differs in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from genjax.training import saved


def explain(then: Path, now: Path) -> str:
    """The first step at which the checkpoints of two runs differ, with the first differing leaf, in one line.

    Parameters come before the rest of the state, each in the order of their paths.

    Args:
      then: a run directory, called "recorded".
      now: another one, called "now".

    Raises:
      BadInput: a checkpoint is damaged.
    """
    folders = then / "checkpoints", now / "checkpoints"
    kept = [saved.steps(folder) for folder in folders]
    common = sorted(set(kept[0]) & set(kept[1]))
    agreed = None
    for step in common:
        a, b = (saved.read(folder, step=step) for folder in folders)
        if a.sha256 != b.sha256:
            return f"at step {step} {first_difference(a.leaves, b.leaves)}; {_before(agreed)}"
        agreed = step
    if agreed is None:
        listed = [", ".join(map(str, steps)) or "none" for steps in kept]
        return f"no step has a checkpoint of both: {listed[0]} recorded, {listed[1]} now; keep more of them"
    return f"the same bits in all {len(common)} checkpoints that both keep, of step {common[0]} to {common[-1]}"


def first_difference(then: Mapping[str, np.ndarray], now: Mapping[str, np.ndarray]) -> str:
    """What differs in two states, in words: the first leaf and the first element in it, and how many others.

    Args:
      then, now: the leaves by path; not the same bits.
    """
    paths = sorted({*then, *now}, key=lambda path: (not path.startswith("params/"), path))
    differing = [path for path in paths if not _same(then.get(path), now.get(path))]
    first, others = differing[0], len(differing) - 1
    a, b = then.get(first), now.get(first)
    if a is None or b is None or (a.shape, a.dtype) != (b.shape, b.dtype):
        said = f"{first} is {_show(a)} recorded, {_show(b)} now"
    else:
        where = np.argwhere(_bits(a) != _bits(b))
        at, index = where[0].tolist(), tuple(where[0])
        said = (
            f"{first} differs in {len(where)} of {a.size} elements, first at {at}: {a[index]!s} recorded, "
            f"{b[index]!s} now"
        )
    return f"{said}; {others} of the other {len(paths) - 1} leaves differ"


def _before(agreed: int | None) -> str:
    return "no earlier step has a checkpoint of both" if agreed is None else f"the same bits at step {agreed}"


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and _show(a) == _show(b) and a.tobytes() == b.tobytes()


def _bits(x: np.ndarray) -> np.ndarray:
    """The elements as integers, for which NaN equals itself and 0.0 does not equal -0.0."""
    return np.frombuffer(x.tobytes(), f"u{x.dtype.itemsize}").reshape(x.shape)


def _show(x: np.ndarray | None) -> str:
    return "absent" if x is None else f"{x.dtype.name}{list(x.shape)}"
