"""A learned codec: its rate by hand, by the coder's bytes, and its objective."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from experiments import learned_codes
from genjax import networks
from genjax.errors import BadInput
from genjax.losses import SQUARED_ERROR
from genjax.models import learned_compression
from genjax.models.learned_compression import Hyperprior, LearnedCompression
from genjax.types import Batch

DIM, SIDE = 4, 2


def linear_codec(side):
    hyperprior = Hyperprior(networks.affine((DIM,), (SIDE,)), networks.affine((SIDE,), (DIM,)), SIDE) if side else None
    analysis, synthesis = networks.affine((6,), (DIM,)), networks.affine((DIM,), (6,))
    return LearnedCompression(analysis, synthesis, SQUARED_ERROR, DIM, hyperprior)


@pytest.fixture(params=[False, True], ids=["mixture", "hyperprior"])
def codec(request, key):
    parts = linear_codec(request.param)
    params = learned_compression.init_params(key, parts=parts)
    params["density"] = jax.tree.map(
        lambda a: a + 0.3 * jnp.arange(a.size).reshape(a.shape) / a.size, params["density"]
    )
    if parts.hyperprior is not None:  # scales of about the code's own, which differ from row to row
        params["hyper_synthesis"] = jax.tree.map(
            lambda a: 0.1 * a if a.ndim > 1 else jnp.full_like(a, 1.2), params["hyper_synthesis"]
        )
    return params, parts


@pytest.fixture
def x(key):
    return 4 * jax.random.normal(jax.random.fold_in(key, 1), (1200, 6))


def logistic_mixture_probability(density, q):
    weights = scipy.special.softmax(density["logits"], axis=-1)
    between = [
        scipy.stats.logistic.cdf(q[..., None] + half, np.asarray(density["mean"]), np.exp(density["log_scale"]))
        for half in (0.5, -0.5)
    ]
    return (weights * (between[0] - between[1])).sum(-1)


def test_the_rate_is_that_of_scipys_distributions(codec, x):
    params, parts = codec
    coded = learned_compression.encode(params, x, parts=parts)
    y = np.asarray(parts.analysis.apply(params["analysis"], x))
    np.testing.assert_array_equal(coded.code, np.round(y))
    if parts.hyperprior is None:
        bits = -np.log2(logistic_mixture_probability(params["density"], np.round(y))).sum(1)
    else:
        z = np.round(np.asarray(parts.hyperprior.analysis.apply(params["hyper_analysis"], np.abs(y))))
        np.testing.assert_array_equal(coded.side, z)
        scale = np.exp(np.asarray(parts.hyperprior.synthesis.apply(params["hyper_synthesis"], z))).clip(np.exp(-2.2))
        inside = scipy.stats.norm.sf((abs(np.round(y)) - 0.5) / scale)
        outside = scipy.stats.norm.sf((abs(np.round(y)) + 0.5) / scale)
        bits = -np.log2(inside - outside).sum(1) - np.log2(logistic_mixture_probability(params["density"], z)).sum(1)
    np.testing.assert_allclose(coded.rate, bits, rtol=2e-3)


def test_the_bytes_have_the_rate_and_come_back(codec, x):
    params, parts = codec
    sent = learned_codes.encode(params, np.asarray(x), parts=parts)
    assert len(sent.streams) == (1 if parts.hyperprior is None else 2)
    assert 8 * sent.num_bytes == pytest.approx(sent.rate, rel=0.01)
    code = learned_compression.encode(params, x, parts=parts).code
    np.testing.assert_allclose(
        learned_codes.decode(params, sent, parts=parts),
        learned_compression.decode(params, code, parts=parts),
        atol=1e-4,
    )
    with pytest.raises(BadInput, match="does not compute the probabilities"):
        learned_codes.decode(params, sent._replace(digest="0"), parts=parts)
    with pytest.raises(BadInput, match="the codes do not come back"):
        learned_codes.decode(params, sent._replace(streams=(sent.streams[0][:-1], *sent.streams[1:])), parts=parts)


def test_codes_that_reach_too_far_are_refused(codec, x):
    params, parts = codec
    with pytest.raises(BadInput, match=r"the codes reach from -\d+ to \d+; the images are unlike"):
        learned_codes.encode(params, 1e4 * np.asarray(x[:20]), parts=parts)


def test_the_rate_with_noise_is_the_rate_on_the_disk(codec, x):
    """To 1 %, for codes that are wide beside the rounding, of which the density knows the width."""
    params, parts = codec
    wide = 8 * x
    y = np.asarray(parts.analysis.apply(params["analysis"], wide))
    if parts.hyperprior is None:  # each entry a logistic distribution of its own width
        scale = jnp.log(jnp.asarray(y.std(0)) * np.sqrt(3) / np.pi)[:, None]
        shape = params["density"]["mean"].shape
        params["density"] = {
            "logits": jnp.zeros(shape),
            "mean": jnp.zeros(shape),
            "log_scale": jnp.broadcast_to(scale, shape),
        }
    else:
        constant = jax.tree.map(jnp.zeros_like, params["hyper_synthesis"])
        params["hyper_synthesis"] = jax.tree.map(
            lambda a: jnp.log(jnp.asarray(y.std(0))) if a.shape == (DIM,) else a, constant
        )
        params["density"]["log_scale"] += 3
    noisy = learned_compression.encode(params, wide, parts=parts, quantise=learned_compression.noisy(jax.random.key(0)))
    sent = learned_codes.encode(params, np.asarray(wide), parts=parts)
    assert float(noisy.rate.sum()) == pytest.approx(8 * sent.num_bytes, rel=0.01)


def test_the_objective_weighs_rate_and_distortion(codec, x, key):
    params, parts = codec
    objective = learned_compression.objective(parts, distortion_weight=3.0)
    loss, metrics = objective(params, Batch(x, None), key)
    np.testing.assert_allclose(loss, metrics["rate"] + 3 * metrics["reconstruction_loss"], rtol=1e-6)
    _, noise_key = jax.random.split(key)
    coded = learned_compression.encode(params, x, parts=parts, quantise=learned_compression.noisy(noise_key))
    np.testing.assert_allclose(metrics["rate"], coded.rate, rtol=1e-6)
    found = np.sum((learned_compression.decode(params, coded.code, parts=parts) - x) ** 2, axis=1)
    np.testing.assert_allclose(metrics["reconstruction_loss"], found, rtol=1e-5)
    noise = coded.code - parts.analysis.apply(params["analysis"], x)
    assert -0.5 <= noise.min() < -0.45 and 0.45 < noise.max() <= 0.5
    if coded.side is not None:  # has noise of its own
        y = parts.analysis.apply(params["analysis"], x)
        side = coded.side - parts.hyperprior.analysis.apply(params["hyper_analysis"], jnp.abs(y))
        first = np.asarray(noise).ravel()[: side.size]
        assert abs(np.corrcoef(np.asarray(side).ravel(), first)[0, 1]) < 0.15
    exact = learned_compression.objective(parts, distortion_weight=3.0, rounding=True)(params, Batch(x, None), key)[1]
    np.testing.assert_allclose(exact["rate"], learned_compression.encode(params, x, parts=parts).rate, rtol=1e-6)


def test_the_analysis_reads_the_corrupted_example_and_the_distortion_is_of_the_clean_one(codec, x, key):
    params, parts = codec
    objective = learned_compression.objective(
        parts, distortion_weight=1.0, corruption=lambda x, key: x + 1, rounding=True
    )
    _, metrics = objective(params, Batch(x, None), key)
    coded = learned_compression.encode(params, x + 1, parts=parts)
    np.testing.assert_allclose(metrics["rate"], coded.rate, rtol=1e-6)
    found = np.sum((learned_compression.decode(params, coded.code, parts=parts) - x) ** 2, axis=1)
    np.testing.assert_allclose(metrics["reconstruction_loss"], found, rtol=1e-5)


def test_a_codec_without_a_hyperprior_sends_no_scales(key):
    parts = linear_codec(False)
    with pytest.raises(ValueError, match="without a hyperprior sends no scales"):
        learned_compression.log_scales(
            learned_compression.init_params(key, parts=parts), jnp.zeros((1, 2)), parts=parts
        )
