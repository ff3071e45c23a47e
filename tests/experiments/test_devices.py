"""Every page on two simulated devices, which share each batch: it trains, and what it makes of the result is finite."""

import json
import math
from pathlib import Path

import pytest

FOLDER = "--dataset=PICTURES --batch_size=16"
PAGES = {
    "adversarial_autoencoder": f"--hidden=8 --prior=ring --variant=labelled {FOLDER}",
    "autoencoder": f"--hidden=8 --latent_dim=2 {FOLDER}",
    "bigan": f"--hidden=8 --latent_dim=2 --num_known=20 {FOLDER}",
    "classifier": f"--hidden=8 {FOLDER}",
    "compression": f"--hidden=8 --latent_dims=2,4 --bits=2 {FOLDER}",
    "contractive": f"--hidden=8 --latent_dim=2 {FOLDER}",
    "denoising": "--hidden=8 --latent_dim=4 --batch_size=16",
    "flow": "--hidden=8 --num_layers=2",
    "identity_encoder": f"--features=4,8 {FOLDER}",
    "identity_swap": "--features=4,8 --discriminator_features=4,8 --num_blocks=2 --encoder_steps=4 --dataset=PICTURES "
    "--batch_size=2",
    "imputation": f"--hidden=8 --latent_dim=2 --num_imputation_samples=3 {FOLDER}",
    "infogan": f"--hidden=8 --noise_dim=2 {FOLDER}",
    "iwae": f"--hidden=8 --latent_dim=2 --num_test_samples=4 {FOLDER}",
    "ladder": f"--hidden=8,8 --latent_dims=3,2 --num_importance_samples=3 {FOLDER}",
    "learned_compression": f"--hidden=8 --code_dim=3 --side_dim=2 --distortion_weights=4,16 {FOLDER}",
    "linear_pca": "--batch_size=100",
    "made": f"--hidden=8 --num_masks=2 {FOLDER}",
    "masked_autoencoder": f"--width=8 --num_layers=1 --decoder_width=8 --num_draws=2 --labels_per_class=5 {FOLDER}",
    "outliers": f"--hidden=8 {FOLDER}",
    "semi_supervised": f"--hidden=8 --latent_dim=2 --num_labels=8 --num_labelled=4 {FOLDER}",
    "stacked": f"--hidden=8,8 --masking=0.1,0.2 --pretraining_steps=1 {FOLDER}",
    "sparse": "--num_units=30 --num_draws=2 --batch_size=16",
    "visualise": f"--hidden=8 {FOLDER}",
    "sfnn": "--hidden=4 --num_stochastic=2 --num_draws=2",
    "gan": f"--hidden=8 {FOLDER}",
    "vae": f"--hidden=8 --latent_dim=2 {FOLDER}",
    "vae_gan": f"--hidden=8 --latent_dim=2 --adaptive_weight {FOLDER}",
    "vq": f"--network=convolutional --features=4,8 --num_codes=4 --prior_width=8 --prior_layers=1 {FOLDER}",
}
SHORT = ("--num_steps=4", "--log_every=2", "--eval_every=4")


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_page_on_two_devices(name, train, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    flags = [flag.replace("PICTURES", f"folder:{pictures}") for flag in PAGES[name].split()]
    summary = train(name, tmp_path / "run", *flags, *SHORT)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["bits_of_devices"] == 2
    assert summary["num_steps"] == 4 and all(math.isfinite(value) for value in summary["metrics"].values())


def test_no_page_is_left_out():
    pages = Path(__file__).parents[2] / "experiments"
    assert {path.stem for path in pages.glob("*.py") if "\nEXPERIMENT = " in path.read_text()} == PAGES.keys()
