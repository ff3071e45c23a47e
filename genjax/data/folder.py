"""A folder of image files as a data set: a class per subfolder, or no labels for files in the folder itself."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging
from tqdm import tqdm

from genjax.data import decoded, image_file
from genjax.data.dataset import Dataset, from_arrays
from genjax.errors import BadInput
from genjax.paths import expand_user

_ROLES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
_DECODER = "2"  # raised whenever files are decoded otherwise, so that arrays kept from before are not used
_NAMED = 3  # names in a line of output


class _Splits(NamedTuple):
    """The image files of both splits, one class after the other."""

    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]
    class_names: list[str] | None  # None without labels

    @property
    def files(self) -> list[Path]:
        """All files, those held out last."""
        return [file for file, _ in self.train + self.test]


def load(path: str | Path, *, data_dir: str | Path | None = None, size: int | Sequence[int] | None = None) -> Dataset:
    """The images below `path`: [N, H, W, 1] if all are grey, else [N, H, W, 3]; uint8, or float32 if some are deeper.

    Every file of a suffix that Pillow reads is an image, in links to folders too; `image_file.read` says how it is
    converted. One line on standard error counts the conversions, and one the files that are left out.

    The label is the place of the first subfolder among their sorted names. A tenth of every class is held out (at least
    one image, but none of a single one): those whose relative paths have the smallest SHA-256, whatever order the file
    system lists them in. If the subfolders are `train` and `test` or `val`, they are the splits, each a folder as
    above, and nothing else may lie beside them; of all three, `test` is held out and `val` is left out.

    Images are decoded once and then kept (`decoded`) in `data_dir` or the user's cache, never in the folder itself.

    Args:
      path: the folder.
      data_dir: where decoded images are kept; None for the user's cache.
      size: height and width of all images, or one number for squares, cut from the middle and resized as
        `image_file.read` does; None requires that they have the same size.

    Returns:
      The data set, named `folder:PATH`, with the names of its classes.

    Raises:
      BadInput: no such folder, no images, none to hold out, images of several sizes, or unreadable files.
    """
    name, root, shape = f"folder:{path}", expand_user(path), image_file.shape_of(size)
    if not root.is_dir():
        raise BadInput(
            f"data set {name!r}: there is no folder {root}; give a folder of images, or its new place as `dataset`"
        )
    images, others = [], []
    for file in sorted(_files(root, (_inode(root),))):
        is_image = file.suffix.lower() in image_file.suffixes() and file.is_file()
        (images if is_image else others).append(file)
    if not images:
        raise BadInput(
            f"data set {name!r}: it contains no images, and {_counted(others) or 'nothing else'}; give files that "
            "Pillow reads, such as .png, .jpg or .pgm, in one subfolder per class or none"
        )
    splits = _splits(name, root, images, others)
    identity = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return decoded.load(
        name,
        f"folder-{identity}" + ("" if shape is None else f"-{shape[0]}x{shape[1]}"),
        decoded.origin_of(root, splits.files, how=_DECODER),
        folders=decoded.folders(None if data_dir is None else Path(data_dir)),
        decode=lambda: _decode(name, splits, shape),
    )


def _files(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """The files below a folder, through links, without hidden ones."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            yield entry
        elif _inode(entry) in above:
            raise BadInput(f"{entry} is a link to a folder that contains it; remove the link")
        else:
            yield from _files(entry, (*above, _inode(entry)))


def _inode(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _splits(name: str, root: Path, images: list[Path], others: list[Path]) -> _Splits:
    """The images by split and class; one line on standard error names what is left out."""
    folders = {file.relative_to(root).parts[0] for file in images if file.parent != root}
    places = _places(name, root, images, folders)
    if places is None:
        train, test = _tenth_held_out(name, root, _classes(name, root, images))
        used = [root]
    else:
        used = [root / places["train"], root / (places.get("test") or places["val"])]
        train, test = (_classes(name, base, [file for file in images if base in file.parents]) for base in used)
        unknown = [key for key in test if key not in train]
        if unknown:
            raise BadInput(
                f"data set {name!r}: {used[1].name}/{unknown[0]} is a class without images in {used[0].name}"
            )
    notes = [*([_counted(others)] if others else [])]
    if places is not None and len(places) == 3:
        notes.append(f"the split {places['val']}, as {places['test']} is held out")
    empty = sorted(
        {sub.name for base in used for sub in base.iterdir() if sub.is_dir() and not sub.name.startswith(".")}
        - {*train, *test, *(places or {}).values()}
    )
    if empty:
        notes.append(f"{_named(empty)} without images, which {'is' if len(empty) == 1 else 'are'} not a class")
    if notes:
        logging.warning("data set %r: left out: %s", name, "; ".join(notes))
    numbers = {key: label for label, key in enumerate(train)}
    labelled = [[(file, numbers[key]) for key in part for file in part[key]] for part in (train, test)]
    return _Splits(labelled[0], labelled[1], None if list(train) == [""] else [_printable(key) for key in train])


def _places(name: str, root: Path, images: list[Path], folders: set[str]) -> dict[str, str] | None:
    """The subfolders that are splits by their role (train, test, val), or None if the subfolders are classes."""
    roles = {folder: _ROLES[folder.lower()] for folder in sorted(folders) if folder.lower() in _ROLES}
    found = set(roles.values())
    if "train" in found and len(found) > 1:
        strange = [*sorted(folders - {*roles}), *(file.name for file in images if file.parent == root)]
        if strange or len(found) < len(roles):
            raise BadInput(
                f"data set {name!r}: its subfolders {', '.join(roles)} are splits"
                + (f", and {_named(strange)} lies beside them" if strange else ", of which two are alike")
                + "; give a folder with train and test (or val) alone"
            )
        return {role: folder for folder, role in roles.items()}
    alone = len(roles) == len(folders) == 1 and all(len(file.relative_to(root).parts) > 2 for file in images)
    if roles and len(roles) == len(folders) and (len(roles) > 1 or alone):
        raise BadInput(
            f"data set {name!r}: its subfolders {', '.join(roles)} are splits, not classes; give the folder of one "
            "split, or one with train and test (or val)"
        )
    return None


def _classes(name: str, base: Path, images: list[Path]) -> dict[str, list[Path]]:
    """The images by class, with the single class `""` if they are in the folder itself."""
    classes: dict[str, list[Path]] = {}
    for file in images:
        parts = file.relative_to(base).parts
        classes.setdefault(parts[0] if len(parts) > 1 else "", []).append(file)
    if "" in classes and len(classes) > 1:
        other = next(members[0] for key, members in classes.items() if key)
        raise BadInput(
            f"data set {name!r}: {classes[''][0]} is in no subfolder, and {other} is in one; use subfolders for all or "
            "none"
        )
    return dict(sorted(classes.items()))


def _tenth_held_out(
    name: str, root: Path, classes: dict[str, list[Path]]
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Training and held-out images by class."""
    train, test = {}, {}
    for key, members in classes.items():
        by_digest = sorted(members, key=lambda file: hashlib.sha256(os.fsencode(file.relative_to(root))).digest())
        held_out = set(by_digest[: max(1, len(members) // 10)]) if len(members) > 1 else set()
        train[key] = [file for file in members if file not in held_out]
        test[key] = [file for file in members if file in held_out]
    single = [key for key, members in classes.items() if len(members) == 1]
    if len(single) == len(classes):
        raise BadInput(
            f"data set {name!r}: every class has a single image, such as {classes[single[0]][0]}; one with two or more "
            "is needed to hold one out"
        )
    if single:
        logging.warning(
            "data set %r: %s with a single image, of which none is held out", name, _named(single, "classes")
        )
    return train, test


def _decode(name: str, splits: _Splits, shape: tuple[int, int] | None) -> Dataset:
    files, num_train = splits.files, len(splits.train)
    # No bar where stderr is a file or a pipe.
    read = (image_file.read(f, shape) for f in tqdm(files, desc=f"decoding {name}, once", unit=" images", disable=None))
    images, conversions = _alike(name, files, read)
    if conversions:
        done = "; ".join(f"{count} {how}" for how, count in conversions.items())
        logging.warning("data set %r: of %d images these were converted: %s", name, len(files), done)
    x = np.stack(images)
    if splits.class_names is None:
        return from_arrays(name, x[:num_train], x[num_train:])
    return from_arrays(
        name,
        x[:num_train],
        x[num_train:],
        train_label=np.array([label for _, label in splits.train]),
        test_label=np.array([label for _, label in splits.test]),
        class_names=splits.class_names,
    )


def _alike(name: str, files: list[Path], read: Iterable[image_file.Picture]) -> tuple[list[np.ndarray], Counter[str]]:
    """The images with one number of channels and one dtype, and how often each conversion was made.

    Raises:
      BadInput: at the first image that is not of the first one's size.
    """
    images: list[np.ndarray] = []
    conversions: Counter[str] = Counter()
    for file, (pixels, how) in zip(files, read, strict=True):
        if images and pixels.shape[:2] != images[0].shape[:2]:
            sizes = [f"{width}x{height}" for height, width in (images[0].shape[:2], pixels.shape[:2])]
            raise BadInput(
                f"data set {name!r}: {files[0]} is {sizes[0]} and {file} is {sizes[1]} (width x height); give "
                "`image_size` to cut all to one size"
            )
        images.append(pixels)
        conversions.update(how)
    channels, deep = max(image.shape[2] for image in images), any(image.dtype != np.uint8 for image in images)
    for place, image in enumerate(images):
        if image.shape[2] < channels:
            conversions["from grey to colour"] += 1
            images[place] = image = image.repeat(channels, axis=2)
        if deep and image.dtype == np.uint8:
            conversions["of 8 bits, as floats like the others"] += 1
            images[place] = image / np.float32(255)
    return images, conversions


def _counted(files: list[Path]) -> str:
    """How many files there are of each suffix."""
    ends = Counter(file.suffix.lower() or "no suffix" for file in files)
    broken = sum(not file.exists() for file in files)
    most = sorted(ends.items(), key=lambda pair: (-pair[1], pair[0]))[: 2 * _NAMED]
    counts = ", ".join(f"{end} {count}" for end, count in most)
    links = f", {broken} of them broken links" if broken else ""
    what = "1 file that is not an image" if len(files) == 1 else f"{len(files)} files that are not images"
    return f"{what} ({_printable(counts)}{links})" if files else ""


def _named(names: Sequence[str], what: str = "folders") -> str:
    """The first names, with their number if there are more."""
    shown = ", ".join(map(_printable, names[:_NAMED]))
    return shown if len(names) <= _NAMED else f"{len(names)} {what} such as {shown}"


def _printable(name: str) -> str:
    """A file's name as text, whatever its bytes."""
    return os.fsencode(name).decode(errors="replace")
