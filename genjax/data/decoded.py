"""A cache of decoded data sets, each in one array file that is named after its fingerprint and checked against it.

There are two files per data set: `<stem>-<fingerprint>.npz` with the arrays, and `<stem>.json` with their origin.
Images are memory-mapped, so a data set may be larger than memory.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from genjax.data.dataset import Dataset, from_arrays
from genjax.paths import drafts, make_folder, may_write, replacing, user_cache


def load(name: str, stem: str, origin: str, *, folders: Iterable[Path], decode: Callable[[], Dataset]) -> Dataset:
    """The data set from the cache in one of `folders`; otherwise `decode()`, cached in the first writable folder.

    `origin` identifies what is decoded (see `origin_of`); arrays of another origin, or that are not those of the
    fingerprint, are decoded again. If no folder is writable, the data set is decoded but not cached.
    """
    folders = list(folders)
    for folder in folders:
        dataset = _read(name, folder / f"{stem}.json", origin)
        if dataset is not None:
            return dataset
    dataset = decode()
    problems = []
    for folder in folders:
        try:
            _write(dataset, folder / f"{stem}.json", origin)
            return dataset
        except OSError as error:
            problems.append(str(error))
    logging.warning("%s is decoded, but cannot be cached for the next start: %s", name, "; ".join(problems))
    return dataset


def folders(data_dir: Path | None) -> list[Path]:
    """The folders of decoded arrays: beside the data, else in the user's cache (XDG_CACHE_HOME)."""
    if data_dir is None:
        return [user_cache()]
    where = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]  # two data folders may differ in content
    return [data_dir / "decoded", user_cache() / where]


def origin_of(root: Path, files: Iterable[Path], *, how: str | None = None) -> str:
    """A digest of names, sizes and times of modification, which stays equal until the files change.

    Args:
      root: the folder that the names are relative to.
      files: below it.
      how: what else the decoded arrays depend on. If it is given, the time of each file's last change of status is
        digested too. Unlike that of modification it cannot be set, so that other content of the same size is noticed
        even if the time of modification was put back. A copy of the folder counts as changed.
    """
    stats = [(file.relative_to(root).as_posix(), file.stat()) for file in sorted(files)]
    listing: list[Any] = [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    if how is not None:
        listing += [how, [[stat.st_ctime_ns, stat.st_ino] for _, stat in stats]]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def _read(name: str, index: Path, origin: str) -> Dataset | None:
    if not index.exists():
        return None
    file = index
    try:
        entry = json.loads(index.read_text())
        file = index.parent / entry["file"]
        if entry["origin"] != origin:
            logging.info("%s has changed since it was decoded: decoding it again", name)
            return None
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            dataset = from_arrays(
                name,
                mapped(file, "train_x"),
                mapped(file, "test_x"),
                train_label=arrays.get("train_label"),
                test_label=arrays.get("test_label"),
                scale=entry["scale"],
                num_classes=entry["num_classes"],
                class_names=entry.get("class_names"),
            )
        if dataset.fingerprint != entry["fingerprint"]:
            raise ValueError(f"its content has the fingerprint {dataset.fingerprint[:16]}")
    except Exception as error:  # any error that a damaged file causes in the zip, npy and json readers
        logging.warning("%s is damaged (%s): decoding %s again", file, " ".join(str(error).split()), name)
        return None
    return dataset


def mapped(file: Path, name: str) -> np.ndarray:
    """An array of an npz file, memory-mapped read-only; ValueError if it is compressed, as by `np.savez_compressed`."""
    with zipfile.ZipFile(file) as archive, file.open("rb") as stream:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        stream.seek(member.header_offset + 26)  # of the lengths of name and extra field, which precede the content
        stream.seek(sum(struct.unpack("<HH", stream.read(4))), os.SEEK_CUR)
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, in_columns, dtype = read_header(stream)
        order = "F" if in_columns else "C"
        return np.memmap(file, dtype, "r", offset=stream.tell(), shape=shape, order=order)


def scratch(folders: Iterable[Path], shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, uint8, mapped from an unnamed file in the first writable folder with the space for it, else in memory."""
    for folder in folders:
        if may_write(folder):
            make_folder(folder)
            with tempfile.TemporaryFile(dir=folder) as file:
                if _reserve(file.fileno(), math.prod(shape)):
                    return np.memmap(file, np.uint8, "r+", shape=shape)
    return np.zeros(shape, np.uint8)


def _reserve(file: int, size: int) -> bool:
    """Reserves the space of a file; false if the disk lacks it, of which a memory map would die without a word."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:  # others: this kind of file system reserves nothing
        return error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return True


def _write(dataset: Dataset, index: Path, origin: str) -> None:
    if not may_write(index.parent):
        raise PermissionError(f"{index.parent} is read-only")
    make_folder(index.parent)
    file = index.with_name(f"{index.stem}-{dataset.fingerprint[:16]}.npz")
    arrays: dict[str, Any] = {"train_x": dataset.train.x, "test_x": dataset.test.x}
    if dataset.train.label is not None and dataset.test.label is not None:
        arrays |= {"train_label": dataset.train.label, "test_label": dataset.test.label}
    entry = {
        "file": file.name,
        "fingerprint": dataset.fingerprint,
        "origin": origin,
        "scale": dataset.scale,
        "num_classes": dataset.num_classes,
        "class_names": dataset.class_names,
    }
    with replacing(file) as out:
        np.savez(out, **arrays)
    with replacing(index) as out:
        out.write(json.dumps(entry, indent=1).encode())
    for other in index.parent.glob(f"{index.stem}-{'[0-9a-f]' * 16}.npz"):  # of an earlier origin
        if other != file:
            other.unlink(missing_ok=True)
            for draft in drafts(other):
                draft.unlink(missing_ok=True)
