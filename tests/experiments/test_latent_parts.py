"""Priors, posteriors and labels of the pages whose model is a VAE: what runs and commands make of their flags."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import (
    apply,
    few_labels,
    generate,
    iwae,
    latent_parts,
    latent_posteriors,
    latent_space,
    semi_supervised,
    vae,
)
from genjax import data, gradients, losses, runs
from genjax.errors import BadInput
from genjax.models import importance_weighted
from genjax.models import vae as vae_model
from genjax.runs import runner
from genjax.training.determinism import DEFAULT_CPU_THREADS
from genjax.types import Batch

SMALL = dict(num_steps=2, hidden=(8,), eval_every=2, log_every=2, latent_dim=2)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    """A run whose pseudo-inputs and examples have labels."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(latent_parts.reference_classifier, "NUM_STEPS", 60)
        flags = vae.Flags(**SMALL, conditional=True, prior="vamp", num_components=20, num_importance_samples=3)
        yield runs.train(vae.EXPERIMENT, flags, workdir=folder / "run")


def built(page, dataset, **flags):
    return page.build(page.Flags(**SMALL | flags), dataset, gradients.whole_batch)


@pytest.mark.parametrize("conditional", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("posterior", latent_posteriors.POSTERIORS)
@pytest.mark.parametrize("prior", latent_parts.PRIORS)
@pytest.mark.parametrize("page", [vae, pytest.param(iwae, marks=pytest.mark.slow)])
def test_every_choice_trains_and_weighs_or_is_refused(digits, page, prior, posterior, conditional):
    flags = dict(prior=prior, posterior=posterior, conditional=conditional, num_components=5)
    flags |= dict(num_categories=2, straight_through=True)
    on_sphere, behind_flow = posterior == "von_mises_fisher", posterior in ("planar", "iaf")
    refused = (on_sphere and prior in ("mixture", "flow", "class")) or (behind_flow and prior == "vamp")
    refused |= posterior == "categorical" and prior != "standard"
    if refused or (prior == "class" and not conditional):
        with pytest.raises(BadInput, match=r"^prior: "):
            built(page, digits, **flags)
        return
    model, parts, _ = built(page, digits, **flags)
    assert vae_model.num_classes(parts) == 10 * conditional
    assert vae_model.codec(parts).has_prior == (
        prior == "standard" and posterior not in ("von_mises_fisher", "categorical")
    )

    def trace(key):
        state, batch = model.init(key), runs.read_shuffled(page.Flags(**SMALL), digits).test.read
        examples = batch((jnp.zeros((4, 8, 8, 1), jnp.uint8), jnp.arange(4, dtype=jnp.int32)), key)
        log_w = importance_weighted.importance_sampler(state.params, examples.x, *parts.context(examples), parts=parts)
        return model.train_step(state, examples, key), log_w(key), model.sample(state, 3, key)

    _, log_w, samples = jax.eval_shape(trace, jax.random.key(0))
    assert log_w.shape == (4,) and samples.shape == (3, 8, 8, 1)


def test_codes_on_a_sphere_are_directions(digits, key):
    _, parts, _ = built(vae, digits, posterior="von_mises_fisher")
    params = vae_model.init_params(key, parts=parts)
    z = jax.random.normal(key, (3, 2))
    found = vae_model.decode(params, 7 * z, parts=parts)
    np.testing.assert_allclose(found, vae_model.decode(params, z, parts=parts), rtol=1e-4)
    with pytest.raises(BadInput, match="latent_dim: a sphere is in 2 dimensions or more, not in 1"):
        built(vae, digits, posterior="von_mises_fisher", latent_dim=1)


def test_a_flow_prior_of_a_class_is_the_flow_whose_first_biases_hold_the_weights_of_the_class(digits, key):
    flow, c = dict(prior="flow", latent_dim=4, num_flow_layers=2), 7
    of_classes, plain = (built(vae, digits, **flow, conditional=is_so)[1].prior for is_so in (True, False))
    draw = np.random.RandomState(0)
    params = jax.tree.map(lambda a: a + 0.3 * draw.normal(size=a.shape).astype(np.float32), of_classes.init(key))
    z, label = jax.random.normal(key, (20, 4)), np.arange(20) % 10
    alone = []
    for layer in params:
        kernel, bias = layer["layer_1"]["kernel"], layer["layer_1"]["bias"]
        alone.append(layer | {"layer_1": {"kernel": kernel[:4], "bias": bias + kernel[4 + c]}})

    @jax.jit
    def both(params, alone):
        found = of_classes.negative_log_density(params, z, label), of_classes.sample(params, (20, 4), key, label)
        return found, (plain.negative_log_density(alone, z), plain.sample(alone, (20, 4), key))

    for found, of_class in zip(*map(jax.device_get, both(params, alone)), strict=True):
        np.testing.assert_allclose(found[label == c], of_class[label == c], rtol=1e-3, atol=1e-5)
        assert (np.abs(found - of_class)[label != c] > 1e-3).any(axis=tuple(range(1, found.ndim))).all()


@pytest.mark.parametrize(("name", "default"), [("prior", 4), ("planar", 10), ("iaf", 4)])
def test_the_number_of_layers_of_a_flow(digits, name, default):
    chosen = dict(prior="flow") if name == "prior" else dict(posterior=name)

    def shapes(page, **more):
        parts = built(page, digits, **chosen, **more)[1]
        return jax.eval_shape(lambda key: vae_model.init_params(key, parts=parts), jax.random.key(0))

    for page in (vae, iwae):
        assert shapes(page) == shapes(page, num_flow_layers=default) != shapes(page, num_flow_layers=1)
        params = shapes(page, num_flow_layers=3)
        if name == "planar":  # whose parameters the encoder gives: 2 d + 1 of each layer beside mean and log-variance
            widths = {leaf.shape[-1:] for leaf in jax.tree.leaves(params["encoder"])}
            assert (2 * 2 + 3 * (2 * 2 + 1),) in widths
        else:
            layers = params["prior"] if name == "prior" else params["encoder"]["flow"]
            assert sum("layer_1" in layer for layer in layers) == 3


CATEGORICAL = dict(posterior="categorical", latent_dim=6, num_categories=3)


@pytest.mark.parametrize("straight_through", [False, True])
def test_categorical_codes_are_relaxed_in_training_and_exact_in_evaluation(digits, straight_through, key):
    flags = vae.Flags(**SMALL | CATEGORICAL, straight_through=straight_through, temperature=2.0, final_temperature=0.5)
    flags = flags.replace(num_steps=10)
    model, parts, _ = vae.build(flags, digits, gradients.whole_batch)
    state, x = model.init(key), jnp.asarray(digits.scaled(digits.train.sample(20)))
    for step, temperature in ((0, 2.0), (5, 1.0), (10, 0.5)):  # the same factor at each update
        at = state._replace(step=jnp.int32(step))
        relaxed = losses.relaxed_categorical(3, temperature=temperature, straight_through=straight_through)
        own, draw = parts._replace(posterior=relaxed), jax.random.fold_in(key, step)
        trained = jax.jit(model.train_step)(at, Batch(x), key)[1]
        expected = vae_model.negative_elbo(state.params, x, draw, parts=own).mean()
        np.testing.assert_allclose(trained["negative_elbo"], expected, rtol=1e-5)
        found = jax.jit(model.evaluate)(at, Batch(x), key)["negative_elbo"]
        drawn = vae_model.forward(state.params, x, key, parts=parts)
        assert set(np.unique(np.round(drawn.z, 5))) == {0, 1} and (drawn.z.reshape(20, 2, 3).sum(2) == 1).all()
        exact = parts.likelihood.negative_log_likelihood(drawn.output, x)
        q = np.asarray(jax.nn.softmax(drawn.posterior.reshape(20, 2, 3)), np.float64)
        rate = (q * np.log(3 * q)).sum((1, 2))
        np.testing.assert_allclose(found, exact.mean() + rate.mean(), rtol=1e-5)
    samples = parts.prior.sample((), (50, 6), key).reshape(50, 2, 3)
    assert (samples.sum(2) == 1).all() and set(np.unique(samples)) == {0, 1}


def test_categorical_flags_that_do_not_fit(digits):
    for page, flags, message in (
        (vae, dict(latent_dim=8), "^latent_dim: a code of 8 entries is not a whole number of variables of 10 categ"),
        (vae, dict(CATEGORICAL, prior="mixture"), "^prior: categorical codes have the standard prior alone, not mix"),
        (vae, dict(CATEGORICAL, regularizer="factor"), "^regularizer: factor permutes the entries of a code"),
        (vae, dict(CATEGORICAL, regularizer="dip_i"), "^regularizer: dip_i needs a diagonal Gaussian posterior"),
        (
            vae,
            dict(CATEGORICAL, num_annealing_steps=5),
            "^num_annealing_steps: chains .* codes of categorical are one-hot",
        ),
        (iwae, CATEGORICAL, "^straight_through: importance weights need draws that are one-hot, not relaxed"),
    ):
        with pytest.raises(BadInput, match=message):
            built(page, digits, **dict(posterior="categorical") | flags)
    flags = vae.Flags(**SMALL | CATEGORICAL)
    parts = vae.build(flags, digits, gradients.whole_batch).parts
    assert vae.applications.vae_generator(flags, parts).encode is None  # for a density of vectors


def test_pseudo_inputs_start_from_rows_of_their_class_or_around_the_mean(digits, key):
    label = np.asarray(digits.train.label)
    scaled = np.asarray(digits.scaled(digits.train))
    rows = latent_parts.rows_of_data(digits, 25, 10)
    where = [np.flatnonzero((scaled == row).all((1, 2, 3))) for row in rows]
    assert [label[found[0]] for found in where] == [k % 10 for k in range(25)]
    assert len({found[0] for found in where}) == 25
    assert len(np.unique(latent_parts.rows_of_data(digits, 40, 0), axis=0)) == 40
    _, parts, _ = built(vae, digits, prior="vamp", num_components=300, pseudo_inputs="mean")
    u = np.asarray(vae_model.init_params(key, parts=parts)["prior"])
    np.testing.assert_allclose(u.mean(0), scaled.mean(0), atol=5 * 0.01 / np.sqrt(300))
    assert u.std(0).mean() == pytest.approx(0.01, rel=0.05)


def test_newer_flags_leave_the_name_of_an_older_runs_directory():
    name = runner.default_workdir(vae.EXPERIMENT, vae.Flags())
    assert name.name == "vae-digits-seed0-c217472c"
    assert runner.default_workdir(vae.EXPERIMENT, vae.Flags(prior="vamp")) != name
    # without --prior=vamp the number is of nothing, but it is not the default
    assert runner.default_workdir(vae.EXPERIMENT, vae.Flags(num_components=3)) != name


@pytest.mark.slow
def test_a_conditional_run_is_pictured_and_measured(conditional):
    found = {path.name for path in conditional.directory.iterdir()}
    assert {"samples.png", "reconstructions.png", "components.png", "latent_map.png"} <= found
    metrics = conditional.metrics
    assert 0 <= metrics["class_accuracy"] <= 1 and metrics["held_out_class_accuracy"] > 0.5
    # by hand: three importance samples of each of the 500 held-out digits, of its own class
    assert metrics["negative_log_likelihood"] < metrics["negative_elbo"] + 1
    opened = runs.open(conditional.directory, with_data=False)  # whose pseudo-inputs are those of the checkpoint
    np.testing.assert_array_equal(opened.params["prior"], conditional.params["prior"])


@pytest.mark.slow
def test_labels_are_given_to_the_commands(conditional, digits, tmp_path):
    run, parts, params = conditional, conditional.parts, conditional.params
    base = dict(run=str(run.directory))
    generate.main(generate.Flags(**base, label=(3, 7), num=4, out=str(tmp_path)))
    made = np.load(tmp_path / "samples.npz")
    np.testing.assert_array_equal(made["label"], [3, 7, 3, 7])
    expected = run.sample(4, jax.random.key(0), jnp.array([3, 7, 3, 7]))
    np.testing.assert_array_equal(made["x"], expected)

    x = digits.test.x[:3]
    np.save(tmp_path / "x.npy", x)
    of = dict(**base, input=str(tmp_path / "x.npy"), out=str(tmp_path / "out.npz"), batch_size=2)
    for label in ((4,), (4, 1, 0)):
        apply.main(apply.Flags(**of, to="reconstructions", label=label))
        each = jnp.resize(jnp.array(label), 3)
        rebuilt = vae_model.reconstruct(params, jnp.float32(x) / 16, each, parts=parts)
        np.testing.assert_allclose(np.load(tmp_path / "out.npz")["reconstructions"], rebuilt, atol=1e-5)
    for to in ("codes", "scores", "latent_mahalanobis"):
        apply.main(apply.Flags(**of, to=to, label=(4,)))
        assert all(np.isfinite(a).all() for name, a in np.load(tmp_path / "out.npz").items() if name != "example")
    for label, message in (
        ((), "label: .*: this run of vae is conditional: give a class from 0 to 9"),
        ((10,), "label: the run has classes 0 to 9, not 10"),
        ((1, 2), "label: expected one class, or 3, one for each example, not 2"),
    ):
        with pytest.raises(BadInput, match=message):
            apply.main(apply.Flags(**of, to="codes", label=label))


@pytest.mark.slow
def test_the_space_of_one_class_is_explored(conditional, tmp_path):
    base = dict(run=str(conditional.directory), num_walks=3, num_levels=3, num_frames=3, out=str(tmp_path / "out"))
    with pytest.raises(BadInput, match=r"label: .*: this run is conditional; give the class to explore"):
        latent_space.main(latent_space.Flags(**base))
    with pytest.raises(BadInput, match=re.escape("digits has [0, 0] examples of class 12")):
        latent_space.main(latent_space.Flags(**base, label=12))
    assert not (tmp_path / "out").exists()
    latent_space.main(latent_space.Flags(**base, label=5))
    numbers = json.loads((tmp_path / "out" / "latent_space.json").read_text())
    assert np.isfinite(list(numbers.values())).all() and "concept_latent" not in numbers
    assert "prior_moment_mean" not in numbers  # they are those of N(0, I)
    space = latent_space.latent_measures.open_space(conditional, jax.random.key(0), 5)
    assert set(np.asarray(space.label)) == set(np.asarray(space.train_label)) == {5}
    assert space.prior_name == "the model's prior" and space.prior is not None
    expected = vae_model.sample_prior(conditional.params, 4, jax.random.key(1), jnp.full(4, 5), parts=conditional.parts)
    np.testing.assert_array_equal(space.prior(4, jax.random.key(1)), expected)


# Few labels


def test_labels_are_kept_for_a_balanced_choice(digits):
    label = np.asarray(digits.train.label)
    rows = few_labels.rows(label, semi_supervised.Flags(num_labels=103), 10)
    assert len(np.unique(rows)) == 103
    np.testing.assert_array_equal(np.bincount(label[rows]), [11] * 3 + [10] * 7)
    np.testing.assert_array_equal(rows, few_labels.rows(label, semi_supervised.Flags(num_labels=103, seed=5), 10))
    many = semi_supervised.Flags(num_labels=97, num_labelled=10, batch_size=1300)  # of 1297 examples
    with pytest.raises(BadInput, match=r"^batch_size: expected at most 1210, 1200 .* and 10 with labels, not 1300$"):
        semi_supervised.source(many, digits)
    other = few_labels.rows(label, semi_supervised.Flags(num_labels=103, label_seed=1), 10)
    assert not np.array_equal(rows, other)
    stream = semi_supervised.source(semi_supervised.Flags(num_labels=20, num_labelled=10, batch_size=30), digits).train
    (hidden, unknown), (known, given) = stream.arrays
    assert len(hidden) == 1277 and set(unknown) == {-1} and np.array_equal(np.bincount(given), [2] * 10)
    assert not any((hidden == row).all((1, 2, 3)).any() for row in known)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(num_labels=9), "num_labels: expected a number from 10, one for each class, to 1296, not 9"),
        (dict(num_labelled=128), "num_labelled: expected at most `num_labels`, 100, and fewer than `batch_size`, 128"),
        (
            dict(num_labels=1296),
            "num_labels: class 2 has 125 training examples, not 130, the share of each class in 1296",
        ),
    ],
)
def test_labels_that_cannot_be_kept_are_refused(digits, given, message):
    with pytest.raises(BadInput, match=message):
        semi_supervised.source(semi_supervised.Flags(**given), digits)


@pytest.mark.slow
def test_a_few_labels_train_a_classifier(monkeypatch, tmp_path):
    monkeypatch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    flags = semi_supervised.Flags(
        **SMALL | dict(num_steps=60, hidden=(32,), learning_rate=3e-3, eval_every=60) | {"classification_weight": 30.0}
    )
    run = runs.train(semi_supervised.EXPERIMENT, flags, workdir=tmp_path / "run")
    assert run.metrics["error"] < 0.5 and 0 < run.metrics["nearest_neighbour_error"] < 0.3
    assert {"samples.png", "analogies.png"} <= {path.name for path in run.directory.iterdir()}
    generate.main(generate.Flags(run=str(run.directory), label=(2,), num=3, out=str(tmp_path / "made")))
    np.save(tmp_path / "x.npy", run.dataset.test.x[:3])
    apply.main(
        apply.Flags(run=str(run.directory), input=str(tmp_path / "x.npy"), to="classes", out=str(tmp_path / "out.npz"))
    )
    assert np.load(tmp_path / "out.npz")["class"].shape == (3,)
