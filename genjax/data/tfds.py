"""Image data sets of TensorFlow Datasets, read without TensorFlow from where they were prepared as ArrayRecord."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from tqdm import tqdm

from genjax.data import decoded
from genjax.data.dataset import Dataset, from_arrays
from genjax.errors import BadInput, shorten

_NAME = re.compile(r"(?P<dataset>\w+)(/(?P<config>[\w\-.]+))?(:(?P<version>\d+\.\d+\.\d+))?")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_CHUNK = 1024  # examples fetched at once: three times as fast as one by one


class NotPrepared(BadInput):
    """A data set that has to be prepared before it can be read.

    Args:
      problem: what is wrong and what to do, without the call that does it.
      name: of the data set.
      data_dir: the folder to prepare it in; None where the user has to choose one.
    """

    def __init__(self, problem: str, *, name: str, data_dir: str | Path | None) -> None:
        folder = "..." if data_dir is None else repr(str(data_dir))
        super().__init__(f"{problem} by genjax.data.prepare.prepare({name!r}, data_dir={folder})")
        self.problem, self.name, self.data_dir = problem, name, data_dir


def load(name: str, *, data_dir: str | Path | None) -> Dataset:
    """The data set `name` (`dataset`, `dataset/config`, `dataset:1.2.3`) as prepared in `data_dir`.

    Images are [N, H, W, C] uint8. Held out is the data set's own `test` split, else its `validation` split, else the
    last tenth of `train` in stored order, an order that TFDS fixes when it prepares. Labels are the `label` feature,
    else the only class label, and are kept if every example has one (from 0). Decoded once, then kept (`decoded`).

    Raises:
      NotPrepared: naming the call that prepares it.
      BadInput: nothing this function can read.
    """
    directory = find(name, data_dir)
    if directory is None or data_dir is None:
        where = "and `data_dir` is not given" if data_dir is None else f"in {data_dir}"
        raise NotPrepared(f"data set {name!r} is not prepared {where}; prepare it", name=name, data_dir=data_dir)
    files = [file for file in directory.iterdir() if file.is_file()]
    folders = decoded.folders(Path(data_dir))
    return decoded.load(
        name,
        "-".join(directory.relative_to(data_dir).parts),
        decoded.origin_of(directory, files),
        folders=folders,
        decode=lambda: _decode(name, directory, folders),
    )


def find(name: str, data_dir: str | Path | None) -> Path | None:
    """The folder `name` was prepared in, of the newest version unless one is named; None if it is not prepared."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise BadInput(
            f"{shorten(name)!r} is not a valid name of a data set; expected one like mnist, emnist/letters or "
            "mnist:3.0.1"
        )
    if data_dir is None:
        return None
    base = Path(data_dir) / parts["dataset"] / (parts["config"] or "")
    versions = _versions(base)
    if not versions and parts["config"] is None and base.is_dir():
        configs = sorted(folder for folder in base.iterdir() if folder.is_dir() and _versions(folder))
        if len(configs) > 1:
            raise BadInput(
                f"data set {name!r} is prepared in {data_dir} in {len(configs)} configurations; name one of: "
                + ", ".join(f"{parts['dataset']}/{config.name}" for config in configs)
            )
        versions = _versions(configs[0]) if configs else {}
    if parts["version"] is not None:
        return versions.get(parts["version"])
    return versions[max(versions, key=_numbers)] if versions else None


def prepared(data_dir: str | Path | None) -> list[str]:
    """The names of all data sets that are prepared in `data_dir`."""
    if data_dir is None or not Path(data_dir).is_dir():
        return []
    infos = [*Path(data_dir).glob("*/*/dataset_info.json"), *Path(data_dir).glob("*/*/*/dataset_info.json")]
    return sorted({info.relative_to(data_dir).parts[0] for info in infos})


def known() -> list[str]:
    """The names of all data sets that TensorFlow Datasets can prepare, of images or not."""
    import tensorflow_datasets as tfds

    return tfds.list_builders(with_community_datasets=False)  # the community's list would need TensorFlow


def _versions(folder: Path) -> dict[str, Path]:
    infos = folder.glob("*/dataset_info.json")  # written last by TFDS
    return {info.parent.name: info.parent for info in infos if _VERSION.fullmatch(info.parent.name)}


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _decode(name: str, directory: Path, folders: Sequence[Path]) -> Dataset:
    import tensorflow_datasets as tfds  # imported here because it takes half a second

    try:
        builder: Any = tfds.builder_from_directory(directory)
        features, splits = builder.info.features, {key: info.num_examples for key, info in builder.info.splits.items()}
        formats = {file_format.value for file_format in builder.info.available_file_formats()}
    except Exception as error:
        raise _unreadable(name, directory, f"{directory} cannot be read ({_line(error)})") from error
    if "array_record" not in formats:
        raise NotPrepared(
            f"data set {name!r}: {directory} is in the format {', '.join(sorted(formats))}, and only array_record is "
            "read; prepare it in another folder",
            name=name,
            data_dir=None,
        )
    image, label = _features(tfds, name, features)

    train, test = "train", next((key for key in ("test", "validation") if splits.get(key)), None)
    if not splits.get(train):
        raise BadInput(f"data set {name!r}: its splits are {', '.join(sorted(splits))}; one must be called train")
    if test is None:
        num_train = splits[train] - splits[train] // 10
        if num_train == splits[train]:
            raise BadInput(
                f"data set {name!r}: {splits[train]} examples are too few to hold a tenth out; at least 10 are needed"
            )
        train, test = f"train[:{num_train}]", f"train[{num_train}:]"

    read = []
    for split in (train, test):
        try:
            source = builder.as_data_source(split=split, file_format="array_record")
        except Exception as error:
            raise _unreadable(name, directory, f"{directory} cannot be read ({_line(error)})") from error
        read.append(_read(name, split, directory, source, image, label, folders))
    (train_x, train_label), (test_x, test_label) = read
    if train_label is None or test_label is None or min(train_label.min(), test_label.min()) < 0:
        return from_arrays(name, train_x, test_x)
    return from_arrays(
        name,
        train_x,
        test_x,
        train_label=train_label,
        test_label=test_label,
        num_classes=features[label].num_classes,
        class_names=features[label].names,
    )


def _features(tfds: Any, name: str, features: Any) -> tuple[str, str | None]:
    """The keys of the image and of the label, None if there is no label."""
    named = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    images = [key for key, feature in named.items() if type(feature) is tfds.features.Image]
    labels = [key for key, feature in named.items() if isinstance(feature, tfds.features.ClassLabel)]
    image = "image" if "image" in images else images[0] if len(images) == 1 else None
    if image is None:
        seen = (
            ", ".join(f"{key} ({type(feature).__name__})" for key, feature in sorted(named.items()))
            or type(features).__name__
        )
        raise BadInput(f"data set {name!r}: its features are {seen}; expected exactly one Image, or one called image")
    if named[image].np_dtype != np.uint8:
        raise BadInput(f"data set {name!r}: its images are {np.dtype(named[image].np_dtype)}; they must be uint8")
    return image, "label" if "label" in labels else labels[0] if len(labels) == 1 else None


def _read(
    name: str,
    split: str,
    directory: Path,
    source: Sequence[Any],
    image: str,
    label: str | None,
    folders: Sequence[Path],
) -> tuple[np.ndarray, np.ndarray | None]:
    num = len(source)
    x = np.empty(0, np.uint8)
    labels = None if label is None else np.empty(num, np.int64)
    # No bar where stderr is a file or a pipe.
    bar = tqdm(total=num, desc=f"decoding {name} {split}, once", unit=" images", disable=None)
    with _without_advice(), bar as progress:
        for start in range(0, num, _CHUNK):
            try:
                examples = source.__getitems__(range(start, min(start + _CHUNK, num)))  # type: ignore[attr-defined]
            except Exception as error:
                last = min(start + _CHUNK, num) - 1
                problem = f"{directory} is unreadable between examples {start} and {last} of {split} ({_line(error)})"
                raise _unreadable(name, directory, problem) from error
            for i, example in enumerate(examples, start):
                if i == 0:
                    x = decoded.scratch(folders, (num, *example[image].shape))
                if example[image].shape != x.shape[1:]:
                    raise BadInput(
                        f"data set {name!r}: images are of mixed size, {list(x.shape[1:])} and "
                        f"{list(example[image].shape)} (examples 0 and {i} of {split}); they must be of one size"
                    )
                x[i] = example[image]
                if labels is not None:
                    labels[i] = example[label]
            progress.update(len(examples))
    return x, labels


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Leaves out the warning that OpenCV would decode faster: every image is decoded once, and Pillow is enough."""

    def is_other(record: Any) -> bool:
        return not record.getMessage().startswith("OpenCV is not installed")

    logger = logging.get_absl_logger()
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def _unreadable(name: str, directory: Path, problem: str) -> NotPrepared:
    remedy = f"data set {name!r}: {problem}; remove that folder and prepare it again"
    return NotPrepared(remedy, name=name, data_dir=directory.parents[1])


def _line(error: BaseException) -> str:
    """The error on one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200]}"
