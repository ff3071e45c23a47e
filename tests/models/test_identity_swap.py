"""The identity swap: its total by its terms, who is updated by what, and the turns of own and other identities."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import losses, networks
from genjax.models import identity_encoder, identity_swap
from genjax.types import Pair

SHAPE, DIM = (8, 8, 3), 5
ENCODER = identity_encoder.IdentityEncoder(networks.identity_network(SHAPE, DIM, features=(4,)), DIM, 2)


def build(terms=identity_swap.SIMSWAP):
    sizes = ((8, 8, 3), (4, 4, 3))
    discriminators = [networks.matching_discriminator(size, features=(4, 5, 6)) for size in sizes]
    return identity_swap.IdentitySwap(
        networks.identity_swap_generator(SHAPE, DIM, features=(4, 6), num_blocks=1),
        networks.multi_scale(discriminators),
        partial(identity_encoder.encode, parts=ENCODER),
        terms,
    )


@pytest.fixture
def pair(key):
    return Pair(*jax.random.uniform(key, (2, 4, *SHAPE)))


@pytest.fixture
def identity(key):
    return ENCODER.body.init(jax.random.fold_in(key, 1))


def trained(parts, identity, key, **options):
    model = identity_swap.model(parts, identity, optax.adam(1e-2), optax.adam(2e-2), **options)
    return model, jax.jit(model.init)(key)


@pytest.mark.parametrize(
    ("terms", "same"),
    [
        pytest.param(identity_swap.SIMSWAP, True, id="simswap"),
        pytest.param(identity_swap.SIMSWAP, False, id="simswap, others"),
        pytest.param(identity_swap.FREER, False, id="freer, others"),
        pytest.param(identity_swap.PLAIN, True, id="plain"),
    ],
)
@pytest.mark.slow
def test_the_total_is_the_weighted_sum_of_terms_that_stand_alone(pair, identity, key, terms, same):
    parts = build(terms)
    params = identity_swap.init_params(key, parts=parts)
    v = parts.encode_identity(identity, pair.source)
    wanted = v if same else jnp.roll(v, 1, axis=0)
    swapped = parts.generator.apply(params["generator"], pair.target, wanted)
    answers = [parts.discriminator.apply(params["discriminator"], x) for x in (swapped, pair.target, pair.source)]
    (maps, fake), (target_maps, _), (_, real) = ([[a[i] for a in answer] for i in (0, 1)] for answer in answers)
    seen = swapped + terms.identity_noise * jax.random.normal(key, swapped.shape)
    expected = {
        "identity_loss": terms.identity(parts.encode_identity(identity, seen), wanted),
        "reconstruction_loss": terms.reconstruction(swapped, pair.target) * same,
        "generator_loss": terms.adversarial.generator(tuple(fake)),
        "matching_loss": sum(
            losses.mean_absolute_error(a, b)
            for x, y in zip(maps, target_maps, strict=True)
            for a, b in zip(x[-2:], y[-2:], strict=True)
        ),
    }
    weights = (terms.identity_weight, terms.reconstruction_weight, terms.adversarial_weight, terms.matching_weight)
    total = sum(weight * value for weight, value in zip(weights, expected.values(), strict=True))
    objective = identity_swap.generator_objective(parts)
    asked = identity_swap.Wanted(pair, wanted, jnp.full(len(wanted), same))
    loss, metrics = objective(params["generator"], params["discriminator"], identity, asked, key)
    np.testing.assert_allclose(loss, total, rtol=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name)

    objective = identity_swap.discriminator_objective(parts)
    loss, metrics = objective(params["discriminator"], params["generator"], asked, key)
    plain = terms.adversarial.discriminator(tuple(real), tuple(fake))
    np.testing.assert_allclose(metrics["discriminator_loss"], plain, rtol=1e-5)

    def critic(x):
        return tuple(logit for _, logit in parts.discriminator.apply(params["discriminator"], x))

    penalty = losses.gradient_penalty(critic, pair.source, swapped, key)
    np.testing.assert_allclose(metrics["penalty"], terms.penalty_weight * penalty, rtol=1e-4)
    np.testing.assert_allclose(loss, metrics["discriminator_loss"] + metrics["penalty"], rtol=1e-6)


@pytest.mark.slow
def test_a_term_without_weight_moves_nothing(pair, identity, key):
    silent = identity_swap.SIMSWAP._replace(
        identity_weight=0.0, reconstruction_weight=0.0, adversarial_weight=0.0, matching_weight=0.0
    )
    parts = build(silent)
    params = identity_swap.init_params(key, parts=parts)
    v = parts.encode_identity(identity, pair.source)
    objective = identity_swap.generator_objective(parts)
    asked = identity_swap.Wanted(pair, v, jnp.full(len(v), True))
    gradient = jax.grad(lambda g: objective(g, params["discriminator"], identity, asked, key)[0].sum())(
        params["generator"]
    )
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_a_step_by_hand_and_the_turns_of_identities(pair, identity, key):
    """The discriminator against the old generator, the generator against the new discriminator, E untouched."""
    parts = build(identity_swap.FREER)
    model, state = trained(parts, identity, key, averaging=0.3)
    step, turned = jax.jit(model.train_step), []
    v = parts.encode_identity(identity, pair.source)
    generator_optimizer, discriminator_optimizer = optax.adam(1e-2), optax.adam(2e-2)
    for index in range(4):
        new, metrics = step(state, pair, key)
        old = state.params
        roll_key, penalty_key, noise_key = jax.random.split(jax.random.fold_in(key, index), 3)
        places = int(jax.random.randint(roll_key, [], 1, 4)) if index % 2 else 0
        turned.append(places)
        wanted = identity_swap.Wanted(pair, jnp.roll(v, places, axis=0), jnp.full(len(v), not places))

        def discriminator_loss(d, old=old, wanted=wanted, key=penalty_key):
            return identity_swap.discriminator_objective(parts)(d, old["generator"], wanted, key)[0].mean()

        gradient = jax.jit(jax.grad(discriminator_loss))(old["discriminator"])
        updates, _ = discriminator_optimizer.update(gradient, state.discriminator_optimizer_state)
        discriminator = optax.apply_updates(old["discriminator"], updates)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), new.params["discriminator"], discriminator
        )

        def generator_loss(g, wanted=wanted, discriminator=new.params["discriminator"], key=noise_key):
            objective = identity_swap.generator_objective(parts)
            return objective(g, discriminator, identity, wanted, key)[0].mean()

        loss, gradient = jax.jit(jax.value_and_grad(generator_loss))(old["generator"])
        updates, _ = generator_optimizer.update(gradient, state.generator_optimizer_state)
        generator = optax.apply_updates(old["generator"], updates)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), new.params["generator"], generator)
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)
        assert (float(metrics["reconstruction_loss"]) > 0) == (not places)
        weight = max(0.7, 9 / (10 + index))
        average = jax.tree.map(lambda a, p, w=weight: (1 - w) * a + w * p, state.average, new.params["generator"])
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), new.average, average)
        jax.tree.map(np.testing.assert_array_equal, new.identity, identity)
        state = new
    assert turned[0] == turned[2] == 0 and 0 not in (turned[1], turned[3])


@pytest.mark.slow
def test_evaluation_swaps_with_the_next_row_and_reconstructs_with_its_own(pair, identity, key):
    parts = build()
    model, state = trained(parts, identity, key)
    found = jax.jit(model.evaluate)(state, pair, key)
    sources = jnp.roll(pair.source, 1, axis=0)
    swapped = identity_swap.swap(state.average, identity, pair.target, sources, parts=parts)
    v, wanted = (parts.encode_identity(identity, x) for x in (swapped, sources))
    np.testing.assert_allclose(found["identity_loss"], 1 - jnp.mean(jnp.sum(v * wanted, axis=1)), rtol=1e-4)
    kept = identity_swap.swap(state.average, identity, pair.target, pair.source, parts=parts)
    np.testing.assert_allclose(found["reconstruction_loss"], jnp.mean(jnp.abs(kept - pair.target)), rtol=1e-5)
    assert found.keys() == jax.eval_shape(model.train_step, state, pair, key)[1].keys()


@pytest.mark.slow
def test_the_identity_alone_can_be_learned(pair, identity, key):
    terms = identity_swap.SIMSWAP._replace(reconstruction_weight=0.0, adversarial_weight=0.0, matching_weight=0.0)
    model, state = trained(build(terms), identity, key)
    before = model.evaluate(state, pair, key)["identity_loss"]
    state, _ = jax.jit(lambda s: jax.lax.scan(lambda s, _: model.train_step(s, pair, key), s, length=100))(state)
    assert model.evaluate(state, pair, key)["identity_loss"] < 0.5 * before


def test_what_cannot_be_is_refused(identity):
    with pytest.raises(ValueError, match="averaging"):
        identity_swap.model(build(), identity, optax.sgd(0.1), optax.sgd(0.1), averaging=1.0)
