"""The command `loss_recovered`: losses by hand, and functions that it refuses."""

import sys
import types

import numpy as np
import pytest

from experiments import loss_recovered, sparse
from genjax import runs
from genjax.errors import BadInput
from genjax.runs import runner
from genjax.training.determinism import DEFAULT_CPU_THREADS

WEIGHTS = np.array([1.0, -2, 3, 0.5])


@pytest.fixture(autouse=True)
def settings_of_the_tests(monkeypatch):
    monkeypatch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
    monkeypatch.setattr(runner, "keep_compiled", lambda: None)


def of_rest(x):
    """A reader's loss, which is least for what it was made for."""
    return np.square(np.asarray(x, np.float64) @ WEIGHTS - 500)


def test_losses_by_hand_and_the_units_of_the_data(tmp_path, monkeypatch, capsys):
    draw = np.random.RandomState(0)
    x = draw.normal(size=(200, 2)) @ draw.normal(size=(2, 4)) * 100
    x += 500 * WEIGHTS / np.square(WEIGHTS).sum() - np.outer(x @ WEIGHTS, WEIGHTS) / np.square(WEIGHTS).sum()
    x = (x + 20 * draw.normal(size=x.shape)).astype(np.float32)
    np.savez(tmp_path / "activations.npz", x=x)
    small = dict(num_steps=60, eval_every=60, log_every=60, num_units=8, batch_size=64, learning_rate=0.02)
    flags = sparse.Flags(**small, sparsity="k_sparse", active_units=4, dataset=f"file:{tmp_path / 'activations.npz'}")
    run = runs.train(sparse.EXPERIMENT, flags, workdir=tmp_path / "run")
    assert run.flags.standardise == "always"
    assert run.metrics["reconstruction_loss"] < 1 and run.metrics["explained_variance"] > 0.8
    table = np.genfromtxt(tmp_path / "run" / "strongest.csv", delimiter=",", names=True)
    encoder, train = run.codec().encoder, run.dataset.train.x
    codes = np.asarray(encoder.apply(run.params["encoder"], train))
    for unit, row, activation in zip(table["unit"], table["row"], table["activation"], strict=True):
        assert codes[int(row), int(unit)] == pytest.approx(activation, rel=1e-4)
    first = table[table["place"] == 1]
    assert (np.diff(first["active_share"]) <= 0).all()
    np.testing.assert_allclose(codes[:, first["unit"].astype(int)].max(axis=0), first["activation"], rtol=1e-4)

    monkeypatch.setitem(sys.modules, "rest_of_it", types.SimpleNamespace(loss=of_rest))  # type: ignore[arg-type]
    arguments = dict(run=str(run.directory), loss_with="rest_of_it:loss", batch_size=7)
    loss_recovered.main(loss_recovered.Flags(**arguments))
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("loss_", "reco")))
    held_out, mean = run.dataset.test.x, train.mean(axis=0, dtype=np.float64)
    losses = {"original": of_rest(held_out).mean(), "zero": 500.0**2, "mean": float(of_rest(mean))}
    for name, value in losses.items():
        assert float(printed[f"loss_{name}"]) == pytest.approx(value, rel=1e-4), name
    rebuilt = run.codec().decoder.apply(run.params["decoder"], encoder.apply(run.params["encoder"], held_out))
    share = (500.0**2 - of_rest(rebuilt).mean()) / (500.0**2 - losses["original"])
    assert float(printed["recovered_over_zero"]) == pytest.approx(share, rel=1e-4) and share > 0.5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "expected MODULE:FUNCTION, not None"),
        ("json", "expected MODULE:FUNCTION, not 'json'"),
        ("no_such_module:loss", "there is no module 'no_such_module'"),
        ("json:no_such", "the module 'json' has no function 'no_such'"),
    ],
)
def test_what_is_no_function_is_refused(name, said):
    with pytest.raises(BadInput, match=said) as caught:
        loss_recovered.function_of(name)
    assert caught.value.parameter == "loss_with"


@pytest.mark.parametrize(("loss", "said"), [(np.mean, r"shape \[\] for 4"), (lambda x: x[:, 0] / 0, "not finite")])
def test_a_loss_is_one_finite_number_for_each_example(loss, said):
    with pytest.raises(BadInput, match=said), np.errstate(divide="ignore"):
        loss_recovered.mean_losses(loss, {"original": lambda x: x}, np.ones((6, 2)), batch_size=4)
