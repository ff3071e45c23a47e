"""The flags of devices and processes: what they refuse, how batches are shared, and the products' precision."""

import re

import jax
import jax.numpy as jnp
import pytest

from genjax import gradients, runs
from genjax.errors import BadInput
from genjax.runs import devices, hosts
from genjax.training import placement


def flags_of(**given):
    return runs.Flags(**(dict(num_steps=1, batch_size=128, learning_rate=0.1) | given))


@pytest.mark.parametrize(
    ("refused_by", "given", "line"),
    [
        (devices.check, {"shards": 6}, "shards: expected a power of two, not 6"),
        (devices.check, {"shards": 16, "batch_size": 24}, "batch_size: 24 is not a multiple of `shards`, 16"),
        (devices.check, {"shard_parameters": True, "num_seeds": 2}, "shard_parameters: cannot be combined with"),
        (devices.check, {"shard_parameters": True, "shards": 2}, "shard_parameters: cannot be combined with"),
        (devices.check, {"bfloat16": True}, "bfloat16: needs a GPU or TPU"),
        (hosts.join, {"num_processes": 2, "process_id": 0}, "`num_processes` and `process_id` need a `coordinator`"),
        (hosts.join, {"coordinator": "localhost:1", "num_processes": 2}, "needs `num_processes` and a `process_id`"),
        (
            hosts.join,
            {"coordinator": "localhost:1", "num_processes": 2, "process_id": 2},
            "a `process_id` below it, not 2 and 2",
        ),
    ],
)
def test_flags_that_contradict_each_other_are_refused(refused_by, given, line):
    with pytest.raises(BadInput, match=line):
        refused_by(flags_of(**given))


@pytest.mark.parametrize(
    ("given", "sharing", "bits_of"),
    [
        ({}, 4, 4),
        ({"batch_size": 6}, 3, 3),
        ({"batch_size": 7}, 1, 1),
        ({"shards": 2}, 2, "any"),
        ({"num_seeds": 3}, 0, "any"),
        ({"num_seeds": 3, "seeds_mode": "vmap"}, 0, "3 seeds by vmap"),
    ],
)
def test_a_batch_is_shared_by_the_most_devices_that_divide_it(monkeypatch, given, sharing, bits_of):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    flags = flags_of(**given)
    assert devices._num_sharing(flags) == sharing and devices.bits_of(flags) == bits_of
    reduction = devices.reduction(flags)
    if given.get("shards"):
        assert reduction.__qualname__.startswith("ordered")
    else:
        assert reduction is (gradients.device_mean if sharing > 1 else gradients.whole_batch)


def test_a_run_of_one_device_lies_there_alone():
    assert devices.place(flags_of()) is placement.ALONE
    assert devices.place(flags_of(num_seeds=2)).num_seeds == 2


@pytest.mark.parametrize("bfloat16", [False, True])
def test_products_are_in_bfloat16_on_a_gpu_where_it_is_asked_for_and_nowhere_else(bfloat16):
    def loss(kernel, x):
        return jnp.sum(jnp.tanh(x @ kernel))

    shapes = jax.ShapeDtypeStruct((16, 8), jnp.float32), jax.ShapeDtypeStruct((4, 16), jnp.float32)
    with devices.matrix_products(flags_of(bfloat16=bfloat16)):
        exported = jax.export.export(jax.jit(jax.grad(loss)), platforms=["cuda"])(*shapes)
    text = exported.mlir_module()
    products = re.findall(r"stablehlo.dot_general.*", text)
    assert len(products) == 2, text  # the layer's and its kernel's gradient
    wanted = "lhs_precision_type = bf16, rhs_precision_type = bf16, accumulation_type = f32"
    assert all((wanted in product) == bfloat16 for product in products), products
