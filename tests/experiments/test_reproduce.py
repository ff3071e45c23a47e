"""`experiments.reproduce` on an honest run, an altered one, and one of another place."""

import json
import shutil

import pytest

from genjax.runs import reproduce

FLAGS = ("--num_steps=40", "--log_every=10", "--eval_every=20", "--hidden=32")


@pytest.fixture(scope="module")
def honest(train, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("honest") / "run"
    train("vae", workdir, *FLAGS)
    return workdir


@pytest.fixture
def altered(honest, tmp_path):
    """A copy of the run, and a function that edits one of its JSON files."""
    workdir = tmp_path / "run"
    shutil.copytree(honest, workdir)

    def edit(name, change):
        content = json.loads((workdir / name).read_text())
        change(content)
        (workdir / name).write_text(json.dumps(content))

    return workdir, edit


def test_the_first_difference_is_named():
    then = [{"step": 5, "split": "train", "loss": 1.0, "rate": 2.0}, {"step": 5, "split": "test", "loss": 3.0}]
    assert reproduce.first_difference(then, json.loads(json.dumps(then))) is None
    altered = [then[0] | {"rate": 2.0000000000000004}, then[1] | {"loss": 4.0}]
    assert reproduce.first_difference(then, altered) == "step 5, train rate: 2.0 recorded, 2.0000000000000004 now"
    assert reproduce.first_difference(then, then[:1]) == "step 5, test step: 5 recorded, None now"
    assert reproduce.first_difference(then[:1], then) == "step 5, test step: None recorded, 5 now"


def test_an_honest_run_has_the_same_bits(honest, finish):
    status, out, err = finish("reproduce", f"--run={honest}")
    assert status == 0, err
    assert out.startswith("the same bits: params_sha256 ")


@pytest.mark.slow
def test_an_altered_metric_is_named(altered, finish):
    workdir, _ = altered
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert '"step": 20, "split": "test"' in lines[2]
    line = json.loads(lines[2])
    line["rate"] *= 1 + 1e-7
    lines[2] = json.dumps(line)
    (workdir / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    status, out, _ = finish("reproduce", f"--run={workdir}")
    assert status == 1
    assert "other bits: step 20, test rate: " in out


@pytest.mark.slow
def test_altered_params_are_noticed_where_the_metrics_agree(altered, finish):
    workdir, edit = altered
    edit("manifest.json", lambda manifest: manifest.update(params_sha256="0" * 64))
    status, out, _ = finish("reproduce", f"--run={workdir}")
    assert status == 1
    assert "every metric line agrees" in out and "0" * 64 in out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m["packages"].update(jax="0.4.1"), "packages.jax: 0.4.1 then, "),
        (lambda m: m.update(backend="tpu"), "backend: tpu then, cpu now"),
        pytest.param(lambda m: m.update(cpu_threads=64), "cpu_threads: 64 then, ", marks=pytest.mark.slow),
        pytest.param(
            lambda m: m.update(mixed=["packages.optax: 1 then, 2 now"]),
            "packages.optax: 1 then, 2 now",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_another_place_is_not_comparable(altered, finish, change, named):
    workdir, edit = altered
    edit("manifest.json", change)
    status, out, err = finish("reproduce", f"--run={workdir}")
    assert status == 2 and not out
    assert err.startswith("error: not comparable: ") and named in err and err.count("\n") == 1


@pytest.mark.slow
def test_other_data_are_not_comparable(altered, finish):
    workdir, edit = altered
    edit("manifest.json", lambda manifest: manifest.update(data_fingerprint="0" * 64))
    status, _, err = finish("reproduce", f"--run={workdir}")
    assert status == 2
    assert "error: not comparable: data_fingerprint: 0000" in err.splitlines()[-1]


@pytest.mark.parametrize("missing", ["config.json", "summary.json"])
def test_what_is_no_finished_run_is_refused(altered, finish, missing):
    workdir, _ = altered
    (workdir / missing).unlink()
    status, _, err = finish("reproduce", f"--run={workdir}")
    assert status == 2
    assert err == f"error: {workdir} is not a finished run: it has no {missing}\n"
