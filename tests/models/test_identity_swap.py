"""The identity swap: its total by its terms, who is updated by what, and the turns of own and other identities."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import losses, networks
from genjax.models import identity_encoder, identity_swap
from genjax.types import Network, Pair

SHAPE, DIM = (8, 8, 3), 5


def dense(key, num_in, num_out):
    return jax.random.normal(key, (num_in, num_out)) / num_in**0.5


def generator():
    """The target's colours, moved by the identity in each place: written by hand, for it compiles in no time."""

    def init(key):
        x_key, v_key, last_key = jax.random.split(key, 3)
        return {"x": dense(x_key, 3, 3), "v": dense(v_key, DIM, 8 * 8 * 3), "last": dense(last_key, 3, 3)}

    def apply(params, target, v):
        h = jnp.tanh(target @ params["x"] + (v @ params["v"]).reshape(-1, *SHAPE))
        return jax.nn.sigmoid(h @ params["last"])

    return Network(init, apply)


def judge(widths=(2, 3, 4)):
    """Three hidden maps and a map of logits, a dense layer in every place each."""
    sizes = list(zip((3, *widths), (*widths, 1), strict=True))

    def init(key):
        return {str(i): dense(k, *sizes[i]) for i, k in enumerate(jax.random.split(key, len(sizes)))}

    def apply(params, x):
        maps = [x := jnp.tanh(x @ params[str(i)]) for i in range(len(widths))]
        return maps, (x @ params[str(len(widths))])[..., 0]

    return Network(init, apply)


BODY = Network(
    lambda key: dense(key, 8 * 8 * 3, DIM),
    lambda params, x: jnp.tanh((x.reshape(len(x), -1) - 0.5) @ params),
)
ENCODER = identity_encoder.IdentityEncoder(BODY, DIM, 2)


def build(terms=identity_swap.SIMSWAP):
    return identity_swap.IdentitySwap(
        generator(), networks.multi_scale([judge(), judge()]), partial(identity_encoder.encode, parts=ENCODER), terms
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
        pytest.param(identity_swap.SIMSWAP, False, id="simswap, others", marks=pytest.mark.slow),
        pytest.param(identity_swap.FREER, False, id="freer, others"),
        pytest.param(identity_swap.PLAIN, True, id="plain"),
        pytest.param(identity_swap.SIMSWAP._replace(matched_maps=None), False, id="all maps", marks=pytest.mark.slow),
    ],
)
def test_the_total_is_the_weighted_sum_of_terms_that_stand_alone(pair, identity, key, terms, same):
    parts = build(terms)
    params = jax.jit(partial(identity_swap.init_params, parts=parts))(key)

    @jax.jit
    def by_hand(params):
        v = parts.encode_identity(identity, pair.source)
        wanted = v if same else jnp.roll(v, 1, axis=0)
        swapped = parts.generator.apply(params["generator"], pair.target, wanted)
        answers = [parts.discriminator.apply(params["discriminator"], x) for x in (swapped, pair.target, pair.source)]
        (maps, fake), (target_maps, _), (_, real) = ([[a[i] for a in answer] for i in (0, 1)] for answer in answers)
        seen = swapped + terms.identity_noise * jax.random.normal(key, swapped.shape)
        expected = {
            "identity_loss": terms.identity(parts.encode_identity(identity, seen), wanted),
            "reconstruction_loss": terms.reconstruction(swapped, pair.target) * same,
            "generator_loss": terms.adversarial.generator(tuple(real), tuple(fake)),
            "matching_loss": sum(
                losses.mean_absolute_error(a, b)
                for x, y in zip(maps, target_maps, strict=True)
                for a, b in list(zip(x, y, strict=True))[0 if terms.matched_maps is None else 1 :]
            ),
        }

        weights = (terms.identity_weight, terms.reconstruction_weight, terms.adversarial_weight, terms.matching_weight)
        total = sum(weight * value for weight, value in zip(weights, expected.values(), strict=True))

        def critic(x):
            return tuple(logit for _, logit in parts.discriminator.apply(params["discriminator"], x))

        penalty = losses.gradient_penalty(critic, pair.source, swapped, key)
        return wanted, expected, total, terms.adversarial.discriminator(tuple(real), tuple(fake)), penalty

    wanted, expected, total, plain, penalty = by_hand(params)
    objective = identity_swap.generator_objective(parts)
    asked = identity_swap.Wanted(pair, wanted, jnp.full(len(wanted), same))
    others = {"discriminator": params["discriminator"], "identity": identity}
    loss, metrics = jax.jit(objective)(params["generator"], others, asked, key)
    np.testing.assert_allclose(loss, total, rtol=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name)

    objective = identity_swap.discriminator_objective(parts)
    others = {"generator": params["generator"], "identity": identity}
    loss, metrics = jax.jit(objective)(params["discriminator"], others, asked, key)
    np.testing.assert_allclose(metrics["discriminator_loss"], plain, rtol=1e-5)
    np.testing.assert_allclose(metrics["penalty"], terms.penalty_weight * penalty, rtol=1e-4)
    np.testing.assert_allclose(loss, metrics["discriminator_loss"] + metrics["penalty"], rtol=1e-6)


def test_a_term_without_weight_moves_nothing(pair, identity, key):
    silent = identity_swap.SIMSWAP._replace(
        identity_weight=0.0, reconstruction_weight=0.0, adversarial_weight=0.0, matching_weight=0.0
    )
    parts = build(silent)
    params = identity_swap.init_params(key, parts=parts)
    v = parts.encode_identity(identity, pair.source)
    objective = identity_swap.generator_objective(parts)
    asked = identity_swap.Wanted(pair, v, jnp.full(len(v), True))
    others = {"discriminator": params["discriminator"], "identity": identity}
    gradient = jax.jit(jax.grad(lambda g: objective(g, others, asked, key)[0].sum()))(params["generator"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_a_step_by_hand_and_the_turns_of_identities(pair, identity, key):
    """The discriminator against the old generator, the generator against the new discriminator, E untouched."""
    parts = build(identity_swap.FREER)
    model, state = trained(parts, identity, key, averaging=0.3)
    step, turned = jax.jit(model.train_step), []
    v = parts.encode_identity(identity, pair.source)
    generator_optimizer, discriminator_optimizer = optax.adam(1e-2), optax.adam(2e-2)
    same = partial(jax.tree.map, partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5))

    @jax.jit
    @jax.grad
    def discriminator_gradient(d, g, wanted, key):
        return identity_swap.discriminator_objective(parts)(d, {"generator": g}, wanted, key)[0].mean()

    @jax.jit
    @jax.value_and_grad
    def generator_gradient(g, d, wanted, key):
        others = {"discriminator": d, "identity": identity}
        return identity_swap.generator_objective(parts)(g, others, wanted, key)[0].mean()

    for index in range(4):
        new, metrics = step(state, pair, key)
        d, g = state.params["discriminator"], state.params["generator"]
        roll_key, penalty_key, noise_key = jax.random.split(jax.random.fold_in(key, index), 3)
        places = int(jax.random.randint(roll_key, [], 1, 4)) if index % 2 else 0
        turned.append(places)
        wanted = identity_swap.Wanted(pair, jnp.roll(v, places, axis=0), jnp.full(len(v), not places))

        gradient = discriminator_gradient(d, g, wanted, penalty_key)
        updates, _ = discriminator_optimizer.update(gradient, state.optimizer_states["discriminator"])
        same(new.params["discriminator"], optax.apply_updates(d, updates))

        loss, gradient = generator_gradient(g, new.params["discriminator"], wanted, noise_key)
        updates, _ = generator_optimizer.update(gradient, state.optimizer_states["generator"])
        same(new.params["generator"], optax.apply_updates(g, updates))
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-4)
        assert (float(metrics["reconstruction_loss"]) > 0) == (not places)

        weight = max(0.7, 9 / (10 + index))
        average = jax.tree.map(
            lambda a, p, w=weight: (1 - w) * a + w * p, state.average["generator"], new.params["generator"]
        )
        same(new.average["generator"], average)
        jax.tree.map(np.testing.assert_array_equal, new.frozen["identity"], identity)
        state = new
    assert turned[0] == turned[2] == 0 and 0 not in (turned[1], turned[3])


def test_evaluation_swaps_with_the_next_row_and_reconstructs_with_its_own(pair, identity, key):
    parts = build()
    model, state = trained(parts, identity, key)
    state, _ = jax.jit(model.train_step)(state, pair, key)  # the average is now another than the last params
    average, last = state.average["generator"], state.params["generator"]
    assert not np.allclose(average["v"], last["v"], rtol=1e-4)
    found = jax.jit(model.evaluate)(state, pair, key)
    sources = jnp.roll(pair.source, 1, axis=0)
    swapped = identity_swap.swap(average, identity, pair.target, sources, parts=parts)
    v, wanted = (parts.encode_identity(identity, x) for x in (swapped, sources))
    np.testing.assert_allclose(found["identity_loss"], 1 - jnp.mean(jnp.sum(v * wanted, axis=1)), rtol=1e-4)
    kept = identity_swap.swap(average, identity, pair.target, pair.source, parts=parts)
    np.testing.assert_allclose(found["reconstruction_loss"], jnp.mean(jnp.abs(kept - pair.target)), rtol=1e-5)
    judged = parts.discriminator.apply(state.params["discriminator"], swapped)
    fake_logit = np.mean([logit.mean() for _, logit in judged])
    np.testing.assert_allclose(found["fake_logit"], fake_logit, rtol=1e-4)
    terms = parts.losses  # with another's identity nothing is reconstructed
    total = terms.identity_weight * found["identity_loss"] + terms.adversarial_weight * found["generator_loss"]
    np.testing.assert_allclose(found["loss"], total + terms.matching_weight * found["matching_loss"], rtol=1e-5)
    assert found.keys() == jax.eval_shape(model.train_step, state, pair, key)[1].keys()


@pytest.mark.slow
def test_the_identity_alone_can_be_learned(pair, identity, key):
    terms = identity_swap.SIMSWAP._replace(reconstruction_weight=0.0, adversarial_weight=0.0, matching_weight=0.0)
    model, state = trained(build(terms), identity, key)
    evaluate = jax.jit(model.evaluate)
    before = evaluate(state, pair, key)["identity_loss"]
    state, _ = jax.jit(lambda s: jax.lax.scan(lambda s, _: model.train_step(s, pair, key), s, length=100))(state)
    assert evaluate(state, pair, key)["identity_loss"] < 0.5 * before


def test_what_cannot_be_is_refused(identity):
    with pytest.raises(ValueError, match="averaging"):
        identity_swap.model(build(), identity, optax.sgd(0.1), optax.sgd(0.1), averaging=1.0)
