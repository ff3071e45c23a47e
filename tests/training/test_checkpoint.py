"""What is restored is what was saved, or an older one that is named; never other values, whatever befalls the files."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

from genjax.errors import BadInput
from genjax.training import saved
from genjax.training.checkpoint import Checkpoints


class State(NamedTuple):
    step: Any
    params: Any
    opt_state: Any


def state_at(step: int) -> State:
    """A state that is a function of the step, so that any checkpoint can be checked on its own."""
    rng = np.random.default_rng(step)
    params = {
        "encoder": {"kernel": rng.standard_normal((30, 40)).astype(np.float32), "bias": np.zeros(40, np.float32)},
        "decoder": [rng.standard_normal((40, 30)).astype(ml_dtypes.bfloat16), rng.integers(0, 9, 5, np.uint8)],
    }
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    state = State(np.int32(step), params, optimizer.init({"kernel": jnp.ones((3, 2))}))
    return jax.tree.map(jnp.asarray, state)


def assert_same(seen: Any, expected: Any) -> None:
    """Equal structure, dtypes, shapes and bits, without the digest's help."""
    assert jax.tree.structure(seen) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(seen), jax.tree.leaves(expected), strict=True):
        assert isinstance(x, jax.Array)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def write(directory: Any, *steps: int) -> None:
    with Checkpoints(directory, keep=9) as checkpoints:
        for step in steps:
            checkpoints.save(step, state_at(step))


def steps_in(directory: Any) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two")
    write(directory, 1, 2)
    return directory


def test_round_trip_is_bit_exact(tmp_path):
    odd = np.array([0x7F800001, 0xFFC12345, 0x80000000, 0x00000001], np.uint32).view(np.float32)
    state = {
        "model": state_at(5),
        "NaN payloads, -0.0, a denormal": jnp.asarray(odd),
        "halves": [jnp.asarray(odd.view(np.uint16).view(dtype)) for dtype in (ml_dtypes.bfloat16, np.float16)],
        "0-d": (jnp.asarray(True), jnp.asarray(np.int8(-3)), jnp.asarray(np.complex64(1 - 2j))),
        "é/%2F.\n": jnp.zeros((0, 3), jnp.uint32),
        "placed": jax.device_put(jnp.ones(2), jax.devices()[0]),
    }
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.restore(state) is None
        checkpoints.save(5, state)
        for template in (state, jax.eval_shape(lambda: state)):
            restored = checkpoints.restore(template)
            assert restored is not None and restored[0] == 5
            assert_same(restored[1], state)
            assert restored[1]["placed"].committed == getattr(template["placed"], "committed", False)
            assert not restored[1]["model"].step.committed


def test_saves_what_was_there_though_the_buffers_are_overwritten(tmp_path):
    state = jax.tree.map(lambda x: x + 0, (state_at(1), np.arange(100_000, dtype=np.float32)))
    expected = jax.tree.map(np.array, state)
    overwrite = jax.jit(lambda state: jax.tree.map(lambda x: x * 0 + 7, state), donate_argnums=0)
    written_to = np.ones(3, np.float32)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        dispatched = threading.Event()
        checkpoints._worker.submit(dispatched.wait)  # the writing starts after the overwriting
        checkpoints.save(1, (state, written_to))
        written_to[:] = 7
        for _ in range(3):
            state = overwrite(jax.tree.map(jnp.asarray, state))
        jax.block_until_ready(state)
        dispatched.set()
        restored = checkpoints.restore((jax.tree.map(jnp.asarray, expected), jax.ShapeDtypeStruct((3,), np.float32)))
        assert restored is not None
    assert_same(restored[1][0], expected)
    assert np.asarray(restored[1][1]).tolist() == [1, 1, 1]


def test_restored_buffers_can_be_donated(two):
    overwrite = jax.jit(lambda state: jax.tree.map(lambda x: x * 0 + 7, state), donate_argnums=0)
    with Checkpoints(two, keep=9) as checkpoints:
        for _ in range(2):
            restored = checkpoints.restore(state_at(0))
            assert restored is not None
            assert_same(restored[1], state_at(2))
            jax.block_until_ready(overwrite(restored[1]))


def damages(directory, flips):
    """(file, what is done to it) for every file of the step directory, metadata and all."""
    rng = random.Random(0)
    files = sorted(path.relative_to(directory) for path in directory.glob("2/**/*") if path.is_file())
    assert len(files) >= 8
    for i in range(flips):
        yield files[i % len(files)], lambda data: flip(data, rng.randrange(8 * len(data)))
    for file in files:
        yield file, lambda data: data[: len(data) // 2]
        yield file, lambda data: None


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damage(path, change) -> None:
    data = change(path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)


@pytest.mark.slow
def test_a_damaged_file_costs_at_most_one_checkpoint(two, tmp_path, capfd):
    fallen_back = 0
    for i, (file, change) in enumerate(damages(two, flips=40)):
        directory = tmp_path / str(i)
        shutil.copytree(two, directory)
        damage(directory / file, change)
        warned: list[str] = []
        with Checkpoints(directory, keep=9, warn=warned.append) as checkpoints:
            restored = checkpoints.restore(state_at(0))
        assert restored is not None
        step, state = restored
        assert_same(state, state_at(step))
        if step == 1:
            fallen_back += 1
            (line,) = warned
            assert line.startswith(f"checkpoint 2 in {directory} is damaged (") and "using 1" in line
            assert "\n" not in line and len(line) < 300 + len(str(directory))
            assert steps_in(directory) == ["1", "2.damaged"]
        else:
            assert (step, warned, steps_in(directory)) == (2, [], ["1", "2"])
    assert fallen_back > 20  # some of Orbax's files are not needed for reading
    assert capfd.readouterr() == ("", "")


def largest(directory):
    """The file with the values; most of its bits are bits of them."""
    return max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def test_training_goes_on_over_a_damaged_step(two, tmp_path):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    for _ in range(2):  # the second time over the first one's remains
        warned: list[str] = []
        damage(largest(tmp_path / "2"), cut)
        with Checkpoints(tmp_path, keep=9, warn=warned.append) as checkpoints:
            restored = checkpoints.restore(state_at(0))
            assert restored is not None and restored[0] == 1 and len(warned) == 1
            checkpoints.save(2, state_at(2))
        assert steps_in(tmp_path) == ["1", "2", "2.damaged"]
    write(tmp_path, 3)
    with Checkpoints(tmp_path, keep=9, warn=pytest.fail) as checkpoints:
        restored = checkpoints.restore(state_at(0))
    assert restored is not None and restored[0] == 3
    assert_same(restored[1], state_at(3))


def test_values_of_another_step_are_damage(two, tmp_path):
    """Whole in itself, so that only the step stored with it tells."""
    shutil.copytree(two / "1", tmp_path / "1")
    shutil.copytree(two / "1", tmp_path / "2")
    warned: list[str] = []
    with Checkpoints(tmp_path, keep=9, warn=warned.append) as checkpoints:
        restored = checkpoints.restore(state_at(0))
    assert restored is not None and restored[0] == 1
    assert len(warned) == 1 and "checkpoint 2" in warned[0]


@pytest.mark.slow
def test_none_whole_is_bad_input_and_changes_nothing(two, tmp_path):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "2" / "meta" / "metadata", cut)
    damage(largest(tmp_path / "1"), cut)
    with Checkpoints(tmp_path, keep=9, warn=pytest.fail) as checkpoints, pytest.raises(BadInput) as error:
        checkpoints.restore(state_at(0))
    line = str(error.value)
    assert (
        line.startswith(f"checkpoint 2 in {tmp_path} is damaged (JSONDecodeError") and "checkpoints is intact" in line
    )
    assert "\n" not in line
    assert steps_in(tmp_path) == ["1", "2"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s._replace(step=s.step.astype(jnp.float32)), r"step is int32\[\] in it, and float32\[\] here"),
        (lambda s: s._replace(step=s.step[None]), r"step is int32\[\] in it, and int32\[1\] here"),
        (lambda s: s._replace(params=s.params | {"more": s.step}), r"params/more is absent in it, and int32\[\] here"),
        (
            lambda s: s._replace(params={"decoder": s.params["decoder"]}),
            r"params/encoder/bias is float32\[40\] in it, and absent here",
        ),
        (
            lambda s: s._replace(params=s.params | {"decoder": [*s.params["decoder"][:1], s.params["decoder"][1] > 0]}),
            r"params/decoder/1 is uint8\[5\] in it, and bool\[5\] here",
        ),
    ],
)
def test_another_models_is_bad_input_naming_the_first_difference(two, change, said):
    said = f"checkpoint 2 in {two} is of another model: {said}"
    with Checkpoints(two, keep=9, warn=pytest.fail) as checkpoints, pytest.raises(BadInput, match=said):
        checkpoints.restore(change(state_at(0)))
    assert steps_in(two) == ["1", "2"]


def test_double_precision_is_not_cut(tmp_path):
    state = {"x": np.float64([1 / 3])}
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state)
        with pytest.raises(BadInput, match="x is float64, of which JAX keeps float32; set JAX_ENABLE_X64=1"):
            checkpoints.restore(state)
        with jax.enable_x64(True):
            restored = checkpoints.restore(state)
            assert restored is not None
            assert_same(restored[1], state)


def test_saving_again(tmp_path):
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        for step in (3, 3):
            checkpoints.save(step, state_at(3))
        for step in (3, 2):
            checkpoints.save(step, state_at(4))
            with pytest.raises(BadInput, match=f"has checkpoint 3, so step {step} cannot be saved"):
                checkpoints.wait()
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        restored = checkpoints.restore(state_at(0))
        assert restored is not None
        checkpoints.save(3, restored[1])
        assert_same(restored[1], state_at(3))


def test_keeps_the_newest(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (10, 9_999, 10_000):
            checkpoints.save(step, state_at(step))
    assert steps_in(tmp_path) == ["10000", "9999"]


def test_clears_away_the_unfinished_and_leaves_the_rest(two, tmp_path):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    shutil.copytree(two / "2", tmp_path / "3.orbax-checkpoint-tmp")
    (tmp_path / "notes").mkdir()
    (tmp_path / "4").write_text("a file")
    with Checkpoints(tmp_path, keep=9, warn=pytest.fail) as checkpoints:
        restored = checkpoints.restore(state_at(0))
    assert restored is not None and restored[0] == 2
    assert steps_in(tmp_path) == ["1", "2", "4", "notes"]


@pytest.mark.slow
def test_says_one_line_of_a_damaged_one_and_else_nothing(tmp_path):
    """In a process of its own: pytest keeps logs and what threads complain of from the screen."""
    program = textwrap.dedent(
        """
        import pathlib, shutil, sys
        import jax
        import numpy as np
        from absl import flags, logging
        from genjax.training.checkpoint import Checkpoints

        jax.devices()  # has a word of its own to say
        flags.FLAGS.mark_as_parsed()
        logging.use_absl_handler()
        logging.set_verbosity(logging.INFO)
        root = pathlib.Path(sys.argv[1])
        state = {str(i): np.random.default_rng(i).standard_normal((30, 40)).astype(np.float32) for i in range(40)}

        def restore(directory):
            with Checkpoints(directory, keep=2) as checkpoints:
                return checkpoints.restore(state)[0]

        with Checkpoints(root / "whole", keep=2) as checkpoints:
            for step in (1, 2, 3):
                checkpoints.save(step, state)
        assert restore(root / "whole") == 3
        files = sorted((root / "whole" / "3" / "state").rglob("d/*"), key=lambda path: -path.stat().st_size)
        for i, file in enumerate(files[:3] * 2):
            shutil.copytree(root / "whole", root / str(i))
            copy = root / str(i) / file.relative_to(root / "whole")
            if i < 3:
                copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
            else:
                copy.unlink()
            print(restore(root / str(i)))
        """
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fallen_back = done.stdout.split().count("2")
    lines = done.stderr.splitlines()
    assert fallen_back >= 3 and len(lines) == fallen_back
    assert all("checkpoint 3 in" in line and "is damaged" in line for line in lines)


@pytest.mark.parametrize("name", ["[ab]", "a\\b", "a*b", "a?b"])
def test_what_cannot_be_read_again_is_not_written(tmp_path, name):
    """Of `[ab]` and the backslash Orbax reads nothing again; `a*b` it would mix with a folder `ab` beside it."""
    with pytest.raises(BadInput, match="and checkpoints in such a path cannot be read"):
        write(tmp_path / name / "checkpoints", 1)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "a b;{c}~%20'#é" / "checkpoints", 1)
    with Checkpoints(tmp_path / "a b;{c}~%20'#é" / "checkpoints", keep=1) as checkpoints:
        restored = checkpoints.restore(state_at(0))
    assert restored is not None and restored[0] == 1


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_typed_keys_come_back(tmp_path, impl):
    state = {
        "key": jax.random.key(3, impl=impl),
        "keys": (jax.random.split(jax.random.key(4, impl=impl), 5), jnp.ones(2)),
    }
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state)
        for template in (state, jax.eval_shape(lambda: state)):
            restored = checkpoints.restore(template)
            assert restored is not None
            for seen, expected in zip(jax.tree.leaves(restored[1]), jax.tree.leaves(state), strict=True):
                assert seen.dtype == expected.dtype and seen.shape == expected.shape
            draws = [np.asarray(jax.random.normal(one["key"], 4)) for one in (restored[1], state)]
            np.testing.assert_array_equal(*draws)
            draws = [np.asarray(jax.vmap(jax.random.bits)(one["keys"][0])) for one in (restored[1], state)]
            np.testing.assert_array_equal(*draws)
        other = jax.tree.map(lambda x: jax.random.key(0, impl="unsafe_rbg") if x.ndim == 0 else x, state)
        with pytest.raises(
            BadInput, match=r"of another model: key/key<(fry|rbg)> is uint32\[\d\] in it, and absent here"
        ):
            checkpoints.restore(other)


def test_an_optimizer_with_a_key_in_its_state_is_saved(tmp_path):
    optimizer = optax.noisy_sgd(0.1, key=0)
    params = {"w": jnp.ones(3)}
    _, state = optimizer.update(params, optimizer.init(params), params)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state)
        restored = checkpoints.restore(optimizer.init(params))
    assert restored is not None
    for seen, expected in zip(
        jax.tree.leaves(optimizer.update(params, restored[1], params)[0]),
        jax.tree.leaves(optimizer.update(params, state, params)[0]),
        strict=True,
    ):
        np.testing.assert_array_equal(seen, expected)


def test_a_directory_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file cannot hold checkpoints: File exists"):
        Checkpoints(tmp_path / "file", keep=1)


def test_a_part_alone(two, tmp_path, caplog):
    template = state_at(0)
    with caplog.at_level("INFO", "absl"):
        found = saved.read(two)
    assert found.step == 2 and not caplog.records  # Orbax would tell how it closes its files
    assert_same(found.part("params/decoder", template.params["decoder"]), state_at(2).params["decoder"])
    assert_same(
        found.part("params/encoder/bias", template.params["encoder"]["bias"]), state_at(2).params["encoder"]["bias"]
    )
    with pytest.raises(BadInput, match=r"params/decoder of checkpoint 2 in .*: 2 is absent in it, and int32\[\] here"):
        found.part("params/decoder", [*template.params["decoder"], template.step])
    with pytest.raises(BadInput, match=r"params/dec of checkpoint 2 .*: oder/0 is absent in it"):
        found.part("params/dec", {"oder": template.params["decoder"]})
    with pytest.raises(BadInput, match=r"no checkpoint in .*nowhere"):
        saved.read(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_an_older_checkpoint_is_read_only_on_request(two, tmp_path):
    copy = tmp_path / "damaged"
    shutil.copytree(two, copy)
    damage(largest(copy / "2"), cut)
    with pytest.raises(BadInput, match=r"checkpoint 2 in .* is damaged .*; `step` can choose another one: 1$"):
        saved.read(copy)
    assert_same(saved.read(copy, step=1).part("", state_at(0)), state_at(1))
    with pytest.raises(BadInput, match=r"has no checkpoint 7; it has 2, 1$"):
        saved.read(copy, step=7)
    assert steps_in(copy) == ["1", "2"]  # nothing is renamed


def test_a_checkpoint_belongs_to_its_run_and_keeps_its_note(tmp_path):
    note = {"lines": 3, "sha256": "ab"}
    with Checkpoints(tmp_path, keep=2, run="first") as checkpoints:
        checkpoints.save(1, state_at(1), note=note)
        checkpoints.wait()
        assert checkpoints.restore(state_at(0)) and checkpoints.note == note
    with Checkpoints(tmp_path, keep=2, run="second") as checkpoints, pytest.raises(BadInput, match="but of another"):
        checkpoints.restore(state_at(0))
    assert saved.read(tmp_path).run == "first"
    # what is stored with the state has a digest too: one letter of the note, in place
    (path,) = [path for path in (tmp_path / "1").rglob("*") if path.is_file() and b'"ab"' in path.read_bytes()]
    path.write_bytes(path.read_bytes().replace(b'"ab"', b'"ac"'))
    with pytest.raises(BadInput, match="its values are not those that were saved"):
        saved.read(tmp_path)


def test_a_checkpoint_of_a_version_without_notes_is_read(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(1, state_at(1), note="new")
    (path,) = [path for path in (tmp_path / "1").rglob("*") if path.is_file() and b"meta_sha256" in path.read_bytes()]
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({name: meta[name] for name in ("step", "sha256", "leaves")}))
    found = saved.read(tmp_path)
    assert (found.run, found.note) == (None, None)
    assert_same(found.part("", state_at(0)), state_at(1))
    path.write_text(json.dumps({name: meta[name] for name in ("step", "sha256", "leaves", "note")}))
    with pytest.raises(BadInput, match="is damaged"):
        saved.read(tmp_path)


@pytest.mark.slow
def test_what_orbax_reads_of_every_checkpoint_may_be_damaged(two, tmp_path):
    shutil.copytree(two, tmp_path / "copy")
    (tmp_path / "copy" / "1" / "_CHECKPOINT_METADATA").write_text("3")
    for each in (lambda: saved.read(tmp_path / "copy"), lambda: Checkpoints(tmp_path / "copy", keep=2)):
        with pytest.raises(BadInput, match=r"the checkpoints in .*copy cannot be read \(.*\); restore"):
            each()


def test_a_fifo_in_a_checkpoint_is_not_waited_for(two, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(two, copy)
    path = largest(copy / "2")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BadInput, match="is not a regular file"):
        saved.read(copy)


def assert_refused_and_older_kept(directory, said, capfd):
    def save_twice():
        with Checkpoints(directory, keep=9) as checkpoints:
            checkpoints.save(3, state_at(3))
            checkpoints.save(4, state_at(4))

    with pytest.raises(BadInput) as error:
        save_twice()
    line = str(error.value)
    assert line.startswith("checkpoint 3 of 0.0 MB cannot be written in ") and said in line and "\n" not in line
    assert capfd.readouterr() == ("", "")
    assert steps_in(directory) == ["1", "2"]
    with Checkpoints(directory, keep=9, warn=pytest.fail) as checkpoints:
        restored = checkpoints.restore(state_at(0))
        assert restored is not None and restored[0] == 2
        assert_same(restored[1], state_at(2))


def test_a_full_disk(two, tmp_path, monkeypatch, capfd):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", full)
    assert_refused_and_older_kept(tmp_path, "No space left on device; free some space", capfd)


@pytest.mark.slow
def test_a_write_the_system_refuses_half_way(two, tmp_path, capfd):
    """The same from below TensorStore, by the one limit on writing that needs no rights: a file's size."""
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        said = r"checkpoint 3 of 0.0 MB cannot be written in .*: File too large; free some space"
        with pytest.raises(BadInput, match=said), Checkpoints(tmp_path, keep=9) as checkpoints:
            checkpoints.save(3, state_at(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capfd.readouterr() == ("", "")
    write(tmp_path, 3)
    assert steps_in(tmp_path) == ["1", "2", "3"]


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        import numpy as np
        from genjax.training.checkpoint import Checkpoints

        def state_at(step):
            w = [np.arange(step + i, step + i + 20_000, dtype=np.float32) for i in range(3)]
            return {"step": np.int32(step), "w": w}

        with Checkpoints(sys.argv[1], keep=2, warn=sys.exit) as checkpoints:
            found = checkpoints.restore(state_at(0))
            step = 0 if found is None else found[0]
            if found is not None:
                expected = state_at(step)
                assert found[1]["step"] == step
                assert all((x == y).all() for x, y in zip(found[1]["w"], expected["w"], strict=True)), "other values"
            print(step, flush=True)
            while len(sys.argv) == 2:
                step += 1
                checkpoints.save(step, state_at(step))
                print(step, flush=True)
        """
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    rng, before = random.Random(0), 0
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None and child.stderr is not None
            first = child.stdout.readline()
            assert first, child.stderr.read()
            assert int(first) >= before
            while int(child.stdout.readline()) < int(first) + 3:
                pass
            time.sleep(rng.uniform(0, 0.15))
            child.send_signal(signal.SIGKILL)
            last = int([first, *child.stdout.read().split()][-1])
        before = last - 2  # `save(n)` returned, so n - 1 was on disk: at least that one is found again
    done = subprocess.run([*command, "once"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= before
    assert not list(tmp_path.glob("*tmp*"))
