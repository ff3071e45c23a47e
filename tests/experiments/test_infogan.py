"""The page of the InfoGAN: its defaults, what a run leaves and computes, and codes that are read off its samples."""

import math

import jax
import numpy as np
import pytest

from experiments import apply, generate, infogan
from genjax import data, gradients, runs
from genjax.errors import BadInput
from genjax.models import info_gan

SMALL = dict(num_steps=4, eval_every=2, log_every=2, hidden=(8,), noise_dim=3, batch_size=32)

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_defaults_follow_from_the_data_and_other_flags():
    for name, num_categories in (("digits", 10), ("curve", 10)):
        flags = infogan.resolve(infogan.Flags(learning_rate=0.5), data.load(name))
        assert (flags.num_categories, flags.generator_learning_rate) == (num_categories, 0.5)
    flags = infogan.resolve(infogan.Flags(num_categories=3, generator_learning_rate=0.0), data.load("digits"))
    assert (flags.num_categories, flags.generator_learning_rate) == (3, 0)
    digits = data.load("digits")
    for normalization, weight in (("channels", 1), ("batch", 1), ("batch_both", 0)):
        assert infogan.resolve(infogan.Flags(normalization=normalization), digits).penalty_weight == weight
    penalised = infogan.resolve(infogan.Flags(normalization="batch_both", penalty_weight=0.1), digits)
    with pytest.raises(BadInput, match="penalty_weight: with --normalization=batch_both, a logit depends"):
        infogan.build(penalised, digits, gradients.whole_batch)
    with pytest.raises(BadInput, match="network: curve has no images; use mlp"):
        infogan.build(flags.replace(dataset="curve", network="dcgan"), data.load("curve"), gradients.whole_batch)


@pytest.mark.parametrize("normalization", ["channels", "batch_both"])
def test_the_networks_of_the_paper_have_a_dense_layer_on_either_side_of_the_maps(normalization):
    flags, digits = infogan.Flags(network="dcgan_dense", normalization=normalization), data.load("digits")
    flags = infogan.resolve(flags, digits)
    params = jax.eval_shape(infogan.build(flags, digits, gradients.whole_batch).model.init, jax.random.key(0)).params
    generator, discriminator = (params[player] for player in ("generator", "discriminator"))
    if normalization == "batch_both":
        generator, discriminator = generator["params"], discriminator["params"]
    assert generator["hidden_1"]["kernel"].shape == (16 + 10 + 2, 1024)
    assert generator["dense"]["kernel"].shape == (1024, 2 * 2 * 64)  # 8 x 8 pixels, halved twice
    assert discriminator["hidden_1"]["kernel"].shape == (2 * 2 * 64, 1024)
    assert discriminator["dense"]["kernel"].shape == (1024, 1 + 10 + 2)


@pytest.mark.slow
def test_a_run_is_pictured_measured_and_used(tmp_path, monkeypatch):
    monkeypatch.setenv("NPROC", "4")
    run = runs.train(infogan.EXPERIMENT, infogan.Flags(**SMALL), workdir=tmp_path / "run")
    left = {path.name for path in run.directory.iterdir()}
    assert {"samples.png", "sweep_1.png", "sweep_2.png", "training.gif"} <= left
    assert run.metrics["categorical_entropy"] == pytest.approx(math.log(10))
    assert run.metrics["categorical_information"] <= math.log(10) and 0 <= run.metrics["clustering_error"] <= 1
    x = data.load("digits").test.x[:5]
    np.save(tmp_path / "x.npy", x)
    out = tmp_path / "read.npz"
    apply.main(apply.Flags(run=str(run.directory), input=str(tmp_path / "x.npy"), to="categories", out=str(out)))
    found = info_gan.recognise(run.params["discriminator"], np.float32(x) / 16, parts=run.parts)
    read = np.load(out)
    np.testing.assert_array_equal(read["category"], np.argmax(found.logits, axis=1))
    np.testing.assert_allclose(read["continuous"], found.mean, rtol=1e-4, atol=1e-5)
    z = (0.5, -1, 2, *np.eye(10)[7], 0.1, -0.2)
    generate.main(generate.Flags(run=str(run.directory), z=z, out=str(tmp_path / "made")))
    codes = info_gan.Codes(np.float32([z[:3]]), np.array([7]), np.float32([z[-2:]]))
    expected = info_gan.generate(run.params["generator"], codes, parts=run.parts)
    np.testing.assert_allclose(np.load(tmp_path / "made" / "samples.npz")["x"], expected, rtol=1e-5)


@pytest.mark.slow
def test_codes_are_read_off_the_samples(train, tmp_path):
    metrics = train("infogan", tmp_path / "run", xla_flags="")["metrics"]
    assert metrics["categorical_information"] > 2.2 and metrics["continuous_correlation"] > 0.8
    assert metrics["clustering_error"] < 0.7  # .9 - .1 or so of categories that know nothing of the classes
