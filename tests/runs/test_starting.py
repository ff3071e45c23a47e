"""Runs that start from given weights, called in this process."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import gan, vae
from genjax import data
from genjax.data import batching
from genjax.errors import BadInput
from genjax.gradients import whole_batch
from genjax.models import descent
from genjax.runs import assembling, directory, opening, reproduce, starting
from genjax.training import placement, weights
from genjax.training.digest import params_sha256
from genjax.training.fit import fit
from genjax.types import Model


@pytest.fixture(scope="module")
def file(honest, tmp_path_factory):
    """The weights of the finished run."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    run = opening.open(honest)
    weights.save(path, run.params, {})
    return path


STILL = dict(num_steps=1, learning_rate=0.0)
"""Flags of a run that does not move from where it starts."""


@pytest.fixture(scope="module")
def started(start, file, tmp_path_factory):
    """A run that started from a copy of the weights, and the copy."""
    folder = tmp_path_factory.mktemp("started")
    copy = shutil.copyfile(file, folder / "w.safetensors")
    start(folder / "run", initial_weights=str(copy), **STILL)
    return folder / "run", copy


def test_a_run_starts_from_the_weights_of_another(started, honest):
    workdir, file = started
    digest = directory.read_manifest(honest)["params_sha256"]
    manifest = directory.read_manifest(workdir)
    assert manifest["params_sha256"] == manifest["initial_params_sha256"] == digest
    assert directory.read_config(workdir)["initial_weights"] == str(file)
    assert "initial_params_sha256" not in directory.read_manifest(honest)


@pytest.mark.slow
def test_training_goes_on_from_the_weights(start, honest, file, tmp_path):
    moved = start(tmp_path / "run", initial_weights=str(file), num_steps=2)
    before = opening.open(honest).params
    steps = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (before, moved.params)), strict=True)]
    assert 0 < max(steps) < 2.1e-3  # two of Adam's updates at the learning rate


def test_the_average_and_the_optimizer_start_from_them_too(key, file):
    model = vae.build(vae.Flags(hidden=(8,), latent_dim=2, averaging=0.9), data.load("digits"), whole_batch).model
    initial = starting.read(str(file), model)
    state = jax.jit(starting.starting_from(model, initial.params).init)(key)
    assert params_sha256(state.average) == params_sha256(state.params) == initial.sha256
    sgd = optax.contrib.schedule_free_sgd(0.1)
    free = descent.model(lambda key: jnp.zeros(3), sgd, lambda params, batch, key: (params, {}))
    state = starting.starting_from(free, jnp.arange(3.0)).init(key)
    np.testing.assert_array_equal(
        optax.contrib.schedule_free_eval_params(state.optimizer_state, state.params), [0, 1, 2]
    )


def test_all_players_of_a_gan_start_from_them(key, tmp_path):
    flags = gan.Flags(network="mlp", hidden=(8,), latent_dim=2, averaging=0.9, spectral_norm=True, num_samples=20)
    dataset = data.load("ring")
    flags = gan.EXPERIMENT.resolve(flags.replace(dataset="ring"), dataset)
    model = gan.build(flags, dataset, whole_batch).model
    params = model.init(jax.random.key(5)).params
    weights.save(tmp_path / "w", params, {})
    initial = starting.read(str(tmp_path / "w"), model)
    state = starting.starting_from(model, initial.params).init(key)
    assert params_sha256(state.params) == initial.sha256 == params_sha256(params)
    assert params_sha256(state.average["generator"]) == params_sha256(params["generator"])
    assert params_sha256(model.init(key).params) != initial.sha256


def test_every_seed_starts_from_the_same_weights(file):
    model = vae.build(vae.Flags(hidden=(8,), latent_dim=2), data.load("digits"), whole_batch).model
    initial = starting.read(str(file), model)
    source = batching.source(data.load("digits"), batch_size=8)
    two = placement.seeds(2, vectorized=False)
    state = fit(starting.starting_from(model, initial.params), source, seed=0, num_steps=0, eval_every=0, placement=two)
    for seed in range(2):
        assert params_sha256(jax.tree.map(lambda a, seed=seed: a[seed], state.params)) == initial.sha256


def changed(file, path, change):
    """A copy of a file of weights with its arrays changed."""
    leaves = change(weights.read(file).leaves)
    weights.save(path, leaves, {})
    return path


NAME = "decoder/layer_1/bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != NAME}, f"{NAME} is absent in it, and float32\\[8\\] here"),
        (lambda w: w | {"decoder/more": w[NAME]}, r"decoder/more is float32\[8\] in it, and absent here"),
        (lambda w: w | {NAME: w[NAME][:7]}, rf"{NAME} is float32\[7\] in it, and float32\[8\] here"),
        (lambda w: w | {NAME: w[NAME].astype(np.float16)}, rf"{NAME} is float16\[8\] in it, and float32\[8\] here"),
        (lambda w: w | {NAME: w[NAME] * np.nan}, f"has values in {NAME} that are not finite"),
    ],
)
def test_weights_of_another_model_are_refused_before_any_work(start, file, tmp_path, change, message):
    path = changed(file, tmp_path / "w", change)
    with pytest.raises(BadInput, match=f"^initial_weights: .*{message}") as caught:
        start(tmp_path / "run", initial_weights=str(path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_model_that_takes_no_params_is_refused(file):
    model = Model(lambda key: None, lambda state, batch, key: None, lambda state, batch, key: None)
    with pytest.raises(BadInput, match="initial_weights: the `init` of this experiment's model takes no params"):
        starting.read(str(file), model)


def test_the_weights_belong_to_the_identity_of_a_run_and_their_place_does_not(start, started, file, tmp_path):
    flags = vae.Flags(hidden=(8,), latent_dim=2)

    def workdir(path):
        own = flags.replace(initial_weights=None if path is None else str(path))
        return assembling.default_workdir(vae.EXPERIMENT, own, assembling.assemble(vae.EXPERIMENT, own).initial)

    run, copy = started
    other = changed(file, tmp_path / "other", lambda w: w | {NAME: w[NAME] + 1})
    assert workdir(copy) == workdir(file) != workdir(other)
    assert workdir(None) not in (workdir(file), workdir(other))
    manifest = (run / "manifest.json").read_bytes()
    start(run, initial_weights=str(file), **STILL)  # already finished
    for given in ({"initial_weights": str(other)}, {}):
        with pytest.raises(BadInput, match=r"holds a run with other values: `initial_weights`="):
            start(run, **given, **STILL)
    shutil.copyfile(other, copy)
    with pytest.raises(BadInput, match=r"initial_weights: .* was started from weights of params_sha256"):
        start(run, initial_weights=str(copy), **STILL)
    with pytest.raises(BadInput, match=r"initial_weights: its params_sha256 is .*, not "):
        reproduce.main(reproduce.Flags(run=str(run)))
    os.remove(copy)
    with pytest.raises(BadInput, match="initial_weights: there is no file"):
        reproduce.main(reproduce.Flags(run=str(run)))
    assert (run / "manifest.json").read_bytes() == manifest
    assert params_sha256(opening.open(run).params) == json.loads(manifest)["params_sha256"]  # needs no file


def test_runs_without_weights_keep_their_directories():
    assert assembling.default_workdir(vae.EXPERIMENT, vae.Flags()).name == "vae-digits-seed0-c217472c"


@pytest.mark.slow
def test_a_run_from_weights_is_reproduced_where_they_are_now(start, file, tmp_path, capfd):
    shutil.copyfile(file, tmp_path / "w")
    start(tmp_path / "run", initial_weights=str(tmp_path / "w"), num_steps=3)
    assert reproduce.main(reproduce.Flags(run=str(tmp_path / "run"))) == 0
    os.remove(tmp_path / "w")
    assert reproduce.main(reproduce.Flags(run=str(tmp_path / "run"), initial_weights=str(file))) == 0
    assert capfd.readouterr().out.count("the same bits") == 2
