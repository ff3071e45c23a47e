"""The pages on autoencoders: flags that they refuse, small runs as processes, and the marks that they reach."""

import json

import jax
import jax.numpy as jnp
import pytest

from experiments import autoencoder, contractive, denoising, linear_pca, outliers, sparse, visualise
from genjax import data, gradients
from genjax.errors import BadInput
from genjax.types import Batch

SMALL = ("--num_steps=20", "--eval_every=20")


def written(workdir):
    return {path.name for path in workdir.glob("*.png")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ("--latent_dim=2", "--hidden=16", "--weight_l1=1e-4", "--weight_l2=1e-4"),
        ("--network=convolutional", "--features=4,8", "--reconstruction=squared_error", "--contractive=0.1"),
        ("--latent_dim=80", "--overcomplete", "--hidden=", "--code=k_sparse", "--code_l1=0.1"),
        ("--latent_dim=20", "--hidden=16", "--code=sigmoid", "--code_kl=0.1"),
        ("--latent_dim=20", "--hidden=16", "--code=group", "--threshold=0.5"),
        ("--code_l2=1e-3", "--decoder_l2=1e-3", "--hidden=16"),
        ("--decoder_jacobian=1e-3", "--mmd=10", "--sliced_wasserstein=1", "--hidden=16"),
    ],
)
def test_autoencoder(train, tmp_path, flags):
    summary = train("autoencoder", tmp_path / "run", *SMALL, *flags)
    measured = summary["metrics"]
    assert {"loss", "reconstruction_loss", "psnr", "trustworthiness", "nearest_neighbour_accuracy"} <= set(measured)
    named = {name: name for name in ("code_kl", "weight_l1", "code_l2", "decoder_l2", "mmd", "sliced_wasserstein")}
    named |= {"contractive": "jacobian_norm", "decoder_jacobian": "decoder_jacobian_norm"}
    for name, metric in named.items():
        assert (metric in measured) == any(flag.startswith(f"--{name}=") for flag in flags)
    compared = "--overcomplete" not in flags
    assert ("pca_psnr" in measured) == compared
    pictures = {"reconstructions.png", "latent_map.png", "curves.png"}
    pictures |= {"samples.png"} if "mmd" in measured else set()
    assert written(tmp_path / "run") == pictures | ({"pca_latent_map.png"} if compared else set())


@pytest.mark.parametrize(
    ("page", "flags", "line"),
    [
        (autoencoder, dict(latent_dim=64), "latent_dim: the data have 64 dimensions, so a code of 64"),
        (denoising, dict(scale=0.0), "latent_dim: .* of 64 is not a bottleneck; give fewer, or `scale` above 0"),
        (denoising, dict(noise=("masking",), probability=0.0), "latent_dim: .* give fewer, or `probability` above 0"),
        (contractive, dict(latent_dim=2, contractive=0.0), "latent_dim: the data have 2 dim.*`contractive` above 0"),
        (outliers, dict(latent_dim=70, noise_scale=0.0), "latent_dim: .* of 70 is .*, or `noise_scale` above 0"),
        (
            linear_pca,
            dict(latent_dim=64),
            "latent_dim: the data have 64 dimensions, so a code of 64 is .*; give fewer$",
        ),
        (visualise, dict(dataset="ring"), "dataset: a map has two dimensions, so the data need more; ring has 2"),
        (autoencoder, dict(code="k_sparse", active_units=9), "active_units: the code has 8 units, so 9"),
        (autoencoder, dict(code="group", group_size=3), "group_size: a code of 8 units .* of 3"),
        (autoencoder, dict(code_kl=0.1), "code_kl: the units of a linear code are not rates"),
        (
            denoising,
            dict(noise=("masking", "masking")),
            "noise: expected each kind at most once",
        ),
        (denoising, dict(dataset="curve"), "dataset: the filters need images; curve has vectors"),
        (contractive, dict(jacobian="closed_form"), "jacobian: closed_form needs an encoder without hidden layers"),
    ],
)
def test_flags_that_contradict_each_other_or_the_data(page, flags, line):
    given = page.Flags(**flags)
    dataset = data.load(given.dataset)
    with pytest.raises(BadInput, match=f"^{line}"):
        page.build(given, dataset, gradients.whole_batch)


@pytest.mark.parametrize(
    ("page", "flags"),
    [
        (autoencoder, dict(latent_dim=80, overcomplete=True)),
        (autoencoder, dict(latent_dim=63)),
        (denoising, dict(latent_dim=80)),
        (denoising, dict(latent_dim=80, noise=("masking",), scale=0.0)),
        (contractive, dict(latent_dim=4)),
        (outliers, dict(latent_dim=80)),
        (sparse, dict(num_units=256)),
        (linear_pca, dict(latent_dim=63)),
    ],
)
def test_wide_codes_are_allowed_where_something_else_regularises(page, flags, key):
    given = page.Flags(**flags)
    dataset = data.load(given.dataset)
    model = page.build(given, dataset, gradients.whole_batch).model
    batch = Batch(jnp.asarray(dataset.scaled(dataset.train.sample(8))), jnp.zeros(8, jnp.int32))
    jax.eval_shape(lambda: model.train_step(model.init(key), batch, key))


def test_more_principal_components_than_examples_are_refused():
    few = data.load("digits")
    few = few._replace(train=data.Split(few.train.x[:5]))
    with pytest.raises(BadInput, match=r"^latent_dim: 5 training examples have at most as many .*, not 6"):
        linear_pca.build(linear_pca.Flags(latent_dim=6), few, gradients.whole_batch)


@pytest.mark.parametrize("page", [autoencoder, contractive, denoising, linear_pca, sparse, visualise])
@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_an_average_of_the_parameters_is_kept_where_one_is_wanted(page, averaging, key):
    flags = page.Flags(averaging=averaging)
    model = page.build(flags, data.load(flags.dataset), gradients.whole_batch).model
    state = jax.eval_shape(model.init, key)
    shapes = jax.tree.map(lambda a: a.shape, (state.average, state.params))
    assert shapes[0] == (shapes[1] if averaging else ())


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (dict(noise=("gausian",)), "noise: expected some of gaussian, .*, not 'gausian'"),
        (dict(noise=()), "noise: expected some of gaussian, .*, not ''"),
        (dict(probability=1.1), "probability: expected a number from 0 to 1, not '1.1'"),
    ],
)
def test_flags_out_of_range(flags, line):
    with pytest.raises(BadInput, match=f"^{line}"):
        denoising.Flags(**flags)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pictures"),
    [("autoencoder", {"reconstructions.png", "latent_map.png", "pca_latent_map.png"}), ("sparse", set())],
)
def test_vectors_are_drawn_as_points_and_not_as_images(train, tmp_path, name, pictures):
    train(name, tmp_path / "run", *SMALL, "--dataset=curve", *(["--latent_dim=1"] if pictures else []))
    assert written(tmp_path / "run") == pictures | {"curves.png"}


@pytest.mark.slow
def test_vectors_of_two_dimensions_have_no_map(finish, tmp_path):
    status, _, err = finish("visualise", "--dataset=curve", f"--workdir={tmp_path / 'run'}")
    assert status == 2 and "a map has two dimensions, so the data need more; curve has 2" in err.splitlines()[-1]


@pytest.mark.slow
def test_linear_autoencoder_comes_to_pca(train, tmp_path):
    measured = train("linear_pca", tmp_path / "run", "--eval_every=2000")["metrics"]
    assert measured["largest_angle"] < 1e-3
    assert abs(measured["train_loss"] / measured["closed_form_train_loss"] - 1) < 1e-3
    assert written(tmp_path / "run") == {"axes.png", "curves.png"}


@pytest.mark.slow
def test_penalised_linear_autoencoder_comes_to_its_closed_form(train, tmp_path):
    measured = train("linear_pca", tmp_path / "run", "--eval_every=2000", "--weight_l2=0.1")["metrics"]
    assert measured["largest_angle"] < 1e-3
    assert abs(measured["relative_excess"]) < 1e-3


@pytest.mark.slow
def test_denoising(train, tmp_path):
    flags = ("--noise=gaussian,masking", "--hidden=16", "--latent_dim=8")
    measured = train("denoising", tmp_path / "run", *SMALL, *flags)["metrics"]
    table = json.loads((tmp_path / "run" / "table.json").read_text())
    kinds = ["clean", "gaussian", "salt_and_pepper", "rayleigh", "centred_rayleigh", "speckle", "masking"]
    assert list(table["trained on masking"]) == kinds
    assert measured["masking_psnr"] == table["trained on masking"]["masking"]
    assert measured["gaussian_noisy_psnr"] == pytest.approx(-20 * -0.5229, abs=0.2)  # -20 log10 of the scale, .3
    for noise in ("gaussian", "masking"):
        assert measured[f"{noise}_linear_mmse_psnr"] > measured[f"{noise}_noisy_psnr"] + 2
    similarity = json.loads((tmp_path / "run" / "ssim.json").read_text())
    assert {method: [*row] for method, row in similarity.items()} == {method: [*row] for method, row in table.items()}
    assert measured["masking_ssim"] == similarity["trained on masking"]["masking"] < 1
    assert measured["gaussian_linear_mmse_ssim"] > measured["gaussian_noisy_ssim"] > 0
    assert measured["gaussian_wavelet_psnr"] > measured["gaussian_noisy_psnr"] + 0.5
    pictures = {"denoised_gaussian.png", "denoised_masking.png", "table.png", "ssim.png", "curves.png"}
    assert written(tmp_path / "run") == pictures


@pytest.mark.slow
def test_a_denoiser_does_not_depend_on_those_beside_it(train, tmp_path):
    # each has a key of its own kind, and the sum of losses has a gradient for each alone
    lines = {}
    for name, noise in (("alone", "masking"), ("beside", "gaussian,masking")):
        flags = ("--hidden=16", "--latent_dim=8", f"--noise={noise}")
        lines[name] = train("denoising", tmp_path / name, *SMALL, *flags)["metrics"]["masking_reconstruction_loss"]
    assert lines["alone"] == pytest.approx(lines["beside"], rel=1e-5)


@pytest.mark.slow
def test_contractive_on_the_curve(train, tmp_path):
    measured = train("contractive", tmp_path / "run", *SMALL)["metrics"]
    assert {"rank_correlation", "sensitivity_ratio", "pca_rank_correlation", "pca_sensitivity_ratio"} <= set(measured)
    assert measured["pca_sensitivity_ratio"] > 1
    assert written(tmp_path / "run") == {"curve.png", "curves.png", "reconstructions.png"}


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("--jacobian=hutchinson",), ("--jacobian=closed_form", "--hidden=")])
def test_contractive_on_images(train, tmp_path, flags):
    measured = train("contractive", tmp_path / "run", *SMALL, "--dataset=digits", "--latent_dim=4", *flags)["metrics"]
    assert {"jacobian_norm", "psnr", "pca_psnr"} <= set(measured)
    assert written(tmp_path / "run") == {"directions.png", "reconstructions.png", "curves.png"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("latent_dim", "mark"), [(2, 14.3), (4, 16.3), (8, 18.7), (16, 21.4)])
def test_autoencoder_beats_pca_by_its_mark(train, tmp_path, latent_dim, mark, seed):
    measured = train("autoencoder", tmp_path / "run", f"--latent_dim={latent_dim}", f"--seed={seed}")["metrics"]
    assert measured["psnr"] > mark > measured["pca_psnr"]


@pytest.mark.slow
def test_denoisers_beat_the_linear_filter_by_a_decibel(train, tmp_path):
    measured = train("denoising", tmp_path / "run")["metrics"]
    for noise in ("gaussian", "salt_and_pepper", "rayleigh"):
        assert measured[f"{noise}_psnr"] > measured[f"{noise}_linear_mmse_psnr"] + 1
        for other in ("noisy", "median", "gaussian_filter"):
            assert measured[f"{noise}_linear_mmse_psnr"] > measured[f"{noise}_{other}_psnr"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_contractive_code_follows_the_curve(train, tmp_path, seed):
    measured = train("contractive", tmp_path / "run", f"--seed={seed}")["metrics"]
    assert measured["rank_correlation"] > 0.95 > measured["pca_rank_correlation"]
    assert measured["sensitivity_ratio"] < 0.2 < measured["pca_sensitivity_ratio"]
