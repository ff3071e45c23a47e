"""The held-out examples that stand for all, and what the measures of a page run under."""

import json

import jax
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from experiments import classifier
from genjax import data, runs
from genjax.data import batching
from genjax.errors import BadInput
from genjax.runs import agreement, recording, reproduce, runner
from genjax.training.determinism import DEFAULT_CPU_THREADS
from tests.runs import sketches


def sorted_by_class(num: int) -> data.Dataset:
    """`num` held-out examples, stored one class of ten after the other, each with its own number."""
    x = np.arange(num, dtype=np.float32)[:, None] / num
    label = np.arange(num) * 10 // num
    return data.from_arrays("sorted", x[:20], x, train_label=label[:20], test_label=label, num_classes=10)


@pytest.mark.parametrize("num", [5000, 2300])
def test_of_many_held_out_examples_a_random_choice_stands_for_all(num):
    dataset = sorted_by_class(num)
    source = batching.source(dataset, batch_size=4)
    batch = recording.held_out_examples(source, jax.random.key(0))
    rows = np.random.RandomState(0).permutation(num)[:2000]
    np.testing.assert_array_equal(batch.x, dataset.test.x[rows])
    np.testing.assert_array_equal(batch.label, dataset.test.label[rows])  # type: ignore[index]
    assert np.bincount(np.asarray(batch.label)).min() > 150


@pytest.mark.parametrize("num", [30, 500, 1100])
def test_few_held_out_examples_are_all_taken_in_their_order_and_with_the_same_draws(num):
    dataset = sorted_by_class(num)
    source = batching.source(dataset, batch_size=4, transform=batching.dynamic_binarization)
    key = jax.random.key(3)
    batch = recording.held_out_examples(source, key)
    np.testing.assert_array_equal(batch.label, dataset.test.label)
    for start in range(0, num, 500):
        x = dataset.test.x[start : start + 500]
        drawn = batching.dynamic_binarization(x, jax.random.fold_in(key, start // 500))
        np.testing.assert_array_equal(batch.x[start : start + 500], drawn)


def test_measures_are_taken_with_one_thread_of_linear_algebra(tmp_path, monkeypatch):
    monkeypatch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
    seen = []

    def measure(flags, trained):
        seen.append([pool["num_threads"] for pool in threadpool_info()])
        return {}

    page = classifier.EXPERIMENT._replace(summarise=measure, monitor=measure)
    flags = classifier.Flags(hidden=(), num_steps=2, eval_every=2, log_every=2)
    with threadpool_limits(limits=3):
        runs.train(page, flags, workdir=tmp_path / "run")
        assert all(pool["num_threads"] == 3 for pool in threadpool_info())
    assert len(seen) == 2 and all(threads and set(threads) == {1} for threads in seen)


@pytest.mark.parametrize(
    "mode",
    [("vmap", "2 seeds by vmap", "2 seeds by vmap"), pytest.param(("map", "any", 1), marks=pytest.mark.slow)],
    ids=lambda mode: mode[0],
)
def test_the_directories_of_several_seeds_can_be_read_again(tmp_path, monkeypatch, capsys, mode):
    mode, bits_of_all, bits_of_each = mode
    monkeypatch.setattr(runner.determinism, "set_up", lambda **given: None)  # the backend runs already
    monkeypatch.setattr(runner, "keep_compiled", lambda: None)
    flags = sketches.Flags(num_steps=4, width=4, eval_every=4, log_every=2, num_seeds=2, seeds_mode=mode)
    flags = flags.replace(workdir=str(tmp_path / "run"))
    runner._train(sketches.EXPERIMENT, flags)
    whole = agreement.check(tmp_path / "run")
    hashes = json.loads((tmp_path / "run" / "summary.json").read_text())["params_sha256"]
    assert whole.manifest["bits_of_devices"] == bits_of_all and set(reproduce.results(whole)) == {"seed 0", "seed 1"}
    for seed in ("0", "1"):
        one = agreement.check(tmp_path / "run" / f"seed-{seed}")
        assert one.manifest["bits_of_devices"] == bits_of_each and one.manifest["params_sha256"] == hashes[seed]
    capsys.readouterr()
    runner._train(sketches.EXPERIMENT, flags)
    assert "already finished" in capsys.readouterr().out


def test_remarks_are_printed_and_kept_and_a_collapse_ends_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
    page = classifier.EXPERIMENT._replace(
        remark=lambda flags, evaluations: f"remark {len(evaluations)}" if evaluations[-1]["step"] == 4 else None
    )
    flags = classifier.Flags(hidden=(), num_steps=6, eval_every=2, log_every=2, checkpoint_every=2)
    run = runs.train(page, flags, workdir=tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["remarks"] == ["remark 2"] and runs.open(run.directory).step == 6
    assert f"warning: remark 2, in {tmp_path / 'run'}" in capsys.readouterr().err

    def collapse(flags, evaluations):
        return runs.Collapse(4, "it is lost") if len(evaluations) == 3 else None

    with pytest.raises(BadInput, match=r"it is lost; stopped at step 6, the last checkpoint before that is 2, in .*"):
        runs.train(page._replace(collapse=collapse), flags.replace(keep_checkpoints=3), workdir=tmp_path / "lost")
    assert not (tmp_path / "lost" / "summary.json").exists()
    assert runs.open(tmp_path / "lost", step=2).step == 2
