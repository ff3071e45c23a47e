"""The sparse autoencoder: its objective by hand, dead units by counting, and dictionaries whose optimum is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import subspace_angles

from genjax import losses, networks
from genjax.losses import SQUARED_ERROR
from genjax.models import autoencoder, sparse_autoencoder
from genjax.networks import SparseCode, SparseEncoder
from genjax.types import Batch, Network

B, DIM, UNITS = 6, 4, 5
NETWORK, DECODER = networks.affine((DIM,), (UNITS,)), networks.affine((UNITS,), (DIM,))


def parts_of(encoder):
    return sparse_autoencoder.SparseAutoencoder(encoder, DECODER, SQUARED_ERROR)


@pytest.fixture
def batch(key):
    return Batch(jax.random.normal(key, (B, DIM)))


def error(params, z, x):
    layer = params["decoder"]["layer_1"]
    rebuilt = np.asarray(z) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    return np.square(rebuilt - np.asarray(x)).sum(axis=1)


def test_the_objective_is_the_sum_of_its_terms(batch, key):
    parts = parts_of(networks.gated_units(NETWORK, UNITS))
    params = sparse_autoencoder.init_params(key, parts=parts)
    params["encoder"]["gate_bias"] += 0.3
    code = parts.encoder.train(params["encoder"], batch.x)
    objective = sparse_autoencoder.objective(parts, weight=0.7, prefixes=(2, 3))
    loss, metrics, statistics = objective(params, batch, key)
    whole, gate = error(params, code.z, batch.x), error(params, code.gate, batch.x)
    prefixes = sum(error(params, np.where(np.arange(UNITS) < m, code.z, 0), batch.x) for m in (2, 3))
    penalty = np.asarray(code.gate).sum(axis=1)
    expected = {"reconstruction_loss": whole, "gate_l1": penalty, "prefix_loss": prefixes, "gate_loss": gate}
    assert set(metrics) == set(expected) and statistics == {"encoder": ()}
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(loss, whole + 0.7 * penalty + prefixes + gate, rtol=1e-4)


def test_the_reconstruction_from_the_gates_moves_no_decoder(batch, key):
    parts = parts_of(networks.gated_units(NETWORK, UNITS))
    params = sparse_autoencoder.init_params(key, parts=parts)
    objective = sparse_autoencoder.objective(parts)
    of_gate = jax.grad(lambda p: objective(p, batch, key)[1]["gate_loss"].sum())(params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_gate["decoder"]))
    assert np.any(of_gate["encoder"]["gate_bias"])


def test_the_functions_of_an_autoencoder_take_its_parts(batch, key):
    parts = parts_of(networks.jump_relu_units(NETWORK, UNITS, initial_threshold=0.3))
    params = sparse_autoencoder.init_params(key, parts=parts)
    z = autoencoder.encode(params, batch.x, parts=parts.autoencoder)
    np.testing.assert_array_equal(z, parts.encoder.apply(params["encoder"], batch.x))
    found = autoencoder.score(params, batch.x, parts=parts.autoencoder)
    np.testing.assert_allclose(found, error(params, z, batch.x), rtol=1e-5)


def test_in_evaluation_the_codes_are_those_above_the_threshold(batch, key):
    parts = parts_of(networks.batch_top_k_units(NETWORK, k=2))
    params = sparse_autoencoder.init_params(key, parts=parts)
    params["encoder"]["threshold"] += 0.4
    _, metrics, _ = sparse_autoencoder.objective(parts, evaluation=True)(params, batch, key)
    z = parts.encoder.apply(params["encoder"], batch.x)
    np.testing.assert_allclose(metrics["reconstruction_loss"], error(params, z, batch.x), rtol=1e-5)
    _, trained, _ = sparse_autoencoder.objective(parts)(params, batch, key)
    assert np.any(trained["reconstruction_loss"] != metrics["reconstruction_loss"])


def test_dead_units_learn_the_error_of_the_others(batch, key):
    parts = parts_of(networks.top_k_units(NETWORK, k=1))
    revival = sparse_autoencoder.Revival(UNITS, weight=0.5, at_most=2, after=10)
    params = sparse_autoencoder.init_params(key, parts=parts, revival=revival)
    params["inactive_for"] = jnp.array([0.0, 12, 10, 9, 30])
    objective = sparse_autoencoder.objective(parts, revival=revival)
    loss, metrics, _ = objective(params, batch, key)
    code = parts.encoder.train(params["encoder"], batch.x)
    a = np.where([False, True, True, False, True], np.maximum(code.preactivation, 0), 0)
    chosen = np.where(a >= np.sort(a, axis=1)[:, -2:-1], a, 0)
    layer = jax.tree.map(np.asarray, params["decoder"]["layer_1"])
    residual = np.asarray(batch.x) - (np.asarray(code.z) @ layer["kernel"] + layer["bias"])
    expected = np.square(chosen @ layer["kernel"] - residual).sum(axis=1)
    np.testing.assert_allclose(metrics["revival_loss"], expected, rtol=1e-4)
    np.testing.assert_allclose(loss, metrics["reconstruction_loss"] + 0.5 * expected, rtol=1e-4)
    np.testing.assert_array_equal(metrics["dead_units"], np.full(B, 3))
    slope = jax.grad(lambda p: objective(p, batch, key)[1]["revival_loss"].sum())(params)
    moved = np.any(slope["encoder"]["layer_1"]["kernel"], axis=0)
    np.testing.assert_array_equal(moved, chosen.any(axis=0))  # dead units alone
    params["inactive_for"] = jnp.zeros(UNITS)
    assert not np.any(objective(params, batch, key)[1]["revival_loss"])


def test_it_counts_for_how_many_examples_units_were_inactive(batch, key):
    parts = parts_of(networks.top_k_units(NETWORK, k=1))
    revival = sparse_autoencoder.Revival(UNITS, after=2 * B)
    objective = sparse_autoencoder.objective(parts, revival=revival)
    model = sparse_autoencoder.model(parts, optax.sgd(0.0), objective, revival=revival)
    state = model.init(key)
    z = np.asarray(parts.encoder.apply(state.params["encoder"], batch.x))
    assert 0 < (z > 0).any(axis=0).sum() < UNITS
    for number in (1, 2, 3):
        state, metrics = jax.jit(model.train_step)(state, batch, key)
        np.testing.assert_array_equal(state.params["inactive_for"], np.where((z > 0).any(axis=0), 0, number * B))
        dead = 0 if number < 3 else (~(z > 0).any(axis=0)).sum()
        assert int(metrics["dead_units"]) == dead  # of the params before the update
    params = state.params | {"inactive_for": jnp.full(UNITS, sparse_autoencoder.MOST)}
    statistics = {"encoder": (), "active": jnp.zeros(UNITS), "num": jnp.float32(B)}
    kept = sparse_autoencoder.refresh(params, statistics, parts=parts)
    np.testing.assert_array_equal(kept["inactive_for"], sparse_autoencoder.MOST)


def linear(network):
    """Units without a threshold."""

    def train(params, x):
        return SparseCode(network.apply(params, x), network.apply(params, x), {})

    return SparseEncoder(network.init, network.apply, train, lambda params, _: params)


def test_all_prefixes_of_a_linear_dictionary_are_the_ordered_principal_axes(key):
    """sum_m ||x - x'_m||^2 is least where each m of the first units spans the first m principal axes."""
    scales = np.array([3.0, 2.0, 1.2, 0.6])
    rotation = np.linalg.qr(np.random.RandomState(0).normal(size=(DIM, DIM)))[0]
    x = np.random.RandomState(1).normal(size=(400, DIM)) * scales @ rotation
    x = jnp.float32(x - x.mean(axis=0))
    encoder, decoder = networks.affine((DIM,), (3,)), networks.affine((3,), (DIM,))
    parts = sparse_autoencoder.SparseAutoencoder(linear(encoder), decoder, SQUARED_ERROR)
    objective = sparse_autoencoder.objective(parts, prefixes=(1, 2))
    model = sparse_autoencoder.model(parts, optax.adam(optax.cosine_decay_schedule(0.05, 1500)), objective)
    step = jax.jit(lambda _, state: model.train_step(state, Batch(x), key)[0])
    state = jax.jit(lambda state: jax.lax.fori_loop(0, 1500, step, state))(model.init(key))
    _, _, axes = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    atoms = np.asarray(state.params["decoder"]["layer_1"]["kernel"])
    for m in (1, 2, 3):
        assert np.max(subspace_angles(atoms[:m].T, axes[:m].T)) < 0.01


def test_all_units_active_are_a_linear_autoencoder_where_they_are_positive(batch, key):
    params = {"layer_1": {"kernel": jnp.abs(NETWORK.init(key)["layer_1"]["kernel"]), "bias": jnp.ones(UNITS)}}
    x = jnp.abs(batch.x)
    z = networks.top_k_units(NETWORK, k=UNITS).apply(params, x)
    np.testing.assert_allclose(z, NETWORK.apply(params, x), rtol=1e-6)


def test_with_all_units_and_positive_codes_it_is_trained_as_a_linear_autoencoder(batch, key):
    parts = parts_of(networks.top_k_units(NETWORK, k=UNITS))
    plain = autoencoder.Autoencoder(NETWORK, DECODER, SQUARED_ERROR)
    one = sparse_autoencoder.model(parts, optax.sgd(1e-3), sparse_autoencoder.objective(parts))
    other = autoencoder.model(plain, optax.sgd(1e-3), autoencoder.objective(plain, overcomplete=True))
    params = one.init(key).params
    params["encoder"]["layer_1"]["bias"] += 9
    assert np.min(NETWORK.apply(params["encoder"], batch.x)) > 0
    states = [jax.jit(model.train_step)(model.init(key, params), batch, key)[0] for model in (one, other)]
    assert np.any(states[0].params["encoder"]["layer_1"]["kernel"] != params["encoder"]["layer_1"]["kernel"])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), *(state.params for state in states))


@pytest.mark.parametrize("encoder", ["l1", "top_k"])
def test_without_further_terms_it_is_the_autoencoder_with_such_a_code(encoder, batch, key):
    """To the bit, so that runs of either keep theirs."""
    unit, code, penalties = {
        "l1": (networks.l1_units(NETWORK, losses.code_l1), jax.nn.relu, [autoencoder.code_l1_penalty(0.3)]),
        "top_k": (networks.top_k_units(NETWORK, k=2), lambda a: networks.k_sparse(jax.nn.relu(a), k=2), []),
    }[encoder]
    parts = parts_of(unit)
    plain = autoencoder.Autoencoder(NETWORK, DECODER, SQUARED_ERROR, code)
    one = sparse_autoencoder.model(parts, optax.adam(1e-2), sparse_autoencoder.objective(parts, weight=0.3))
    other = autoencoder.model(plain, optax.adam(1e-2), autoencoder.objective(plain, penalties=penalties))
    states = []
    for model in (one, other):
        state = model.init(key)
        for _ in range(3):
            state, _ = jax.jit(model.train_step)(state, batch, key)
        states.append(state.params)
    jax.tree.map(partial(np.testing.assert_array_equal, strict=True), *states)


@pytest.mark.parametrize("standardised", [False, True])
def test_the_encoder_may_start_as_the_transpose_of_small_atoms(standardised, key):
    parts = parts_of(networks.batch_top_k_units(NETWORK, k=2))
    parts = sparse_autoencoder.standardised(parts, (DIM,)) if standardised else parts
    plain = sparse_autoencoder.model(parts, optax.adam(0.1), sparse_autoencoder.objective(parts))
    started = sparse_autoencoder.starting_transposed(plain, norm=0.3)
    before, after = plain.init(key), started.init(key)

    def pop(params, name):
        """The kernel, which the params then lack."""
        own = params[name]
        for _ in range((name == "encoder") + standardised):
            own = own["network"]
        return np.asarray(own["layer_1"].pop("kernel"))

    drawn, atoms = pop(before.params, "decoder"), pop(after.params, "decoder")
    np.testing.assert_allclose(atoms, 0.3 * drawn / np.linalg.norm(drawn, axis=1, keepdims=True), rtol=1e-5)
    pop(before.params, "encoder")
    np.testing.assert_array_equal(pop(after.params, "encoder"), atoms.T)
    jax.tree.map(partial(np.testing.assert_array_equal, strict=True), before.params, after.params)  # all others
    given = jax.tree.map(lambda leaf: leaf + 1, plain.init(key).params)
    kept = started.init(key, given).params
    jax.tree.map(np.testing.assert_array_equal, kept, given)


def test_codes_of_few_active_units_are_decoded_as_whole_codes_are(batch, key):
    """The loss with its prefixes and dead units, and the gradients, of a dictionary and of a plain network."""
    decoder = networks.dictionary(64, (DIM,))
    by_place = sparse_autoencoder.SparseAutoencoder(
        networks.top_k_units(networks.affine((DIM,), (64,)), k=2), decoder, SQUARED_ERROR
    )
    whole = by_place._replace(decoder=Network(decoder.init, decoder.apply))
    revival = sparse_autoencoder.Revival(64, weight=0.5, at_most=8, after=10)
    params = sparse_autoencoder.init_params(key, parts=by_place, revival=revival)
    params["inactive_for"] = params["inactive_for"].at[::3].set(20.0)
    params["decoder"]["layer_1"]["bias"] += 0.3
    assert by_place.encoder.train(params["encoder"], batch.x).active is not None

    def found(parts):
        objective = sparse_autoencoder.objective(parts, prefixes=(20,), revival=revival)

        def loss(params):
            loss, metrics, statistics = objective(params, batch, key)
            return jnp.sum(loss), (metrics, statistics["active"])

        return jax.value_and_grad(loss, has_aux=True)(params)

    one, other = jax.jit(lambda: (found(by_place), found(whole)))()
    assert np.all(one[0][1][0]["prefix_loss"] > 0) and np.all(one[0][1][0]["revival_loss"] > 0)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), one, other)
