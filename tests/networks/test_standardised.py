"""Networks of standardised data: the transform against NumPy, its inverse, and objectives in other units."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import networks
from genjax.losses import SQUARED_ERROR
from genjax.models import sparse_autoencoder
from genjax.types import Batch

DIM, UNITS = 5, 12
SHIFT = np.array([5.0, -2, 0, 1e3, 7])


@pytest.fixture
def x():
    """Examples of unequal columns, none of which has a mean of 0."""
    return np.random.RandomState(0).normal(size=(9000, DIM)) * [1, 2, 100, 3, 0.1] + SHIFT


def parts_of(encoder=networks.top_k_units):
    encode, decode = networks.affine((DIM,), (UNITS,)), networks.affine((UNITS,), (DIM,))
    return sparse_autoencoder.SparseAutoencoder(encoder(encode, k=3), decode, SQUARED_ERROR)


def test_one_scale_is_that_of_all_centred_values(x):
    found = networks.fit_standard(x, divisor=4)
    np.testing.assert_allclose(found.shift, x.mean(axis=0) / 4, rtol=1e-9)
    assert found.scale == pytest.approx(np.std(x / 4 - x.mean(axis=0) / 4), rel=1e-12)
    params = {name: jnp.asarray(value, jnp.float32) for name, value in found._asdict().items()}
    standard = np.asarray(networks.standardise(params, jnp.asarray(x / 4, jnp.float32)))
    assert np.square(standard, dtype=np.float64).sum(axis=1).mean() == pytest.approx(DIM, rel=1e-5)
    pictures = networks.fit_standard(x.reshape(-1, 1, DIM, 1), divisor=4)
    assert pictures.shift.shape == (1, DIM, 1) and pictures.scale == found.scale
    with pytest.raises(ValueError, match="all examples are equal"):
        networks.fit_standard(np.full((7, 3), 0.1))


def test_the_inverse_gives_the_data_back(x):
    standard = networks.fit_standard(x)
    params = {name: jnp.asarray(value, jnp.float32) for name, value in standard._asdict().items()}
    given = jnp.asarray(x, jnp.float32)
    back = networks.restore(params, networks.standardise(params, given))
    np.testing.assert_allclose(back, given, rtol=3e-7, atol=3e-7 * standard.scale)
    powers = {"shift": jnp.asarray(SHIFT, jnp.float32), "scale": jnp.asarray(128.0)}
    whole = jnp.round(given)
    assert (networks.restore(powers, networks.standardise(powers, whole)) == whole).all()  # exact in binary


@pytest.mark.parametrize("encoder", [networks.top_k_units, networks.batch_top_k_units])
def test_it_is_the_plain_model_of_standardised_examples(encoder, x, key):
    plain, standard = parts_of(encoder), networks.fit_standard(x)
    own = sparse_autoencoder.standardised(plain, (DIM,))
    inner = sparse_autoencoder.objective(plain, prefixes=(4,))
    optimizer = optax.adam(1e-2)
    models = {
        "plain": sparse_autoencoder.model(plain, optimizer, inner),
        "own": sparse_autoencoder.starting_with(
            sparse_autoencoder.model(own, optimizer, sparse_autoencoder.in_units(inner)), standard
        ),
    }
    z = jnp.asarray((x[:64] - standard.shift) / standard.scale, jnp.float32)
    batches = {"plain": Batch(z), "own": Batch(jnp.asarray(x[:64], jnp.float32))}
    states = {name: model.init(key) for name, model in models.items()}
    before = states["own"].params
    metrics, steps = {}, {name: jax.jit(model.train_step) for name, model in models.items()}
    for _ in range(5):
        for name in models:
            states[name], metrics[name] = steps[name](states[name], batches[name], key)
    for name, value in metrics["plain"].items():
        np.testing.assert_allclose(metrics["own"][name], value, rtol=1e-3, err_msg=name)
    params = states["own"].params
    for network in ("encoder", "decoder"):
        for a, b in zip(
            jax.tree.leaves(params[network]["standard"]), jax.tree.leaves(before[network]["standard"]), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    of_plain, of_own = plain.autoencoder, own.autoencoder
    codes = of_own.encoder.apply(params["encoder"], batches["own"].x)
    expected = of_plain.encoder.apply(states["plain"].params["encoder"], z)
    np.testing.assert_allclose(codes, expected, rtol=1e-2, atol=2e-3)
    rebuilt = of_own.decoder.apply(params["decoder"], codes)
    inside = of_plain.decoder.apply(params["decoder"]["network"], codes)
    np.testing.assert_allclose(rebuilt, np.asarray(inside) * standard.scale + standard.shift, rtol=1e-4)


def test_given_parameters_keep_their_own_transform(x, key):
    parts = sparse_autoencoder.standardised(parts_of(), (DIM,))
    model = sparse_autoencoder.model(
        parts, optax.sgd(0.1), sparse_autoencoder.in_units(sparse_autoencoder.objective(parts_of()))
    )
    fitted = sparse_autoencoder.starting_with(model, networks.fit_standard(x))
    given = networks.with_standard(model.init(key).params, networks.Standard(np.ones(DIM), 3.0))
    assert float(fitted.init(key, given).params["encoder"]["standard"]["scale"]) == 3
