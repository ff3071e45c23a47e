"""The Dirac-GAN (Mescheder, Geiger & Nowozin 2018, sections 2 and 4): two numbers play the games of `models.gan`.

All data are at 0, G(z) = theta, D(x) = psi x. With h the learning rate of both players, c = f'(0) the slope of the loss
at the equilibrium (0, 0), and a penalty of (g / 2) psi^2, the gradient field there has the eigenvalues
-g/2 +- sqrt(g^2/4 - c^2). Simultaneous descent is Euler's method of step h, whose eigenvalues are 1 + h times these.
Alternating descent moves psi first, and theta by the new psi; its eigenvalues mu solve
mu^2 - (2 - h g - h^2 c^2) mu + (1 - h g) = 0.

In the linear game, K unrolled steps of size e turn psi into r^K psi - e s theta, r = 1 - e g, s = 1 + r + ... +
r^{K-1}, so that theta's gradient is -r^K psi + 2 e s theta (Metz, Poole, Pfau & Sohl-Dickstein 2017).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit

from genjax import gradients, losses
from genjax.losses import MINIMAX, NON_SATURATING, RELATIVISTIC, WASSERSTEIN
from genjax.models import gan
from genjax.models.unrolling import Unrolling
from genjax.types import Batch, Network

H = 0.2


def r1(gamma):
    return lambda critic, real, fake, key: gamma * losses.r1_penalty(critic, real)


def r1_r2(gamma):
    return lambda critic, real, fake, key: gamma * (losses.r1_penalty(critic, real) + losses.r1_penalty(critic, fake))


# D is linear, so that its slope is psi at real and at fake points alike, and R1 + R2 are twice as strong as R1
PENALTIES = {"none": (None, 0.0), "r1": (r1(0.6), 0.6), "r1_r2": (r1_r2(0.4), 0.8), "overdamped": (r1_r2(1.5), 3.0)}
GAMES = [(RELATIVISTIC, 0.5, name) for name in PENALTIES] + [
    pytest.param(*game, marks=pytest.mark.slow)
    for game in ((MINIMAX, 0.5, "none"), (NON_SATURATING, 0.5, "r1"), (WASSERSTEIN, 1.0, "r1_r2"))
]


def batch():
    """Data at 0, in the precision of the test."""
    return Batch(jnp.zeros((2, 1)))


def players_of(pair):
    return gan.GAN(
        Network(lambda key: jnp.zeros(()), lambda theta, z: theta + 0 * z),
        Network(lambda key: jnp.zeros(()), lambda psi, x: psi * x[:, 0]),
        pair,
        latent_dim=1,
    )


def simultaneous(pair, penalty):
    """(psi, theta) -> both after a step of gradient descent from the same point."""
    parts = players_of(pair)
    of_psi = gradients.whole_batch(gan.discriminator_objective(parts, penalty=penalty))
    of_theta = gradients.whole_batch(gan.generator_objective(parts))

    def update(point):
        psi, theta = point
        key = jax.random.key(0)
        d_psi = of_psi(psi, {"generator": theta}, batch(), key)[0]
        d_theta = of_theta(theta, {"discriminator": psi}, batch(), key)[0]
        return point - H * jnp.stack([d_psi, d_theta])

    return update


def alternating(pair, penalty, ahead=None):
    """(psi, theta) -> both after a training step of the model."""
    model = gan.model(players_of(pair), optax.sgd(H), optax.sgd(H), penalty=penalty, ahead=ahead)

    def update(point):
        psi, theta = point
        state = model.init(jax.random.key(0), {"generator": theta, "discriminator": psi})
        params = model.train_step(state, batch(), jax.random.key(0))[0].params
        return jnp.stack([params["discriminator"], params["generator"]])

    return update


def eigenvalues(kind, slope, g):
    if kind is simultaneous:
        return 1 + H * (-g / 2 + np.array([1, -1]) * np.sqrt(complex(g**2 / 4 - slope**2)))
    return np.roots([1, -(2 - H * g - H**2 * slope**2), 1 - H * g])


kinds = pytest.mark.parametrize("kind", [simultaneous, alternating])


@kinds
@pytest.mark.parametrize(("pair", "slope", "name"), GAMES)
def test_eigenvalues_at_the_equilibrium(kind, pair, slope, name, float64):
    penalty, g = PENALTIES[name]
    found = np.asarray(jax.jacfwd(kind(pair, penalty))(jnp.zeros(2)))
    np.testing.assert_allclose(
        np.sort_complex(np.linalg.eigvals(found)), np.sort_complex(eigenvalues(kind, slope, g)), rtol=1e-12
    )
    if kind is alternating:  # psi moves first, as the eigenvalues alone do not show
        kept, pull = 1 - H * g, H * slope
        np.testing.assert_allclose(found, [[kept, -pull], [pull * kept, 1 - pull**2]], rtol=1e-12)


def orbit(update, start, num):
    points = jax.jit(lambda start: jax.lax.scan(lambda p, _: (update(p), p), start, None, length=num))(start)[1]
    return np.asarray(points)


@kinds
@pytest.mark.parametrize(
    ("pair", "name"),
    [(RELATIVISTIC, "r1_r2"), (RELATIVISTIC, "overdamped"), pytest.param(NON_SATURATING, "r1", marks=pytest.mark.slow)],
)
def test_the_distance_shrinks_by_the_spectral_radius(kind, pair, name, float64):
    penalty, g = PENALTIES[name]
    distance = np.linalg.norm(orbit(kind(pair, penalty), jnp.array([1e-3, 2e-3]), 1001), axis=1)
    radius = np.abs(eigenvalues(kind, 0.5, g)).max()
    assert radius < 0.99
    # the mean over 800 steps, since a spiral's distance does not shrink evenly
    np.testing.assert_allclose((distance[1000] / distance[200]) ** (1 / 800), radius, rtol=1e-3)


def test_without_a_penalty_simultaneous_descent_leaves_the_equilibrium(float64):
    for pair in (NON_SATURATING, RELATIVISTIC):
        near = np.linalg.norm(orbit(simultaneous(pair, None), jnp.array([1e-5, 2e-5]), 100), axis=1)
        np.testing.assert_allclose(near[1:] / near[:-1], np.sqrt(1 + H**2 / 4), rtol=1e-8)
    # in the zero-sum game at any distance, by the slope f' = sigm(psi theta) there
    points = orbit(simultaneous(MINIMAX, None), jnp.array([0.5, -1.0]), 100)
    distance, slope = np.linalg.norm(points, axis=1), expit(np.prod(points, axis=1))
    np.testing.assert_allclose(distance[1:] / distance[:-1], np.sqrt(1 + H**2 * slope[:-1] ** 2), rtol=1e-12)


@pytest.mark.parametrize("name", [pytest.param("none", marks=pytest.mark.slow), "r1_r2"])
def test_unrolled_steps_add_the_answer_of_the_discriminator(name, float64):
    penalty, g = PENALTIES[name]
    steps, size = 3, 0.4
    r = 1 - size * g
    gain = 2 * size * sum(r**k for k in range(steps))
    update = alternating(WASSERSTEIN, penalty, Unrolling(steps, optax.sgd(size)))
    found = np.asarray(jax.jacfwd(update)(jnp.zeros(2)))
    kept, pull = 1 - H * g, H * r**steps
    by_hand = np.array([[kept, -H], [pull * kept, 1 - H * pull - H * gain]])
    np.testing.assert_allclose(found, by_hand, rtol=1e-12)
    if name == "none":  # the plain game circles for ever, with eigenvalues on the unit circle
        np.testing.assert_allclose(np.abs(eigenvalues(alternating, 1.0, 0.0)), 1, rtol=1e-12)
        distance = np.linalg.norm(orbit(update, jnp.array([1.0, -2.0]), 200), axis=1)
        assert distance[-1] < 1e-4 * distance[0]
