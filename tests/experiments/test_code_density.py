"""Densities fitted to codes after training: a linear autoencoder in closed form, scikit-learn, and small runs."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from experiments import autoencoder as page
from experiments import code_density, code_penalties, generate, vae
from genjax import data, gradients, networks, runs
from genjax.errors import BadInput
from genjax.evaluation import linear
from genjax.losses import SQUARED_ERROR
from genjax.models import autoencoder
from genjax.models import vae as vae_model


@pytest.fixture
def untrained(monkeypatch):
    """A run of a page at its initial parameters, and small networks for the densities."""
    monkeypatch.setattr(code_density, "HIDDEN", (4,))
    monkeypatch.setattr(code_density, "LAYERS", 2)

    def build(module, **flags):
        given, dataset = module.Flags(latent_dim=3, hidden=(8,), **flags), data.load("digits")
        model, parts, _ = module.build(given, dataset, gradients.whole_batch)
        state = model.init(jax.random.key(0))
        return runs.Run(Path("run"), module.EXPERIMENT, given, dataset, model, parts, state, 0)

    return build


def bent(num):
    """Codes on a bent line, far from any Gaussian: z2 = z1^2 and a little noise, of other scales."""
    draw = np.random.RandomState(0)
    u = draw.uniform(-1, 1, num)
    return np.stack([10 + 4 * u, 0.1 * u**2 + 0.003 * draw.normal(size=num)], axis=1).astype(np.float32)


def test_a_linear_autoencoder_and_a_gaussian_have_the_datas_moments():
    # x = W z + b at z ~ N(m, S): N(W m + b, W S W^T) has the data's mean and its d largest principal components
    x = np.random.RandomState(0).normal(size=(200, 6)) @ np.random.RandomState(1).normal(size=(6, 6)) + 3
    params = linear.pca(jnp.asarray(x, jnp.float32), latent_dim=2)
    parts = autoencoder.Autoencoder(networks.affine((6,), (2,)), networks.affine((2,), (6,)), SQUARED_ERROR)
    fitted = code_density.fit_gaussian(np.asarray(autoencoder.encode(params, jnp.float32(x), parts=parts)))
    kernel, bias = (np.asarray(params["decoder"]["layer_1"][name], np.float64) for name in ("kernel", "bias"))
    np.testing.assert_allclose(fitted.mean[0] @ kernel + bias, x.mean(0), atol=1e-4)
    covariance = kernel.T @ fitted.root[0] @ fitted.root[0].T @ kernel
    values, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    best = (axes[:, -2:] * values[-2:]) @ axes[:, -2:].T
    np.testing.assert_allclose(covariance, best, rtol=1e-3, atol=1e-3)
    # and its draws
    z = np.asarray(code_density.sample_gaussians(fitted, 50_000, jax.random.key(0)), np.float64)
    np.testing.assert_allclose(np.cov(z.T, bias=True), fitted.root[0] @ fitted.root[0].T, atol=0.4)
    np.testing.assert_allclose(z.mean(0), fitted.mean[0], atol=0.1)


def test_a_unit_that_is_always_0_stays_so():
    z = np.random.RandomState(0).normal(size=(30, 2)) * [2, 0]
    drawn = np.asarray(code_density.sample_gaussians(code_density.fit_gaussian(z), 100, jax.random.key(0)))
    assert np.all(np.abs(drawn[:, 1]) < 1e-6) and drawn[:, 0].std() > 1


def test_the_mixture_is_scikit_learns():
    z = bent(300)
    fitted = code_density.fit_mixture(z, num_components=3, seed=5)
    expected: Any = GaussianMixture(3, random_state=5).fit(np.float64(z))
    np.testing.assert_allclose(fitted.weight, expected.weights_)
    np.testing.assert_allclose(fitted.mean, expected.means_)
    np.testing.assert_allclose(fitted.root @ fitted.root.transpose(0, 2, 1), expected.covariances_, atol=1e-12)
    # draws, by the moments of a mixture: E z z^T = sum w (S + m m^T)
    drawn = np.asarray(code_density.sample_gaussians(fitted, 100_000, jax.random.key(0)), np.float64)
    origin = np.array([10, 0])
    centred = expected.means_ - origin
    second = np.einsum("k,kij->ij", expected.weights_, expected.covariances_ + centred[:, :, None] * centred[:, None])
    scales = np.sqrt(np.diag(second))
    found = (drawn - origin).T @ (drawn - origin) / len(drawn)
    np.testing.assert_allclose(found / np.outer(scales, scales), second / np.outer(scales, scales), atol=0.02)
    assert -expected.score(drawn) == pytest.approx(-expected.score(expected.sample(100_000)[0]), abs=0.03)
    with pytest.raises(BadInput, match="num_components: 2 codes have at most as many, not 3"):
        code_density.fit_mixture(z[:2], num_components=3, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_steps"), [("flow", 300), ("two_stage", 3000)])
def test_trained_densities_follow_codes_that_no_gaussian_does(name, num_steps):
    z = bent(2000)
    fit = {"flow": code_density.fit_flow, "two_stage": code_density.fit_two_stage}[name]
    drawn = np.asarray(fit(z, jax.random.key(0), num_steps=num_steps)(4000, jax.random.key(1)))
    u = (drawn[:, 0] - 10) / 4
    beside = np.abs(drawn[:, 1] - 0.1 * u**2)  # the distance from the line
    gaussian = np.asarray(code_density.sample_gaussians(code_density.fit_gaussian(z), 4000, jax.random.key(1)))
    assert np.median(beside) < 0.6 * np.median(np.abs(gaussian[:, 1] - ((gaussian[:, 0] - 10) / 4) ** 2 / 10))
    assert np.abs(u.mean()) < 0.1 and u.std() == pytest.approx(3**-0.5, abs=0.08)


@pytest.mark.parametrize("name", ["flow", "two_stage"])
def test_densities_start_at_the_codes_mean_and_spread(name, untrained, monkeypatch):
    # layers that begin as the identity, and a decoder of about 0 whose variance begins at 1, behind a standardisation
    z = bent(500)
    fit = {"flow": code_density.fit_flow, "two_stage": code_density.fit_two_stage}[name]
    seen, train = [], code_density._train
    monkeypatch.setattr(code_density, "_train", lambda model, z, *given: seen.append(z) or train(model, z, *given))
    sample = fit(z, jax.random.key(0), num_steps=1)
    if name == "two_stage":
        np.testing.assert_allclose([seen[0].mean(0), seen[0].std(0)], [[0, 0], [1, 1]], atol=1e-4)
    drawn = np.asarray(sample(4000, jax.random.key(1)))
    error = 0.1 if name == "flow" else 0.7
    np.testing.assert_allclose((drawn.mean(0) - z.mean(0)) / z.std(0), 0, atol=error)
    np.testing.assert_allclose(drawn.std(0) / z.std(0), 1, atol=error)
    assert np.all(drawn.std(0) / z.std(0) > 0.9)
    np.testing.assert_array_equal(drawn, fit(z, jax.random.key(0), num_steps=1)(4000, jax.random.key(1)))


def test_a_flow_needs_two_dimensions():
    with pytest.raises(BadInput, match="density: the couplings of a flow need codes of 2 dimensions or more"):
        code_density.fit_flow(np.zeros((3, 1)), jax.random.key(0), num_steps=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "density",
    [pytest.param(each, marks=[pytest.mark.slow] * (each != "gaussian")) for each in code_density.DENSITIES],
)
def test_samples_of_a_density_are_decoded(density, untrained, capsys):
    run = untrained(page)
    flags = generate.Flags(density=density, num=7, seed=3, num_components=2, density_steps=1)
    made = generate.make(run, flags)["x"]
    assert capsys.readouterr().out == (
        f"{density} density of 3 dimensions, fitted to the codes of 1297 training examples\n"
    )
    assert made.shape == (7, 8, 8, 1) and np.isfinite(made).all()
    if density == "gaussian":
        np.testing.assert_array_equal(generate.make(run, flags)["x"], made)
        assert not np.allclose(generate.make(run, flags.replace(seed=4))["x"], made)
        x = jnp.asarray(run.dataset.scaled(run.dataset.train))
        z = np.asarray(autoencoder.encode(run.params, x, parts=run.parts))
        z_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(3), 0))
        codes = code_density.sample_gaussians(code_density.fit_gaussian(z), 500, z_key)[:7]
        np.testing.assert_allclose(made, autoencoder.decode(run.params, codes, parts=run.parts), atol=1e-5)


@pytest.mark.slow
def test_codes_of_a_conditional_vae_are_draws_given_the_label(untrained):
    run = untrained(vae, conditional=True, regularizer="mmd")
    generator: Any = generate.generator_of(run)
    one, other = (code_density.codes(run, generator, jax.random.key(seed)) for seed in (0, 1))
    label, x = jnp.asarray(run.dataset.train.label), jnp.asarray(run.dataset.scaled(run.dataset.train))
    mean, log_variance = vae_model.encode(run.params, x, label, parts=run.parts)
    for z in (one, other):
        noise = (z - mean) / np.exp(log_variance / 2)
        assert np.abs(noise.mean()) < 0.1 and noise.std() == pytest.approx(1, abs=0.05)
    assert not np.allclose(one, other)
    made = generate.make(run, generate.Flags(density="gaussian", num=4, label=(3,), draw=True))
    assert set(np.unique(made["x"])) <= {0, 1} and set(made["label"]) == {3}


def test_what_has_no_codes_is_refused(untrained):
    run = untrained(page)
    with pytest.raises(BadInput, match=r"cannot draw new samples; .* or fit a density to the codes by `density`"):
        generate.make(run, generate.Flags())
    with pytest.raises(BadInput, match="density: give one of `density` and `z`"):
        generate.make(run, generate.Flags(density="gaussian", z=(1.0, 2.0, 3.0)))
    bare = runs.Generator(lambda *given: None, 2)
    with pytest.raises(BadInput, match="density: a run of autoencoder has no codes that a density can be fitted to"):
        generate.with_density(run, bare, generate.Flags(density="gaussian"))


# The page autoencoder with codes that follow a prior


@pytest.mark.parametrize("name", ["mmd", "sliced_wasserstein"])
def test_codes_that_follow_a_prior_are_sampled(name, untrained):
    run = untrained(page, **{name: 1.0})
    made = generate.make(run, generate.Flags(num=5, seed=2))["x"]
    z = jax.random.normal(jax.random.fold_in(jax.random.key(2), 0), (500, 3))[:5]
    np.testing.assert_allclose(made, autoencoder.decode(run.params, z, parts=run.parts), atol=1e-5)
    generator: Any = generate.generator_of(run)
    assert generator.prior(run.params, 4, jax.random.key(1)).shape == (4, 3)


def test_flags_choose_the_penalties():
    flags = page.Flags(code_l2=1.0, decoder_l2=2.0, decoder_jacobian=3.0, mmd=4.0, sliced_wasserstein=5.0)
    found = {penalty.name: penalty.weight for penalty in code_penalties.penalties(flags)}
    expected = {"code_l2": 1, "decoder_l2": 2, "decoder_jacobian_norm": 3, "mmd": 4, "sliced_wasserstein": 5}
    assert found == expected and code_penalties.penalties(page.Flags()) == []
    for name in ("mmd", "sliced_wasserstein"):
        with pytest.raises(BadInput, match=f"^{name}: a sigmoid code cannot follow N"):
            page.build(page.Flags(**{name: 1.0}, code="sigmoid"), data.load("digits"), gradients.whole_batch)
