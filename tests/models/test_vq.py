"""The VQ-VAE against hand-written NumPy, enumeration of its codes and the entropy coder."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats

from genjax import gradients, losses, networks
from genjax.evaluation import entropy_coding
from genjax.losses import BERNOULLI
from genjax.models import vq
from genjax.types import Batch, Network

B, DIM, K = 8, 5, 3


def causal(length):
    """Logits that are linear in the symbols before each place."""
    size, mask = length * K, jnp.kron(jnp.triu(jnp.ones((length, length)), 1), jnp.ones((K, K)))

    def init(key):
        return {"kernel": 0.5 * jax.random.normal(key, (size, size)), "bias": jnp.arange(size) % 5 / 5}

    def apply(params, x):
        y = x.reshape(len(x), size) @ (mask * params["kernel"]) + params["bias"][None]
        return y.reshape(x.shape)

    return Network(init, apply)


def build(make=networks.learned_codebook, *, places=2, dim=2, depth=1):
    codebook = make(K, dim)
    codebook = codebook if depth == 1 else networks.residual_codebook(codebook, depth)
    length = places * depth
    return vq.VQ(
        networks.mlp((DIM,), (places, dim), hidden=(6,), activation=jnp.tanh),
        networks.mlp((places, dim), (DIM,), hidden=(6,), activation=jnp.tanh),
        BERNOULLI,
        codebook,
        losses.autoregressive(causal(length), K),
        (places,),
    )


def doubles(a):
    return np.asarray(a, np.float64)


def init(key, parts):
    return jax.jit(partial(vq.init_params, parts=parts))(key)


@pytest.fixture
def batch(key):
    return Batch(jax.random.uniform(jax.random.fold_in(key, 9), (B, DIM)))


def every_code(length):
    return jnp.array(list(itertools.product(range(K), repeat=length)))


def by_hand(params, parts, x):
    """Encoded vectors, nearest entries and their indices, by NumPy."""
    z, e = doubles(parts.encoder.apply(params["encoder"], x)), doubles(params["codebook"]["entries"])
    index = ((z[..., None, :] - e) ** 2).sum(-1).argmin(-1)
    return z, e[index], index


def test_the_objective_is_the_sum_of_its_terms(key, batch):
    parts = build()
    params = init(key, parts)
    z, e, index = by_hand(params, parts, batch.x)
    logits = doubles(parts.decoder.apply(params["decoder"], jnp.float32(e)))
    x = doubles(batch.x)
    distortion = -(x * -np.logaddexp(0, -logits) + (1 - x) * -np.logaddexp(0, logits)).sum(1)
    rate = doubles(parts.prior.negative_log_density(params["prior"], jnp.asarray(index)))
    error = ((z - e) ** 2).sum((1, 2))
    loss, metrics, statistics = jax.jit(vq.objective(parts, commitment_weight=0.7))(params, batch, key)
    np.testing.assert_allclose(loss, distortion + rate + 1.7 * error, rtol=1e-4)
    expected = {
        "negative_elbo": distortion + rate,
        "distortion": distortion,
        "rate": rate,
        "quantisation_error": error,
    }
    assert metrics.keys() == expected.keys() and statistics == ()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4)


def test_where_each_gradient_goes(key, batch):
    """The encoder gets the decoder's at the entries, and the commitment's; the prior its own alone, and no other's."""
    parts = build()
    params = init(key, parts)
    z, e, index = by_hand(params, parts, batch.x)
    found = jax.jit(jax.grad(lambda p: jnp.sum(vq.objective(parts, commitment_weight=0.7)(p, batch, key)[0])))(params)

    def of_decoder(decoder, e):
        return jnp.sum(BERNOULLI.negative_log_likelihood(parts.decoder.apply(decoder, e), batch.x))

    def of_prior(prior):
        return jnp.sum(parts.prior.negative_log_density(prior, jnp.asarray(index)))

    to_decoder, to_entry = jax.jit(jax.grad(of_decoder, argnums=(0, 1)))(params["decoder"], jnp.float32(e))
    pull = jax.vjp(lambda p: parts.encoder.apply(p, batch.x), params["encoder"])[1]
    entries = np.zeros((K, 2))
    np.add.at(entries, index, 2 * (e - z))
    expected = {
        "encoder": pull(to_entry + jnp.float32(2 * 0.7 * (z - e)))[0],
        "decoder": to_decoder,
        "codebook": {"entries": entries},
        "prior": jax.jit(jax.grad(of_prior))(params["prior"]),
    }
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found, expected)


@pytest.mark.parametrize("num_shards", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_codebook_follows_the_sums_of_the_shards(key, batch, num_shards):
    parts = build(lambda *sizes: networks.averaged_codebook(*sizes, decay=0.8, restart=0.0))
    # adamw would decay whatever it is given
    optimizer = optax.adamw(0.01, weight_decay=0.5)
    model = vq.model(parts, optimizer, vq.objective(parts), reduction=gradients.ordered(num_shards))
    state = jax.jit(model.init)(key)
    new, _ = jax.jit(model.train_step)(state, batch, key)
    z, _, index = by_hand(state.params, parts, batch.x)
    used, e = np.eye(K)[index].reshape(-1, K), doubles(state.params["codebook"]["entries"])
    count = 0.8 + 0.2 * used.sum(0)
    np.testing.assert_allclose(new.params["codebook"]["count"], count, rtol=1e-5)
    expected = (0.8 * e + 0.2 * used.T @ z.reshape(-1, 2)) / count[:, None]
    np.testing.assert_allclose(new.params["codebook"]["entries"], expected, rtol=1e-4, atol=1e-5)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, new.params)
    assert min(jax.tree.leaves(moved)) > 1e-4


@pytest.mark.parametrize("depth", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_bound_is_the_probability_of_one_code(key, batch, depth):
    """-log p(x, k) at the code k of x, of p(x) = sum_k p(k) p(x|k) over all codes."""
    parts = build(depth=depth)
    params = init(key, parts)
    codes = every_code(parts.num_indices)
    log_prior = -doubles(parts.prior.negative_log_density(params["prior"], codes))
    np.testing.assert_allclose(scipy.special.logsumexp(log_prior), 0, atol=1e-5)
    p, x = doubles(jax.jit(partial(vq.decode, parts=parts))(params, codes))[:, None], doubles(batch.x)
    log_joint = log_prior[:, None] + np.sum(x * np.log(p) + (1 - x) * np.log1p(-p), axis=-1)
    own = np.asarray(vq.encode(params, batch.x, parts=parts)) @ K ** np.arange(parts.num_indices)[::-1]
    bound = jax.jit(vq.objective(parts))(params, batch, key)[1]["negative_elbo"]
    np.testing.assert_allclose(bound, -log_joint[own, np.arange(B)], rtol=1e-4)
    assert (np.asarray(bound) > -np.asarray(scipy.special.logsumexp(log_joint, axis=0))).all()


def test_samples_are_decoded_codes_of_the_prior(key):
    parts = build(depth=2)
    model = vq.model(parts, optax.sgd(0.1), vq.objective(parts))
    state, num = jax.jit(model.init)(key), 2000
    assert model.sample is not None
    codes = every_code(parts.num_indices)
    means = np.asarray(vq.decode(state.params, codes, parts=parts))
    samples = np.asarray(jax.jit(model.sample, static_argnums=1)(state, num, key))
    distance = np.abs(samples[:, None] - means).max(-1)
    assert distance.min(1).max() < 1e-5
    p = np.exp(-doubles(parts.prior.negative_log_density(state.params["prior"], codes)))
    counts = np.bincount(distance.argmin(1), minlength=len(codes))
    often = num * p > 5  # the others together
    expected = np.append(num * p[often], num * (1 - p[often].sum()))
    assert scipy.stats.chisquare(np.append(counts[often], counts[~often].sum()), expected).pvalue > 1e-3


def test_indices_keep_their_places(key):
    """Changing the entry of one place and one codebook changes the index at place * depth + codebook alone."""
    parts = build(places=3, depth=2)
    params = init(key, parts)
    x = jax.random.uniform(key, (1, DIM))
    index = np.asarray(vq.encode(params, x, parts=parts))[0]
    z = doubles(parts.encoder.apply(params["encoder"], x))[0]
    for place in range(3):
        residual = z[place]
        for codebook in range(2):
            e = doubles(params["codebook"][f"codebook_{codebook + 1}"]["entries"])
            nearest = ((e - residual) ** 2).sum(1).argmin()
            assert index[2 * place + codebook] == nearest
            residual = residual - e[nearest]
    whole = parts.decoder.apply(
        params["decoder"],
        parts.codebook.look_up(params["codebook"], jnp.asarray(index).reshape(1, 3, 2)),
    )
    np.testing.assert_allclose(vq.reconstruct(params, x, parts=parts), jax.nn.sigmoid(whole), rtol=1e-5)


def test_the_rate_is_the_bytes_of_the_entropy_coder(key):
    """Each code in the frequencies that the prior gives it after those before it."""
    parts = build(places=6)
    params, num = init(key, parts), 40
    index = vq.sample_prior(params, num, key, parts=parts)
    p = jax.nn.softmax(causal(6).apply(params["prior"], jax.nn.one_hot(index, K)))
    counts = np.round(doubles(p) * 2**24).astype(np.int64).reshape(-1, K)
    written = entropy_coding.encode(np.asarray(index).reshape(1, -1), counts)
    np.testing.assert_array_equal(entropy_coding.decode(written, counts).reshape(num, 6), index)
    bits = np.sum(doubles(parts.prior.negative_log_density(params["prior"], index))) / np.log(2)
    assert bits < 0.99 * num * 6 * np.log2(K)
    assert bits / 8 < len(written) < bits / 8 + 12
