"""The variational experiments as processes: importance-weighted training, exploring a latent space, new samples."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow  # processes: some minutes in all

SMALL = ("--num_steps=60", "--hidden=32", "--eval_every=60", "--log_every=30")


@pytest.fixture(scope="module")
def runs(train, tmp_path_factory):
    """A VAE's and an autoencoder's run directories."""
    folder = tmp_path_factory.mktemp("runs")
    train("vae", folder / "vae", *SMALL, "--latent_dim=3")
    train("autoencoder", folder / "autoencoder", *SMALL, "--latent_dim=3")
    return folder


def test_importance_weighting_measures_the_likelihood_beside_its_bound(train, tmp_path):
    flags = ("--num_samples=5", "--stages=1,2", "--hidden=32", "--latent_dim=4", "--num_test_samples=60")
    metrics = train("iwae", tmp_path / "run", *flags)["metrics"]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["num_steps"] == 3 * (1297 // 20) and config["binarize"] == "dynamic"
    # more samples bound it more tightly: ELBO > 5 samples > 60, with the same noise of the data in none of them
    assert metrics["negative_elbo"] > metrics["loss"] > metrics["negative_log_likelihood"] - 0.3
    assert metrics["negative_log_likelihood"] < metrics["pixels_negative_log_likelihood"]
    assert 0 < metrics["negative_log_likelihood_error"] < 0.1
    assert 0 <= metrics["active_units"] <= 4
    assert {"reconstructions.png", "samples.png", "curves.png"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_the_doubly_reparameterized_gradient_trains_too(train, tmp_path):
    flags = ("--gradient=doubly_reparameterized", "--num_steps=60", "--hidden=32", "--num_test_samples=5")
    lines = train("iwae", tmp_path / "run", *flags)["metrics"]
    assert lines["loss"] < 40  # nats: 64 coins are 44.4


@pytest.mark.parametrize(
    "flags",
    [
        ("--likelihood=binomial", "--free_bits=0.1"),
        ("--likelihood=discretized_logistic", "--warm_up_steps=30"),
        ("--likelihood=learned_gaussian", "--num_importance_samples=20"),
    ],
)
def test_a_vae_of_other_likelihoods_and_objectives(train, tmp_path, flags):
    metrics = train("vae", tmp_path / "run", *SMALL, *flags)["metrics"]
    assert np.isfinite(list(metrics.values())).all()
    if "--num_importance_samples=20" in flags:
        assert metrics["negative_log_likelihood"] < metrics["negative_elbo"]
        assert abs(metrics["ppca_negative_log_likelihood"] + 13.379) < 1e-2  # scikit-learn's, of this split


def test_levels_that_are_not_the_datas_are_refused(finish, tmp_path):
    status, _, err = finish("vae", "--likelihood=binomial", "--num_levels=256", f"--workdir={tmp_path / 'run'}")
    assert status == 2 and "digits has 17 grey levels" in err.splitlines()[-1]


@pytest.mark.parametrize("name", ["vae", "autoencoder"])
def test_a_latent_space_is_drawn_and_measured(runs, finish, tmp_path, name):
    flags = (f"--run={runs / name}", "--num_walks=5", "--num_levels=4", f"--out={tmp_path / 'out'}")
    status, out, err = finish("latent_space", *flags)
    assert status == 0, err
    numbers = json.loads((tmp_path / "out" / "latent_space.json").read_text())
    assert np.isfinite(list(numbers.values())).all() and all(name in out for name in numbers)
    assert 0 <= numbers["inside_prior"] <= 1 and ("active_units" in numbers) == (name == "vae")
    pictures = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert pictures == {f"{part}.png" for part in ("grid", "walks", "traversals", "completeness", "concepts")}


def test_samples_are_a_function_of_run_and_seed(runs, finish, tmp_path):
    def draw(out, *flags):
        status, line, err = finish("generate", f"--run={runs / 'vae'}", f"--out={tmp_path / out}", *flags)
        assert status == 0, err
        assert (tmp_path / out / "samples.png").exists()
        return np.load(tmp_path / out / "samples.npz")["x"], line.split("sha256 ")[1].split(";")[0]

    x, sha256 = draw("a", "--num=30", "--seed=3")
    assert x.shape == (30, 8, 8, 1) and 0 <= x.min() and x.max() <= 1 and x.std(axis=0).max() > 0
    again, same = draw("b", "--num=30", "--seed=3")
    np.testing.assert_array_equal(x, again)
    assert same == sha256
    more, _ = draw("c", "--num=501", "--seed=3")
    np.testing.assert_array_equal(more[:30], x)
    other, _ = draw("d", "--num=30", "--seed=4")
    assert not np.array_equal(other, x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate",), "--run: give the directory of a trained run"),
        (("latent_space",), "--run: give the directory of a trained run"),
        (("generate", "--run=/nowhere"), "/nowhere does not exist"),
    ],
)
def test_what_is_no_run_is_refused(finish, arguments, message):
    status, out, err = finish(*arguments)
    assert status == 2 and not out and message in err.splitlines()[-1]


def test_an_autoencoder_draws_no_samples(runs, finish):
    status, _, err = finish("generate", f"--run={runs / 'autoencoder'}")
    assert status == 2 and "a run of autoencoder cannot draw new samples" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_nonlinear_vae_beats_probabilistic_pca_on_digits():
    # 8 dimensions, the step chosen by the last tenth of the training images; 2000 importance samples; Tipping & Bishop
    import jax
    import jax.numpy as jnp
    import optax
    from sklearn.decomposition import PCA

    from genjax import data, networks
    from genjax.data import batching
    from genjax.evaluation.likelihood import log_likelihood
    from genjax.losses import GAUSSIAN
    from genjax.models import importance_weighted, vae
    from genjax.training.fit import fit

    digits = data.load("digits")
    whole, cut = digits.train, int(0.9 * len(digits.train.x))
    train, validation = (data.Split(whole.x[part]) for part in (slice(cut), slice(cut, None)))
    encoder = networks.gaussian_heads(networks.mlp((8, 8, 1), (16,), hidden=(256, 256), activation=jax.nn.relu))
    decoder = networks.mlp((8,), (8, 8, 1), hidden=(256, 256), activation=jax.nn.relu)
    parts = vae.VAE(encoder, networks.with_log_variance(decoder, initial=-3.0), GAUSSIAN, 8)
    model = vae.model(parts, optax.adam(1e-3), vae.objective(parts))
    source = batching.Source(
        batching.shuffled(train, batch_size=128, scale=16.0), batching.held_out(validation, batch_size=130, scale=16.0)
    )
    scores, states = {}, {}
    fit(
        model,
        source,
        seed=0,
        num_steps=8000,
        eval_every=500,
        checkpoint_every=500,
        report=lambda step, split, m: scores.update({step: m["negative_elbo"]}) if split == "test" else None,
        save=lambda step, state: states.update({step: state}),
    )
    best = min(scores, key=scores.__getitem__)
    x = jnp.asarray(digits.test.x, jnp.float32) / 16

    @jax.jit
    def likelihood(params, x, key):
        return log_likelihood(importance_weighted.importance_sampler(params, x, parts=parts), key, num_samples=2000)

    estimate = likelihood(states[best].params, x, jax.random.key(1))
    flat = np.reshape(whole.x, (len(whole.x), -1)) / 16
    ppca = PCA(8, svd_solver="full").fit(flat).score(np.reshape(x, (len(x), -1)))
    print(f"step {best}: {np.mean(estimate.value):.2f} nats, probabilistic PCA {ppca:.2f}")
    assert np.mean(estimate.value) > ppca + 15
