"""What pages measure by annealed importance sampling, on a VAE whose likelihood is known."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from experiments import annealed_bounds, iwae, vae
from genjax import data, gradients
from genjax.errors import BadInput
from genjax.evaluation.likelihood import Estimate
from genjax.losses import GAUSSIAN
from genjax.models import vae as vae_model
from genjax.types import Batch, Network

W, VARIANCE = np.array([[1.5, 0.2, -0.3], [-0.7, 0.9, 0.4]]), 0.4


@pytest.fixture
def trained():
    """A linear VAE of 3 dimensions with a poor encoder, and seven examples from it."""

    def encode(params, x):
        return x[:, :2] / 2, jnp.zeros((len(x), 2))

    def decode(params, z):
        return z @ jnp.float32(W), jnp.log(jnp.float32(VARIANCE))

    parts = vae_model.VAE(Network(None, encode), Network(None, decode), GAUSSIAN, 2)
    draw = np.random.RandomState(0)
    x = np.float32(draw.randn(7, 2) @ W + np.sqrt(VARIANCE) * draw.randn(7, 3))
    found: Any = SimpleNamespace(
        parts=parts, params={"encoder": (), "decoder": ()}, examples=Batch(x), key=jax.random.key(1)
    )
    return found


def evidence(x):
    return scipy.stats.multivariate_normal(np.zeros(3), W.T @ W + VARIANCE * np.eye(3)).logpdf(x)


@pytest.mark.slow
def test_measures_are_the_exact_likelihood_within_their_errors(trained):
    flags = vae.Flags(num_annealing_steps=40, num_chains=64, num_annealed=6, num_leapfrog=4)
    measured = annealed_bounds.measure(flags, trained)
    exact = -evidence(trained.examples.x[:6]).mean()
    for name in ("annealed", "importance"):
        name = f"{name}_negative_log_likelihood"
        assert abs(measured[name] - exact) < 4 * measured[f"{name}_error"] and measured[f"{name}_error"] < 0.05
    lower, upper = (measured[f"drawn_{side}_negative_log_likelihood"] for side in ("lower", "upper"))
    np.testing.assert_allclose(measured["annealing_gap"], upper - lower, atol=1e-5)
    assert abs(measured["annealing_gap"]) < 0.1


@pytest.mark.slow
def test_few_temperatures_leave_the_likelihood_of_draws_between_the_bounds(trained, key):
    flags = vae.Flags(num_annealing_steps=2, num_chains=1, num_leapfrog=2)
    examples = Batch(jnp.zeros((800, 3)))
    found = annealed_bounds.on_draws(flags, trained.parts, trained.params, examples, key)
    drawn, z = annealed_bounds.draw(trained.params, examples, jax.random.split(key, 3)[0], parts=trained.parts)
    exact = evidence(drawn.x)
    for above, bound in ((exact, found.lower.value), (found.upper.value, exact)):
        difference = np.asarray(above) - np.asarray(bound)
        assert difference.mean() > 4 * difference.std() / np.sqrt(800)
    residual = np.asarray(drawn.x) - np.asarray(z) @ W
    np.testing.assert_allclose(residual.var(), VARIANCE, rtol=0.1)


def test_measures_are_means_over_the_chosen_examples(trained, capsys, monkeypatch):
    def estimate(first, error):
        return lambda flags, parts, params, examples, key: Estimate(
            first + examples.x[:, 0], jnp.full(len(examples.x), error)
        )

    def on_draws(*given):
        upper = estimate(3.0, 0.4)(*given)
        return annealed_bounds.Bounds(estimate(2.0, 0.3)(*given), upper._replace(value=upper.value**2))

    monkeypatch.setattr(annealed_bounds, "_lower", estimate(0.0, 0.1))
    monkeypatch.setattr(annealed_bounds, "by_encoder", estimate(1.0, 0.2))
    monkeypatch.setattr(annealed_bounds, "on_draws", on_draws)
    monkeypatch.setattr(annealed_bounds, "TOGETHER", 4)
    measured = annealed_bounds.measure(vae.Flags(num_annealing_steps=1, num_annealed=6), trained)
    x = np.asarray(trained.examples.x)[:6, 0]
    gap = (x + 3) ** 2 - (x + 2)
    expected = {
        "annealed_negative_log_likelihood": -x.mean(),
        "importance_negative_log_likelihood": -x.mean() - 1,
        "drawn_upper_negative_log_likelihood": -x.mean() - 2,
        "drawn_lower_negative_log_likelihood": -((x + 3) ** 2).mean(),
        "annealing_gap": gap.mean(),
        "annealing_gap_error": gap.std() / np.sqrt(6),
    }
    names = ("annealed", "importance", "drawn_upper", "drawn_lower")
    for name, error in zip(names, (0.1, 0.2, 0.3, 0.4), strict=True):
        expected[f"{name}_negative_log_likelihood_error"] = error / np.sqrt(6)
    assert measured.keys() == expected.keys()
    np.testing.assert_allclose([measured[name] for name in expected], list(expected.values()), rtol=1e-5)
    printed = capsys.readouterr().out
    assert all(f"{name} " in printed for name in measured if not name.endswith("_error"))
    assert annealed_bounds.measure(vae.Flags(), trained) == {}


def test_a_path_has_the_prior_and_the_labels_of_its_model(key):
    digits = data.load("digits")
    flags = vae.Flags(num_steps=1, hidden=(8,), latent_dim=2, conditional=True, prior="class")
    parts = vae.build(flags, digits, gradients.whole_batch).parts
    params = jax.jit(lambda key: vae_model.init_params(key, parts=parts))(key)
    params["prior"] = jax.tree.map(lambda a: a + jnp.arange(10.0)[:, None] / 7, params["prior"])
    examples = Batch(jnp.float32(digits.test.x[:3] / 16), jnp.array([3, 1, 4]))
    path, z = annealed_bounds.path(params, examples, parts=parts), jax.random.normal(key, (3, 2))
    expected = -vae_model.negative_log_prior(params, z, examples.label, parts=parts)
    np.testing.assert_allclose(path.log_prior(z), expected, rtol=1e-6)
    logits = parts.decoder.apply(params["decoder"], z, examples.label).reshape(3, -1)
    by_pixel = scipy.stats.bernoulli.logpmf(1, jax.nn.sigmoid(logits)) * examples.x.reshape(3, -1)
    by_pixel += scipy.stats.bernoulli.logpmf(0, jax.nn.sigmoid(logits)) * (1 - examples.x.reshape(3, -1))
    np.testing.assert_allclose(path.log_likelihood(z), by_pixel.sum(axis=1), rtol=1e-4)
    np.testing.assert_array_equal(
        path.sample_prior(key), vae_model.sample_prior(params, 3, key, examples.label, parts=parts)
    )


@pytest.mark.parametrize("page", [vae, iwae])
def test_codes_on_a_sphere_are_refused(page):
    flags = page.Flags(num_steps=1, hidden=(8,), latent_dim=2, posterior="von_mises_fisher")
    digits = data.load("digits")
    page.build(flags, digits, gradients.whole_batch)
    with pytest.raises(BadInput, match=r"^num_annealing_steps: chains move in all of space"):
        page.build(flags.replace(num_annealing_steps=5), digits, gradients.whole_batch)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["vae", "iwae"])
def test_a_page_measures_by_annealing(train, tmp_path, page):
    flags = ["--num_steps=40", "--hidden=16", "--latent_dim=2", "--num_annealing_steps=4", "--num_annealed=60"]
    flags += ["--binarize=dynamic", "--num_chains=2"] + (["--num_test_samples=5"] if page == "iwae" else [])
    metrics = train(page, tmp_path / "run", *flags)["metrics"]
    assert np.isfinite(list(metrics.values())).all()
    assert metrics["drawn_lower_negative_log_likelihood"] < metrics["drawn_upper_negative_log_likelihood"]
    assert metrics["annealed_negative_log_likelihood"] > metrics["importance_negative_log_likelihood"] - 5
