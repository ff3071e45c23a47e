"""Trains small models in the ways that a run can be spread, in a process of its own; prints their digests as JSON.

    python tests/training/placement_worker.py WAY [WAY ...]

The number of devices is JAX_NUM_CPU_DEVICES.
"""

import json
import sys
from functools import partial

from genjax.training import determinism

determinism.set_up()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from genjax import gradients, networks  # noqa: E402
from genjax.data import batching, pairs  # noqa: E402
from genjax.data.dataset import from_arrays  # noqa: E402
from genjax.losses import BERNOULLI, NON_SATURATING, SQUARED_ERROR  # noqa: E402
from genjax.models import gan, identity_encoder, identity_swap, sparse_autoencoder, vae  # noqa: E402
from genjax.training import placement  # noqa: E402
from genjax.training.digest import params_sha256  # noqa: E402
from genjax.training.fit import fit  # noqa: E402
from genjax.types import Pair  # noqa: E402

STEPS, SEED, NUM_SEEDS = 6, 5, 4
draw = np.random.RandomState(0).randint(0, 256, (80, 8, 8, 1)).astype(np.uint8)
DATASET = from_arrays("noise", draw[:64], draw[64:])
SOURCE = batching.source(DATASET, batch_size=16, transform=batching.dynamic_binarization, test_batch=5)


def build_vae(reduction: gradients.Reduction):
    encoder = networks.gaussian_heads(networks.mlp((8, 8, 1), (8,), hidden=(64,), activation=jnp.tanh))
    parts = vae.VAE(encoder, networks.mlp((4,), (8, 8, 1), hidden=(64,), activation=jnp.tanh), BERNOULLI, 4)
    # weight decay in the gradient and a momentum: XLA once contracted them with the mean over shards on one device only
    optimizer = optax.chain(optax.add_decayed_weights(1e-2), optax.rmsprop(1e-3, momentum=0.9))
    return vae.model(parts, optimizer, vae.objective(parts), reduction=reduction)


def build_gan(reduction: gradients.Reduction):
    generator = networks.mlp((4,), (8, 8, 1), hidden=(32,), activation=jax.nn.relu)
    discriminator = networks.mlp((8, 8, 1), (), hidden=(32,), activation=jax.nn.relu)
    parts = gan.GAN(generator, discriminator, NON_SATURATING, 4)
    return gan.model(parts, optax.adam(1e-2), optax.adam(1e-2), num_critic_steps=2, averaging=0.9, reduction=reduction)


def build_spectral(reduction: gradients.Reduction):
    generator = networks.mlp((4,), (8, 8, 1), hidden=(64,), activation=jax.nn.relu)
    discriminator, project = networks.spectral_norm(
        networks.mlp((8, 8, 1), (), hidden=(64, 64), activation=jax.nn.leaky_relu)
    )
    parts, optimizer = gan.GAN(generator, discriminator, NON_SATURATING, 4), optax.adam(1e-2)
    return gan.model(parts, optimizer, optimizer, project=project, reduction=reduction)


def build_sparse(reduction: gradients.Reduction):
    encoder = networks.gated_units(networks.affine((8, 8, 1), (32,)), 32)
    decoder = networks.unit_norm_rows(networks.affine((32,), (8, 8, 1)))
    parts = sparse_autoencoder.SparseAutoencoder(encoder, decoder, SQUARED_ERROR)
    objective = sparse_autoencoder.objective(parts, weight=0.1)
    return sparse_autoencoder.model(parts, optax.adam(1e-2), objective, reduction=reduction)


def swap_gradient(reduction: gradients.Reduction, over: placement.Placement):
    """Of an identity swap's generator: its terms have products so narrow that XLA chooses among many programs."""
    shape, half, dim, batch = (16, 16, 3), (8, 8, 3), 8, 16
    body = networks.identity_network(shape, dim, features=(8, 16))
    encode = partial(identity_encoder.encode, parts=identity_encoder.IdentityEncoder(body, dim, 10))
    judges = [networks.matching_discriminator(size, features=(8, 16)) for size in (shape, half)]
    generator = networks.identity_swap_generator(shape, dim, features=(8, 16), num_blocks=1)
    parts = identity_swap.IdentitySwap(generator, networks.multi_scale(judges), encode)
    params, identity = identity_swap.init_params(jax.random.key(0), parts=parts), body.init(jax.random.key(1))
    pair = Pair(*(jax.random.uniform(jax.random.key(i), (batch, *shape)) for i in (2, 3)))
    wanted = identity_swap.Wanted(pair, jax.jit(encode)(identity, pair.source), jnp.ones(batch, bool))
    compute = reduction(identity_swap.generator_objective(parts))
    others = {"discriminator": params["discriminator"], "identity": identity}
    placed = over.place_own((params["generator"], others, wanted, jax.random.key(4)))
    gradient, metrics, _ = jax.jit(over.wrap(lambda own, shared: compute(*own)))(placed, ())
    return {"sha256": params_sha256(gradient), "metrics": {name: float(value) for name, value in metrics.items()}}


def rendered(over: placement.Placement):
    """Pictures of three steps, drawn within the loop as a run draws them."""
    stream = pairs.rendered_pairs(batch_size=8, size=8).train

    def draw(key, _):
        def step(index, drawn):
            return drawn.at[index].set(jnp.stack(stream.next((), (), index, key)[1]))

        return jax.lax.fori_loop(0, 3, step, jnp.zeros((3, 2, 8, 8, 8, 3)))

    return params_sha256(jax.jit(over.wrap(draw))(over.place_own(jax.random.key(0)), ()))


def trained(model, over: placement.Placement, seed: int = SEED):
    lines = []

    def report(step, split, metrics):
        lines.append((step, split, {name: np.asarray(value).tolist() for name, value in metrics.items()}))

    state = fit(model, SOURCE, seed=seed, num_steps=STEPS, eval_every=3, report=report, placement=over)
    return state, lines


def told(state, lines):
    return {"sha256": params_sha256(state), "lines": lines}


def main(ways: list[str]) -> dict[str, object]:
    many = jax.device_count() > 1
    over = placement.replicated(placement.mesh()) if many else placement.ALONE
    shards = gradients.ordered(4, over_devices=many)
    results: dict[str, object] = {"devices": jax.device_count()}
    for way in ways:
        if way in BUILDERS:
            results[way] = told(*trained(BUILDERS[way](shards), over))
        elif way == "swap_gradient":
            results[way] = swap_gradient(shards, over)
        elif way == "rendered":
            results[way] = rendered(over)
        elif way == "alone":
            model = build_vae(gradients.whole_batch)
            results[way] = {i: told(*trained(model, placement.ALONE, SEED + i)) for i in (0, NUM_SEEDS - 1)}
        elif way in ("map", "vmap"):
            several = placement.seeds(NUM_SEEDS, vectorized=way == "vmap")
            states, lines = trained(build_vae(gradients.whole_batch), several)
            one = [jax.tree.map(lambda a, i=i: np.asarray(a)[i], states) for i in range(NUM_SEEDS)]
            results[way] = {"sha256": [params_sha256(state) for state in one], "lines": lines}
        elif way == "device_mean":
            results[way] = told(*trained(build_vae(gradients.device_mean), over))
        elif way == "sharded_parameters":
            state, lines = trained(build_vae(gradients.whole_batch), placement.sharded_parameters(placement.mesh()))
            kernel = state.params["encoder"]["layer_1"]["kernel"]
            results[way] = told(state, lines) | {"shard": kernel.addressable_shards[0].data.shape}
    return results


BUILDERS = {"vae": build_vae, "gan": build_gan, "sparse": build_sparse, "spectral": build_spectral}

if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
