"""A run of learned codecs, and the command that sends pictures by one of them."""

import json

import numpy as np
import pytest

from experiments import learned_compression, lossy
from genjax import runs
from genjax.errors import BadInput
from genjax.training.determinism import DEFAULT_CPU_THREADS

SMALL = dict(num_steps=40, eval_every=40, log_every=40, hidden=(16,), code_dim=3, side_dim=2, batch_size=32)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Trains two small codecs of blobs, which are in a file beside the run."""
    folder = tmp_path_factory.mktemp("codec")
    draw, at = np.random.RandomState(0), np.arange(8)
    centre = draw.uniform(2, 6, (120, 2, 1))
    rows, columns = (np.exp(-((at[None] - centre[:, axis]) ** 2) / 4) for axis in (0, 1))
    np.save(folder / "images.npy", (255 * rows[:, :, None] * columns[:, None]).astype(np.uint8)[..., None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
        flags = learned_compression.Flags(
            **SMALL, distortion_weights=(1.0, 16.0), dataset=f"file:{folder / 'images.npy'}"
        )
        yield lambda name, page: runs.train(page, flags, workdir=folder / name)


@pytest.fixture(scope="module")
def trained(train):
    return train("run", learned_compression.EXPERIMENT)


@pytest.fixture
def bare(train):
    """A run without the pictures and curves at its end."""
    return train("bare", learned_compression.EXPERIMENT._replace(summarise=lambda flags, trained: {}))


def call(run, capsys, **flags):
    lossy.main(lossy.Flags(run=str(run.directory), **flags))
    return capsys.readouterr().out


@pytest.mark.slow
def test_the_curves_are_those_of_what_is_on_the_disk(trained):
    table = json.loads((trained.directory / "rate_distortion.json").read_text())
    assert set(table) == {"learned codec", "pca", "dct"}
    pixels = trained.dataset.test.x[..., 0].size
    for weight, point in table["learned codec"].items():
        size = (trained.directory / "codes" / f"learned_{weight}.bin").stat().st_size
        assert point["num_bytes"] == size and point["rate"] == pytest.approx(8 * size / pixels)
        assert point["entropy"] * pixels < 8 * size  # the streams' ends come on top
    middle = table["learned codec"]["weight16"]
    assert trained.metrics["rate_on_disk"] == middle["rate"] and trained.metrics["psnr"] == middle["psnr"]
    assert (trained.directory / "reconstructions.png").exists()


@pytest.mark.slow
def test_pictures_come_back_from_a_file(trained, tmp_path, capsys):
    path, given = tmp_path / "pictures.bits", trained.directory.parent / "images.npy"
    told = call(trained, capsys, input=str(given), out=str(path))
    assert f"120 images in {path.stat().st_size} bytes" in told
    call(trained, capsys, decompress=str(path), out=str(tmp_path / "restored.npy"))
    restored, x = np.load(tmp_path / "restored.npy"), np.load(given) / 255
    assert restored.shape == x.shape and 0 <= restored.min() and restored.max() <= 1
    psnr = -10 * np.log10(np.mean((restored - x) ** 2))
    assert f"PSNR {psnr:.2f} dB" in told
    call(trained, capsys, input=str(given), out=str(path), distortion_weight=1.0)
    call(trained, capsys, decompress=str(path), out=str(tmp_path / "coarse.npy"))
    assert np.abs(np.load(tmp_path / "coarse.npy") - restored).max() > 0.01


def test_what_does_not_fit_is_refused_in_one_line(bare, tmp_path, capsys, monkeypatch):
    path = tmp_path / "pictures.bits"
    call(bare, capsys, out=str(path))  # the held-out images
    whole, out = path.read_bytes(), str(tmp_path / "x.npy")
    for place in (0, len(lossy.MAGIC) + 3, len(whole) - 40, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(BadInput, match=r"not a file of compressed images|is damaged"):
            call(bare, capsys, decompress=str(path), out=out)
    path.write_bytes(whole)
    with pytest.raises(BadInput, match=r"2 is not a weight of this run; it has 1, 16"):
        call(bare, capsys, out=str(path), distortion_weight=2.0)
    with pytest.raises(BadInput, match=r"expected a file \.npy"):
        call(bare, capsys, decompress=str(path), out="x.npz")
    with pytest.raises(BadInput, match="cannot be read"):
        call(bare, capsys, decompress=str(tmp_path / "nothing"), out=out)
    monkeypatch.setattr(lossy, "params_sha256", lambda params: "other")
    with pytest.raises(BadInput, match="with the parameters of another run or step"):
        call(bare, capsys, decompress=str(path), out=out)
    assert not (tmp_path / "x.npy").exists()
