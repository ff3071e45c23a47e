"""Every page on data at the edge of what people have: a picture, or one clear line before any training."""

import contextlib
import io
import math

import numpy as np
import pytest
from PIL import Image

from genjax import runs
from genjax.errors import BadInput
from genjax.runs import opening

PAGES = {
    "adversarial_autoencoder": {"hidden": (8,)},
    "autoencoder": {"hidden": (8,), "latent_dim": 2},
    "bigan": {"hidden": (8,), "latent_dim": 2},
    "classifier": {"hidden": (8,)},
    "compression": {"hidden": (8,), "latent_dims": (2, 4), "bits": (2,)},
    "contractive": {"hidden": (8,), "latent_dim": 2},
    "denoising": {"hidden": (8,), "latent_dim": 4},
    "flow": {"hidden": (8,), "num_layers": 2},
    "gan": {"hidden": (8,)},
    "identity_encoder": {"features": (4, 8)},
    "identity_swap": {
        "features": (4, 8),
        "discriminator_features": (4, 8),
        "num_blocks": 2,
        "encoder_steps": 4,
        "encoder_features": (4, 8),
    },
    "iwae": {"hidden": (8,), "latent_dim": 2, "num_test_samples": 4},
    "imputation": {"hidden": (8,), "latent_dim": 2, "num_imputation_samples": 3},
    "infogan": {"hidden": (8,), "noise_dim": 2},
    "ladder": {"hidden": (8, 8), "latent_dims": (3, 2), "num_importance_samples": 3},
    "learned_compression": {"hidden": (8,), "code_dim": 3, "side_dim": 2, "distortion_weights": (4.0,)},
    "linear_pca": {"latent_dim": 2},
    "made": {"hidden": (8,)},
    "masked_autoencoder": {"width": 8, "num_layers": 1, "decoder_width": 8, "labels_per_class": 5, "num_draws": 2},
    "outliers": {"hidden": (8,)},
    "semi_supervised": {"hidden": (8,), "latent_dim": 2},
    "sfnn": {"hidden": (4,), "num_stochastic": 2, "num_draws": 2},
    "sparse": {"num_units": 30, "num_draws": 2},
    "stacked": {"hidden": (8, 6), "masking": (0.1, 0.2), "pretraining_steps": 1},
    "vae": {"hidden": (8,), "latent_dim": 2},
    "vae_gan": {"hidden": (8,), "latent_dim": 2},
    "visualise": {"hidden": (8,)},
    "vq": {"hidden": (8,), "prior_width": 8, "prior_layers": 1},
}
FOLDERS = {  # class folders, pictures in each, and their shape
    "ten pictures": (1, 10, (8, 8)),
    "two classes of two": (2, 2, (8, 8)),
    "odd colour": (3, 12, (13, 7, 3)),
    "one picture each": (5, 1, (8, 8, 3)),
}
TOYS = ("ring", "grid", "curve", "inverse_sine")
SHORT = {"num_steps": 4, "log_every": 2, "eval_every": 4, "batch_size": 2}


@pytest.fixture(autouse=True)
def cpu_threads(monkeypatch):
    monkeypatch.setenv("NPROC", "4")  # what a command would set before the backend starts


@pytest.fixture(scope="module", params=[*FOLDERS, *TOYS])
def dataset(request, tmp_path_factory):
    if request.param in TOYS:
        return request.param
    classes, count, shape = FOLDERS[request.param]
    draw, folder = np.random.RandomState(0), tmp_path_factory.mktemp("pictures")
    for name in range(classes):
        (folder / f"class {name}").mkdir()
        for index in range(count):
            pixels = draw.randint(0, 256, shape).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class {name}" / f"{index}.png")
    return f"folder:{folder}"


def train(name, dataset, workdir):
    """The finished run, or the line with which it was refused; and what stood on standard error."""
    page, said, refused = opening.find(name), io.StringIO(), None
    flags = page.flags(**PAGES[name], **SHORT, dataset=dataset, workdir=str(workdir / "run"))
    with contextlib.redirect_stderr(said):
        try:
            return runs.train(page, flags), said.getvalue()
        except BadInput as error:
            refused = str(error)
    return refused, said.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_ends_well_or_says_why_not(name, dataset, tmp_path):
    found, said = train(name, dataset, tmp_path)
    if isinstance(found, str):
        assert "from the start" not in said and "\n" not in found
    else:
        assert not any(math.isnan(value) for value in found.metrics.values()), found.metrics
        assert (tmp_path / "run" / "curves.png").exists()


@pytest.mark.parametrize(
    ("name", "dataset"),
    [pytest.param("vae", "ring", marks=pytest.mark.slow), ("autoencoder", "two classes of two")],
    indirect=["dataset"],
)
def test_pages_that_stand_for_the_others(name, dataset, tmp_path):
    found, said = train(name, dataset, tmp_path)
    assert isinstance(found, runs.Run), found
    assert "from the start" in said and (tmp_path / "run" / "reconstructions.png").exists()
    assert all(math.isfinite(value) for value in found.metrics.values())


def test_no_page_is_left_out():
    from tests.experiments import test_devices

    assert PAGES.keys() == test_devices.PAGES.keys()
