"""The masked autoencoder: what it sees, what it is measured by, and the conditional means that it learns."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import networks
from genjax.losses import SQUARED_ERROR
from genjax.models import autoencoder
from genjax.models import masked_autoencoder as model
from genjax.types import Batch, Network

SIZES = dict(width=8, num_layers=1, num_heads=2)
PARTS = model.MaskedAutoencoder(
    networks.patch_encoder(6, 4, **SIZES), networks.patch_decoder(6, 4, 8, **SIZES), (4, 6, 1), 2
)


@pytest.fixture
def params(key):
    return jax.jit(lambda key: model.init_params(key, parts=PARTS))(key)


@pytest.mark.parametrize(("share", "hidden"), [(0.75, 4), (0.5, 3), (0.0, 1), (1.0, 5)])
def test_so_many_patches_are_hidden(share, hidden):
    assert model.num_hidden(share, parts=PARTS) == hidden


def test_one_patch_is_too_few():
    with pytest.raises(ValueError, match="an image of one patch has none to hide"):
        model.objective(PARTS._replace(shape=(2, 2, 1)), hidden_share=0.5)


def test_each_choice_of_visible_patches_is_as_probable(key):
    places = np.asarray(model.draw_visible(6000, key, hidden=4, parts=PARTS))
    assert places.shape == (6000, 2, 6) and (places.sum(2) == 1).all() and (places.sum(1) <= 1).all()
    chosen = np.sort(places.argmax(2), axis=1)
    counts = np.unique(chosen, axis=0, return_counts=True)[1]
    assert len(counts) == 15
    p = 1 / 15
    assert np.abs(counts / 6000 - p).max() < 4 * np.sqrt(p * (1 - p) / 6000)


def test_the_loss_is_the_mean_squared_error_of_hidden_patches(params, key):
    x = jax.random.uniform(key, (5, 4, 6, 1))
    loss, metrics = jax.jit(model.objective(PARTS, hidden_share=0.5))(params, Batch(x), key)
    places = np.asarray(model.draw_visible(5, key, hidden=3, parts=PARTS))
    rebuilt = np.asarray(model.reconstruct(params, x, jnp.asarray(places), parts=PARTS), np.float64)
    patches, hidden = np.asarray(networks.to_patches(x, 2), np.float64), places.sum(1) == 0
    expected = [np.mean((rebuilt[i] - patches[i])[hidden[i]] ** 2) for i in range(5)]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_array_equal(metrics["hidden_error"], loss)


def test_hidden_pixels_are_not_seen_and_visible_ones_stay(params, key):
    x, other = jax.random.uniform(key, (2, 1, 4, 6, 1))
    places = jnp.eye(6)[None, jnp.array([4, 1])]
    shown = np.zeros((1, 4, 6, 1), bool)
    shown[0, 2:, 2:4] = shown[0, :2, 2:4] = True  # the second patch of each row
    np.testing.assert_array_equal(model.visible_pixels(places, parts=PARTS), shown)
    fill = jax.jit(partial(model.fill, parts=PARTS))
    filled = fill(params, x, places)
    np.testing.assert_array_equal(np.asarray(filled)[shown], np.asarray(x)[shown])
    changed = fill(params, jnp.where(shown, x, other), places)
    np.testing.assert_array_equal(changed, filled)
    moved = fill(params, jnp.where(shown, other, x), places)
    assert np.abs(moved - filled)[~shown].min() > 0
    rebuilt = networks.from_patches(model.reconstruct(params, x, places, parts=PARTS), (4, 6, 1), 2)
    np.testing.assert_array_equal(np.asarray(filled)[~shown], np.asarray(rebuilt)[~shown])


def test_with_all_patches_visible_it_is_an_autoencoder(params, key):
    x = jax.random.uniform(key, (3, 4, 6, 1))
    every = jnp.broadcast_to(jnp.eye(6), (3, 6, 6))

    def encode(params, x):
        return PARTS.encoder.apply(params, networks.to_patches(x, 2), every)

    def decode(params, codes):
        return networks.from_patches(PARTS.decoder.apply(params, codes, every), (4, 6, 1), 2)

    plain = autoencoder.Autoencoder(Network(lambda key: (), encode), Network(lambda key: (), decode), SQUARED_ERROR)
    expected = autoencoder.reconstruct(params, x, parts=plain)
    patches = model.reconstruct(params, x, every, parts=PARTS)
    np.testing.assert_allclose(networks.from_patches(patches, (4, 6, 1), 2), expected, rtol=1e-5, atol=1e-6)
    order = every[:, jnp.array([3, 1, 5, 0, 2, 4])]  # in which patches are read changes nothing
    np.testing.assert_allclose(model.reconstruct(params, x, order, parts=PARTS), patches, rtol=1e-4, atol=1e-6)


def test_the_code_is_the_mean_over_all_patches(params, key):
    x = jax.random.uniform(key, (3, 4, 6, 1))
    order = jnp.array([5, 2, 0, 1, 4, 3])
    patches, places = networks.to_patches(x, 2)[:, order], jnp.broadcast_to(jnp.eye(6)[order], (3, 6, 6))
    expected = PARTS.encoder.apply(params["encoder"], patches, places).mean(1)
    np.testing.assert_allclose(model.encode(params, x, parts=PARTS), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_linear_one_learns_the_conditional_means_of_a_gaussian():
    # three patches of one pixel, one hidden: a line for each, of the two others
    draw = np.random.RandomState(0)
    mixing, mean = np.array([[1.0, 0.5, 0.2], [0, 0.8, -0.6], [0, 0, 0.7]]), np.array([0.3, -0.2, 0.1])
    x = jnp.asarray(draw.normal(size=(400, 3)) @ mixing + mean, jnp.float32)

    def decode(params, codes, places):
        whole = jnp.sum(jnp.swapaxes(places, 1, 2) @ codes, axis=2)  # [B, P], 0 where it is hidden
        return (whole @ params["slope"] + params["offset"][None])[:, :, None]

    def start(key):
        return {"slope": jnp.zeros((3, 3)), "offset": jnp.zeros(3)}

    parts = model.MaskedAutoencoder(
        Network(lambda key: (), lambda params, patches, places: patches), Network(start, decode), (1, 3, 1), 1
    )
    trained = model.model(parts, optax.sgd(0.3), model.objective(parts, hidden_share=0.3))
    batch, key = Batch(jnp.tile(x[:, None, :, None], (5, 1, 1, 1))), jax.random.key(0)
    state = jax.jit(
        lambda state: jax.lax.fori_loop(0, 1500, lambda _, state: trained.train_step(state, batch, key)[0], state)
    )(trained.init(key))
    m, cov = np.asarray(x, np.float64).mean(0), np.cov(np.asarray(x).T, bias=True)
    for hidden in range(3):
        seen = [p for p in range(3) if p != hidden]
        slope = np.linalg.solve(cov[np.ix_(seen, seen)], cov[seen, hidden])
        conditional = m[hidden] + (np.asarray(x)[:, seen] - m[seen]) @ slope
        places = jnp.broadcast_to(jnp.eye(3)[jnp.array(seen)], (400, 2, 3))
        found = model.reconstruct(state.params, x[:, None, :, None], places, parts=parts)[:, hidden, 0]
        assert np.sqrt(np.mean((found - conditional) ** 2)) < 0.03 * np.std(x[:, hidden])
