"""The command that compresses black and white images without loss: files that come back, and those that are refused."""

import json
import re

import numpy as np
import pytest

from experiments import lossless, vae
from genjax import runs
from genjax.errors import BadInput
from genjax.training.determinism import DEFAULT_CPU_THREADS

SMALL = dict(num_steps=60, hidden=(16,), latent_dim=3, eval_every=60, log_every=60)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run on a few binary images, which are in a file beside it."""
    folder = tmp_path_factory.mktemp("lossless")
    x = np.random.RandomState(0).uniform(size=(90, 4, 4)) < np.linspace(0.05, 0.95, 16).reshape(4, 4)
    np.save(folder / "images.npy", 255 * x.astype(np.uint8)[..., None])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
        flags = vae.Flags(**SMALL, dataset=f"file:{folder / 'images.npy'}")
        yield runs.train(vae.EXPERIMENT, flags, workdir=folder / "run")


def call(run, capsys, **flags):
    lossless.main(lossless.Flags(run=str(run.directory), **flags))
    return capsys.readouterr().out


@pytest.mark.slow
def test_images_come_back_from_a_file(trained, tmp_path, capsys):
    path, given = tmp_path / "images.bits", trained.directory.parent / "images.npy"
    told = call(trained, capsys, input=str(given), out=str(path), lanes=8)
    net, elbo = (float(text) for text in re.findall(r"([\d.]+) bits per pixel", told))
    assert net == pytest.approx(elbo, rel=0.05) and f"90 images in {path.stat().st_size} bytes" in told
    call(trained, capsys, decompress=str(path), out=str(tmp_path / "images.npy"))
    np.testing.assert_array_equal(255 * np.load(tmp_path / "images.npy"), np.load(given))
    call(trained, capsys, out=str(path))  # the held-out images
    header = json.loads(path.read_bytes()[len(lossless.MAGIC) :].split(b"\n")[0])
    assert header["num"] == len(trained.dataset.test.x) and header["shape"] == [4, 4, 1]


def test_damage_and_other_runs_are_refused(trained, tmp_path, capsys, monkeypatch):
    path = tmp_path / "images.bits"
    call(trained, capsys, out=str(path))
    whole = path.read_bytes()
    for place in (0, len(lossless.MAGIC) + 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(BadInput, match=r"not a file of compressed images|is damaged"):
            call(trained, capsys, decompress=str(path), out=str(tmp_path / "x.npy"))
    path.write_bytes(whole)
    monkeypatch.setattr(lossless, "params_sha256", lambda params: "other")
    with pytest.raises(BadInput, match="with the parameters of another run or step"):
        call(trained, capsys, decompress=str(path), out=str(tmp_path / "x.npy"))
    assert not (tmp_path / "x.npy").exists()


def test_what_has_other_densities_is_refused(trained, tmp_path, capsys):
    grey = tmp_path / "grey.npy"
    np.save(grey, np.full((2, 4, 4, 1), 0.5))
    with pytest.raises(BadInput, match="100% of the pixels are neither 0 nor 1"):
        call(trained, capsys, input=str(grey), out=str(tmp_path / "a"))
    with pytest.raises(BadInput, match="needs a Bernoulli likelihood"):
        lossless.check_run(trained._replace(flags=trained.flags.replace(prior="mixture")))
    with pytest.raises(BadInput, match=r"expected a file \.npy"):
        call(trained, capsys, decompress="a", out=str(tmp_path / "a.npz"))
