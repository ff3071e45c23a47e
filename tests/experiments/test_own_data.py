"""Runs on a user's own folders and files: found from anywhere, moved, drawn from without data, of any range."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments import autoencoder, classifier, generate, identity_encoder, iwae, latent_space, linear_pca, vae
from genjax import runs
from genjax.data import outline
from genjax.drawing import pictures
from genjax.errors import BadInput
from genjax.runs import directory, opening, reproduce

SMALL = dict(num_steps=4, batch_size=8, hidden=(8,), latent_dim=2, eval_every=4, log_every=4)


pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def people(tmp_path):
    """Three people with 40 pictures each, whose brightness is the person's."""
    draw = np.random.RandomState(0)
    for number, name in enumerate(("Ann", "Bo", "_Cy")):
        (tmp_path / "people" / name).mkdir(parents=True)
        for picture in range(40):
            pixels = (80 * number + draw.randint(0, 40, (4, 4))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "people" / name / f"{picture}.png")
    return tmp_path / "people"


@pytest.mark.slow
def test_a_folder_that_moved_is_found_by_its_content(people, tmp_path, monkeypatch):
    run = runs.train(vae.EXPERIMENT, vae.Flags(dataset="folder:people", **SMALL), workdir=tmp_path / "run")
    assert run.flags.dataset == f"folder:{people}" and run.dataset.class_names == ("Ann", "Bo", "_Cy")
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    assert opening.open(tmp_path / "run").dataset.fingerprint == run.dataset.fingerprint

    shutil.move(people, "elsewhere")
    with pytest.raises(BadInput, match=rf"there is no folder {people}; .*its new place as `dataset`"):
        opening.open(tmp_path / "run")
    moved = opening.open(tmp_path / "run", dataset="folder:elsewhere")
    assert moved.dataset.fingerprint == run.dataset.fingerprint

    # the same run, wherever its data are
    flags = vae.Flags(dataset="folder:elsewhere", **SMALL)
    again = runs.train(vae.EXPERIMENT, flags, workdir=tmp_path / "run")
    assert again.metrics == run.metrics
    assert directory.read_config(tmp_path / "run")["dataset"] == f"folder:{tmp_path / 'away' / 'elsewhere'}"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save("elsewhere/Bo/more.png")
    with pytest.raises(BadInput, match=r"was trained on data of fingerprint .* give its place as `dataset`"):
        opening.open(tmp_path / "run", dataset="folder:elsewhere")
    shutil.copytree("elsewhere", "third")
    with pytest.raises(
        BadInput, match=r"holds a run with other values: `dataset`=folder:.*elsewhere \(now folder:.*third"
    ):
        runs.train(vae.EXPERIMENT, flags.replace(dataset="folder:third"), workdir=tmp_path / "run")
    with pytest.raises(BadInput, match=r"^dataset: its fingerprint is "):
        reproduce.main(reproduce.Flags(run=str(tmp_path / "run"), dataset="folder:third"))


@pytest.mark.slow
def test_a_latent_space_is_explored_with_data_that_moved(people, tmp_path):
    runs.train(vae.EXPERIMENT, vae.Flags(dataset="folder:people", **SMALL), workdir=tmp_path / "run")
    shutil.move(people, "elsewhere")
    latent_space.main(latent_space.Flags(run=str(tmp_path / "run"), dataset="folder:elsewhere", num_walks=5))
    assert (tmp_path / "run" / "latent_space" / "concepts.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", [vae, pytest.param(iwae, marks=pytest.mark.slow)])
def test_samples_are_drawn_without_the_data(people, tmp_path, page, capsys):
    more = {} if page is vae else dict(num_samples=2, num_test_samples=2)
    flags = page.Flags(dataset="folder:people", **SMALL, **more)
    run = runs.train(page.EXPERIMENT, flags, workdir=tmp_path / "run")
    drawn = []
    for place in ("people", "gone"):
        if place == "gone":
            shutil.move(people, "gone")
        generate.main(generate.Flags(run=str(tmp_path / "run"), num=20, out=str(tmp_path / place)))
        drawn.append(np.load(tmp_path / place / "samples.npz")["x"])
    np.testing.assert_array_equal(*drawn)
    known = opening.open(tmp_path / "run", with_data=False)
    assert isinstance(known.dataset.train.x, outline.Outline)
    assert known.dataset.train.x.shape == run.dataset.train.x.shape
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    directory.write_manifest(tmp_path / "run", manifest | {"data": {"train": 3}})
    with pytest.raises(BadInput, match=r"manifest\.json has an entry 'data' that is not an outline of a data set"):
        opening.open(tmp_path / "run", with_data=False)
    del manifest["data"]  # as earlier versions wrote it
    directory.write_manifest(tmp_path / "run", manifest)
    with pytest.raises(BadInput, match="there is no folder"):
        opening.open(tmp_path / "run", with_data=False)


@pytest.mark.slow
def test_a_model_that_is_built_from_the_data_is_given_them(people, tmp_path):
    flags = linear_pca.Flags(dataset="folder:people", num_steps=2, batch_size=8, latent_dim=2, eval_every=2)
    runs.train(linear_pca.EXPERIMENT, flags, workdir=tmp_path / "run")
    assert isinstance(opening.open(tmp_path / "run", with_data=False).dataset.train.x, np.ndarray)


def standardised_table(folder):
    """Writes a table of values of either sign, and returns the flags of a small run on it."""
    x = np.random.RandomState(0).normal(size=(60, 5))
    lines = [",".join(map(str, row)) + f",{'ab'[int(row[0] > 0)]}" for row in x]
    (folder / "table.csv").write_text("p,q,r,s,t,kind\n" + "\n".join(lines))
    return dict(SMALL, dataset="file:table.csv", label_column="kind")


@pytest.mark.slow
def test_a_standardised_table_takes_a_gaussian_and_no_bernoulli(tmp_path):
    own = standardised_table(tmp_path)
    for page, wrong in (
        (vae, dict(likelihood="bernoulli")),
        (vae, dict(likelihood="gaussian", binarize="dynamic")),
        (vae, dict(likelihood="gaussian", binarize="static")),
        (autoencoder, dict(reconstruction="cross_entropy")),
        (iwae, dict(binarize="none")),
    ):
        with pytest.raises(
            BadInput, match=r"needs values in \[0, 1\], and data set 'file:table.csv' has others"
        ) as caught:
            runs.train(page.EXPERIMENT, page.Flags(**own | wrong), workdir=tmp_path / "refused")
        assert caught.value.parameter in (*wrong, "dataset") and not (tmp_path / "refused").exists()
    run = runs.train(vae.EXPERIMENT, vae.Flags(likelihood="gaussian", **own), workdir=tmp_path / "run")
    assert run.dataset.class_names == ("a", "b") and (tmp_path / "run" / "latent_map.png").exists()
    assert (tmp_path / "run" / "samples.png").exists()  # as points


@pytest.mark.slow
def test_other_pages_take_a_standardised_table(tmp_path):
    own = standardised_table(tmp_path)
    run = runs.train(autoencoder.EXPERIMENT, autoencoder.Flags(reconstruction="squared_error", **own), workdir="auto")
    peak = np.ptp(run.dataset.train.x)
    mean_squared_error = run.metrics["loss"] / 5
    assert run.metrics["psnr"] == pytest.approx(10 * np.log10(peak**2 / mean_squared_error), abs=1e-3)
    run = runs.train(classifier.EXPERIMENT, classifier.Flags(**{k: v for k, v in own.items() if k != "latent_dim"}))
    assert run.directory.parent.name == "runs"


@pytest.mark.slow
def test_pictures_of_either_sign_are_shown_between_their_limits(tmp_path, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        pictures, "save_captioned_grid", lambda path, images, **named: shown.update({path.name: images})
    )
    x = np.random.RandomState(0).uniform(-1, 1, (30, 4, 4))
    np.save(tmp_path / "x.npy", x)
    runs.train(vae.EXPERIMENT, vae.Flags(likelihood="gaussian", dataset="file:x.npy", **SMALL), workdir="run")
    held_out = np.sort(np.random.RandomState(0).permutation(30)[:3])
    low, high = x.min(), x.max()
    found = shown["reconstructions.png"][0, :3, ..., 0]
    np.testing.assert_allclose(found, (x[held_out] - low) / (high - low), atol=1e-6)


@pytest.mark.slow
def test_pictures_of_several_sizes_are_cut_to_the_one_that_is_asked_for(tmp_path):
    draw = np.random.RandomState(0)
    (tmp_path / "odd").mkdir()
    for number in range(30):
        shape = (*draw.randint(6, 12, 2), 3)
        Image.fromarray(draw.randint(0, 256, shape).astype(np.uint8)).save(tmp_path / "odd" / f"{number}.png")
    flags = vae.Flags(dataset="folder:odd", **SMALL)
    with pytest.raises(BadInput, match="give `image_size` to cut all to one size"):
        runs.train(vae.EXPERIMENT, flags)
    run = runs.train(vae.EXPERIMENT, flags.replace(image_size=(4, 6)), workdir="run")
    assert run.dataset.train.x.shape == (27, 4, 6, 3)
    assert directory.read_config(tmp_path / "run")["image_size"] == [4, 6]
    for name, value in (("image_size", (4,)), ("label_column", "last")):
        with pytest.raises(BadInput, match=rf"^{name}: it applies to (folder|file):PATH.*, not to digits"):
            runs.train(vae.EXPERIMENT, vae.Flags(**{name: value}))
    with pytest.raises(BadInput, match=r"^label_column: it applies to file:PATH and table:PATH, not to faces"):
        runs.train(identity_encoder.EXPERIMENT, identity_encoder.Flags(label_column="last"))
