"""Bits-back coding: the stack by hand, images that come back, and lengths against the densities."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, ndtri

from genjax.evaluation import bits_back
from genjax.evaluation.bits_back import Coder, Message

DRAW = np.random.RandomState(0)
ENCODER, SCALES = DRAW.normal(size=(9, 2)) / 3, DRAW.normal(size=(9, 2)) / 5 - 0.3
DECODER = 2 * DRAW.normal(size=(2, 9))


def coder(lanes=7, latent_bits=10, seen=None):
    """A VAE of 9 bits with 2 latent dimensions, whose functions demand blocks of one size."""

    def encode(x):
        assert x.shape == (lanes, 9)
        return x @ ENCODER, x @ SCALES

    def decode(z):
        assert z.shape == (lanes, 2)
        if seen is not None:
            seen.append(z)
        return z @ DECODER

    return Coder(encode, decode, lanes, latent_bits, latent_bits + 16)


def images(num, seed=1):
    draw = np.random.RandomState(seed)
    z = draw.normal(size=(num, 2))
    return (draw.uniform(size=(num, 9)) < expit(z @ DECODER)).astype(np.uint8)


@pytest.mark.parametrize("precision", [1, 12, 31])
def test_symbols_come_back_from_a_stack_at_the_length_of_their_model(precision):
    draw = np.random.RandomState(precision)
    message, pushed = Message.start(5, seed=0), []
    for number in range(400):
        lanes = 5 if number % 3 else 3
        frequency = draw.randint(1, 2**precision, size=lanes)
        start = np.array([draw.randint(0, 2**precision - f + 1) for f in frequency])
        message.push(start, frequency, precision)
        pushed.append((start, frequency))
    bits = sum((precision - np.log2(frequency)).sum() for _, frequency in pushed)
    assert message.num_bits == pytest.approx(bits, rel=2e-3, abs=2) and message.borrowed == 0
    message = Message(message.head, message.tail, seed=0)  # as it is read from a file
    for start, frequency in reversed(pushed):

        def find(slot, start=start, frequency=frequency):
            assert np.all((start <= slot) & (slot < start + frequency))
            return start, start, frequency

        np.testing.assert_array_equal(message.pop(find, precision, len(start)), start)
    assert message.is_empty and not len(message.tail)


def test_what_is_popped_from_an_empty_stack_is_given_back():
    message = Message.start(4, seed=3)
    uniform = [message.pop(lambda slot: (slot, slot, np.ones(len(slot))), 20, 4) for _ in range(300)]
    assert message.borrowed > 0 and message.num_bits == pytest.approx(-300 * 4 * 20, abs=4)
    assert stats.kstest(np.ravel(uniform) / 2**20, "uniform").pvalue > 0.01
    for symbol in reversed(uniform):
        message.push(symbol, np.ones(4), 20)
    assert message.is_empty and len(message.tail) == message.borrowed


@pytest.mark.parametrize("num", [0, 3, 7, 40])
def test_images_come_back(num):
    x = images(num)
    message = bits_back.compress(x, coder(), seed=5)
    received = Message(message.head, message.tail, seed=5)
    found = bits_back.decompress(received, num, 9, 2, coder())
    np.testing.assert_array_equal(found, x)
    assert received.is_empty and len(received.tail) == message.borrowed and received.borrowed == 0


def test_the_length_is_that_of_the_densities():
    """sum_n -log2 p(x_n|z_n) + K d + log2 q(z_n|x_n), with the probabilities of intervals from SciPy."""
    seen, x, num = [], images(70), 2**10
    message = bits_back.compress(x, coder(seen=seen))
    z = np.concatenate(seen)
    logits = z @ DECODER
    pixels = -np.where(x, np.log2(expit(logits)), np.log2(expit(-logits))).sum()
    index = np.rint(stats.norm.cdf(z) * num - 0.5)
    with np.errstate(divide="ignore"):
        low, high = (ndtri((index + end) / num) for end in (0, 1))
    q = stats.norm(x @ ENCODER, np.exp(x @ SCALES / 2))
    codes = 70 * 2 * 10 + np.log2(q.cdf(high) - q.cdf(low)).sum()
    assert message.num_bits == pytest.approx(pixels + codes, rel=2e-3)


def test_the_mean_length_is_the_negative_elbo():
    num = 1400
    x = images(num, seed=2)
    message = bits_back.compress(x, coder())
    mean, s = x @ ENCODER, x @ SCALES
    draws = np.random.RandomState(3).normal(size=(50, num, 2)) * np.exp(s / 2) + mean
    logits = draws @ DECODER
    distortion = -np.where(x, np.log2(expit(logits)), np.log2(expit(-logits))).sum(axis=2)
    rate = 0.5 * (mean**2 + np.exp(s) - s - 1).sum(axis=1) / np.log(2)
    error = distortion.std(axis=0).mean() / num**0.5  # of one draw for each image, as the message has
    assert abs(message.num_bits / num - (distortion.mean() + rate.mean())) < 4 * error
    assert error < 0.02 * message.num_bits / num


def test_the_net_length_of_a_table_is_its_entropy():
    """Pixels that are 1 with probabilities 1/2, 1/4 and 1/8, each pattern as often as the table has it."""
    one = np.array([0.5, 0.25, 0.125])
    patterns = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.uint8)
    counts = np.rint(64 * np.where(patterns, one, 1 - one).prod(axis=1)).astype(int)
    x = np.random.RandomState(0).permutation(np.repeat(patterns, 20 * counts, axis=0))
    assert len(x) == 1280
    logits = np.log(one / (1 - one))
    table = Coder(
        lambda x: (np.zeros((len(x), 2)), np.zeros((len(x), 2))),  # q(z|x) = p(z)
        lambda z: np.broadcast_to(logits, (len(z), 3)),
        lanes=8,
        latent_bits=12,
        precision=28,
    )
    message = bits_back.compress(x, table)
    assert message.num_bits == pytest.approx(1280 * stats.bernoulli(one).entropy().sum() / np.log(2), rel=2e-3)


def test_only_bits_are_compressed():
    with pytest.raises(ValueError, match=r"x must be bits \[N, D\]; got float64"):
        bits_back.compress(np.full((2, 9), 0.5), coder())
