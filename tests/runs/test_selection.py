"""The best evaluation on a validation split chooses the parameters that a run ends with, and ends the training."""

import json
import shutil
import signal

import numpy as np
import pytest

from experiments import compare, vae
from genjax import data, runs
from genjax.errors import BadInput
from genjax.runs import assembling, runner
from genjax.runs.interruption import Interrupted
from genjax.runs.selection import Selection
from genjax.training.checkpoint import Checkpoints
from tests.runs import sketches

FLAGS = sketches.Flags(
    num_steps=100, width=8, eval_every=10, checkpoint_every=15, log_every=7, steps_per_dispatch=4, num_validation=80
)
SELECTED = FLAGS.replace(select_by="accuracy", patience=2)


@pytest.fixture(scope="module", autouse=True)
def settings_of_the_tests():
    """Leaves JAX's backend, which runs already, and its cache as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner.determinism, "set_up", lambda **given: None)
        patch.setattr(runner, "keep_compiled", lambda: None)
        yield


def best_at(best, *, signal_at=None):
    """The page, with an accuracy that is highest at a step, and a signal that is sent once at another."""
    left = [signal_at]

    def monitor(flags, trained):
        if trained.step == left[0]:
            left[0] = None
            signal.raise_signal(signal.SIGTERM)
        return {"accuracy": 1 / (1 + abs(trained.step - best))}

    return sketches.EXPERIMENT._replace(monitor=monitor)


def train(workdir, experiment, flags=SELECTED):
    runner._train(experiment, flags.replace(workdir=str(workdir)))
    summary = json.loads((workdir / "summary.json").read_text())
    return summary, (workdir / "metrics.jsonl").read_text()


@pytest.fixture(scope="module")
def shorter(tmp_path_factory):
    """A run that simply ends at step 30."""
    return train(tmp_path_factory.mktemp("shorter") / "run", best_at(30), FLAGS.replace(num_steps=30))


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """The directory of a run whose best evaluation is that of step 30, and its summary and lines."""
    workdir = tmp_path_factory.mktemp("selected") / "run"
    return workdir, *train(workdir, best_at(30))


def without_times(summary):
    return {name: value for name, value in summary.items() if name not in ("seconds", "steps_per_second")}


def test_the_run_ends_with_what_a_run_of_so_many_steps_ends_with(selected, shorter):
    workdir, summary, lines = selected
    assert summary["selected"] == {"step": 30, "metric": "accuracy", "value": 1.0} and summary["num_steps"] == 50
    for name in ("params_sha256", "metrics", "metrics_standard_error"):
        assert summary[name] == shorter[0][name]
    read = [json.loads(line) for line in lines.splitlines()]
    assert read[-1]["step"] == 50 and {line["split"] for line in read} == {"train", "validation"}
    assert lines.startswith(shorter[1])
    run = runs.open(workdir, experiment=best_at(30))
    assert (run.step, run.metrics) == (30, summary["metrics"]) and int(run.state.step) == 30
    assert len(run.dataset.train.x) == 320


@pytest.mark.slow
def test_without_patience_all_steps_are_trained(selected, tmp_path):
    flags = FLAGS.replace(select_by="accuracy", num_steps=70)
    summary, lines = train(tmp_path / "run", best_at(30), flags)
    assert summary["num_steps"] == 70 and summary["selected"] == selected[1]["selected"]
    assert summary["params_sha256"] == selected[1]["params_sha256"] and lines.startswith(selected[2])


@pytest.mark.slow
@pytest.mark.parametrize("step", [20, 30, 40, 50])
def test_an_interrupted_run_chooses_the_same(selected, tmp_path, step):
    page = best_at(30, signal_at=step)
    with pytest.raises(Interrupted):
        train(tmp_path / "run", page)
    summary, lines = train(tmp_path / "run", page)
    assert (without_times(summary), lines) == (without_times(selected[1]), selected[2])


@pytest.mark.slow
def test_a_run_that_was_killed_after_its_best_evaluation_was_saved_chooses_the_same(selected, tmp_path):
    def copied(flags, trained):
        if trained.step == 20:  # the newest checkpoint is that of step 15
            shutil.copytree(trained.workdir, tmp_path / "killed", ignore=shutil.ignore_patterns("best", "*tmp*"))
        return {"accuracy": 1 / (1 + abs(trained.step - 30))}

    train(tmp_path / "whole", best_at(30)._replace(monitor=copied))
    shutil.copytree(tmp_path / "whole" / "best", tmp_path / "killed" / "best")
    summary, lines = train(tmp_path / "killed", best_at(30))
    assert (without_times(summary), lines) == (without_times(selected[1]), selected[2])


@pytest.mark.slow
def test_a_damaged_best_checkpoint_is_named(selected, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(selected[0], workdir)
    files = [path for path in (workdir / "best" / "30" / "state").rglob("*") if path.is_file()]
    values = max(files, key=lambda path: path.stat().st_size)
    values.write_bytes(values.read_bytes()[: values.stat().st_size // 2])
    with pytest.raises(BadInput, match=r"checkpoint 30 in .*best is damaged"):
        runs.open(workdir, experiment=best_at(30))
    with pytest.raises(BadInput, match=r"checkpoint 30 in .*best is damaged"):
        train(workdir, best_at(30))


def test_another_state_in_the_place_of_the_best_one_is_named(selected, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(selected[0], workdir)
    shutil.rmtree(workdir / "best" / "30")
    name = json.loads((workdir / "manifest.json").read_text())["run"]
    with Checkpoints(workdir / "best", keep=1, run=name) as checkpoints:
        checkpoints.save(30, runs.open(selected[0], experiment=best_at(30), step=50).state)
    with pytest.raises(BadInput, match=r"checkpoint 30 in .*best has other parameters than manifest"):
        runs.open(workdir, experiment=best_at(30))


def test_pictures_and_measures_at_the_end_are_of_the_test_split(tmp_path):
    seen = {}

    def monitor(flags, trained):
        seen[trained.step] = np.asarray(trained.examples.x), trained.dataset.test.x
        return {"accuracy": 1.0}

    def summarise(flags, trained):
        seen["end"] = np.asarray(trained.examples.x), trained.dataset.test.x
        return {}

    train(tmp_path, sketches.EXPERIMENT._replace(monitor=monitor, summarise=summarise), FLAGS.replace(num_steps=20))
    kept, validation = data.cut_validation(sketches.load(FLAGS), 80)
    for step, split in ((10, validation.test), ("end", kept.test)):
        assert all(np.array_equal(x, split.x) for x in seen[step])


@pytest.mark.slow
def test_a_longer_run_ends_as_it_would_have_in_one(tmp_path):
    flags = FLAGS.replace(select_by="accuracy", num_steps=20)
    train(tmp_path / "run", best_at(30), flags)
    longer = train(tmp_path / "run", best_at(30), flags.replace(num_steps=40))
    at_once = train(tmp_path / "once", best_at(30), flags.replace(num_steps=40))
    assert (without_times(longer[0]), longer[1]) == (without_times(at_once[0]), at_once[1])


def test_the_evaluations_of_a_selected_run_cannot_change(selected):
    workdir, summary, _ = selected
    with pytest.raises(BadInput, match=r"eval_every.*, and the evaluations choose the parameters by `select_by`"):
        train(workdir, best_at(30), SELECTED.replace(eval_every=20))
    assert train(workdir, best_at(30), SELECTED.replace(log_every=20))[0] == summary


def test_the_first_of_equal_values_is_best_and_lower_ones_are_worse_where_higher_is_better(tmp_path):
    def chosen(values, better, patience=0):
        folder = tmp_path / better / str(len(values))
        found = Selection(folder, "m", better=better, patience=patience, run=None, warn=print)
        for step, value in enumerate(values):
            found.consider({"step": step, "m": value}, {"params": np.full(2, step, np.int32)})
            if found.stopped:
                break
        best = found.best["step"], int(found.restore({"params": np.zeros(2, np.int32)})["params"][0])
        found.close()
        return best, step

    assert chosen([3.0, 1.0, 2.0, 1.0], "lower") == ((1, 1), 3)
    assert chosen([3.0, 1.0, 3.0, 2.0, 4.0], "higher", patience=3) == ((0, 0), 3)
    assert chosen([0.1, -0.1, 0.2], "lower", patience=1) == ((1, 1), 2)


def test_the_validation_split_is_cut_from_the_training_split():
    x, label = np.arange(20, dtype=np.float32)[:, None] / 20, np.arange(20) % 3
    whole = data.from_arrays("whole", x, x[:2], train_label=label, test_label=label[:2])
    kept, validation = data.cut_validation(whole, 6)
    assert len(validation.test.x) == 6 and validation.train is kept.train and kept.test is whole.test
    assert sorted([*kept.train.x.ravel(), *validation.test.x.ravel()]) == x.ravel().tolist()
    for split in (kept.train, validation.test):
        assert np.array_equal(split.label, label[np.rint(split.x[:, 0] * 20).astype(int)])
    for num in (0, 20, 21):
        with pytest.raises(BadInput, match="of 20 training examples cannot be used for validation"):
            data.cut_validation(whole, num)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"patience": 3}, "it needs the metric by which evaluations are compared"),
        ({"select_by": "rate"}, "the test split must not choose"),
        ({"select_by": "elbo", "num_validation": 100}, "no metric 'elbo'; there are distortion, loss, negative_elbo"),
        ({"select_by": "rate", "num_validation": 100}, "not known whether higher or lower values of 'rate' are better"),
        ({"select_by": "loss", "num_validation": 100, "num_seeds": 2}, "applies to one seed in one process"),
        ({"num_validation": 1297}, "1297 of 1297 training examples cannot be used"),
        ({"num_validation": 100, "memory_limit": 0}, "needs the training data in memory"),
    ],
)
def test_what_cannot_be_is_refused_before_training(flags, message):
    with pytest.raises(BadInput, match=message):
        assembling.assemble(vae.EXPERIMENT, vae.Flags(hidden=(4,), **flags))


@pytest.mark.slow
def test_several_seeds_have_a_validation_split_each(tmp_path):
    flags = FLAGS.replace(num_steps=10, num_seeds=2, workdir=str(tmp_path / "both"))
    runner._train(sketches.EXPERIMENT, flags)
    alone, lines = train(tmp_path / "alone", sketches.EXPERIMENT, flags.replace(num_seeds=1, seed=1))
    summary = json.loads((tmp_path / "both" / "seed-1" / "summary.json").read_text())
    assert without_times(summary) == without_times(alone)
    assert (tmp_path / "both" / "seed-1" / "metrics.jsonl").read_text() == lines


def test_a_comparison_draws_validation_metrics(selected, tmp_path):
    drawn = compare.held_out({"a": {"m": {"train": 1, "validation": 2}}, "b": {"m": {"test": 3}}, "c": {}}, "m")
    assert drawn == {"a": 2, "b": 3}
