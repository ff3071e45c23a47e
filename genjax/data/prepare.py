"""Prepares a data set of TensorFlow Datasets for `genjax.data.tfds` with its own builder, mostly without TensorFlow.

This file holds all uses of TFDS's private names, which is why its version is pinned.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from absl import logging

from genjax import data
from genjax.data import tfds as reader
from genjax.errors import BadInput
from genjax.paths import expand_user

_SECONDS_TO_ANSWER = 5


def prepare(name: str, *, data_dir: str | Path, archives: str | Path | None = None) -> data.Dataset:
    """Prepares a data set in `data_dir` as ArrayRecord, unless that has been done, and reads it.

    Its archives are downloaded. With `archives` they are taken from that folder instead, under the names that TFDS uses
    and only if their size and SHA-256 are as TFDS expects, and nothing is downloaded.

    Args:
      name: of the data set.
      data_dir: where to prepare it.
      archives: a folder of the original archives; None to download them.

    Returns:
      The data set, as `data.load` reads it.

    Raises:
      BadInput: an unknown name, missing or wrong archives (with what they should be), no network and no archives,
        TensorFlow needed but not installed, or an error of the builder.
    """
    if name == "digits" or name.startswith("folder:"):
        raise BadInput(f"data set {name!r} does not need to be prepared; use it as it is")
    data_dir = expand_user(data_dir, parameter="data_dir")
    data.check_name(name, data_dir=data_dir)
    if reader.find(name, data_dir) is None:
        _build(name, data_dir, None if archives is None else expand_user(archives, parameter="archives"))
    return data.load(name, data_dir=data_dir)


def _build(name: str, data_dir: Path, archives: Path | None) -> None:
    import tensorflow_datasets as tfds

    if archives is not None and not archives.is_dir():
        raise BadInput(
            f"{archives} is not a folder; give one that holds the original archives of {name}", parameter="archives"
        )
    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
        data_dir.mkdir(parents=True, exist_ok=True)
    except Exception as error:
        raise BadInput(f"data set {name!r} cannot be prepared in {data_dir}: {_reason(error)}") from error

    # A folder of its own for what is unpacked, and for the archives: TFDS takes whatever it finds in its cache of
    # either for good, and has made a Fashion-MNIST of MNIST's pixels that way.
    with tempfile.TemporaryDirectory(prefix="preparing-", dir=data_dir) as scratch, ExitStack() as stack:
        downloads = data_dir / "downloads" if archives is None else Path(scratch) / "downloads"
        if archives is None:
            _drop_damaged(builder, downloads)
            absent = _absent_unless_reachable(builder.url_infos or {})
        else:
            absent = _seed(builder, archives, downloads)
        refused = stack.enter_context(_refusing(absent))
        if importlib.util.find_spec("tensorflow") is None:
            stack.enter_context(_without_tensorflow(builder))
        stack.enter_context(redirect_stdout(io.StringIO()))  # TFDS's banners; its progress goes to stderr
        if not sys.stderr.isatty():
            tfds.disable_progress_bar()
        try:
            builder.download_and_prepare(
                download_dir=downloads,
                download_config=tfds.download.DownloadConfig(
                    extract_dir=Path(scratch) / "extracted", try_download_gcs=False
                ),
            )
        except Exception as error:
            for folder in (downloads / builder.name, downloads, data_dir / builder.name):
                with suppress(OSError):  # only empty folders are removed
                    folder.rmdir()
            if refused and archives is None:
                raise BadInput(
                    f"data set {name!r} cannot be downloaded: {'; '.join(refused)}; with a network run this again, "
                    "without one give `archives`, a folder of these files"
                ) from error
            if refused:
                raise BadInput(
                    f"data set {name!r} needs files that are not in {archives}: {'; '.join(refused)}"
                ) from error
            raise BadInput(f"data set {name!r} cannot be prepared in {data_dir}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, ImportError) and "tensorflow" in str(chain).lower():
            return "its builder needs TensorFlow, which is not installed; install it with: pip install '.[prepare]'"
        chain = chain.__cause__ or chain.__context__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _cached(builder: Any, downloads: Path, url: str, info: Any) -> Path:
    """Where TFDS looks for a download of which it knows the checksum."""
    from tensorflow_datasets.core.download import resource

    return downloads / builder.name / resource.get_dl_fname(url, info.checksum)


def _described(url: str, info: Any) -> str:
    name = (info and info.filename) or Path(urllib.parse.urlparse(url).path).name
    return (
        f"{name} ({info.size:d} bytes, sha256 {info.checksum})"
        if info
        else f"{name} (from {url}; TFDS knows no checksum)"
    )


def _seed(builder: Any, archives: Path, downloads: Path) -> Callable[[str], str]:
    """Links the right archives to where TFDS looks for downloads; returns a description of those that are missing."""
    from etils import epath
    from tensorflow_datasets.core.download import checksums, resource

    wrong = {}
    infos = builder.url_infos or {}
    for url, info in infos.items():
        archive = archives / (info.filename or Path(urllib.parse.urlparse(url).path).name)
        if not archive.is_file():
            continue
        found = checksums.compute_url_info(archive)
        if found != info:
            wrong[url] = f"the one there has {found.size:d} bytes, sha256 {found.checksum}"
            continue
        cached = _cached(builder, downloads, url, info)
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.symlink_to(archive.resolve())
        resource.write_info_file(
            url=url, path=epath.Path(cached), dataset_name=builder.name, original_fname=archive.name, url_info=info
        )

    def absent(url: str) -> str:
        return f"{_described(url, infos.get(url))}{f', but {wrong[url]}' if url in wrong else ''}"

    return absent


def _drop_damaged(builder: Any, downloads: Path) -> None:
    """Removes earlier downloads that are not what TFDS expects, since TFDS checks only their names."""
    from tensorflow_datasets.core.download import checksums

    for url, info in (builder.url_infos or {}).items():
        cached = _cached(builder, downloads, url, info)
        if cached.is_file() and checksums.compute_url_info(cached) != info:
            logging.warning("%s is damaged: downloading it again", cached)
            cached.unlink()


def _absent_unless_reachable(infos: dict[str, Any]) -> Callable[[str], str | None]:
    """None if the URL's host answers, else a description; TFDS itself would try for minutes."""
    import requests

    answers: dict[str, bool] = {}

    def absent(url: str) -> str | None:
        parts = urllib.parse.urlparse(url)
        if parts.netloc not in answers and parts.scheme in ("http", "https"):
            try:
                requests.head(url, timeout=_SECONDS_TO_ANSWER)
                answers[parts.netloc] = True
            except requests.RequestException:
                answers[parts.netloc] = False
        if answers.get(parts.netloc, True):
            return None
        return f"{_described(url, infos.get(url))}, as {parts.netloc} does not answer"

    return absent


@contextmanager
def _refusing(absent: Callable[[str], str | None]) -> Iterator[list[str]]:
    """A context in which TFDS fails at once on downloads that `absent(url)` describes; yields the descriptions."""
    from promise import Promise
    from tensorflow_datasets.core.download.download_manager import DownloadManager

    refused: list[str] = []
    download = DownloadManager._download

    def refuse(self: Any, resource: Any) -> Any:
        reason = absent(resource.url)
        if reason is None:
            return download(self, resource)
        refused.append(reason)
        return Promise.reject(FileNotFoundError(reason))  # not raised, so that the other downloads are checked too

    with mock.patch.object(DownloadManager, "_download", refuse):
        yield refused


class _TensorFlowAbsent(SimpleNamespace):
    """The few names of TensorFlow that stock image builders use to open files; any other raises an ImportError."""

    def __getattr__(self, name: str) -> Any:
        raise ImportError(f"tensorflow is needed for {name}")


@contextmanager
def _without_tensorflow(builder: Any) -> Iterator[None]:
    """A context in which TFDS unpacks archives, runs builders like MNIST's and encodes PNG without TensorFlow.

    A plain `open` and Pillow's PNG encoder replace TensorFlow's; the decoded images are equal. JPEG would not give the
    same bits as TensorFlow's encoder, so it is refused, as is anything else that a builder needs from TensorFlow.
    """
    from PIL import Image
    from tensorflow_datasets.core.download import extractor
    from tensorflow_datasets.core.features import image_feature

    def encode(self: Any, image: np.ndarray) -> bytes:
        if self.encoding_format != "png" or image.dtype != np.uint8:
            raise ImportError(f"tensorflow is needed to encode {image.dtype} images as {self.encoding_format}")
        return self._encode_pil_image(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image))

    files = _TensorFlowAbsent(gfile=_TensorFlowAbsent(GFile=open))
    stand_in = _TensorFlowAbsent(io=files, compat=_TensorFlowAbsent(as_text=str))
    module = sys.modules[type(builder).__module__]
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(extractor, "tf", stand_in))
        stack.enter_context(mock.patch.object(image_feature._ImageEncoder, "_encode_image", encode))
        if hasattr(module, "tf"):
            stack.enter_context(mock.patch.object(module, "tf", stand_in))
        yield
