"""Folders of image files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.data import image_file
from genjax.errors import BadInput


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "genjax"


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
    assert (made.scale, made.num_classes, made.class_names) == (255.0, 2, ("cats", "dogs"))
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
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: sorted(listed(self), reverse=True))
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
        (lambda root: write(root / "cats" / "x.png", grey(0, (6, 7))), "0.png is 5x4 and .*x.png is 7x6 .*image_size"),
        (lambda root: (root / "cats" / "loop").symlink_to(root), "cats/loop is a link to a folder that contains it"),
        (lambda root: write(root / "cats" / "x.tif", np.full((4, 5), -0.5, np.float32)), "x.tif has values from -0.5"),
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
    with pytest.raises(BadInput, match=r"it contains no images, and nothing else; give files"):
        load(tmp_path / "empty")
    (tmp_path / "empty" / "a.txt").touch()
    (tmp_path / "empty" / "b.png").symlink_to("nowhere")
    with pytest.raises(BadInput, match=r"no images, and 2 files .* \(.png 1, .txt 1, 1 of them broken links\); give"):
        load(tmp_path / "empty")
    for i in range(2):
        write(tmp_path / "single" / str(i) / "0.png", grey(i))
    with pytest.raises(BadInput, match=r"every class has a single image, such as .*/single/0/0.png"):
        load(tmp_path / "single")
    for i in range(2):
        write(tmp_path / "split" / "val" / f"{i}.png", grey(i))
        write(tmp_path / "split" / "test" / f"{i}.png", grey(i))
    with pytest.raises(BadInput, match="subfolders test, val are splits, not classes"):
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
    with pytest.raises(BadInput, match=r"give `image_size` to cut all to one size"):
        data.load(f"folder:{tmp_path}", data_dir=tmp_path / "kept")


def test_an_image_is_cut_around_its_middle_and_each_pixel_is_the_mean_of_those_it_covers(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (12, 10), np.uint8)
    write(tmp_path / "a.png", pixels)
    # to 3 x 5: a strip of 6 rows from the third on, in cells of 2 x 2
    expected = pixels[3:9].reshape(3, 2, 5, 2).mean(axis=(1, 3))
    found = image_file.read(tmp_path / "a.png", (3, 5)).pixels
    assert found.shape == (3, 5, 1)
    np.testing.assert_allclose(found[..., 0], expected, atol=1)
    with pytest.raises(BadInput, match=r"expected a height and a width, or one number for both, not \[1, 2, 3\]"):
        image_file.read(tmp_path / "a.png", (1, 2, 3))


def logged(caplog) -> list[str]:
    """The warnings since the last call."""
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    caplog.clear()
    assert all("\n" not in line for line in lines)
    return lines


def test_links_to_folders_are_followed(images, tmp_path, caplog):
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("cats", "dogs"):
        (linked / name).symlink_to(images / name)
    made = load(linked)
    assert made.fingerprint == load(images).fingerprint and made.class_names == ("cats", "dogs")
    assert not logged(caplog)


@pytest.mark.parametrize("suffix", ["pgm", "gif", "jfif", "tga", "webp", "avif", "PPM", "jp2"])
def test_whatever_pillow_opens_is_an_image(images, suffix):
    for i in range(2):
        (images / "birds").mkdir(exist_ok=True)
        Image.fromarray(grey(200, (4, 5))).convert("RGB" if suffix in ("PPM", "jp2", "avif") else "L").save(
            images / "birds" / f"{i}.{suffix}"
        )
    made = load(images)
    assert made.class_names == ("birds", "cats", "dogs")
    assert made.train.label is not None
    np.testing.assert_array_equal(np.bincount(made.train.label), [1, 18, 18])
    np.testing.assert_allclose(made.train.x[0], 200, atol=3)


def test_what_is_left_out_is_counted_and_named(images, caplog):
    load(images)
    assert not logged(caplog)
    for name in ("notes.txt", "cats/more.txt", "cats/table.csv", "cats/none"):
        (images / name).touch()
    (images / "cats" / "gone.png").symlink_to("nowhere.png")
    (images / "birds").mkdir()
    made = load(images)
    (line,) = logged(caplog)
    counts = "(.txt 2, .csv 1, .png 1, no suffix 1, 1 of them broken links)"
    assert f"left out: 5 files that are not images {counts}" in line
    assert line.endswith("birds without images, which is not a class")
    assert made.class_names == ("cats", "dogs")


@pytest.mark.parametrize(("orientation", "turned"), [(3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1))])
def test_images_are_turned_as_their_cameras_noted(tmp_path, caplog, orientation, turned):
    pixels = np.random.RandomState(0).randint(0, 256, (2, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("0", "1"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", exif=exif)
    np.testing.assert_array_equal(load(tmp_path).train.x[0, ..., 0], turned(pixels))
    (line,) = logged(caplog)
    assert line.endswith("of 2 images these were converted: 2 turned upright")
    load(tmp_path)
    assert not logged(caplog)  # only when they are decoded


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("notes", [b"MM\0*garbage", b"garbage!", b""])
def test_broken_notes_of_a_camera_do_not_make_an_image_unreadable(tmp_path, notes):
    for name in ("0", "1"):
        Image.fromarray(grey(90)).save(tmp_path / f"{name}.jpg", exif=b"Exif\0\0" + notes)
    np.testing.assert_array_equal(load(tmp_path).train.x[0], 90)


def over_white(colour, alpha):
    return colour * alpha / 255 + 255 * (1 - alpha / 255)


def rgba() -> tuple[Image.Image, np.ndarray]:
    pixels = np.random.RandomState(0).randint(0, 256, (4, 5, 4), np.uint8)
    return Image.fromarray(pixels), over_white(pixels[..., :3], pixels[..., 3:].astype(float))


def grey_with_alpha() -> tuple[Image.Image, np.ndarray]:
    pixels = np.random.RandomState(0).randint(0, 256, (4, 5, 2), np.uint8)
    return Image.fromarray(pixels), over_white(pixels[..., :1], pixels[..., 1:].astype(float))


def transparent_palette() -> tuple[Image.Image, np.ndarray]:
    image = Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5) % 2, mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.info["transparency"] = 1
    shown = np.where(np.arange(20).reshape(4, 5, 1) % 2, 255, np.array([10, 20, 30]))
    return image, shown


def cmyk() -> tuple[Image.Image, np.ndarray]:
    ink = np.random.RandomState(0).randint(0, 256, (4, 5, 4), np.uint8)
    return Image.fromarray(ink, mode="CMYK"), (1 - ink[..., :3] / 255) * (255 - ink[..., 3:].astype(float))


def sixteen_bits() -> tuple[Image.Image, np.ndarray]:
    pixels = np.random.RandomState(0).randint(0, 65536, (4, 5)).astype(np.uint16)
    return Image.fromarray(pixels), pixels[..., None] / 65535


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize(
    ("made", "suffix", "said"),
    [
        (rgba, "png", "2 with transparency, laid over white"),
        (grey_with_alpha, "png", "2 with transparency, laid over white"),
        (transparent_palette, "png", "2 with transparency, laid over white"),
        (cmyk, "tif", "2 from CMYK to RGB"),
        (sixteen_bits, "png", "2 of more than 8 bits, as floats in [0, 1]"),
        (sixteen_bits, "tif", "2 of more than 8 bits, as floats in [0, 1]"),
        (sixteen_bits, "pgm", "2 of more than 8 bits, as floats in [0, 1]"),
    ],
)
def test_images_of_other_kinds_are_converted_and_counted(tmp_path, caplog, made, suffix, said):
    image, expected = made()
    for name in ("0", "1"):
        keep = {"transparency": 1} if made is transparent_palette else {}
        image.save(tmp_path / f"{name}.{suffix}", **keep)
    dataset = load(tmp_path)
    assert dataset.train.x.shape == (1, *expected.shape)
    np.testing.assert_allclose(dataset.train.x[0], expected, atol=1e-7 if made is sixteen_bits else 1.01)
    assert dataset.scale == (1 if made is sixteen_bits else 255)
    (line,) = logged(caplog)
    assert line.endswith(f"of 2 images these were converted: {said}")


def test_grey_and_colour_and_16_bits_are_made_alike(tmp_path, caplog):
    write(tmp_path / "0.png", grey(51))
    write(tmp_path / "1.png", np.full((4, 5, 3), (0, 102, 255), np.uint8))
    write(tmp_path / "2.png", np.full((4, 5), 13107, np.uint16))
    made = load(tmp_path)
    both = np.concatenate([made.train.x, made.test.x])
    assert both.dtype == np.float32
    shown = sorted(map(tuple, both[:, 0, 0].round(6).tolist()))
    np.testing.assert_allclose(shown, [(0, 0.4, 1), (0.2, 0.2, 0.2), (0.2, 0.2, 0.2)], atol=1e-6)
    (line,) = logged(caplog)
    for part in ("1 of more than 8 bits", "2 from grey to colour", "2 of 8 bits, as floats like the others"):
        assert part in line


def split_folder(root: Path, names: dict[str, dict[str, range]]) -> Path:
    for split, classes in names.items():
        for kind, values in classes.items():
            for value in values:
                write(root / split / kind / f"{value}.png", grey(value))
    return root


@pytest.mark.parametrize(("train", "held_out"), [("train", "val"), ("Training", "test"), ("train", "validation")])
def test_folders_of_splits_become_the_splits(tmp_path, caplog, train, held_out):
    classes = {"a": range(5), "b": range(10, 14), "c": range(20, 21)}
    root = split_folder(tmp_path / "x", {train: classes, held_out: {"a": range(5, 7), "b": range(14, 15)}})
    made = load(root)
    assert made.class_names == ("a", "b", "c")
    assert made.train.label is not None and made.test.label is not None
    assert made.train.x[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 10, 11, 12, 13, 20]
    assert made.test.x[:, 0, 0, 0].tolist() == [5, 6, 14]
    assert made.train.label.tolist() == [0] * 5 + [1] * 4 + [2]
    assert made.test.label.tolist() == [0, 0, 1]
    assert not logged(caplog)


def test_of_three_splits_test_is_held_out_and_val_is_left_out(tmp_path, caplog):
    names = {"train": {"": range(5)}, "val": {"": range(5, 7)}, "test": {"": range(7, 10)}}
    made = load(split_folder(tmp_path / "x", names))
    assert made.train.label is None and made.class_names is None
    assert made.train.x[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert made.test.x[:, 0, 0, 0].tolist() == [7, 8, 9]
    (line,) = logged(caplog)
    assert line.endswith("left out: the split val, as test is held out")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"extra": {"a": range(2)}}, "subfolders test, train are splits, and extra lies beside them"),
        ({"": {"": range(1)}}, "subfolders test, train are splits, and 0.png lies beside them"),
        ({"training": {"a": range(2)}}, "subfolders test, train, training are splits, of which two are alike"),
        ({"test": {"z": range(1)}}, "test/z is a class without images in train"),
        ({"test": {"": range(1)}}, "0.png is in no subfolder, and .*0.png is in one"),
    ],
)
def test_what_does_not_fit_splits_is_named(tmp_path, more, message):
    root = split_folder(tmp_path / "x", {"train": {"a": range(3)}, "test": {"a": range(2)}} | {})
    split_folder(root, more)
    with pytest.raises(BadInput, match=message) as caught:
        load(root)
    assert "\n" not in str(caught.value)


def test_a_split_alone_is_not_taken_for_a_class(tmp_path):
    root = split_folder(tmp_path / "x", {"train": {"a": range(3), "b": range(2)}})
    with pytest.raises(BadInput, match="subfolders train are splits, not classes; give the folder of one"):
        load(root)
    assert load(root / "train").class_names == ("a", "b")
    vehicles = split_folder(tmp_path / "y", {"bus": {"": range(3)}, "train": {"": range(2)}})
    assert load(vehicles).class_names == ("bus", "train")


def test_a_single_image_of_a_person_is_trained_on(images, caplog):
    write(images / "birds" / "0.png", grey(200))
    made = load(images)
    assert made.class_names == ("birds", "cats", "dogs")
    assert made.train.label is not None and made.test.label is not None
    np.testing.assert_array_equal(np.bincount(made.train.label), [1, 18, 18])
    np.testing.assert_array_equal(np.bincount(made.test.label), [0, 2, 2])
    (line,) = logged(caplog)
    assert line.endswith("birds with a single image, of which none is held out")


def test_the_smallest_folders_and_odd_names(tmp_path):
    ten = split_folder(tmp_path / "ten", {"only": {"": range(10)}})
    assert (len(load(ten).train.x), len(load(ten).test.x), load(ten).num_classes) == (9, 1, 1)
    names = ("ein Vogel", "Ä_é$x$", "猫")
    two = split_folder(tmp_path / "a b ü", {name: {"": range(2)} for name in names})
    assert load(two).class_names == tuple(sorted(names))
    assert (len(load(two).train.x), len(load(two).test.x)) == (3, 3)


def test_other_pixels_of_equal_size_and_time_are_noticed(images):
    before, file = load(images), images / "dogs" / "more" / "3.BMP"
    stat = file.stat()
    write(file, grey(99))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert load(images).fingerprint != before.fingerprint
