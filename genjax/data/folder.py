"""A folder of image files as a data set: a class per subfolder, or no labels for files in the folder itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genjax.data import decoded
from genjax.data.dataset import Dataset, from_arrays
from genjax.errors import BadInput
from genjax.paths import expand_user

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # Pillow's modes, and what each is read as
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}


def load(path: str | Path, *, data_dir: str | Path | None = None, size: int | None = None) -> Dataset:
    """The images below `path`, uint8: [N, H, W, 1] if they are grey and [N, H, W, 3] if they are in colour.

    The label is the place of the first subfolder among their sorted names. A tenth of every class is held out (at least
    one image): those whose relative paths have the smallest SHA-256, whatever order the file system lists them in.
    Images are decoded once and then kept (`decoded`) in `data_dir` or the user's cache, never in the folder itself.

    Args:
      path: the folder.
      data_dir: where decoded images are kept; None for the user's cache.
      size: makes all images squares with sides of so many pixels, cut from the middle and resized, and all of them
        coloured if one is; None requires that they have the same size and kind.

    Returns:
      The data set, named `folder:PATH`.

    Raises:
      BadInput: no such folder, no images, too few to hold one out, images of mixed size or kind, or unreadable files.
    """
    root = expand_user(path)
    if not root.is_dir():
        raise BadInput(f"data set 'folder:{path}': there is no folder {root}; give a folder of images")
    classes = _classes(root)
    files = [file for members in classes.values() for file in members]
    identity = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return decoded.load(
        f"folder:{path}",
        f"folder-{identity}" + (f"-{size}" if size else ""),
        decoded.origin_of(root, files),
        folders=decoded.folders(None if data_dir is None else Path(data_dir)),
        decode=lambda: _decode(f"folder:{path}", root, classes, size),
    )


def _classes(root: Path) -> dict[str, list[Path]]:
    """The image files by class, with the single class `""` if they are in the folder itself."""
    classes: dict[str, list[Path]] = {}
    for file in sorted(root.rglob("*")):
        parts = file.relative_to(root).parts
        if file.suffix.lower() in SUFFIXES and file.is_file() and not any(part.startswith(".") for part in parts):
            classes.setdefault(parts[0] if len(parts) > 1 else "", []).append(file)
    name = f"data set 'folder:{root}'"
    if not classes:
        raise BadInput(
            f"{name}: it contains no images; give files of {', '.join(SUFFIXES)}, in one subfolder per class or none"
        )
    if "" in classes and len(classes) > 1:
        other = next(members[0] for key, members in classes.items() if key)
        raise BadInput(
            f"{name}: {classes[''][0]} is in no subfolder, and {other} is in one; use subfolders for all or none"
        )
    if len(classes) > 1 and {key.lower() for key in classes} <= _SPLITS:
        raise BadInput(
            f"{name}: its subfolders {', '.join(classes)} are splits, not classes; give the folder of one split"
        )
    for members in classes.values():
        if len(members) < 2:
            raise BadInput(
                f"{name}: {members[0]} is the only image of its class; every class needs 2, as one is held out"
            )
    return dict(sorted(classes.items()))


def _decode(name: str, root: Path, classes: dict[str, list[Path]], size: int | None) -> Dataset:
    train: list[tuple[Path, int]] = []
    test: list[tuple[Path, int]] = []
    for label, members in enumerate(classes.values()):
        by_digest = sorted(
            members, key=lambda file: hashlib.sha256(os.fsencode(file.relative_to(root).as_posix())).digest()
        )
        held_out = set(by_digest[: max(1, len(members) // 10)])
        train += [(file, label) for file in members if file not in held_out]
        test += [(file, label) for file in members if file in held_out]
    files = [file for file, _ in train + test]
    # No bar where stderr is a file or a pipe.
    read = (_read(f, size) for f in tqdm(files, desc=f"decoding {name}, once", unit=" images", disable=None))
    images = _in_colour_if_one_is(list(read)) if size else _of_one_shape(name, files, read)
    x = np.stack(images)
    if list(classes) == [""]:
        return from_arrays(name, x[: len(train)], x[len(train) :])
    return from_arrays(
        name,
        x[: len(train)],
        x[len(train) :],
        train_label=np.array([label for _, label in train]),
        test_label=np.array([label for _, label in test]),
        num_classes=len(classes),
    )


def _of_one_shape(name: str, files: list[Path], images: Iterable[np.ndarray]) -> list[np.ndarray]:
    """The images; raises at the first that is not like the first."""
    alike: list[np.ndarray] = []
    for file, image in zip(files, images, strict=True):
        if alike and image.shape != alike[0].shape:
            raise BadInput(
                f"data set {name!r}: {files[0]} is {_kind(alike[0])} and {file} is {_kind(image)}; they must be of "
                "one size, and all grey or all in colour"
            )
        alike.append(image)
    return alike


def _in_colour_if_one_is(images: list[np.ndarray]) -> list[np.ndarray]:
    channels = max(image.shape[2] for image in images)
    return [image if image.shape[2] == channels else image.repeat(channels, axis=2) for image in images]


def _read(file: Path, size: int | None) -> np.ndarray:
    """One image, [H, W, 1] or [H, W, 3] uint8; with a size, its middle square in that size."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            mode, shown = image.mode, image.convert(_MODES.get(image.mode))
            pixels = np.asarray(ImageOps.fit(shown, (size, size), Image.Resampling.BOX) if size else shown)
    except Exception as error:  # Pillow has a dozen, by format and by what is wrong
        raise BadInput(f"{file} is unreadable ({type(error).__name__}: {error}); repair or remove it") from error
    if mode not in _MODES:
        raise BadInput(f"{file} is of Pillow's mode {mode}; it must be grey (L) or in colour (RGB)")
    return pixels if pixels.ndim == 3 else pixels[..., None]


def read_square(file: Path, size: int) -> np.ndarray:
    """The middle square of one image, resized.

    Args:
      file: the image.
      size: S, the side in pixels.

    Returns:
      [S, S, 1] or [S, S, 3] uint8.

    Raises:
      BadInput: a file that cannot be read.
    """
    return _read(file, size)


def _kind(image: np.ndarray) -> str:
    height, width, channels = image.shape
    return f"{width}x{height} {'grey' if channels == 1 else 'colour'}"
