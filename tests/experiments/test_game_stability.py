"""Who wins a game: the measures against games that are known, and what is said of evaluations."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import game_stability, gan, triple_modes
from genjax import data, losses
from genjax.evaluation.modes import class_coverage
from genjax.models.gan import GAN
from genjax.types import Batch, Network

FLAGS = gan.Flags(num_steps=5000)
FINE = {"discriminator_auroc": 0.86, "generator_gradient_norm": 0.2, "sample_variance_ratio": 0.95}


def line(step, **found):
    return {"step": step} | FINE | found


def said(step=1000, flags=FLAGS, **found):
    return game_stability.remark(line(step, **found), flags)


def test_the_gradient_and_the_logits_of_a_linear_game(key):
    # G(z) = z + b, a(x) = w x, Wasserstein: L_G = -w (z + b), so dE[L_G]/db = -w
    generator = Network(lambda key: jnp.zeros(1), lambda b, z: z + b[None])
    discriminator = Network(lambda key: jnp.ones(1), lambda w, x: (x * w[None]).sum(axis=1))
    parts = GAN(generator, discriminator, losses.WASSERSTEIN, latent_dim=1)
    params = {"generator": jnp.array([2.0]), "discriminator": jnp.array([3.0])}
    x = jax.random.normal(key, (500, 1))
    real, fake, norm = game_stability.play(params, Batch(x, None), key, parts=parts)
    np.testing.assert_allclose(norm, 3, rtol=1e-5)
    np.testing.assert_allclose(real, 3 * x[:, 0], rtol=1e-5)
    assert abs(fake.mean() - 6) < 4 * 3 / np.sqrt(500)
    # P(x > z + 2) of two independent standard normals is Phi(-sqrt 2) = .0786
    trained = SimpleNamespace(
        params=params, parts=parts, key=key, examples=Batch(x, None), shown=lambda num: Batch(x[:num], None)
    )
    found = game_stability.measure(trained, 3 * x)  # type: ignore[arg-type]
    assert abs(found["discriminator_auroc"] - 0.0786) < 0.03
    np.testing.assert_allclose(found["sample_variance_ratio"], 9, rtol=1e-5)


def test_nothing_is_said_of_a_game_that_goes_on():
    assert said() is None and said(modes_covered=8, modes_expected=8) is None
    assert said(discriminator_auroc=1.0, generator_gradient_norm=2.0) is None  # it has something to follow
    assert said(step=499, sample_variance_ratio=0.0) is None
    assert game_stability.remark({"step": 1000}, FLAGS) is None  # of a run from before the measure


@pytest.mark.parametrize(
    ("flags", "found", "words"),
    [
        (
            {},
            dict(discriminator_auroc=1, generator_gradient_norm=1e-8),
            ("discriminator has won", "raise penalty_weight"),
        ),
        (
            dict(loss="minimax", penalty="none"),
            dict(discriminator_auroc=1, generator_gradient_norm=0),
            ("discriminator has won", "take a penalty", "non_saturating"),
        ),
        (
            {},
            dict(sample_variance_ratio=0.001),
            ("all alike: the variance of the samples is 0.001 of", "lower gen"),
        ),
        ({}, dict(sample_variance_ratio=0.05), ("hardly differ", "lower generator_learning_rate")),
        ({}, dict(sample_variance_ratio=0.05, discriminator_auroc=0.5), ("generator has won", "num_critic_steps")),
        (
            {},
            dict(sample_variance_ratio=0, discriminator_auroc=1, generator_gradient_norm=0),
            ("all alike", "no gradient left", "lower learning_rate"),
        ),
    ],
)
def test_it_says_who_has_won_and_what_to_change(flags, found, words):
    remark = said(flags=FLAGS.replace(**flags), **found)
    assert remark is not None and all(word in remark for word in ("at step 1000 the", *words))
    assert ("penalty_weight" in remark) <= (flags.get("penalty") != "none")


@pytest.mark.parametrize("found", [dict(sample_variance_ratio=0.05), dict(modes_covered=1.0, modes_expected=8.0)])
def test_the_advice_is_about_flags_that_have_an_effect(found):
    def advice(**flags):
        return said(step=5000, flags=FLAGS.replace(**flags), **found)

    assert "raise penalty_weight" in str(advice(penalty="r1"))
    for flags, words in (
        ({}, "take a penalty, such as r1"),
        ({"normalization": "batch_both"}, "take the normalization batch and a penalty, such as r1"),
    ):
        remark = str(advice(penalty="none", **flags))
        assert words in remark and "penalty_weight" not in remark
    assert "penalty, such" not in str(advice(penalty="none", spectral_norm=True))


@pytest.mark.parametrize("separation", [0.2, 0.5, 0.9])
def test_one_point_has_won_nothing_and_comes_of_steps_that_are_too_long(separation):
    remark = str(said(sample_variance_ratio=1e-5, discriminator_auroc=separation))
    assert "has won" not in remark and "critic" not in remark and "; lower generator_learning_rate" in remark


def test_missing_modes_are_named_at_the_end_only():
    few = dict(modes_covered=3.0, modes_expected=8.0)
    assert said(step=4000, **few) is None and said(step=5000, modes_covered=4.0, modes_expected=8.0) is None
    assert "cover 3 modes, where as many draws of equal modes cover 8" in str(said(step=5000, **few))


def test_expected_modes_are_those_of_draws():
    draw = np.random.RandomState(0)
    covered = [class_coverage(draw.randint(40, size=50), 40).covered for _ in range(2000)]
    error = np.std(covered) / np.sqrt(len(covered))
    assert abs(np.mean(covered) - game_stability.expected_modes(40, 50)) < 4 * error


def since(*ratios, every=1000, num_steps=5000):
    lines = [line(every * (i + 1), sample_variance_ratio=ratio) for i, ratio in enumerate(ratios)]
    return game_stability.collapsed_since(lines, num_steps)


def test_a_collapse_is_for_good():
    assert since(0.9, 0.0, 0.0) is None and since(0.9, 0.0, 0.0, 0.0) == 2000
    assert since(0.9, 0.0, 0.0, 0.9) is None and since(0.9, 0.0, 0.02, 0.0, 0.0) is None
    assert since(0.0, 0.0, 0.0) == 1000  # more than half of the training is over
    assert since(0.0, 0.0, 0.0, num_steps=12_000) is None and since(0.9, 0.0, 0.0, 0.0, num_steps=12_000) == 2000
    assert since(0.9, *[0.0] * 12, every=100, num_steps=1000) is None  # from step 500 to 1300
    # they have been alike since step 200, of which nothing is said before step 500; no checkpoint since then is good
    assert since(0.9, *[0.0] * 14, every=100, num_steps=1000) == 200
    assert since(*[0.0] * 15, every=100, num_steps=1000) == 100
    assert game_stability.collapsed_since([{"step": 1000}] * 5, 5000) is None


def test_modes_of_triples_are_those_of_their_channels():
    stacked = data.load("stacked:digits")
    known = {row.tobytes(): label for row, label in zip(*known_digits(), strict=True)}

    def predict(x):
        return np.array([known[np.float32(row).tobytes()] for row in np.asarray(x)])

    x, label = stacked.scaled(stacked.test)[:3000], stacked.test.label[:3000]  # type: ignore[index]
    counter = triple_modes.Counter(triple_modes.of_channels(predict, 10), 1000, {})
    np.testing.assert_array_equal(counter.predict(x), label)
    found, counted = triple_modes.measure(x, counter), class_coverage(label, 1000)
    assert (found["modes_covered"], found["mode_divergence"]) == (counted.covered, counted.divergence)
    one = triple_modes.measure(np.repeat(x[:1], 30, axis=0), counter)
    assert one["modes_covered"] == 1
    np.testing.assert_allclose(one["mode_divergence"], np.log(1000))


def known_digits():
    digits = data.load("digits")
    return digits.scaled(digits.test), digits.test.label


@pytest.mark.slow
def test_a_run_whose_samples_are_all_alike_ends_with_an_error(finish, tmp_path):
    few = ("--num_samples=500", "--batch_size=64", "--eval_every=500", "--checkpoint_every=500")
    workdir = tmp_path / "run"
    status, _, err = finish("gan", *few, "--num_steps=2000", "--learning_rate=1", f"--workdir={workdir}")
    last = err.splitlines()[-1]
    assert status == 2 and "samples are all alike" in last and "stopped at step 1500, no checkpoint is left" in last
    assert "warning: at step 500 the samples are all alike" in err and not (workdir / "summary.json").exists()


@pytest.mark.slow
def test_the_default_game_has_no_remarks(finish, tmp_path):
    workdir = tmp_path / "run"
    status, _, err = finish("gan", "--num_steps=2000", f"--workdir={workdir}")
    assert status == 0 and "warning" not in err
    assert "remarks" not in json.loads((workdir / "summary.json").read_text())
