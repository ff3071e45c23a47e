"""What `experiments.vae` leaves behind, for each kind of network and likelihood."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from PIL import Image

from experiments import held_out_likelihood, vae
from genjax import data
from genjax.runs.flags import specs

SMALL = (
    "--num_steps=30",
    "--log_every=10",
    "--eval_every=15",
    "--checkpoint_every=20",
    "--hidden=16",
    "--features=4,8",
)
FILES = {
    "config.json",
    "manifest.json",
    "metrics.jsonl",
    "summary.json",
    "checkpoints",
    "reconstructions.png",
    "samples.png",
    "latent_map.png",
    "curves.png",
    "report.html",
}


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("--latent_dim=2",), marks=pytest.mark.slow),
        pytest.param(
            ("--network=convolutional", "--likelihood=learned_gaussian", "--dataset=PICTURES", "--batch_size=32"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("--likelihood=gaussian", "--binarize=static", "--rate_weight=4", "--activation=tanh"),
            marks=pytest.mark.slow,
        ),
        pytest.param(("--binarize=dynamic", "--latent_dim=1"), marks=pytest.mark.slow),
    ],
)
def test_run_directory(train, tmp_path, pictures, flags):
    workdir = tmp_path / "run"
    summary = train("vae", workdir, *SMALL, *(flag.replace("PICTURES", f"folder:{pictures}") for flag in flags))
    found = {path.name for path in workdir.iterdir()} - {"code.diff"}  # which is there if the code has changes
    assert found == FILES | {".lock"}
    config, manifest = (json.loads((workdir / name).read_text()) for name in ("config.json", "manifest.json"))
    assert config["experiment"] == "vae" and config["num_steps"] == 30 and config["seed"] == 0
    assert manifest["steps_done"] == 30 and manifest["backend"] == "cpu" and manifest["cpu_threads"] == 4
    assert manifest["params_sha256"] == summary["params_sha256"] and len(summary["params_sha256"]) == 64
    assert set(summary) == {
        "experiment",
        "num_steps",
        "seconds",
        "steps_per_second",
        "metrics",
        "metrics_standard_error",
        "params_sha256",
    }
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    reported = [(line["step"], line["split"]) for line in lines]
    assert reported == [(10, "train"), (15, "train"), (15, "test"), (20, "train"), (30, "train"), (30, "test")]
    assert {name: lines[-1][name] for name in ("negative_elbo", "rate", "distortion")}.items() <= summary[
        "metrics"
    ].items()
    for line in lines:
        np.testing.assert_allclose(line["negative_elbo"], line["rate"] + line["distortion"], rtol=1e-5)
    for name in FILES:
        if name.endswith(".png"):
            assert np.asarray(Image.open(workdir / name).convert("L")).std() > 5


def test_helpshort_documents_every_flag_with_its_default(finish):
    status, out, _ = finish("vae", "--helpshort")
    assert status == 0 and out.startswith("A variational autoencoder on images")
    assert out.index("Variational autoencoder:") < out.index("\n  --latent_dim=8\n") < out.index("Data:")
    for spec in specs(vae.Flags):
        line = f"  --{spec.name}" + ("" if spec.default is None or spec.item is bool else f"={spec.text(spec.default)}")
        assert line in out.splitlines(), spec.name


@pytest.mark.slow
def test_the_default_run_directory_is_found_again(finish, tmp_path):
    status, out, _ = finish("vae", *SMALL, "--seed=7", cwd=tmp_path)
    assert status == 0
    workdir = out.strip().rpartition("; ")[2]
    assert workdir.startswith("runs/vae-digits-seed7-") and (tmp_path / workdir / "summary.json").exists()
    assert "already finished" in finish("vae", *SMALL, "--seed=7", cwd=tmp_path)[1]


def test_probabilistic_pca_is_the_gaussian_of_its_covariance():
    # Tipping & Bishop 1999: the d largest eigenvalues of the covariance are kept, and the others are their mean
    x = np.random.RandomState(0).uniform(size=(60, 4)) @ np.diag([1.0, 0.7, 0.4, 0.2])
    dataset = data.from_arrays("own", x[:40], x[40:])
    values, vectors = np.linalg.eigh(np.cov(x[:40].T))
    values[:2] = values[:2].mean()
    exact = scipy.stats.multivariate_normal(x[:40].mean(0), vectors * values @ vectors.T).logpdf(x[40:])
    found = vae.pca_likelihood(dataset, 2)
    np.testing.assert_allclose(found["ppca_negative_log_likelihood"], -exact.mean(), rtol=1e-5)


@pytest.mark.parametrize(("x", "dim"), [(np.full((40, 4), 0.5), 2), (np.eye(5), 5), (np.eye(5), 4), (np.eye(5), 7)])
def test_probabilistic_pca_is_left_out_where_nothing_remains_for_its_noise(x, dim):
    assert vae.pca_likelihood(data.from_arrays("own", x, x[:2]), dim) == {}


@pytest.mark.parametrize(
    ("flags", "beside"),
    [
        ({}, True),
        ({"binarize": "dynamic"}, False),
        ({"conditional": True}, False),
        ({"likelihood": "bernoulli"}, False),
    ],
)
def test_pca_is_measured_only_beside_a_density_of_the_same_values(monkeypatch, flags, beside):
    monkeypatch.setattr(held_out_likelihood, "by_importance", lambda *args, **kwargs: {})
    trained = SimpleNamespace(dataset=data.load("digits"), parts=None, key=None)
    found = vae.measure_likelihood(vae.Flags(**{"likelihood": "gaussian"} | flags), trained)
    assert ("ppca_negative_log_likelihood" in found) == beside
