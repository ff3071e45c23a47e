"""One result, however a run is spread over devices; each number of devices is a process of its own."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WORKER = Path(__file__).with_name("placement_worker.py")


@functools.cache
def spread(devices, *ways):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    del environment["XLA_FLAGS"]  # what the other tests compile with keeps no promise of bits
    command = [sys.executable, str(WORKER), *ways]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    assert not done.returncode, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["devices"] == devices
    return told


@pytest.mark.parametrize(
    "model", ["vae", *(pytest.param(name, marks=pytest.mark.slow) for name in ("gan", "spectral"))]
)
def test_ordered_sums_have_the_bits_of_one_device_on_two(model):
    """Of the whole state, and of every metric, for both players of a GAN too."""
    # kernels over their singular values, written as a division, became products with the inverse on one device only
    assert spread(2, model)[model] == spread(1, model)[model]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vae", "gan", "sparse"])
def test_ordered_sums_have_the_bits_of_one_device_on_four(model):
    # a device then has a single shard, in a loop of one turn; rows of norm 1 were once divided, and the scales of a
    # gated encoder end their gradient with a product, which XLA contracted with the sum of two shards
    assert spread(4, model)[model] == spread(1, model)[model]


@pytest.mark.slow
def test_the_gradient_of_an_identity_swap_has_the_bits_of_one_device_on_two():
    # vectors over their norms, written as a division, became products with the reciprocal on one device only
    assert spread(2, "swap_gradient")["swap_gradient"] == spread(1, "swap_gradient")["swap_gradient"]


@pytest.mark.slow
def test_rendered_faces_have_the_bits_of_one_device_on_two():
    # what is divided by a number of the whole picture is so in some programs only
    assert spread(2, "rendered")["rendered"] == spread(1, "rendered")["rendered"]


@pytest.mark.slow
def test_seeds_that_take_turns_have_the_bits_that_they_have_alone():
    alone = spread(1, "map", "alone")
    assert len(set(alone["map"]["sha256"])) == 4
    for number, one in ((int(n), one) for n, one in alone["alone"].items()):
        assert alone["map"]["sha256"][number] == one["sha256"]
        told = alone["map"]["lines"]
        assert [[s, split, {k: v[number] for k, v in metrics.items()}] for s, split, metrics in told] == one["lines"]
    assert spread(2, "map")["map"] == alone["map"]


@pytest.mark.slow
def test_ways_whose_bits_are_their_own_agree_to_rounding():
    alone = spread(1, "map", "alone")["alone"]
    told = spread(2, "vmap", "sharded_parameters", "device_mean")
    for (step, split, seeds), (*same, one) in zip(told["vmap"]["lines"], alone["3"]["lines"], strict=True):
        assert [step, split] == same
        for name, value in one.items():
            np.testing.assert_allclose(seeds[name][3], value, rtol=1e-4, err_msg=name)
    for (*_, cut), (*_, one) in zip(told["sharded_parameters"]["lines"], alone["0"]["lines"], strict=True):
        np.testing.assert_allclose(cut["loss"], one["loss"], rtol=1e-4)
    assert told["sharded_parameters"]["shard"] == [32, 64]  # of [64, 64]
    # other draws of z: another run, which learns as fast
    losses = [metrics["loss"] for _, split, metrics in told["device_mean"]["lines"] if split == "test"]
    assert losses == pytest.approx([m["loss"] for _, split, m in alone["0"]["lines"] if split == "test"], rel=0.05)
