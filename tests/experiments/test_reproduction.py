"""The table of published likelihoods: its rows, their commands, and what it says of finished and unfinished runs."""

import json
import shlex

import pytest

from experiments import reproduction
from genjax import runs
from genjax.errors import BadInput
from genjax.runs import command, directory
from genjax.training.determinism import DEFAULT_CPU_THREADS

FLAGS = reproduction.Flags(data_dir="DIR")


@pytest.mark.parametrize("name", reproduction.ROWS)
def test_the_command_of_a_row_is_its_run(name):
    row = reproduction.ROWS[name]
    python, option, module, *given = shlex.split(reproduction.command_of(row))
    assert (python, option, module) == ("python", "-m", f"experiments.{row.page}")
    experiment = reproduction.experiment_of(row)
    parsed = command.parse(experiment.flags, [module, *given])
    assert parsed == reproduction.flags_of(row, FLAGS)
    assert row.source in reproduction.table(FLAGS, reproduction.Path("nowhere"))


def test_a_trial_on_few_data_leaves_none_out_for_validation():
    row = reproduction.ROWS["vae"]
    assert reproduction.flags_of(row, FLAGS).num_validation == 10_000
    trial = reproduction.flags_of(row, FLAGS.replace(dataset="digits", num_steps=10))
    assert (trial.num_validation, trial.select_by, trial.num_steps, trial.eval_every) == (0, None, 10, 10)


def test_a_value_is_compared_with_the_published_one():
    row = reproduction.ROWS["iwae_1"]
    assert reproduction.compare(row, 87.0, FLAGS) == ("+0.24", "met (mark 0.3)")
    assert reproduction.compare(row, 80.0, FLAGS) == ("-6.76", "met (mark 0.3)")
    assert reproduction.compare(row, 87.1, FLAGS) == ("+0.34", "missed (mark 0.3)")
    for trial in (FLAGS.replace(dataset="digits"), FLAGS.replace(num_steps=10)):
        assert reproduction.compare(row, 80.0, trial) == ("", "a trial")


def test_the_error_is_that_over_images_where_it_was_measured():
    summary = {"metrics": {"a": 1.0, "a_spread": 0.2, "b": 2.0}, "metrics_standard_error": {"a": 0.1, "b": 0.3}}
    assert reproduction.standard_error(summary, "a") == 0.2
    assert reproduction.standard_error(summary, "b") == 0.3
    assert reproduction.standard_error(summary, "c") is None


def test_unknown_rows_are_refused():
    with pytest.raises(BadInput, match="there is no row mad; there is flax_vae, made"):
        reproduction.chosen(("vae", "mad"))
    assert reproduction.chosen(("vae", "made", "vae")) == ["vae", "made"]
    assert reproduction.chosen(("all",)) == list(reproduction.ROWS)


def test_a_row_is_trained_once_and_shown_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NPROC", str(DEFAULT_CPU_THREADS))  # of this process, which has started already
    flags = reproduction.Flags(rows=("made",), dataset="digits", num_steps=2, out=str(tmp_path))
    row = reproduction.ROWS["made"]
    reproduction.main(flags)
    text = capsys.readouterr().out
    path = reproduction.directory_of(row, flags, tmp_path)
    summary = json.loads((path / "summary.json").read_text())
    value, spread = (summary["metrics"][f"negative_log_likelihood{part}"] for part in ("", "_spread"))
    assert f"{value:.2f} (s.e. {spread:.2f})" in text and summary["params_sha256"][:8] in text
    assert text.count("not run") == len(reproduction.ROWS) - 1
    assert (tmp_path / "reproduction.md").read_text().strip() in text

    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained again"))
    reproduction.main(flags)
    assert "row 1 of 1: made: already finished" in capsys.readouterr().out

    (path / "summary.json").unlink()
    assert not directory.is_finished(path)
    assert reproduction.line("made", row, path, flags)[4] == "step 2, not finished"
