"""Linear autoencoders and denoisers in closed form against NumPy, scikit-learn, scipy and training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from genjax import gradients, losses, networks, stochastic
from genjax.evaluation import linear
from genjax.losses import SQUARED_ERROR
from genjax.models import autoencoder
from genjax.types import Batch


def linear_parts(data_dim, latent_dim):
    encoder = networks.mlp((data_dim,), (latent_dim,), hidden=(), activation=jnp.tanh)
    decoder = networks.mlp((latent_dim,), (data_dim,), hidden=(), activation=jnp.tanh)
    return autoencoder.Autoencoder(encoder, decoder, SQUARED_ERROR)


@pytest.fixture
def x(key, float64):
    """Off-centre data whose variances differ from axis to axis, not along the coordinates."""
    factors = jax.random.normal(key, (80, 6)) * jnp.array([3, 2, 1.4, 1, 0.7, 0.5])[None]
    rotation = jnp.linalg.qr(jax.random.normal(jax.random.fold_in(key, 1), (6, 6)))[0]
    return factors @ rotation + 5.0


def eigenvalues(x):
    centred = np.asarray(x) - np.asarray(x).mean(axis=0)
    return np.linalg.svd(centred, compute_uv=False) ** 2 / len(x)


def kernel(params, half):
    return params[half]["layer_1"]["kernel"]


@pytest.mark.parametrize("latent_dim", [2, 6, pytest.param(1, marks=pytest.mark.slow)])
def test_pca_is_scikit_learns(x, latent_dim):
    params, parts = linear.pca(x, latent_dim=latent_dim), linear_parts(6, latent_dim)
    pca = PCA(latent_dim, svd_solver="full").fit(x)
    angle = linear.largest_angle(kernel(params, "decoder"), pca.components_)
    assert angle < 1e-7
    z = np.asarray(autoencoder.encode(params, x, parts=parts))
    np.testing.assert_allclose(np.abs(z), np.abs(pca.transform(x)), atol=1e-9)  # axes, up to sign
    np.testing.assert_allclose(np.cov(z.T, ddof=0), np.diag(eigenvalues(x)[:latent_dim]).squeeze(), atol=1e-9)
    np.testing.assert_allclose(
        autoencoder.reconstruct(params, x, parts=parts), pca.inverse_transform(pca.transform(x)), atol=1e-9
    )
    loss = np.mean(autoencoder.score(params, x, parts=parts))
    np.testing.assert_allclose(loss, eigenvalues(x)[latent_dim:].sum(), atol=1e-9)


def test_no_matrix_of_its_rank_beats_the_truncated_svd(x, key):
    # Eckart & Young: min ||X - Y||_F^2 over rank k is sum_{i > k} S_i^2
    mean = np.asarray(x).mean(axis=0)
    centred = np.asarray(x) - mean
    params, parts = linear.pca(x, latent_dim=2), linear_parts(6, 2)
    best = np.asarray(autoencoder.reconstruct(params, x, parts=parts)) - mean
    assert np.linalg.matrix_rank(best) == 2
    least = np.sum(eigenvalues(x)[2:]) * len(x)
    np.testing.assert_allclose(np.sum((centred - best) ** 2), least, rtol=1e-10)
    rng = np.random.RandomState(0)
    for _ in range(50):
        basis = rng.standard_normal((6, 2))
        other = centred @ basis @ np.linalg.pinv(basis)  # the best of its row space
        assert np.sum((centred - other) ** 2) >= least
        nearby = best @ scipy.linalg.expm(0.01 * rng.standard_normal((6, 6)))
        assert np.sum((centred - nearby) ** 2) >= least


def test_principal_axes_are_eigenvectors_of_the_covariance(x):
    # C = E L E^T with eigenvectors in columns; L_i = S_i^2 / n, or S_i^2 / (n - 1) without bias
    axes = np.asarray(kernel(linear.pca(x, latent_dim=6), "decoder"))
    covariance = np.cov(np.asarray(x).T)
    values = eigenvalues(x) * len(x) / (len(x) - 1)
    np.testing.assert_allclose(covariance @ axes.T, axes.T * values, atol=1e-9)
    np.testing.assert_allclose(axes @ axes.T, np.eye(6), atol=1e-9)
    np.testing.assert_allclose(axes.T @ np.diag(values) @ axes, covariance, atol=1e-9)
    l_, e = linear.spectral_decomposition(covariance)
    np.testing.assert_allclose(l_, values, rtol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(e * axes.T, axis=0)), 1, atol=1e-12)  # the same axes, up to sign


def test_a_symmetric_matrix_is_its_spectral_decomposition():
    draw = np.random.RandomState(0)
    for x in (draw.normal(size=(5, 5)), np.ones((3, 3)), np.zeros((2, 2)), np.array([[2, -1], [-1, 0]])):
        x = x + x.T
        values, e = linear.spectral_decomposition(x)
        np.testing.assert_allclose((e * values) @ e.T, x, atol=1e-13)
        np.testing.assert_allclose(e.T @ e, np.eye(len(x)), atol=1e-13)
        assert np.all(np.diff(values) <= 0)
        np.testing.assert_allclose(x @ e[:, 0], values[0] * e[:, 0], atol=1e-13)
    # in single precision a product with its transpose is symmetric up to rounding
    half = draw.normal(size=(200, 30)).astype(np.float32)
    nearly = half.T @ (half * np.float32(1.0)) + np.float32(1e-6) * draw.normal(size=(30, 30)).astype(np.float32)
    linear.spectral_decomposition(nearly)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        # invertible, with real eigenvalues and one eigenvector; a rotation, with none; diagonalisable, but not by E^T
        ([[1.0, 1.0], [0.0, 1.0]], "x must be symmetric .* an entry of 1$"),
        ([[0.0, -1.0], [1.0, 0.0]], "x must be symmetric .* an entry of 2$"),
        ([[2.0, 1.0], [0.0, 1.0]], "x must be symmetric"),
        ([[1.0, 1e-9], [0.0, 1.0]], "x must be symmetric"),
        ([[1.0, np.nan], [np.nan, 1.0]], "x must be symmetric"),
        (np.ones((3, 2)), r"x must be a square matrix; its shape is \(3, 2\)"),
        (np.ones(4), r"x must be a square matrix; its shape is \(4,\)"),
    ],
)
def test_a_matrix_without_a_spectral_decomposition_is_refused(x, said):
    with pytest.raises(ValueError, match=said):
        linear.spectral_decomposition(np.asarray(x))


def regression(key):
    x_key, y_key, gamma_key = jax.random.split(key, 3)
    return (jax.random.normal(k, shape) for k, shape in ((x_key, (15, 4)), (y_key, (15, 2)), (gamma_key, (3, 4))))


def test_tikhonov_is_the_solution_of_its_normal_equations(key, float64):
    x, y, gamma = regression(key)
    for weight, matrix in ((0.2, gamma), (3.0, None)):
        g = np.eye(4) if matrix is None else np.asarray(matrix)
        by_hand = np.linalg.solve(x.T @ x + len(x) * weight * g.T @ g, x.T @ y)
        np.testing.assert_allclose(linear.tikhonov(x, y, weight=weight, gamma=matrix), by_hand, rtol=1e-10)
    ridge = Ridge(alpha=15 * 0.2, fit_intercept=False).fit(x, y)
    np.testing.assert_allclose(linear.tikhonov(x, y, weight=0.2), ridge.coef_.T, rtol=1e-8)
    np.testing.assert_allclose(linear.tikhonov(x, y, weight=0.0), np.linalg.lstsq(x, y)[0], rtol=1e-10)
    # fewer examples than dimensions: the solution of smallest norm, and ever smaller ones
    few = [linear.tikhonov(x[:2], y[:2], weight=weight) for weight in (0.0, 0.01, 0.1, 1.0)]
    np.testing.assert_allclose(few[0], np.linalg.pinv(x[:2]) @ y[:2], rtol=1e-9)
    assert np.all(np.diff([jnp.linalg.norm(w) for w in few]) < 0)


def test_descent_on_the_tikhonov_loss_comes_to_the_closed_form(key, float64):
    x, y, gamma = regression(key)

    def objective(w):
        return losses.squared_error(x @ w, y) + 0.3 * losses.tikhonov_penalty(w, gamma), {}

    closed = linear.tikhonov(x, y, weight=0.3, gamma=gamma)
    gradient = jax.grad(lambda w: jnp.mean(objective(w)[0]))
    np.testing.assert_allclose(gradient(closed), 0, atol=1e-12)
    optimizer = optax.sgd(0.05)
    update = gradients.updater(objective, optimizer)
    start = jnp.zeros((4, 2)), optimizer.init(jnp.zeros((4, 2)))
    w, _ = jax.jit(lambda s: jax.lax.fori_loop(0, 3000, lambda _, s: update(*s)[:2], s))(start)
    np.testing.assert_allclose(w, closed, atol=1e-9)


def test_tikhonov_keeps_its_digits_in_single_precision():
    # the normal equations square the condition number, 1e3 here
    draw = np.random.RandomState(0)
    x = draw.normal(size=(30, 3)) * np.array([1.0, 1.0, 1e-3])
    x[:, 1] += x[:, 0] * 30
    y = draw.normal(size=(30, 1))
    exact = np.linalg.solve(x.T @ x + 30 * 1e-9 * np.eye(3), x.T @ y)
    found = linear.tikhonov(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), weight=1e-9)
    np.testing.assert_allclose(found, exact, rtol=2e-3)


def test_tikhonov_refuses_what_does_not_fit():
    x, y = jnp.zeros((5, 3)), jnp.zeros((5, 1))
    with pytest.raises(ValueError, match=r"do not fit: \(5, 3\), \(5, 1\) and \(3, 2\)"):
        linear.tikhonov(x, y, weight=1.0, gamma=jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"do not fit: \(5, 3\), \(4, 1\)"):
        linear.tikhonov(x, y[:4], weight=1.0)
    with pytest.raises(ValueError, match="weight must be at least 0; got -1"):
        linear.tikhonov(x, y, weight=-1)


@pytest.mark.parametrize(("shape", "latent_dim"), [((4, 9), 5), ((20, 3), 4)])
def test_pca_of_more_dimensions_than_there_are_is_refused(shape, latent_dim):
    with pytest.raises(ValueError, match=f"latent_dim: .* at most {min(shape)} principal components, not {latent_dim}"):
        linear.pca(jnp.zeros(shape), latent_dim=latent_dim)


@pytest.mark.slow
def test_bottleneck(key, float64):
    # data in a subspace of r dimensions: the error vanishes for d >= r, and is what is left out for d < r
    r = 3
    x = jax.random.normal(key, (50, r)) @ jax.random.normal(jax.random.fold_in(key, 1), (r, 7))
    for latent_dim in (1, 2, 3, 5):
        params, parts = linear.pca(x, latent_dim=latent_dim), linear_parts(7, latent_dim)
        loss = np.mean(autoencoder.score(params, x, parts=parts))
        np.testing.assert_allclose(loss, eigenvalues(x)[latent_dim:].sum(), atol=1e-10)
        assert (loss < 1e-10) == (latent_dim >= r)


def test_pca_of_more_dimensions_than_examples(key):
    x = jax.random.normal(key, (4, 9, 1))
    params = linear.pca(x, latent_dim=3)
    reconstructions = autoencoder.reconstruct(params, x.reshape(4, 9), parts=linear_parts(9, 3))
    np.testing.assert_allclose(reconstructions, x.reshape(4, 9), atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.8, 6.0])
def test_regularised_optimum(x, weight):
    # Kunin et al. 2019: W_e W_d = V diag(max(0, 1 - lambda / 2 l)) V^T, W_e = W_d^T; no gradient is left, and the
    # objective is sum_{i > d} l_i + sum_{i <= d} (lambda - lambda^2 / 4 l_i where l_i > lambda / 2, else l_i)
    params, parts = linear.pca(x, latent_dim=3, weight=weight), linear_parts(6, 3)
    l_, v = eigenvalues(x), np.asarray(PCA(6).fit(x).components_)
    gains = np.maximum(0, 1 - weight / (2 * l_[:3]))
    assert (weight == 6.0) == (gains[2] == 0)
    product = kernel(params, "encoder") @ kernel(params, "decoder")
    np.testing.assert_allclose(product, v[:3].T @ np.diag(gains) @ v[:3], atol=1e-9)
    np.testing.assert_array_equal(kernel(params, "encoder").T, kernel(params, "decoder"))
    objective = autoencoder.objective(parts, penalties=[autoencoder.weight_l2_penalty(weight)])

    def mean_loss(params):
        return jnp.mean(objective(params, Batch(x), jax.random.key(0))[0])

    value, gradient = jax.value_and_grad(mean_loss)(params)
    assert all(np.abs(leaf).max() < 1e-8 for leaf in jax.tree.leaves(gradient))
    parts_of_it = np.where(l_[:3] > weight / 2, weight - weight**2 / (4 * l_[:3]), l_[:3])
    np.testing.assert_allclose(value, l_[3:].sum() + parts_of_it.sum(), rtol=1e-9)


@pytest.mark.parametrize("weight", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
def test_training_comes_to_the_closed_form(x, weight, key):
    x = x - jnp.mean(x, axis=0)[None]
    parts = linear_parts(6, 2)
    penalties = [autoencoder.weight_l2_penalty(weight)] if weight else []
    objective = autoencoder.objective(parts, penalties=penalties)
    model = autoencoder.model(parts, optax.adam(optax.cosine_decay_schedule(3e-2, 1500)), objective)
    train = jax.jit(lambda s: jax.lax.fori_loop(0, 1500, lambda _, s: model.train_step(s, Batch(x), key)[0], s))
    trained, best = train(model.init(key)).params, linear.pca(x, latent_dim=2, weight=weight)
    assert linear.largest_angle(kernel(trained, "decoder"), kernel(best, "decoder")) < 1e-3
    losses = [np.mean(objective(params, Batch(x), key)[0]) for params in (trained, best)]
    assert 1 - 1e-6 < losses[0] / losses[1] < 1.001


def test_canonicalise_finds_the_principal_axes(x, key):
    # any invertible map of the code is an optimum too: its subspace is that of PCA, its axes are not
    best, parts = linear.pca(x, latent_dim=3), linear_parts(6, 3)
    mix, shift = np.asarray(jax.random.normal(key, (3, 3))) + 2 * np.eye(3), jnp.arange(3.0)
    e, d = best["encoder"]["layer_1"], best["decoder"]["layer_1"]
    inverse = np.linalg.inv(mix)
    mixed = {
        "encoder": {"layer_1": {"kernel": e["kernel"] @ mix, "bias": e["bias"] @ mix + shift}},
        "decoder": {"layer_1": {"kernel": inverse @ d["kernel"], "bias": d["bias"] - shift @ inverse @ d["kernel"]}},
    }
    new_x = jax.random.normal(key, (5, 6)) * 3
    wanted = autoencoder.reconstruct(best, new_x, parts=parts)
    np.testing.assert_allclose(autoencoder.reconstruct(mixed, new_x, parts=parts), wanted, atol=1e-9)
    axes = PCA(3).fit(x).components_
    assert np.abs(np.sum(kernel(mixed, "decoder") * axes, axis=1)).min() < 0.9

    canonical = linear.canonicalise(mixed, x)
    np.testing.assert_allclose(autoencoder.reconstruct(canonical, new_x, parts=parts), wanted, atol=1e-9)
    found = np.asarray(kernel(canonical, "decoder"))
    np.testing.assert_allclose(np.abs(np.sum(found * axes, axis=1)), 1, atol=1e-9)
    assert np.all(np.take_along_axis(found, np.abs(found).argmax(1)[:, None], 1) > 0)
    z = np.asarray(autoencoder.encode(canonical, x, parts=parts))
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(z.T, ddof=0), np.diag(eigenvalues(x)[:3]), atol=1e-9)


def test_largest_angle_is_scipys(key):
    for number, noise in enumerate((1.0, 1e-2, 1e-5)):
        a, change = np.asarray(jax.random.normal(jax.random.fold_in(key, number), (2, 3, 7)), np.float64)
        b = a + noise * change
        expected = scipy.linalg.subspace_angles(a.T, b.T).max()
        np.testing.assert_allclose(linear.largest_angle(a, b), expected, rtol=1e-6)
    assert linear.largest_angle(np.eye(4)[:2], np.eye(4)[2:]) == np.pi / 2


@pytest.fixture
def covariance(key, float64):
    root = jax.random.normal(key, (5, 5))
    return root @ root.T / 5


def denoising_loss(a, covariance, variance):
    rest = np.eye(len(a)) - a
    return np.trace(rest @ covariance @ rest.T) + variance * np.sum(np.square(a))


def test_wiener_is_the_optimum(covariance):
    variance = 0.3
    a = linear.wiener(covariance, variance=variance)
    np.testing.assert_allclose(a, covariance @ np.linalg.inv(covariance + variance * np.eye(5)), atol=1e-12)
    gradient = jax.grad(
        lambda a: jnp.trace((jnp.eye(5) - a) @ covariance @ (jnp.eye(5) - a).T) + variance * jnp.sum(a**2)
    )(a)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 4, 5])
def test_rank_k_wiener_reaches_its_minimum(covariance, rank, key):
    variance = 0.3
    a = np.asarray(linear.wiener(covariance, variance=variance, rank=rank))
    assert np.linalg.matrix_rank(a) == rank
    values = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    least = values.sum() - np.sum(values[:rank] ** 2 / (values[:rank] + variance))
    np.testing.assert_allclose(denoising_loss(a, covariance, variance), least, rtol=1e-12)
    rng = np.random.RandomState(0)
    for scale in (0.01, 0.1, 1.0):
        for _ in range(50):
            left, right = (np.eye(5) + scale * rng.standard_normal((5, 5)) for _ in range(2))
            assert denoising_loss(left @ a @ right, covariance, variance) >= least


def test_training_on_noise_comes_to_the_wiener_filter(covariance, key):
    # a linear denoising autoencoder with a bottleneck, in expectation over the noise: ||x - A x||^2 + s^2 ||A||^2
    variance, rank = 0.3, 2
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-2, 10_000))

    def loss(factors):
        a = factors[0] @ factors[1]
        rest = jnp.eye(5) - a
        return jnp.trace(rest @ covariance @ rest.T) + variance * jnp.sum(jnp.square(a))

    def step(_, carried):
        factors, state = carried
        updates, state = optimizer.update(jax.grad(loss)(factors), state)
        return optax.apply_updates(factors, updates), state

    factors = (jax.random.normal(key, (5, rank)), jax.random.normal(jax.random.fold_in(key, 1), (rank, 5)))
    factors, _ = jax.jit(lambda c: jax.lax.fori_loop(0, 10_000, step, c))((factors, optimizer.init(factors)))
    np.testing.assert_allclose(
        factors[0] @ factors[1], linear.wiener(covariance, variance=variance, rank=rank), atol=1e-4
    )


def test_linear_mmse_is_least_squares_and_tends_to_wiener(covariance, key):
    x_key, noise_key = jax.random.split(key)
    x = jax.random.normal(x_key, (200_000, 5)) @ jnp.linalg.cholesky(covariance).T + 2.0
    noisy = stochastic.gaussian_noise(scale=0.5)(x, noise_key)
    found = linear.linear_mmse(x, noisy)
    design = np.concatenate([noisy[:2000], np.ones((2000, 1))], axis=1)
    expected = np.linalg.lstsq(design, x[:2000])[0]
    few = linear.linear_mmse(x[:2000], noisy[:2000])
    np.testing.assert_allclose(few.kernel, expected[:-1], atol=1e-9)
    np.testing.assert_allclose(few.bias, expected[-1], atol=1e-9)
    wiener = linear.wiener(covariance, variance=0.25)
    np.testing.assert_allclose(found.kernel, wiener, atol=0.01)
    np.testing.assert_allclose(found(jnp.full((1, 5), 2.0)), np.full((1, 5), 2.0), atol=0.02)


def test_linear_mmse_of_pixels_that_never_change(key):
    x = jnp.concatenate([jax.random.normal(key, (100, 3)), jnp.zeros((100, 2))], axis=1)
    noisy = stochastic.masking_noise(probability=0.2)(x, key)
    answer = linear.linear_mmse(x, noisy)(noisy)
    np.testing.assert_allclose(answer[:, 3:], 0, atol=1e-6)
    assert np.mean((answer - x) ** 2) < np.mean((noisy - x) ** 2)


@pytest.mark.parametrize("noise", [True, False])
def test_samples_of_probabilistic_pca_have_its_moments(noise):
    draw = np.random.RandomState(0)
    x = draw.normal(size=(300, 5)) * [3, 2, 1, 0.5, 0.2] @ np.linalg.qr(draw.normal(size=(5, 5)))[0] + 7
    values, axes = np.linalg.eigh(np.cov(x.T))  # ascending
    variance = values[:3].mean()
    kernel = axes[:, 3:] * np.sqrt(values[3:] - variance)
    samples = linear.sample_probabilistic_pca(x, 400_000, latent_dim=2, noise=noise, seed=1)
    expected = kernel @ kernel.T + (variance * np.eye(5) if noise else 0)
    np.testing.assert_allclose(np.cov(samples.T), expected, atol=0.05)
    np.testing.assert_allclose(samples.mean(0), x.mean(0), atol=0.02)
    if not noise:
        assert np.linalg.matrix_rank(samples[:100] - x.mean(0), tol=1e-6) == 2
    else:
        np.testing.assert_allclose(expected, PCA(2).fit(x).get_covariance(), rtol=1e-8, atol=1e-10)


def test_samples_of_probabilistic_pca_keep_the_shape_and_the_seed():
    x = np.random.RandomState(0).rand(30, 3, 4, 1)
    first, again, other = (linear.sample_probabilistic_pca(x, 6, latent_dim=2, seed=seed) for seed in (0, 0, 1))
    assert first.shape == (6, 3, 4, 1)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    with pytest.raises(ValueError, match="latent_dim must be from 1 to 11; got 12"):
        linear.sample_probabilistic_pca(x, 6, latent_dim=12)
