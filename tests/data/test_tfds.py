"""Data sets of TensorFlow Datasets: small ones made here without TensorFlow, and MNIST where it lies ready."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from absl import logging
from PIL import Image

from genjax import data
from genjax.data import tfds as source
from genjax.errors import BadInput

DATA_DIR = Path(os.environ.get("GENJAX_DATA_DIR") or Path(__file__).parents[3] / "shared" / "data" / "tfds")
SHAPE = (5, 4, 3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "genjax"


def image(i: int, shape=SHAPE) -> np.ndarray:
    """The i-th image, of noise but for its first pixel, which is i."""
    pixels = np.random.RandomState(i).randint(0, 256, shape, np.uint8)
    pixels[0, 0] = i
    return pixels


def example(i: int, shape=SHAPE) -> dict[str, Any]:
    return {"image": Image.fromarray(image(i, shape)), "label": i % 3}


def prepare(
    data_dir: Path,
    splits: dict[str, Iterable[Any]],
    *,
    version: str = "1.0.0",
    config: str | None = None,
    features: Any = None,
) -> Path:
    """Prepares a data set called `tiny` of these examples; it is in no registry, as one prepared elsewhere."""
    found = features or {"image": tfds.features.Image(shape=SHAPE), "label": tfds.features.ClassLabel(num_classes=4)}

    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(found))

        def _split_generators(self, dl_manager):
            return {name: enumerate(examples) for name, examples in splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    tfds.disable_progress_bar()
    builder = Tiny(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return Path(builder.data_dir)


@pytest.fixture
def data_dir(tmp_path):
    """Twelve images for training and five to test."""
    prepare(tmp_path / "data", {"train": map(example, range(12)), "test": map(example, range(12, 17))})
    return tmp_path / "data"


def numbers(split: data.Split) -> list[int]:
    return split.x[:, 0, 0, 0].tolist()


def kept(data_dir: Path) -> Path:
    (file,) = (data_dir / "decoded").glob("*.npz")
    return file


def test_pixels_and_labels_are_those_that_were_prepared(data_dir):
    made = data.load("tiny", data_dir=data_dir)
    assert (made.name, made.scale, made.num_classes) == ("tiny", 255.0, 4)
    assert (sorted(numbers(made.train)), sorted(numbers(made.test))) == ([*range(12)], [*range(12, 17)])
    for split in (made.train, made.test):
        np.testing.assert_array_equal(split.x, np.stack([image(i) for i in numbers(split)]))
        assert split.label is not None
        np.testing.assert_array_equal(split.label, np.array(numbers(split)) % 3)


def test_advice_to_install_opencv_is_left_out_and_other_warnings_are_not(data_dir, caplog, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.core.features.image_feature.cv2", None)
    monkeypatch.setattr(logging, "_log_counter_per_token", {})  # TFDS gives it once in a process
    data.load("tiny", data_dir=data_dir)
    assert not caplog.records
    with source._without_advice():
        logging.warning("a file is damaged")
    assert caplog.messages == ["a file is damaged"]
    logging._log_counter_per_token.clear()
    tfds.builder_from_directory(source.find("tiny", data_dir)).as_data_source("train", file_format="array_record")[0]
    assert "OpenCV is not installed" in caplog.messages[1]


def test_what_was_decoded_stays_on_the_disk(data_dir):
    first, again = data.load("tiny", data_dir=data_dir), data.load("tiny", data_dir=data_dir)
    for decoded in (first, again):  # from nameless files while it is decoded, then from the one that is kept
        for split in (decoded.train, decoded.test):
            base = split.x
            while isinstance(base, np.ndarray):
                base = base.base
            assert isinstance(base, mmap.mmap)
    np.testing.assert_array_equal(first.train.x, again.train.x)


def test_fingerprint_is_of_the_content_not_of_the_files(data_dir, tmp_path):
    first = data.load("tiny", data_dir=data_dir)
    assert (
        first.fingerprint
        == data.from_arrays(
            "other",
            first.train.x.copy(),
            first.test.x.copy(),
            train_label=first.train.label,
            test_label=first.test.label,
            num_classes=4,
        ).fingerprint
    )
    again = prepare(tmp_path / "again", {"test": map(example, range(12, 17)), "train": map(example, range(12))})
    info = json.loads((again / "dataset_info.json").read_text())
    (again / "dataset_info.json").write_text(json.dumps(info | {"description": "other bytes"}))
    assert data.load("tiny", data_dir=tmp_path / "again").fingerprint == first.fingerprint
    prepare(tmp_path / "other", {"train": map(example, range(12)), "test": map(example, range(13, 18))})
    assert data.load("tiny", data_dir=tmp_path / "other").fingerprint != first.fingerprint


def test_held_out_is_test_else_validation_else_the_last_tenth(tmp_path):
    def held_out(name, **splits):
        prepare(tmp_path / name, {key: map(example, numbers) for key, numbers in splits.items()})
        return data.load("tiny", data_dir=tmp_path / name)

    both = held_out("both", train=range(9), validation=range(9, 11), test=range(11, 13))
    assert sorted(numbers(both.test)) == [11, 12]
    validation = held_out("validation", train=range(9), validation=range(9, 11), extra=range(11, 13))
    assert sorted(numbers(validation.test)) == [9, 10]
    alone = held_out("alone", train=range(29))
    assert (len(alone.train.x), len(alone.test.x)) == (27, 2)
    stored = tfds.builder_from_directory(tmp_path / "alone" / "tiny" / "1.0.0").as_data_source("train")
    assert numbers(alone.train) + numbers(alone.test) == [found["image"][0, 0, 0] for found in stored]

    with pytest.raises(BadInput, match="9 examples are too few to hold a tenth out; at least 10 are needed"):
        held_out("few", train=range(9))
    with pytest.raises(BadInput, match="its splits are test; one must be called train"):
        held_out("no_train", test=range(9))


def test_newest_version_is_read_unless_one_is_named(tmp_path):
    for version, count in (("1.0.0", 3), ("1.9.0", 4), ("1.10.0", 5)):
        prepare(tmp_path, {"train": map(example, range(count)), "test": [(example(0))]}, version=version)
    assert len(data.load("tiny", data_dir=tmp_path).train.x) == 5
    assert len(data.load("tiny:1.9.0", data_dir=tmp_path).train.x) == 4
    with pytest.raises(BadInput, match=r"'tiny:2.0.0' is not prepared in .*prepare\('tiny:2.0.0', data_dir="):
        data.load("tiny:2.0.0", data_dir=tmp_path)


def test_configuration_is_named_where_there_are_several(tmp_path):
    prepare(tmp_path, {"train": map(example, range(3)), "test": [example(0)]}, config="red")
    assert len(data.load("tiny", data_dir=tmp_path).train.x) == 3
    prepare(tmp_path, {"train": map(example, range(4)), "test": [example(0)]}, config="blue")
    assert len(data.load("tiny/blue", data_dir=tmp_path).train.x) == 4
    with pytest.raises(BadInput, match="in 2 configurations; name one of: tiny/blue, tiny/red"):
        data.load("tiny", data_dir=tmp_path)


def test_labels_may_be_missing(tmp_path):
    features = {"image": tfds.features.Image(shape=SHAPE)}
    prepare(tmp_path / "none", {k: [{"image": example(0)["image"]}] for k in ("train", "test")}, features=features)
    unlabelled = data.load("tiny", data_dir=tmp_path / "none")
    assert (unlabelled.train.label, unlabelled.test.label, unlabelled.num_classes) == (None, None, None)
    prepare(tmp_path / "hidden", {"train": [example(0)], "test": [example(1) | {"label": -1}]})
    hidden = data.load("tiny", data_dir=tmp_path / "hidden")
    assert (hidden.train.label, hidden.test.label, hidden.num_classes) == (None, None, None)


def test_second_load_gives_the_same_bits_and_decodes_nothing(data_dir, monkeypatch):
    first = data.load("tiny", data_dir=data_dir)
    assert kept(data_dir).name == f"tiny-1.0.0-{first.fingerprint[:16]}.npz"
    monkeypatch.setattr(source, "_decode", lambda *_: pytest.fail("decoded again"))
    second = data.load("tiny", data_dir=data_dir)
    assert second._replace(train=first.train, test=first.test) == first
    for a, b in zip(second.train + second.test, first.train + first.test, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def flip_a_pixel_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[content.index(image(3).tobytes()) + 20] ^= 1
    file.write_bytes(content)


def write_other_pixels(file: Path) -> None:  # with checksums of its own that agree
    with np.load(file) as arrays:
        changed = dict(arrays)
    changed["train_x"][0, 0, 0, 0] ^= 1
    np.savez(file, allow_pickle=False, **changed)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_pixel_bit,
        write_other_pixels,
        lambda file: file.write_bytes(file.read_bytes()[:500]),
        lambda file: file.write_bytes(b""),
        lambda file: file.unlink(),
        lambda file: file.with_name("tiny-1.0.0.json").write_text("{"),
    ],
)
def test_damaged_cache_is_named_and_rebuilt(data_dir, damage, caplog):
    first = data.load("tiny", data_dir=data_dir)
    whole = kept(data_dir).read_bytes()
    damage(kept(data_dir))
    second = data.load("tiny", data_dir=data_dir)
    assert "is damaged" in caplog.text
    assert str(data_dir / "decoded") in caplog.text
    np.testing.assert_array_equal(second.train.x, first.train.x)
    assert second.fingerprint == first.fingerprint
    assert kept(data_dir).read_bytes() == whole
    caplog.clear()
    data.load("tiny", data_dir=data_dir)
    assert "damaged" not in caplog.text


def test_cache_notices_another_preparation(data_dir):
    first = data.load("tiny", data_dir=data_dir)
    for file in (data_dir / "tiny" / "1.0.0").iterdir():
        file.unlink()
    (data_dir / "tiny" / "1.0.0").rmdir()
    prepare(data_dir, {"train": map(example, range(20, 32)), "test": map(example, range(12, 17))})
    second = data.load("tiny", data_dir=data_dir)
    assert sorted(numbers(second.train)) == [*range(20, 32)]
    assert second.fingerprint[:16] in kept(data_dir).name  # and the earlier file is gone
    assert second.fingerprint != first.fingerprint


def test_read_only_data_is_kept_in_the_users_cache(data_dir, cache, caplog, monkeypatch):
    data_dir.chmod(0o555)
    first = data.load("tiny", data_dir=data_dir)
    assert not (data_dir / "decoded").exists()
    assert len(list(cache.glob("*/tiny-1.0.0-*.npz"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(source, "_decode", lambda *_: pytest.fail("decoded again"))
        assert data.load("tiny", data_dir=data_dir).fingerprint == first.fingerprint

    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert data.load("tiny", data_dir=data_dir).fingerprint == first.fingerprint
    assert "tiny is decoded, but cannot be cached for the next start" in caplog.text
    data_dir.chmod(0o755)


def test_full_disk_leaves_no_half_a_file(data_dir, cache, monkeypatch):
    def fill_up(out, **arrays):
        out.write(b"the first few bytes")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fill_up)
    assert len(data.load("tiny", data_dir=data_dir).train.x) == 12
    assert [*(data_dir / "decoded").iterdir(), *cache.glob("*/*")] == []


def test_unprepared_names_the_call(tmp_path):
    call = r"prepare it by genjax.data.prepare.prepare\('mnist', data_dir="
    with pytest.raises(BadInput, match=rf"'mnist' is not prepared in {tmp_path}; {call}'{tmp_path}'\)$"):
        data.load("mnist", data_dir=tmp_path)
    with pytest.raises(BadInput, match=rf"not prepared and `data_dir` is not given; {call}\.\.\.\)$"):
        data.load("mnist")


def test_unknown_names_are_answered_with_what_there_is(data_dir):
    with pytest.raises(
        BadInput, match=r"unknown data set 'mnits'; did you mean 'mnist'\? there is digits, .*folder:PATH"
    ):
        data.load("mnits")
    with pytest.raises(BadInput, match=rf"did you mean 'tiny'\? .*prepared in {data_dir}: tiny, and the \d+ names"):
        data.load("tinny", data_dir=data_dir)
    with pytest.raises(BadInput, match="did you mean 'digits'"):
        data.load("digit")
    with pytest.raises(BadInput, match="is not a valid name of a data set"):
        data.load("../tiny", data_dir=data_dir)


NUMBERS = {"image": tfds.features.Tensor(shape=(2,), dtype=np.uint8), "label": tfds.features.ClassLabel(num_classes=4)}
PAIR = {"left": tfds.features.Image(shape=SHAPE), "right": tfds.features.Image(shape=SHAPE)}
DEEP = {"image": tfds.features.Image(shape=(2, 2, 1), dtype=np.uint16)}
ANY = {"image": tfds.features.Image(shape=(None, None, 3)), "label": tfds.features.ClassLabel(num_classes=4)}


@pytest.mark.parametrize(
    ("features", "examples", "message"),
    [
        (
            NUMBERS,
            [{"image": [1, 2], "label": 1}],
            r"features are image \(Tensor\), label \(ClassLabel\); expected exactly one Im",
        ),
        (PAIR, [{"left": example(0)["image"], "right": example(1)["image"]}], r"left \(Image\), right \(Image\)"),
        (
            DEEP,
            [{"image": Image.fromarray(np.ones((2, 2), np.uint16))}],
            "its images are uint16; they must be uint8",
        ),
        (
            ANY,
            [example(0), example(1, (6, 7, 3))],
            r"mixed size, \[., ., 3\] and \[., ., 3\] \(examples 0 and 1 of train\)",
        ),
        (ANY, [{"image": b"no png", "label": 0}], "is unreadable between examples 0 and 0 of train"),
    ],
)
def test_what_holds_no_images_of_one_kind_is_refused(tmp_path, features, examples, message):
    prepare(tmp_path, {"train": examples, "test": examples}, features=features)
    with pytest.raises(BadInput, match=message) as caught:
        data.load("tiny", data_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_unreadable_preparations_are_named(data_dir, tmp_path):
    folder = data_dir / "tiny" / "1.0.0"
    info, shard = folder / "dataset_info.json", next(folder.glob("tiny-train.array_record*"))
    whole_info, whole_shard = info.read_text(), shard.read_bytes()
    again = rf"remove that folder and prepare it again by .*prepare\('tiny', data_dir='{data_dir}'\)"

    flipped = bytearray(whole_shard)
    flipped[flipped.index(b"IDAT") + 8] ^= 255
    for content in (bytes(flipped), whole_shard[: len(whole_shard) // 2], b""):
        shard.write_bytes(content)
        with pytest.raises(BadInput, match=rf"{folder} .*{again}"):
            data.load("tiny", data_dir=data_dir)
    shard.unlink()
    with pytest.raises(BadInput, match=rf"{folder} .*{again}"):
        data.load("tiny", data_dir=data_dir)
    shard.write_bytes(whole_shard)

    info.write_text(whole_info[:50])
    with pytest.raises(BadInput, match=rf"{folder} cannot be read \(.*{again}"):
        data.load("tiny", data_dir=data_dir)
    info.write_text(whole_info.replace("array_record", "tfrecord"))
    with pytest.raises(BadInput, match=r"is in the format tfrecord, .* in another folder by .*data_dir=\.\.\.\)$"):
        data.load("tiny", data_dir=data_dir)
    info.write_text(whole_info)
    assert len(data.load("tiny", data_dir=data_dir).train.x) == 12


def test_kept_data_and_digits_are_loaded_without_tensorflow_datasets_and_jax(data_dir):
    data.load("tiny", data_dir=data_dir)
    script = (
        "import sys; from genjax import data; data.load('digits'); data.load('tiny', data_dir=sys.argv[1]); "
        "print([name for name in ('tensorflow_datasets', 'tensorflow', 'jax') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", script, data_dir], cwd=root, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout.strip()) == (0, "[]"), run.stderr


@pytest.mark.skipif(not (DATA_DIR / "mnist").is_dir(), reason=f"MNIST is not prepared in {DATA_DIR} (GENJAX_DATA_DIR)")
@pytest.mark.slow
def test_mnist_is_mnist():
    made = data.load("mnist", data_dir=DATA_DIR)
    assert (made.train.x.shape, made.test.x.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert made.train.label is not None
    # LeCun, Cortes and Burges: the counts of the training labels, and the mean and deviation of the pixels.
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    np.testing.assert_array_equal(np.bincount(made.train.label), counts)
    np.testing.assert_allclose([made.train.x.mean() / 255, made.train.x.std() / 255], [0.1307, 0.3081], atol=5e-5)
    assert made.fingerprint.startswith("3d1d79608914")
