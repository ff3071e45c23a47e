"""Preparing data sets by TFDS's own builders: small ones in MNIST's format, and MNIST where its archives lie ready."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums, download_manager, extractor, resource
from tensorflow_datasets.image_classification import mnist

from genjax import data
from genjax.data.prepare import prepare
from genjax.errors import BadInput

SHARED = Path(os.environ.get("GENJAX_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data" / "tfds")
ARCHIVES = SHARED.parent / "raw" / "mnist"
NUM_TRAIN, NUM_TEST = 20, 6
NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def contents(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)
    num = NUM_TRAIN + NUM_TEST
    return rng.randint(0, 256, (num, 28, 28, 1), np.uint8), rng.randint(0, 10, num, np.uint8)


def write_archives(folder: Path, seed: int) -> dict[str, bytes]:
    """Archives of random images in the format of MNIST's, under its names."""
    images, labels = contents(seed)
    files = {}
    for part, images_name, labels_name in (
        (slice(NUM_TRAIN), *NAMES[:2]),
        (slice(NUM_TRAIN, None), *NAMES[2:]),
    ):
        files[images_name] = struct.pack(">4i", 2051, len(labels[part]), 28, 28) + images[part].tobytes()
        files[labels_name] = struct.pack(">2i", 2049, len(labels[part])) + labels[part].tobytes()
    folder.mkdir()
    packed = {name: gzip.compress(content, mtime=0) for name, content in files.items()}
    for name, content in packed.items():
        (folder / name).write_bytes(content)
    return packed


def described(content: bytes) -> str:
    return rf"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """Folders of small archives for mnist and for fashion_mnist, which TFDS takes for the originals."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checksums, "get_all_url_infos", dict)  # TFDS writes into what this returns
    monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", NUM_TRAIN)
    monkeypatch.setattr(mnist, "_TEST_EXAMPLES", NUM_TEST)
    for seed, builder in enumerate((mnist.MNIST, mnist.FashionMNIST)):
        packed = write_archives(tmp_path / f"{builder.name}_archives", seed)
        infos = {
            builder.URL + name: checksums.UrlInfo(
                checksums.utils.Size(len(content)), hashlib.sha256(content).hexdigest(), name
            )
            for name, content in packed.items()
        }
        monkeypatch.setattr(builder, "url_infos", infos)
    return tmp_path


@pytest.fixture
def offline(monkeypatch):
    def fail(url, **_):
        raise requests.ConnectionError(url)

    monkeypatch.setattr(requests, "head", fail)
    monkeypatch.setattr(download_manager.DownloadManager, "_download", lambda *_: pytest.fail("TFDS tries to download"))


def assert_holds(made: data.Dataset, seed: int) -> None:
    """All the images and labels of `contents(seed)`, in any order within a split."""
    images, labels = contents(seed)
    for split, part in ((made.train, slice(NUM_TRAIN)), (made.test, slice(NUM_TRAIN, None))):
        assert split.label is not None
        found = sorted(zip((x.tobytes() for x in split.x), split.label.tolist(), strict=True))
        assert found == sorted(zip((x.tobytes() for x in images[part]), labels[part].tolist(), strict=True))


def test_archives_become_the_data_set_and_nothing_else_stays(archives, offline):
    patched = extractor.tf, download_manager.DownloadManager._download
    made = prepare("mnist", data_dir=archives / "data", archives=archives / "mnist_archives")
    assert_holds(made, 0)
    assert made.num_classes == 10
    assert sorted(path.name for path in (archives / "data").iterdir()) == ["decoded", "mnist"]
    assert (extractor.tf, download_manager.DownloadManager._download) == patched

    shutil.rmtree(archives / "mnist_archives")  # what is prepared needs them no more
    assert prepare("mnist", data_dir=archives / "data").fingerprint == made.fingerprint


def test_data_sets_with_archives_of_one_name_are_not_mixed_up(archives, offline):
    assert_holds(prepare("mnist", data_dir=archives / "data", archives=archives / "mnist_archives"), 0)
    with pytest.raises(BadInput, match=r"'fashion_mnist' needs files that are not in .*mnist_archives: ") as caught:
        prepare("fashion_mnist", data_dir=archives / "data", archives=archives / "mnist_archives")
    for name in NAMES:
        expected = described((archives / "fashion_mnist_archives" / name).read_bytes())
        found = described((archives / "mnist_archives" / name).read_bytes())
        assert f"{name} ({expected}), but the one there has {found}" in str(caught.value)
    assert not (archives / "data" / "fashion_mnist").exists()
    made = prepare("fashion_mnist", data_dir=archives / "data", archives=archives / "fashion_mnist_archives")
    assert_holds(made, 1)


def test_all_missing_archives_are_named(archives, offline):
    folder = archives / "mnist_archives"
    expected = {name: described((folder / name).read_bytes()) for name in NAMES[1:3]}
    for name in expected:
        (folder / name).unlink()
    with pytest.raises(BadInput, match=rf"'mnist' needs files that are not in {folder}: ") as caught:
        prepare("mnist", data_dir=archives / "data", archives=folder)
    for name, text in expected.items():
        assert f"{name} ({text})" in str(caught.value)
    assert NAMES[0] not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [*(archives / "data").iterdir()] == []
    with pytest.raises(BadInput, match=r"^archives: .*/nowhere is not a folder"):
        prepare("mnist", data_dir=archives / "data", archives=archives / "nowhere")


def test_no_network_fails_at_once_and_names_what_is_needed(archives, offline):
    with pytest.raises(
        BadInput, match=r"'mnist' cannot be downloaded: .*give `archives`, a folder of these files$"
    ) as caught:
        prepare("mnist", data_dir=archives / "data")
    for name in NAMES:
        assert f"{name} ({described((archives / 'mnist_archives' / name).read_bytes())}), as storage." in str(
            caught.value
        )
    assert [*(archives / "data").iterdir()] == []


def test_downloads_come_through_where_the_host_answers(archives, monkeypatch, caplog):
    def download(self, resource):
        from promise import Promise

        return Promise.resolve(archives / "mnist_archives" / Path(resource.url).name)

    monkeypatch.setattr(requests, "head", lambda url, **_: None)
    monkeypatch.setattr(download_manager.DownloadManager, "_download", download)
    # An earlier download that is damaged, which TFDS itself would take.
    url = mnist.MNIST.URL + NAMES[0]
    assert mnist.MNIST.url_infos is not None
    cached = archives / "data" / "downloads" / "mnist" / resource.get_dl_fname(url, mnist.MNIST.url_infos[url].checksum)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(gzip.compress(bytes(16 + NUM_TRAIN * 784)))
    resource.get_info_path(cached).write_text("{}")

    assert_holds(prepare("mnist", data_dir=archives / "data"), 0)
    assert f"{cached} is damaged" in caplog.text


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_builders_that_need_tensorflow_say_so(archives, offline, monkeypatch):
    message = r"its builder needs TensorFlow, which is not installed; install it with: pip install '\.\[prepare\]'$"
    with monkeypatch.context() as patch:
        patch.setattr(mnist, "_extract_mnist_images", lambda path, num: mnist.tf.io.decode_raw(path, num))
        with pytest.raises(BadInput, match=message):
            prepare("mnist", data_dir=archives / "data", archives=archives / "mnist_archives")
    jpeg = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(28, 28, 1), encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
    )
    monkeypatch.setattr(mnist.MNIST, "_info", lambda self: tfds.core.DatasetInfo(builder=self, features=jpeg))
    with pytest.raises(BadInput, match=message):
        prepare("mnist", data_dir=archives / "data", archives=archives / "mnist_archives")
    assert [*(archives / "data").iterdir()] == []


def test_what_cannot_be_prepared_is_said(tmp_path):
    for name in ("digits", "folder:pictures"):
        with pytest.raises(BadInput, match="does not need to be prepared"):
            prepare(name, data_dir=tmp_path)
    with pytest.raises(BadInput, match="did you mean 'mnist'"):
        prepare("mnits", data_dir=tmp_path)
    with pytest.raises(BadInput, match=r"'mnist:9.9.9' cannot be prepared in .*9.9.9"):
        prepare("mnist:9.9.9", data_dir=tmp_path, archives=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"'mnist' cannot be prepared in .*/file: .*Error"):
        prepare("mnist", data_dir=tmp_path / "file", archives=tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not ARCHIVES.is_dir(), reason=f"MNIST's archives are not in {ARCHIVES} (beside GENJAX_DATA_DIR)")
def test_mnist_from_its_archives_is_what_lies_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = prepare("mnist", data_dir=tmp_path / "data", archives=ARCHIVES)
    assert made.fingerprint == data.load("mnist", data_dir=SHARED).fingerprint
