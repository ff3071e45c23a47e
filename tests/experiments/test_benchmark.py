"""The benchmark: its rows' work counted by XLA too, its table, and one row as a user runs it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import __main__ as command
from experiments.benchmark import ours
from genjax.types import Batch


@pytest.mark.parametrize(
    ("row", "model", "batch_size"),
    [
        ("mlp_vae", lambda: ours.vae_model(*ours.mlps((500,), 20), 20), 128),
        ("iwae_mlp", lambda: ours.vae_model(*ours.mlps((200, 200), 50), 50), 20),
        ("convolutional_vae", lambda: ours.vae_model(*ours.convolutional_networks(), 20), 128),
    ],
)
def test_multiplications_are_those_that_xla_counts(row, model, batch_size):
    model = model()
    batch = Batch(jnp.zeros((batch_size, 28, 28, 1)))
    state, key = jax.eval_shape(model.init, jax.random.key(0)), jax.random.key(1)
    cost = jax.jit(model.train_step).lower(state, batch, key).cost_analysis()
    counted = cost["flops"] / 2 if cost else 0
    assert 1 < counted / command.ROWS[row].multiplications < 1.2  # it counts additions and the like as well


def test_the_table_compares_with_this_project():
    measured = {
        "eight shards": command.Measured([1.0, 2.0, 4.0], first=3.0, memory=100.0),
        "one sum": command.Measured([1.0, 1.0, 1.0], first=1.0, memory=50.0),
        command.LARGE: command.Measured([1.0, 1.0, 1.0], first=1.0, memory=50.0),
    }
    head, sharded, plain = command.table("shards_128", measured).splitlines()
    assert head.split()[:4] == ["steps/s", "slowest", "fastest", "ratio"]
    steps = command.ROWS["shards_128"].steps
    np.testing.assert_allclose(
        [float(v) for v in sharded.split()[2:8]], [steps / 2, steps / 4, steps, 1.0, 3.0, 5.0], atol=0.06
    )
    assert plain.split()[:2] == ["one", "sum"] and float(plain.split()[5]) == 0.5


@pytest.mark.slow
def test_a_row_is_measured(finish):
    status, out, err = finish("benchmark", "--rows=linear_autoencoder")
    assert status == 0, err
    title, _, line, *_ = out.strip().splitlines()[-5:] if "torch" in out else out.strip().splitlines()[-3:]
    assert title.startswith("linear autoencoder on digits") and line.startswith("genjax")
    rate, slowest, fastest, ratio, first, whole, memory, share = line.replace("%", "").split()[1:]
    assert 0 < float(slowest) <= float(rate) <= float(fastest) and float(ratio) == 1
    assert 0 < float(first) < float(whole) and float(memory) > 50 and 0 < float(share) < 100


@pytest.mark.slow
def test_unknown_rows_and_ways_are_refused(finish):
    for flags, said in (
        (("--rows=mlp",), "--rows: expected some of mlp_vae"),
        (("--way=x",), "--way: expected one of"),
    ):
        status, _, err = finish("benchmark", *flags)
        assert status == 2 and said in err.splitlines()[-1]
