"""Where two runs part, by bits that are flipped on purpose."""

import shutil
import signal

import numpy as np
import pytest

from genjax.errors import BadInput
from genjax.runs import parting, reproduce, runner
from genjax.training import saved
from genjax.training.checkpoint import Checkpoints
from tests.runs import sketches


def states():
    """A state at four steps."""
    draw = np.random.RandomState(0)
    kernels = draw.normal(size=(4, 2, 4)).astype(np.float32)
    return {
        step: {"params/encoder/kernel": kernel, "params/decoder/bias": kernel[0] + 1, "optimizer_state/count": count}
        for step, kernel, count in zip(
            (90, 100, 110, 120), kernels, np.array([90, 100, 110, 120], np.int32), strict=True
        )
    }


def flipped(x, index, bit=0):
    """A copy in which one bit of one element is another."""
    bits = x.copy().view(np.uint32)
    bits[index] ^= 1 << bit
    return bits.view(x.dtype)


@pytest.fixture
def write(tmp_path):
    """Writes a run directory with a checkpoint for each step."""

    def write(name, states):
        with Checkpoints(tmp_path / name / "checkpoints", keep=len(states)) as checkpoints:
            for step, leaves in states.items():
                checkpoints.save(step, leaves)
        return tmp_path / name

    return write


def test_one_flipped_bit_is_named_by_step_parameter_and_element(write):
    then, now = states(), states()
    kernel = now[110]["params/encoder/kernel"]
    now[110]["params/encoder/kernel"] = changed = flipped(kernel, (1, 2))
    now[120]["params/decoder/bias"] = flipped(now[120]["params/decoder/bias"], 0)
    assert changed[1, 2] != kernel[1, 2] and np.isclose(changed[1, 2], kernel[1, 2], rtol=1e-6)
    assert parting.explain(write("then", then), write("now", now)) == (
        f"at step 110 params/encoder/kernel differs in 1 of 8 elements, first at [1, 2]: {kernel[1, 2]!s} recorded, "
        f"{changed[1, 2]!s} now; 0 of the other 2 leaves differ; the same bits at step 100"
    )


def test_parameters_are_named_before_the_rest_of_the_state():
    then = states()[90]
    now = {path: flipped(x, (0,) * x.ndim) if x.ndim else np.array(91) for path, x in then.items()}
    assert parting.first_difference(then, now).startswith("params/decoder/bias differs in 1 of 4 elements, ")
    assert parting.first_difference(then, now).endswith("; 2 of the other 2 leaves differ")
    same = {path: now[path] if path == "optimizer_state/count" else x for path, x in then.items()}
    assert parting.first_difference(then, same) == (
        "optimizer_state/count is int32[] recorded, int64[] now; 0 of the other 2 leaves differ"
    )
    count = {"optimizer_state/count": np.int32(91)}
    assert parting.first_difference(then, then | count).startswith(
        "optimizer_state/count differs in 1 of 1 elements, first at []: 90 recorded, 91 now; "
    )
    missing = {path: x for path, x in then.items() if path != "params/encoder/kernel"}
    assert parting.first_difference(missing, then).startswith(
        "params/encoder/kernel is absent recorded, float32[2, 4] now"
    )


def test_bits_are_compared_and_not_values():
    then, now = (
        {"a": np.array([np.nan, 1, zero], np.float32), "b": np.array([np.nan], np.float32)} for zero in (0.0, -0.0)
    )
    assert parting.first_difference(then, now) == (
        "a differs in 1 of 3 elements, first at [2]: 0.0 recorded, -0.0 now; 0 of the other 1 leaves differ"
    )


def test_only_steps_that_both_keep_are_compared(write):
    then, now = states(), states()
    del then[90], then[120], now[110], now[120]
    now[90]["optimizer_state/count"] = np.int32(0)
    written = write("then", then), write("now", now)
    assert parting.explain(*written) == "the same bits in all 1 checkpoints that both keep, of step 100 to 100"
    shutil.rmtree(written[1] / "checkpoints" / "100")
    assert parting.explain(*written) == (
        "no step has a checkpoint of both: 100, 110 recorded, 90 now; keep more of them"
    )
    assert parting.explain(written[0], written[0] / "nowhere").startswith("no step has a checkpoint of both: 100, 110")


@pytest.mark.slow
def test_a_bit_that_flips_during_a_run_is_found_in_its_checkpoints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner.determinism, "set_up", lambda **given: None)
    monkeypatch.setattr(runner, "keep_compiled", lambda: None)
    flags = sketches.Flags(
        num_steps=6, width=4, eval_every=3, log_every=2, checkpoint_every=1, keep_checkpoints=20, seed=3
    )

    def train(workdir, monitor=None, **more):
        runner._train(sketches.EXPERIMENT._replace(monitor=monitor), flags.replace(workdir=str(workdir), **more))

    then, now = tmp_path / "then", tmp_path / "now"
    train(then)
    with pytest.raises(KeyboardInterrupt):
        train(now, lambda flags, trained: signal.raise_signal(signal.SIGINT) or {})
    step = saved.steps(now / "checkpoints")[-1]
    found = saved.read(now / "checkpoints", step=step)
    path = next(path for path, x in found.leaves.items() if path.startswith("params/decoder/") and x.ndim == 2)
    changed = found.leaves | {path: flipped(found.leaves[path], (1, 3))}
    shutil.rmtree(now / "checkpoints" / str(step))
    with Checkpoints(now / "checkpoints", keep=20, run=found.run) as checkpoints:
        checkpoints.save(step, changed, note=found.note)
    train(now, keep_checkpoints=30)  # which may change
    assert saved.steps(then / "checkpoints") == saved.steps(now / "checkpoints") == [*range(1, 7)]

    capsys.readouterr()
    assert reproduce.main(reproduce.Flags(run=str(then), against=str(then), explain=True)) == 0
    assert reproduce.main(reproduce.Flags(run=str(then), against=str(now), explain=True)) == 1
    out = capsys.readouterr().out
    assert f"\nat step {step} {path} differs in 1 of {changed[path].size} elements, first at [1, 3]: " in out
    assert f"; 0 of the other {len(found.leaves) - 1} leaves differ; the same bits at step {step - 1}\n" in out

    train(tmp_path / "other", seed=4)
    with pytest.raises(BadInput, match="the runs have other flags: seed: 3 then, 4 now"):
        reproduce.main(reproduce.Flags(run=str(then), against=str(tmp_path / "other")))
