"""The pages `bigan` and `adversarial_autoencoder`: what they measure of codes, and what they refuse."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.neighbors import NearestNeighbors

from experiments import adversarial_autoencoder, bigan, code_moments, latent_space
from genjax import data, gradients, runs
from genjax.errors import BadInput
from genjax.models import autoencoder
from genjax.types import Batch

SMALL = dict(num_steps=4, hidden=(12, 9), batch_size=16, eval_every=4, log_every=2)


@pytest.fixture
def trained(in_this_process, tmp_path, monkeypatch):
    """Trains a page of these flags in this process: the run and its summary's metrics."""
    monkeypatch.setenv("NPROC", "4")

    def train(page, **flags):
        run = runs.train(page.EXPERIMENT, page.Flags(**SMALL | flags), workdir=tmp_path / "run")
        return run, json.loads((run.directory / "summary.json").read_text())["metrics"]

    return train


def test_moments_are_in_units_of_the_prior():
    draw = np.random.RandomState(0)
    draws = np.array([1.0, -3.0]) + np.array([2.0, 0.5]) * draw.normal(size=(200_000, 2))
    # the first dimension is off by a quarter of its standard deviation, the second half as wide as it should be
    codes = np.array([1.5, -3.0]) + np.array([2.0, 0.25]) * draw.normal(size=(200_000, 2))
    found = code_moments.prior_moments(codes, draws)
    assert found["prior_moment_mean"] == pytest.approx(0.25, abs=0.01)
    assert found["prior_moment_second"] == pytest.approx((1 + 0.25**2 + 0.25) / 2, abs=0.01)


def untrained(page, tmp_path, key, **flags):
    """Flags and a page's model before any training, as its hooks receive it."""
    dataset = data.load("digits")
    flags = page.EXPERIMENT.resolve(page.Flags(**SMALL | flags), dataset)
    model, parts, auxiliaries = page.build(flags, dataset, gradients.whole_batch)
    examples = Batch(jnp.asarray(dataset.scaled(dataset.test)), jnp.asarray(dataset.test.label))
    return flags, runs.Trained(model, parts, auxiliaries, model.init(key), 0, dataset, examples, key, tmp_path)


@pytest.mark.slow
def test_a_bigan_is_measured_by_neighbours_and_reconstructions(key, tmp_path):
    flags, trained = untrained(bigan, tmp_path, key, latent_dim=3, num_known=200)
    metrics, dataset, params = bigan.monitor(flags, trained), trained.dataset, trained.params
    known, seen = (np.asarray(split.x, np.float64).reshape(-1, 64) / 16 for split in (dataset.train, dataset.test))
    rows = data.choose(len(known), 200)
    encoder = jax.tree.map(np.float64, params["encoder"])

    def hidden(x):
        h = x - 0.5
        for name in ("layer_1", "layer_2"):
            h = h @ encoder[name]["kernel"] + encoder[name]["bias"]
            h = np.maximum(h, 0.2 * h)
        return h

    def code(x):
        return hidden(x) @ encoder["layer_3"]["kernel"] + encoder["layer_3"]["bias"]

    for prefix, space in (("", hidden), ("code_", code)):
        nearest = NearestNeighbors(n_neighbors=1).fit(space(known[rows])).kneighbors(space(seen))[1][:, 0]
        expected = np.mean(np.asarray(dataset.train.label)[rows][nearest] == dataset.test.label)
        assert metrics[f"{prefix}nearest_neighbour_accuracy"] == pytest.approx(expected, abs=0.005), prefix
    codes = code(seen)
    rebuilt = autoencoder.decode(params, jnp.float32(codes), parts=trained.parts.autoencoder)
    rebuilt = np.asarray(rebuilt, np.float64).reshape(-1, 64)
    assert metrics["reconstruction_distance"] == pytest.approx(np.linalg.norm(rebuilt - seen, axis=1).mean(), rel=1e-4)
    shuffled = np.linalg.norm(rebuilt - np.roll(seen, 1, axis=0), axis=1).mean()
    assert metrics["shuffled_distance"] == pytest.approx(shuffled, rel=1e-4)
    assert metrics["prior_moment_second"] == pytest.approx(np.square(codes).mean(), rel=0.06)
    features = bigan.EXPERIMENT.applications(flags, trained.parts)["features"].each(params, trained.examples.x, key)
    np.testing.assert_allclose(features, hidden(seen), atol=1e-5)


@pytest.mark.slow
def test_a_run_of_a_bigan_draws_what_it_makes(trained):
    run, metrics = trained(bigan, latent_dim=3, num_known=200)
    assert {"samples.png", "reconstructions.png", "latent_map.png"} <= {path.name for path in run.directory.iterdir()}
    dataset = data.load("digits")
    rows = data.choose(len(dataset.train.x), 200)
    known, seen = dataset.train.x[rows].reshape(200, -1), dataset.test.x.reshape(-1, 64)
    nearest = NearestNeighbors(n_neighbors=1).fit(known).kneighbors(seen)[1][:, 0]
    expected = np.mean(np.asarray(dataset.train.label)[rows][nearest] == dataset.test.label)
    assert metrics["pixel_nearest_neighbour_accuracy"] == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("encoder", "prior"), [pytest.param("gaussian", "normal", marks=pytest.mark.slow), ("deterministic", "uniform")]
)
def test_codes_and_draws_of_a_bigan_are_of_their_kind(encoder, prior, key):
    dataset = data.load("digits")
    flags = bigan.resolve(bigan.Flags(encoder=encoder, prior=prior, hidden=(6,), latent_dim=2), dataset)
    model, parts, _ = bigan.build(flags, dataset, gradients.whole_batch)
    params, x = jax.jit(model.init)(key).evaluation_params, jnp.float32(dataset.test.x[:50] / 16)
    made = bigan.generator(flags, parts)
    assert made.encode is not None and made.prior is not None
    one, other = (np.asarray(made.encode(params, x, key)) for key in jax.random.split(key))
    assert np.array_equal(one, other) == (encoder == "deterministic")
    draws = np.asarray(made.prior(params, 2000, key))
    cdf = scipy.stats.norm.cdf if prior == "normal" else scipy.stats.uniform(-1, 2).cdf
    assert scipy.stats.kstest(draws.ravel(), cdf).pvalue > 1e-3
    if prior == "uniform":
        far = jax.tree.map(lambda a: 100 * a, params)
        codes = np.asarray(made.encode(far, x, key))
        assert 0.9 < np.abs(codes).max() <= 1


def of_ring(codes):
    """Moments beside the ring of ten Gaussians of radius 2 and deviations .5 and .15, and each code's likeliest one."""
    variance = (2**2 + 0.5**2 + 0.15**2) / 2  # of each dimension, half of the mean squared radius
    moments = {
        "prior_moment_mean": np.abs(codes.mean(0)).max() / np.sqrt(variance),
        "prior_moment_second": np.square(codes).mean() / variance,
    }
    angles = np.arange(10) * np.pi / 5
    u = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    along, across = codes @ u.T - 2, codes @ np.stack([-u[:, 1], u[:, 0]])
    return moments, np.argmin((along / 0.5) ** 2 + (across / 0.15) ** 2, axis=1)


@pytest.mark.slow
def test_labelled_codes_are_held_against_the_ring_and_its_regions(key, tmp_path):
    flags, trained = untrained(adversarial_autoencoder, tmp_path, key, variant="labelled", prior="ring")
    metrics = adversarial_autoencoder.monitor(flags, trained)
    codes = autoencoder.encode(trained.params, trained.examples.x, parts=trained.parts.autoencoder)
    moments, region = of_ring(np.asarray(codes, np.float64))
    for name, value in moments.items():
        assert metrics[name] == pytest.approx(value, rel=0.05, abs=0.03)
    assert metrics["region_accuracy"] == pytest.approx(np.mean(region == np.asarray(trained.examples.label)), abs=0.005)


@pytest.mark.slow
def test_styles_are_held_against_their_prior_and_classes_read_off(key, tmp_path):
    page = adversarial_autoencoder
    flags, trained = untrained(page, tmp_path, key, variant="semi_supervised", latent_dim=3, num_labelled=4)
    parts, x = trained.parts, trained.examples.x
    codes = np.asarray(autoencoder.encode(trained.params, x, parts=parts.game.autoencoder), np.float64)
    assert codes.shape[1] == 13 and flags.num_labels == 100
    metrics = page.monitor(flags, trained)
    assert metrics["prior_moment_second"] == pytest.approx(np.square(codes[:, 10:]).mean(), rel=0.06)
    applications = page.EXPERIMENT.applications(flags, parts)
    found = applications["classes"].each(trained.params, x, key)
    np.testing.assert_array_equal(found["class"], np.argmax(codes[:, :10], axis=1))
    np.testing.assert_allclose(found["probability"], codes[:, :10].max(axis=1), rtol=1e-5)
    made = page.generator(flags, parts)
    assert made.latent_dim == 13 and made.prior is not None
    assert (np.asarray(made.prior(trained.params, 50, key))[:, :10].sum(axis=1) == 1).all()


@pytest.mark.slow
def test_a_table_has_a_style_in_each_row(trained):
    run, metrics = trained(adversarial_autoencoder, variant="semi_supervised", num_labelled=4)
    pictures = {path.name for path in run.directory.iterdir()}
    assert {"samples.png", "reconstructions.png", "latent_map.png", "prior.png"} <= pictures
    assert 0 < metrics["nearest_neighbour_error"] < 0.3 and 0 < metrics["error"] < 1
    latent_space.main(latent_space.Flags(run=str(run.directory), num_levels=3, num_walks=4, num_frames=3))


@pytest.mark.slow
def test_the_latent_space_of_labelled_codes_stands_beside_its_prior(trained):
    run, metrics = trained(adversarial_autoencoder, variant="labelled", prior="ring")
    pictures = {path.name for path in run.directory.iterdir()}
    assert {"samples.png", "reconstructions.png", "latent_map.png", "prior.png"} <= pictures
    latent_space.main(latent_space.Flags(run=str(run.directory), num_levels=3, num_walks=4, num_frames=3))
    found = json.loads((run.directory / "latent_space" / "latent_space.json").read_text())
    x = jnp.float32(data.load("digits").test.x / 16)
    codes = np.asarray(autoencoder.encode(run.params, x, parts=run.parts.autoencoder), np.float64)
    for name, value in of_ring(codes)[0].items():
        assert metrics[name] == pytest.approx(value, rel=0.05, abs=0.03)
        assert found[name] == pytest.approx(value, rel=0.05, abs=0.03)


def test_only_the_asked_number_of_labels_is_shown():
    flags = adversarial_autoencoder.Flags(variant="labelled", prior="ring", num_labels=100, batch_size=1297)
    dataset = data.load("digits")
    flags = adversarial_autoencoder.resolve(flags, dataset)
    stream = adversarial_autoencoder.source(flags, dataset).train
    step, key = jnp.int32(0), jax.random.key(0)
    arrays = jax.tree.map(jnp.asarray, stream.arrays)
    _, batch = stream.next(arrays, stream.start(arrays, step, key), step, key)
    label = np.asarray(batch.label)
    assert (label >= 0).sum() == 100 and (label[label < 0] == -1).all()
    of_image = {x.tobytes(): y for x, y in zip(dataset.scaled(dataset.train), dataset.train.label, strict=True)}
    known = [(np.asarray(x).tobytes(), y) for x, y in zip(np.asarray(batch.x), label, strict=True) if y >= 0]
    assert all(of_image[x] == y for x, y in known)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(prior="ring", latent_dim=3), "latent_dim: a ring is in the plane; use 2, not 3"),
        (dict(num_labels=10), "num_labels: only the variants labelled and semi_supervised read labels"),
        (
            dict(variant="semi_supervised", num_labels=9),
            "num_labels: expected a number from 10, one for each class, to 1296, not 9",
        ),
        (
            dict(variant="labelled", prior="ring", num_components=4),
            "num_components: each of the 10 classes has one, so it cannot be 4",
        ),
        (dict(variant="labelled", num_labels=1298), "num_labels: there are 1297 training examples"),
        (dict(variant="labelled", dataset="curve"), "variant: a labelled discriminator needs classes"),
    ],
)
def test_contradictory_flags_are_refused(given, said):
    flags = adversarial_autoencoder.Flags(**given)
    dataset = data.load(flags.dataset)
    with pytest.raises(BadInput, match="^" + re.escape(said)):
        adversarial_autoencoder.build(adversarial_autoencoder.resolve(flags, dataset), dataset, gradients.whole_batch)
