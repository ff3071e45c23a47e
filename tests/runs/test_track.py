"""Copies of runs in trackers, which here are records of what they are told."""

import json
import sys
from types import SimpleNamespace

import pytest

from experiments import track
from genjax.errors import BadInput


class Tracker:
    """Stands for Trackio."""

    def __init__(self):
        self.made, self.logged = {}, []

    def Api(self):
        def runs(project):
            if not self.made:
                raise ValueError("no such project")
            return [SimpleNamespace(name=name) for _, name in self.made]

        return SimpleNamespace(runs=runs)

    def init(self, project, name, config, **quiet):
        assert not quiet["embed"]  # nothing leaves the machine
        self.made[project, name] = config

    def log(self, metrics, step):
        self.logged.append((step, metrics))

    def finish(self):
        self.logged.append("finished")


@pytest.mark.slow
def test_trackio_gets_flags_metrics_and_final_metrics_once(honest, monkeypatch, capsys):
    tracker = Tracker()
    monkeypatch.setitem(sys.modules, "trackio", tracker)  # type: ignore[arg-type]
    flags = track.Flags(run=(str(honest),), to="trackio", project="study")
    track.main(flags)
    track.main(flags)
    lines = [json.loads(line) for line in (honest / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((honest / "summary.json").read_text())
    assert list(tracker.made) == [("study", str(honest.absolute()))]
    (config,) = tracker.made.values()
    assert config["num_steps"] == summary["num_steps"] and config["params_sha256"] == summary["params_sha256"]
    assert tracker.logged[-1] == "finished" and len(tracker.logged) == len(lines) + 2
    for line, (step, metrics) in zip(lines, tracker.logged, strict=False):
        assert step == line["step"] and metrics[f"{line['split']}/loss"] == line["loss"]
    assert tracker.logged[-2] == (
        summary["num_steps"],
        {f"final/{name}": value for name, value in summary["metrics"].items()},
    )
    assert capsys.readouterr().out.splitlines() == [
        f"{honest}: copied, in project study of trackio",
        f"{honest}: already there, in project study of trackio",
    ]


def test_mlflow_gets_them_in_batches_that_it_takes(honest, monkeypatch):
    told, runs = [], []

    class Client:
        def __init__(self, uri):
            assert uri == "sqlite:///mlflow.db"

        get_experiment_by_name = staticmethod(lambda project: None)
        create_experiment = staticmethod(lambda project: "7")
        search_runs = staticmethod(lambda numbers: [SimpleNamespace(info=SimpleNamespace(run_name=r)) for r in runs])
        set_terminated = staticmethod(lambda made, status: told.append(status))

        def create_run(self, number, run_name):
            runs.append(run_name)
            return SimpleNamespace(info=SimpleNamespace(run_id="made"))

        def log_batch(self, made, params=(), metrics=()):
            assert made == "made" and len(params) <= 100
            told.extend([*params, *metrics])

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "mlflow.tracking", SimpleNamespace(MlflowClient=Client))  # type: ignore[arg-type]
    entities = SimpleNamespace(Param=lambda *given: given, Metric=lambda *given: given)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)  # type: ignore[arg-type]
    monkeypatch.setattr(track, "settings", lambda run: {f"flag{i}": i for i in range(230)})
    for _ in range(2):
        track.main(track.Flags(run=(str(honest),), to="mlflow"))
    summary = json.loads((honest / "summary.json").read_text())
    assert told.count("FINISHED") == 1 and ("flag229", "229") in told
    assert ("final/loss", summary["metrics"]["loss"], 0, summary["num_steps"]) in told


def test_what_is_missing_is_one_line(honest, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="to: needs trackio: pip install trackio"):
        track.main(track.Flags(run=(str(honest),)))
    with pytest.raises(BadInput, match="run: give the directory of a run"):
        track.main(track.Flags())
