"""The page of the VQ-VAE: what it measures, writes and computes, on small runs in this process."""

import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import apply, generate, vq
from genjax import data, gradients, runs
from genjax.errors import BadInput
from genjax.models import vq as model
from genjax.training.determinism import DEFAULT_CPU_THREADS

SMALL: Any = dict(
    num_steps=4, eval_every=2, log_every=2, checkpoint_every=4, hidden=(8,), prior_width=8, prior_layers=1
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run of residual codes on a map of 4 x 4, in two shards."""
    folder = tmp_path_factory.mktemp("runs")
    flags = vq.Flags(
        **SMALL, network="convolutional", features=(4,), quantizer="residual", num_codes=4, code_dim=3, shards=2
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield runs.train(vq.EXPERIMENT, flags, workdir=folder / "vq")


@pytest.fixture(scope="module")
def x():
    """Held-out digits as they are stored, 0 to 16."""
    return data.load("digits").test.x[:7]


def applied(run, tmp_path, given, to):
    path, out = tmp_path / "given.npy", tmp_path / f"{to}.npz"
    np.save(path, given)
    apply.main(apply.Flags(run=str(run.directory), input=str(path), out=str(out), batch_size=3, to=to))
    return np.load(out)


@pytest.mark.slow
def test_what_it_measures_by_counting(trained):
    run, found = trained, trained.metrics
    x = jnp.float32(data.load("digits").test.x) / 16  # all 500 are examined
    index = np.asarray(jax.jit(lambda p, x: model.encode(p, x, parts=run.parts))(run.params, x))
    assert index.shape == (500, 32)
    perplexities, used = [], []
    for codebook in range(2):
        own = index[:, codebook::2].ravel().tolist()
        p = np.array([own.count(k) for k in range(4)]) / len(own)
        perplexities.append(2 ** -sum(q * math.log2(q) for q in p if q))
        used.append(len(set(own)) / 4)
    np.testing.assert_allclose(found["perplexity"], np.mean(perplexities), rtol=1e-6)
    np.testing.assert_allclose(found["codebook_usage"], np.mean(used), rtol=1e-6)
    rate = run.parts.prior.negative_log_density(run.params["prior"], jnp.asarray(index)).mean() / math.log(2)
    np.testing.assert_allclose(found["bits_per_code"], rate / 32, rtol=1e-5)
    np.testing.assert_allclose(found["bits_per_pixel"], rate / 64, rtol=1e-5)
    np.testing.assert_allclose(found["rate"], rate * math.log(2), rtol=1e-2)
    lines = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    assert all("perplexity" in line for line in lines if line["split"] == "test")
    assert {"reconstructions.png", "samples.png", "codebook.png"} <= {p.name for p in run.directory.glob("*.png")}


@pytest.mark.slow
def test_codes_go_to_files_and_back(trained, x, tmp_path):
    run = trained
    index = np.asarray(model.encode(run.params, jnp.float32(x) / 16, parts=run.parts))
    rebuilt = model.decode(run.params, jnp.asarray(index), parts=run.parts)
    np.testing.assert_array_equal(applied(run, tmp_path, x, "codes")["codes"], index)
    np.testing.assert_allclose(applied(run, tmp_path, x, "reconstructions")["reconstructions"], rebuilt, atol=1e-5)
    np.testing.assert_allclose(applied(run, tmp_path, index, "decoded")["decoded"], rebuilt, atol=1e-5)
    applied(run, tmp_path, x, "compressed")
    flags = apply.Flags(
        run=str(run.directory),
        input=str(tmp_path / "compressed.npz"),
        out=str(tmp_path / "back.npz"),
        to="decompressed",
    )
    apply.main(flags)
    np.testing.assert_allclose(np.load(tmp_path / "back.npz")["decompressed"], rebuilt, atol=1e-5)
    scores = applied(run, tmp_path, x, "scores")
    np.testing.assert_allclose(scores["negative_elbo"], scores["distortion"] + scores["rate"], rtol=1e-5)
    np.testing.assert_allclose(scores["squared_error"], np.square(rebuilt - x / 16).sum((1, 2, 3)), rtol=1e-4)


@pytest.mark.slow
def test_samples_and_codes_by_hand(trained, tmp_path):
    given = tuple(float(k) for k in np.arange(32) % 4)
    generate.main(generate.Flags(run=str(trained.directory), z=given, out=str(tmp_path / "z")))
    made = np.load(tmp_path / "z" / "samples.npz")["x"]
    expected = model.decode(trained.params, jnp.arange(32)[None] % 4, parts=trained.parts)
    np.testing.assert_allclose(made, expected, atol=1e-5)
    generate.main(generate.Flags(run=str(trained.directory), num=3, out=str(tmp_path / "drawn")))
    assert np.load(tmp_path / "drawn" / "samples.npz")["x"].shape == (3, 8, 8, 1)


@pytest.mark.slow
def test_several_seeds_are_each_alone(train, tmp_path):
    flags = ("--quantizer=fsq", "--levels=3,2", "--code_length=2", "--prior_width=8", "--hidden=8", "--num_steps=4")
    alone = train("vq", tmp_path / "alone", *flags, "--seed=1")
    train("vq", tmp_path / "both", *flags, "--num_seeds=2")
    both = json.loads((tmp_path / "both" / "seed-1" / "summary.json").read_text())
    assert both["params_sha256"] == alone["params_sha256"]


@pytest.mark.slow
def test_shards_on_two_devices_are_those_on_one(train, tmp_path, monkeypatch):
    flags = ("--shards=4", "--num_codes=8", "--num_steps=60", "--batch_size=64", "--num_codebooks=3")
    flags += ("--quantizer=residual",)
    alone = train("vq", tmp_path / "one", *flags, xla_flags="")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    assert train("vq", tmp_path / "two", *flags, xla_flags="")["params_sha256"] == alone["params_sha256"]


@pytest.mark.parametrize(
    ("flags", "parameter"),
    [
        (dict(prior_heads=3), "prior_heads"),
        (dict(quantizer="fsq", levels=(1000, 1000)), "levels"),
        (dict(network="convolutional", dataset="curve"), "network"),
    ],
)
def test_flags_that_do_not_fit_are_named(flags, parameter):
    flags = vq.Flags(**flags)
    with pytest.raises(BadInput) as error:
        vq.build(flags, data.load(flags.dataset), gradients.whole_batch)
    assert error.value.parameter == parameter


@pytest.mark.parametrize(("codebook", "learned"), [("gradient", True), ("moving_average", False)])
def test_the_codebook_learns_as_the_flag_says(codebook, learned):
    flags = vq.Flags(codebook=codebook, likelihood="gaussian")
    assert vq.build(flags, data.load("digits"), gradients.whole_batch).parts.codebook.learned == learned
