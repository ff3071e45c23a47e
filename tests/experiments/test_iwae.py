"""The page of importance weighting: its stages, its learning rate, and where its decoder starts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import iwae
from genjax import data, gradients
from genjax.errors import BadInput
from genjax.models import importance_weighted, vae
from genjax.types import Batch


@pytest.fixture(scope="module")
def dataset():
    """50 images of 2 x 2 grey levels 0 to 4, which no name would load; one pixel is always black."""
    x = np.random.RandomState(0).randint(0, 5, size=(50, 2, 2, 1)).astype(np.uint8)
    x[:, 0, 0] = 0
    return data.from_arrays("x", x, x, scale=4.0)


def test_a_run_is_as_long_as_its_stages(dataset):
    flags = iwae.Flags(batch_size=20, stages=(1, 3))
    assert iwae.resolve(flags, dataset).num_steps == (1 + 3) * (50 // 20)
    assert iwae.resolve(flags.replace(num_steps=7), dataset).num_steps == 7
    assert iwae.resolve(flags.replace(batch_size=50, stages=(2,)), dataset).num_steps == 2


def test_the_learning_rate_falls_from_stage_to_stage(dataset):
    flags = iwae.Flags(batch_size=25, stages=(1, 3, 9), learning_rate=0.7)  # of 2, 6 and 18 batches
    rates = [float(iwae.stage_rate(flags, dataset)(step)) for step in (0, 1, 2, 7, 8, 25)]
    np.testing.assert_allclose(rates, 0.7 * 10 ** (-np.array([0, 0, 1, 1, 2, 2]) / 7), rtol=1e-5)
    halved = iwae.stage_rate(flags.replace(accumulate_steps=2), dataset)
    np.testing.assert_allclose(halved(1), 0.7 * 10 ** (-1 / 7), rtol=1e-5)


@pytest.mark.parametrize("hidden", [(), pytest.param((3, 3), marks=pytest.mark.slow)])
def test_the_decoder_starts_at_the_mean_pixels(dataset, hidden):
    flags = iwae.Flags(num_steps=1, hidden=hidden, latent_dim=2)
    model, parts, _ = iwae.build(flags, dataset, gradients.whole_batch)
    params = model.init(jax.random.key(0)).params
    bias = jax.tree.leaves(params["decoder"][f"layer_{len(hidden) + 1}"]["bias"])[0]
    mean = np.clip((np.asarray(dataset.train.x) / 4).mean(axis=0).ravel(), 0.001, 0.999)
    np.testing.assert_allclose(jax.nn.sigmoid(bias), mean, rtol=1e-4)
    # the parts of a run that is opened are those that were trained
    again = parts.decoder.init(jax.random.split(jax.random.key(0))[1])
    jax.tree.map(np.testing.assert_array_equal, again, params["decoder"])


@pytest.mark.parametrize(
    ("schedule", "moves"), [pytest.param("constant", True, marks=pytest.mark.slow), ("cosine", False)]
)
def test_another_schedule_takes_the_place_of_the_stages(dataset, schedule, moves):
    flags = iwae.Flags(num_steps=1, learning_rate_schedule=schedule, hidden=(3,), latent_dim=2)
    model = iwae.build(flags, dataset, gradients.whole_batch).model
    batch, key = Batch(jnp.float32(dataset.train.x[:4] > 2), None), jax.random.key(0)
    step = jax.jit(model.train_step)
    state, _ = step(jax.jit(model.init)(key), batch, key)
    after, _ = step(state, batch, key)  # the second update, where a cosine over one has reached 0
    assert (
        bool(jnp.any(after.params["decoder"]["layer_2"]["bias"] != state.params["decoder"]["layer_2"]["bias"])) == moves
    )


def test_every_bound_is_that_of_its_flags(dataset, key):
    flags = iwae.Flags(num_steps=1, hidden=(3,), latent_dim=2, num_samples=2, num_bounds=3, beta=0.3)
    batch = Batch(jnp.float32(dataset.train.x[:4] > 2), None)
    expected = {
        "iwae": (importance_weighted.objective, {}),
        "miwae": (importance_weighted.multiply_weighted_objective, dict(num_bounds=3)),
        "piwae": (importance_weighted.partially_weighted_objective, dict(num_bounds=3)),
        "ciwae": (importance_weighted.combined_objective, dict(beta=0.3)),
    }
    assert expected.keys() == set(iwae.BOUNDS)
    for bound, (make, options) in expected.items():
        model, parts, _ = iwae.build(flags.replace(bound=bound), dataset, gradients.whole_batch)
        alone = vae.model(parts, optax.sgd(1.0), make(parts, num_samples=2, **options))
        state = jax.eval_shape(model.init, key)
        assert str(jax.make_jaxpr(model.evaluate)(state, batch, key)) == str(
            jax.make_jaxpr(alone.evaluate)(state, batch, key)
        )


def test_the_doubly_reparameterized_gradient_is_of_the_iwae_alone(dataset):
    flags = iwae.Flags(num_steps=1, bound="miwae", gradient="doubly_reparameterized")
    with pytest.raises(BadInput, match=r"^gradient: doubly_reparameterized is a gradient of the bound iwae, not of mi"):
        iwae.build(flags, dataset, gradients.whole_batch)
