"""Codebooks against loops, k-means and the papers' formulas."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from genjax import networks


def doubles(a):
    return np.asarray(a, np.float64)


def nearest_by_loops(entries, z):
    index = np.zeros(z.shape[:-1], int)
    for place in np.ndindex(*index.shape):
        distances = [sum((z[place][j] - e[j]) ** 2 for j in range(len(e))) for e in entries]
        index[place] = distances.index(min(distances))
    return index


def quantise(codebook, params, z):
    return jax.jit(codebook.quantise)(params, z)


def vectors(key, *shape):
    return jax.random.normal(key, shape)


@pytest.mark.parametrize("make", [networks.learned_codebook, networks.averaged_codebook])
def test_the_nearest_entry_by_loops(make, key):
    codebook, (k1, k2) = make(7, 3), jax.random.split(key)
    params, z = codebook.init(k1), vectors(k2, 5, 2, 4, 3)
    found = quantise(codebook, params, z)
    index = nearest_by_loops(doubles(params["entries"]), doubles(z))
    assert len(np.unique(index)) > 3
    np.testing.assert_array_equal(found.index[..., 0], index)
    np.testing.assert_array_equal(found.value, np.asarray(params["entries"])[index])  # to the last bit
    np.testing.assert_array_equal(codebook.look_up(params, found.index), found.value)
    distance = ((doubles(z) - np.asarray(params["entries"])[index]) ** 2).sum(-1)
    np.testing.assert_allclose(found.commitment, distance, rtol=1e-5)
    np.testing.assert_allclose(found.codebook_loss, distance if codebook.learned else 0 * distance, rtol=1e-5)


@pytest.mark.parametrize("depth", [1, 2])
def test_gradients_go_straight_through(depth, key):
    codebook, (k1, k2, k3) = networks.learned_codebook(6, 3), jax.random.split(key, 3)
    codebook = codebook if depth == 1 else networks.residual_codebook(codebook, depth)
    params, z, slope = codebook.init(k1), vectors(k2, 8, 3), vectors(k3, 8, 3)
    value, pull = jax.vjp(lambda params, z: codebook.quantise(params, z).value, params, z)
    to_params, to_z = pull(slope)
    assert float(jnp.abs(value - z).min()) > 1e-4
    np.testing.assert_array_equal(to_z, slope)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(to_params))


def test_each_loss_moves_its_own_side(key):
    codebook, (k1, k2) = networks.learned_codebook(3, 2), jax.random.split(key)
    params, z = codebook.init(k1), vectors(k2, 9, 2)
    index, e = quantise(codebook, params, z).index[:, 0], doubles(params["entries"])
    for name in ("codebook_loss", "commitment"):
        slopes = jax.grad(lambda p, z, name=name: getattr(codebook.quantise(p, z), name).sum(), (0, 1))
        of_e, of_z = jax.jit(slopes)(params, z)
        entries, points = np.zeros((3, 2)), np.zeros((9, 2))
        for i, k in enumerate(index):
            if name == "codebook_loss":
                entries[k] += 2 * (e[k] - doubles(z[i]))
            else:
                points[i] = 2 * (doubles(z[i]) - e[k])
        np.testing.assert_allclose(of_e["entries"], entries, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(of_z, points, rtol=1e-4, atol=1e-5)


def updater(codebook):
    """The params after one update by the sums over shards [V, B, d]."""

    @jax.jit
    def update(params, shards):
        found = jax.lax.map(lambda z: codebook.quantise(params, z).statistics, shards)
        return codebook.refresh(params, jax.tree.map(lambda sums: jnp.sum(sums, axis=0), found))

    return update


@pytest.mark.parametrize("num_shards", [1, 4])
def test_an_update_without_memory_is_a_step_of_lloyds(num_shards, key):
    codebook = networks.averaged_codebook(4, 2, decay=0.0, restart=0.0)
    k1, k2, k3 = jax.random.split(key, 3)
    centres = 4 * vectors(k1, 4, 2)
    z = centres[jax.random.randint(k2, (200,), 0, 4)] + vectors(k3, 200, 2)
    params, update = {"entries": z[:4], "count": jnp.ones(4)}, updater(codebook)
    for _ in range(3):
        init = np.asarray(params["entries"])
        lloyd = KMeans(4, init=init, n_init=1, max_iter=1, algorithm="lloyd").fit(np.asarray(z))
        params = update(params, z.reshape(num_shards, -1, 2))
        assert np.abs(lloyd.cluster_centers_ - init).max() > 1e-3
        np.testing.assert_allclose(params["entries"], lloyd.cluster_centers_, rtol=1e-4, atol=1e-5)


def test_entries_are_moving_averages(key):
    """Appendix A.1 as it is written, with its sums m; an entry without vectors stays, to the last bit."""
    codebook, decay = networks.averaged_codebook(5, 2, decay=0.8, restart=0.0), 0.8
    params = codebook.init(key)
    params["entries"] = params["entries"].at[2].set(jnp.array([50.0, 50.0]))
    count, total, update = np.ones(5), doubles(params["entries"]), updater(codebook)
    for of_batch in jax.random.split(key, 4):
        z = vectors(of_batch, 30, 2)
        index = nearest_by_loops(doubles(params["entries"]), doubles(z))
        used = np.eye(5)[index]
        count, total = decay * count + (1 - decay) * used.sum(0), decay * total + (1 - decay) * used.T @ z
        params = update(params, z[None])
        np.testing.assert_allclose(params["count"], count, rtol=1e-5)
        np.testing.assert_allclose(params["entries"], total / count[:, None], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(params["entries"][2], [50, 50])
    never = params | {"count": jnp.zeros(5)}
    nothing = {"count": jnp.zeros(5), "sum": jnp.zeros((5, 2))}
    np.testing.assert_array_equal(codebook.refresh(never, nothing)["entries"], params["entries"])


def test_a_dead_entry_splits_the_most_used(key):
    codebook = networks.averaged_codebook(4, 2, decay=0.9, restart=0.1)
    entries = jnp.array([[0.0, 0.0], [90.0, 90.0], [3.0, 0.0], [-90.0, 90.0]])
    params = {"entries": entries, "count": jnp.array([20.0, 0.2, 40.0, 5.0])}
    k1, k2 = jax.random.split(key)
    z = jnp.concatenate([0.5 * vectors(k1, 10, 2), jnp.array([[3.0, 0.4]]) + 0.5 * vectors(k2, 20, 2)])
    index = np.asarray(quantise(codebook, params, z).index[:, 0])
    found = updater(codebook)(params, z.reshape(2, 15, 2))
    count = 0.9 * np.array([20, 0.2, 40, 5]) + 0.1 * np.bincount(index, minlength=4)
    mean = doubles(z)[index == 2].mean(0)
    moved = (0.9 * 40 * np.array([3.0, 0]) + 0.1 * (index == 2).sum() * mean) / count[2]
    # only entry 1 is dead: less than a tenth of the mean count, 16; it takes half of entry 2
    np.testing.assert_allclose(found["count"], [count[0], count[2] / 2, count[2] / 2, count[3]], rtol=1e-5)
    np.testing.assert_allclose(found["entries"][1], moved + mean - np.array([3.0, 0]), rtol=1e-4)
    np.testing.assert_allclose(found["entries"][2], moved, rtol=1e-4)
    np.testing.assert_array_equal(found["entries"][3], entries[3])
    kept = updater(networks.averaged_codebook(4, 2, decay=0.9, restart=0.0))(params, z[None])
    np.testing.assert_array_equal(kept["entries"][1], entries[1])


@pytest.mark.parametrize("restart", [0.0, 0.1])
def test_restarts_bring_every_entry_into_use(restart, key):
    codebook = networks.averaged_codebook(16, 2, decay=0.9, restart=restart)
    params = codebook.init(key) | {"entries": 100 + jax.random.normal(key, (16, 2))}
    params["entries"] = params["entries"].at[0].set(0.0)
    update = updater(codebook)
    for of_batch in jax.random.split(key, 150):
        params = update(params, vectors(of_batch, 1, 128, 2))
    used = np.unique(quantise(codebook, params, vectors(key, 4000, 2)).index)
    assert len(used) == (16 if restart else 1)


def test_residual_quantisation_by_hand(key):
    codebook = networks.residual_codebook(networks.averaged_codebook(5, 2, decay=0.5, restart=0.0), 3)
    k1, k2 = jax.random.split(key)
    params, z = codebook.init(k1), vectors(k2, 6, 4, 2)
    assert not np.array_equal(params["codebook_1"]["entries"], params["codebook_2"]["entries"])
    found, residual, commitment = quantise(codebook, params, z), doubles(z), 0
    new = updater(codebook)(params, z[None])
    for i in range(3):
        e = doubles(params[f"codebook_{i + 1}"]["entries"])
        index = nearest_by_loops(e, residual)
        np.testing.assert_array_equal(found.index[..., i], index)
        flat = np.eye(5)[index].reshape(-1, 5)
        count = (1 + flat.sum(0)) / 2
        expected = (e + flat.T @ residual.reshape(-1, 2)) / 2 / count[:, None]
        np.testing.assert_allclose(new[f"codebook_{i + 1}"]["entries"], expected, rtol=1e-4, atol=1e-5)
        residual = residual - e[index]
        commitment = commitment + (residual**2).sum(-1)
    np.testing.assert_allclose(found.value, z - residual, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(codebook.look_up(params, found.index), found.value)
    np.testing.assert_allclose(found.commitment, commitment, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="one index per vector, not of 3"):
        networks.residual_codebook(codebook, 2)


@pytest.mark.parametrize("levels", [(2,), (3, 2), (8, 5, 5), (4, 3, 7)])
def test_scalar_codes_are_one_to_one(levels):
    codebook = networks.scalar_codebook(levels)
    index = jnp.arange(codebook.num_codes)[:, None]
    values = np.asarray(codebook.look_up((), index))
    grid = itertools.product(*(np.linspace(-1, 1, num) for num in reversed(levels)))
    np.testing.assert_allclose(values, [row[::-1] for row in grid], atol=1e-6)  # the first dimension the fastest
    found = quantise(codebook, (), jnp.arctanh(0.98 * values))
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.value, values, atol=1e-6)


def test_odd_levels_round_as_the_paper_does(key):
    levels = (3, 5, 9)
    z = 2 * vectors(key, 50, 3)
    value, pull = jax.vjp(lambda z: networks.scalar_codebook(levels).quantise((), z).value, z)
    half = np.array(levels) // 2
    np.testing.assert_allclose(value, np.round(half * np.tanh(z)) / half, atol=1e-6)
    np.testing.assert_allclose(pull(jnp.ones_like(z))[0], 1 / np.cosh(z) ** 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("levels", [(), (3, 1)])
def test_a_dimension_of_one_level_is_refused(levels):
    with pytest.raises(ValueError, match="2 or more levels"):
        networks.scalar_codebook(levels)
