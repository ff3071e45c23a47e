"""The page of the VAE-GAN: what it measures, what a run leaves, and how other commands use it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import apply, gan_parts, generate, latent_space, vae_gan
from genjax import data, gradients, runs
from genjax.errors import BadInput
from genjax.models import vae
from genjax.types import Batch

SMALL = dict(num_steps=4, eval_every=2, log_every=2, hidden=(8,), features=(4, 6), latent_dim=2, batch_size=32)


def built(key, **flags):
    flags, dataset = vae_gan.Flags(**SMALL | flags), data.load("digits")
    return flags, dataset, *vae_gan.build(flags, dataset, gradients.whole_batch)[:2]


@pytest.mark.parametrize(
    "network", ["mlp", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dcgan", "dcgan_dense", "residual"))]
)
def test_the_last_layer_is_the_one_that_reads_the_last_hidden_one(network, key):
    flags, dataset, model, parts = built(key, network=network)
    params = jax.jit(model.init)(key).params
    kernels = params["decoder"][gan_parts.last_layer(flags)]
    # no other layer's bias moves every picture by the same amount: undo the sigmoid that follows it
    z = jax.random.normal(key, (3, 2))
    moved = {**params["decoder"], gan_parts.last_layer(flags): {**kernels, "bias": kernels["bias"] + 0.5}}
    before, after = (jax.scipy.special.logit(parts.vae.decoder.apply(p, z)) for p in (params["decoder"], moved))
    np.testing.assert_allclose(after - before, 0.5, atol=1e-3)
    features, logit = parts.discriminator.apply(params["discriminator"], jnp.float32(dataset.test.x[:3] / 16))
    assert len(features) == 3 and logit.shape == (3,)


def test_what_is_measured_of_a_run(key, tmp_path):
    flags, dataset, model, parts = built(key)
    examples = Batch(jnp.float32(dataset.scaled(dataset.test)), jnp.asarray(dataset.test.label))
    trained = runs.Trained(model, parts, None, model.init(key), 0, dataset, examples, key, tmp_path)
    found = vae_gan.monitor(flags, trained)
    params = jax.tree.map(np.float64, trained.params)

    def mlp(p, x):
        h = np.maximum(x @ p["layer_1"]["kernel"] + p["layer_1"]["bias"], 0)
        return h, h @ p["layer_2"]["kernel"] + p["layer_2"]["bias"]

    x = np.float64(examples.x).reshape(-1, 64)
    mean, log_variance = np.split(mlp(params["encoder"], x - 0.5)[1], 2, axis=1)
    rebuilt = 1 / (1 + np.exp(-mlp(params["decoder"], mean)[1]))
    assert found["psnr"] == pytest.approx(-10 * np.log10(np.mean((rebuilt - x) ** 2)), rel=1e-4)
    ours, theirs = (mlp(params["discriminator"], each - 0.5)[0] for each in (rebuilt, x))
    assert found["feature_loss"] == pytest.approx(0.5 * np.mean(np.sum((ours - theirs) ** 2, axis=1)), rel=1e-4)
    second = np.mean(mean**2 + np.exp(log_variance))
    assert found["prior_moment_second"] == pytest.approx(second, rel=0.1)
    assert (tmp_path / "along" / "00000000.png").exists()


def test_convolutions_need_images():
    flags, dataset = vae_gan.Flags(dataset="ring", network="dcgan"), data.load("ring")
    with pytest.raises(BadInput, match="network: ring has no images; use mlp"):
        vae_gan.build(flags, dataset, gradients.whole_batch)


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_run_is_pictured_and_used(tmp_path, monkeypatch):
    monkeypatch.setenv("NPROC", "4")
    flags = vae_gan.Flags(**SMALL, adaptive_weight=True)
    run = runs.train(vae_gan.EXPERIMENT, flags, workdir=tmp_path / "run")
    left = {path.name for path in run.directory.iterdir()}
    assert {"samples.png", "reconstructions.png", "latent_map.png", "training.gif"} <= left
    assert {"frechet_distance", "psnr", "adversarial_weight"} <= run.metrics.keys()
    x = data.load("digits").test.x[:5]
    np.save(tmp_path / "x.npy", x)
    for to in ("features", "scores", "codes"):
        out = tmp_path / f"{to}.npz"
        apply.main(apply.Flags(run=str(run.directory), input=str(tmp_path / "x.npy"), to=to, out=str(out)))
    scaled = jnp.float32(x) / 16
    mean, _ = vae.encode(run.params, scaled, parts=run.parts.vae)
    rebuilt = vae.decode(run.params, mean, parts=run.parts.vae)
    ours, theirs = (run.parts.discriminator.apply(run.params["discriminator"], a)[0] for a in (rebuilt, scaled))
    scores = np.load(tmp_path / "scores.npz")
    np.testing.assert_allclose(scores["feature_loss"], 0.5 * np.sum(np.square(ours - theirs), axis=1), rtol=1e-3)
    np.testing.assert_allclose(np.load(tmp_path / "features.npz")["features"], theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.load(tmp_path / "codes.npz")["codes"], mean, rtol=1e-4, atol=1e-5)
    generate.main(generate.Flags(run=str(run.directory), z=(0.5, -1.0), out=str(tmp_path / "made")))
    expected = vae.decode(run.params, jnp.float32([[0.5, -1.0]]), parts=run.parts.vae)
    np.testing.assert_allclose(np.load(tmp_path / "made" / "samples.npz")["x"], expected, rtol=1e-5)
    latent_space.main(latent_space.Flags(run=str(run.directory), num_levels=3, num_walks=4, num_frames=3))
    found = json.loads((run.directory / "latent_space" / "latent_space.json").read_text())
    assert np.isfinite(found["prior_moment_second"])


@pytest.mark.slow
def test_samples_are_like_the_data(train, tmp_path):
    metrics = train("vae_gan", tmp_path / "run", "--num_steps=1500", "--eval_every=1500", xla_flags="")["metrics"]
    assert metrics["frechet_distance"] < 8 and metrics["recall"] > 0.6 and metrics["psnr"] > 15
