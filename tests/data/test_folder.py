"""Folders of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.errors import BadInput


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "genjax"


def write(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def grey(value: int, size=(4, 5)) -> np.ndarray:
    return np.full(size, value, np.uint8)


@pytest.fixture
def images(tmp_path):
    """Two classes of 20 grey images, whose every pixel says which image it is: cats 0..19, dogs 100..119."""
    root = tmp_path / "pets"
    for i in range(20):
        write(root / "cats" / f"{i}.png", grey(i))
        write(root / "dogs" / "more" / f"{i}.BMP", grey(100 + i))
    return root


def load(root: Path, **arguments) -> data.Dataset:
    return data.load(f"folder:{root}", **arguments)


def test_labels_are_subfolders_and_a_tenth_of_each_class_is_held_out(images):
    (images / "notes.txt").write_text("not an image")
    write(images / ".thumbnails" / "0.png", grey(1, (2, 2)))
    made = load(images)
    assert made.train.x.shape == (36, 4, 5, 1)
    assert made.test.x.shape == (4, 4, 5, 1)
    assert (made.scale, made.num_classes) == (255.0, 2)
    for split in (made.train, made.test):
        assert split.label is not None
        np.testing.assert_array_equal(split.x[:, 0, 0, 0] >= 100, split.label == 1)
    assert made.test.label is not None
    np.testing.assert_array_equal(np.bincount(made.test.label), [2, 2])
    both = np.concatenate([made.train.x, made.test.x])[:, 0, 0, 0]
    np.testing.assert_array_equal(np.sort(both), [*range(20), *range(100, 120)])


def test_split_depends_on_relative_paths_alone(images, tmp_path, monkeypatch):
    first = load(images)
    again = tmp_path / "elsewhere"
    for file in sorted(images.rglob("*.*"), reverse=True):  # listed in another order, on other inodes
        write(again / file.relative_to(images), np.asarray(Image.open(file)))
    listed = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: reversed(list(listed(self, pattern))))
    assert load(again).fingerprint == first.fingerprint


def test_held_out_images_stay_held_out_when_others_come(images):
    before = set(load(images).test.x[:, 0, 0, 0].tolist())
    for i in range(20, 40):
        write(images / "cats" / f"{i}.png", grey(i))
    after = set(load(images).test.x[:, 0, 0, 0].tolist())
    assert len(after) == 6
    train = set(load(images).train.x[:, 0, 0, 0].tolist())
    # Files that come may push one out of the smallest tenth; a rule by position would move nearly all of them.
    assert {value for value in before if value >= 100} <= after
    assert not train & after


def test_fingerprint_is_of_the_pixels_not_of_the_files(images, tmp_path):
    first = load(images)
    for file in images.rglob("*.png"):  # other bytes, the same pixels
        pixels, size = np.asarray(Image.open(file)), file.stat().st_size
        Image.fromarray(pixels).save(file, compress_level=0)
        assert file.stat().st_size != size
    assert load(images).fingerprint == first.fingerprint
    write(images / "cats" / "7.png", grey(8))
    assert load(images).fingerprint != first.fingerprint


def test_flat_folder_has_no_labels_and_colour_is_kept(tmp_path):
    rng = np.random.default_rng(0)
    pixels = {f"{i}.png": rng.integers(0, 256, (3, 2, 3), np.uint8) for i in range(10)}
    for name, image in pixels.items():
        write(tmp_path / "flat" / name, image)
    made = load(tmp_path / "flat")
    assert made.train.label is None
    assert made.num_classes is None
    assert (made.train.x.shape, made.test.x.shape) == ((9, 3, 2, 3), (1, 3, 2, 3))
    seen = {image.tobytes() for image in np.concatenate([made.train.x, made.test.x])}
    assert seen == {image.tobytes() for image in pixels.values()}


def test_palette_and_bilevel_images_are_read_as_what_they_show(tmp_path):
    stripes = np.zeros((4, 4, 3), np.uint8)
    stripes[:, ::2, 0] = 255
    for i in range(2):
        pictures = {"palette": Image.fromarray(stripes).quantize(2), "bilevel": Image.fromarray(stripes[..., 0] > 0)}
        assert [picture.mode for picture in pictures.values()] == ["P", "1"]
        for name, picture in pictures.items():
            (tmp_path / name).mkdir(exist_ok=True)
            picture.save(tmp_path / name / f"{i}.png")
    np.testing.assert_array_equal(load(tmp_path / "palette").train.x[0], stripes)
    np.testing.assert_array_equal(load(tmp_path / "bilevel").train.x[0], stripes[..., :1])


def test_second_load_decodes_nothing(images, tmp_path, cache, monkeypatch):
    first = load(images)
    assert len(list(cache.glob("folder-*.npz"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda file: pytest.fail(f"{file} is decoded again"))
        second = load(images)
    np.testing.assert_array_equal(second.train.x, first.train.x)
    assert second._replace(train=first.train, test=first.test) == first

    assert load(images, data_dir=tmp_path / "data").fingerprint == first.fingerprint
    assert len(list((tmp_path / "data" / "decoded").glob("folder-*.npz"))) == 1


def break_truncated(root):
    file = root / "cats" / "3.png"
    file.write_bytes(file.read_bytes()[:40])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_truncated, r"3.png is unreadable \(.*; repair or remove it"),
        (lambda root: (root / "dogs" / "x.jpg").write_bytes(b"no image"), "x.jpg is unreadable"),
        (lambda root: write(root / "cats" / "x.png", grey(0, (6, 7))), "0.png is 5x4 grey and .*x.png is 7x6 grey"),
        (lambda root: write(root / "cats" / "x.png", np.zeros((4, 5, 3), np.uint8)), "x.png is 5x4 colour"),
        (lambda root: write(root / "cats" / "x.png", np.zeros((4, 5, 4), np.uint8)), "x.png is of Pillow's mode RGBA"),
        (lambda root: write(root / "birds" / "x.png", grey(0)), "birds/x.png is the only image of its class"),
        (lambda root: write(root / "x.png", grey(0)), "x.png is in no subfolder, and .*cats/0.png is in one"),
    ],
)
def test_bad_images_are_named(images, damage, message):
    damage(images)
    with pytest.raises(BadInput, match=message) as caught:
        load(images)
    assert "\n" not in str(caught.value)


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"there is no folder .*/nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"it contains no images; give files of \.png, \.jpg"):
        load(tmp_path / "empty")
    for i in range(2):
        write(tmp_path / "split" / "train" / f"{i}.png", grey(i))
        write(tmp_path / "split" / "test" / f"{i}.png", grey(i))
    with pytest.raises(BadInput, match="subfolders test, train are splits, not classes"):
        load(tmp_path / "split")


def test_pictures_of_any_size_and_kind_are_made_squares_of_one(tmp_path):
    for place, (pixels, name) in enumerate(
        (
            (np.full((6, 10), 80, np.uint8), "wide"),
            (np.full((20, 8), 40, np.uint8), "tall"),
            (np.full((4, 4, 3), (10, 20, 30), np.uint8), "colour"),
        )
    ):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "a" / f"{place}{name}.png")
    half = np.zeros((8, 16), np.uint8)
    half[:, 4:12] = np.repeat([0, 200], 4)  # only the middle square is seen
    Image.fromarray(half).save(tmp_path / "a" / "3.png")
    dataset = data.load(f"folder:{tmp_path}", data_dir=tmp_path / "kept", size=4)
    seen = np.concatenate([dataset.train.x, dataset.test.x])
    assert seen.shape == (4, 4, 4, 3)
    expected = [np.full((4, 4, 3), value) for value in (80, 40, (10, 20, 30))]
    expected.append(np.tile(np.repeat([0, 200], 2)[None, :, None], (4, 1, 3)))
    for image in expected:
        assert (seen == image).all((1, 2, 3)).sum() == 1
    with pytest.raises(BadInput, match="of one size"):
        data.load(f"folder:{tmp_path}", data_dir=tmp_path / "kept")
