"""`experiments.reproduce` on an honest run, an altered one, and one of another place."""

import json
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from genjax.runs import agreement, directory, reproduce, stored
from genjax.runs.settings import NOT_IDENTITY

FLAGS = ("--num_steps=40", "--log_every=10", "--eval_every=20", "--hidden=32")


@pytest.fixture(scope="module")
def honest(train, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("honest") / "run"
    train("vae", workdir, *FLAGS)
    return workdir


@pytest.fixture
def altered(honest, tmp_path):
    """A copy of the run, and a function that edits one of its JSON files, with the digests that the manifest holds."""
    workdir = tmp_path / "run"
    shutil.copytree(honest, workdir)

    def edit(name, change):
        content = json.loads((workdir / name).read_text())
        change(content)
        (workdir / name).write_text(json.dumps(content))
        manifest = json.loads((workdir / "manifest.json").read_text())
        if name == "config.json":
            manifest["config_sha256"] = directory.config_digest(content, NOT_IDENTITY)
        directory.write_manifest(workdir, manifest)

    return workdir, edit


def test_the_first_difference_is_named():
    then = [{"step": 5, "split": "train", "loss": 1.0, "rate": 2.0}, {"step": 5, "split": "test", "loss": 3.0}]
    assert reproduce.first_difference(then, json.loads(json.dumps(then))) is None
    altered = [then[0] | {"rate": 2.0000000000000004}, then[1] | {"loss": 4.0}]
    assert reproduce.first_difference(then, altered) == "step 5, train rate: 2.0 recorded, 2.0000000000000004 now"
    assert reproduce.first_difference(then, then[:1]) == "step 5, test step: 5 recorded, None now"
    assert reproduce.first_difference(then[:1], then) == "step 5, test step: None recorded, 5 now"


def test_a_run_leaves_its_record_pictures_and_page(honest):
    records = {"config.json", "manifest.json", "metrics.jsonl", "summary.json", "checkpoints", "report.html"}
    drawn = {"reconstructions.png", "samples.png", "latent_map.png", "curves.png"}
    assert {path.name for path in honest.iterdir()} - {"code.diff", ".lock"} == records | drawn
    lines = [json.loads(line) for line in (honest / "metrics.jsonl").read_text().splitlines()]
    train = [(step, "train") for step in (10, 20, 30, 40)]
    assert [(line["step"], line["split"]) for line in lines] == [*train[:2], (20, "test"), *train[2:], (40, "test")]
    assert all(np.asarray(Image.open(honest / name).convert("L")).std() > 5 for name in drawn)
    summary = json.loads((honest / "summary.json").read_text())
    assert summary["metrics"]["negative_elbo"] == lines[-1]["negative_elbo"]


def test_an_honest_run_has_the_same_bits(honest, finish):
    status, out, err = finish("reproduce", f"--run={honest}")
    assert status == 0, err
    assert out.startswith("the same bits: params_sha256 ")


@pytest.mark.slow
def test_other_bits_name_the_first_metric_and_the_code(altered, finish):
    workdir, edit = altered
    edit("config.json", lambda config: config.update(learning_rate=config["learning_rate"] * (1 + 1e-6)))
    edit("manifest.json", lambda manifest: manifest.update(git_commit="0" * 40))
    status, out, err = finish("reproduce", f"--run={workdir}")
    assert status == 1, err
    assert out.startswith("other bits: step ")
    assert f"code then: commit {'0' * 40}\n" in out and "\ncode now:  commit " in out
    assert f"git checkout {'0' * 40} && python -m pip install " in out


@pytest.mark.slow
def test_other_parameters_are_noticed_where_the_metrics_agree(altered, finish):
    workdir, _ = altered
    found = agreement.read(workdir)
    same, lines = reproduce.comparison(
        reproduce.results(found), {"": reproduce.results(found)[""]._replace(params_sha256="0" * 64)}, common=False
    )
    assert not same and "every metric line agrees" in lines[0] and "0" * 64 in lines[0]


def test_an_altered_file_is_named_before_anything_is_trained(altered, finish):
    workdir, _ = altered
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert '"step": 20, "split": "test"' in lines[2]
    line = json.loads(lines[2])
    line["rate"] *= 1 + 1e-7
    lines[2] = json.dumps(line)
    (workdir / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    status, out, err = finish("reproduce", f"--run={workdir}")
    assert status == 2 and not out and err.count("\n") == 1
    assert err.startswith(f"error: {workdir / 'metrics.jsonl'} has other lines than it had at step 40")


@pytest.mark.slow
def test_several_seeds_are_compared_one_by_one(train, finish, tmp_path):
    train("vae", tmp_path / "run", *FLAGS, "--num_seeds=2")
    status, out, err = finish("reproduce", f"--run={tmp_path / 'run'}")
    assert status == 0, err
    assert [line.partition(": params")[0] for line in out.splitlines()] == [
        "seed 0: the same bits",
        "seed 1: the same bits",
    ]


@pytest.mark.slow
def test_an_auxiliary_model_of_other_bits_is_named_first(train, finish, tmp_path):
    workdir = tmp_path / "runs" / "run"
    train("sfnn", workdir, "--num_steps=4", "--hidden=3", "--num_stochastic=2", "--num_seeds=2")
    recorded = directory.read_manifest(workdir)["auxiliaries"]
    assert len(recorded) == 2 and all(name.startswith("gaussian_mlp-") for name in recorded)
    status, out, err = finish("reproduce", f"--run={workdir}")
    assert status == 0, err
    lines = out.splitlines()
    assert [line.partition(" params_sha256 ")[0] for line in lines] == [
        *(f"auxiliary model {name}: the same bits:" for name in sorted(recorded)),
        *(f"seed {seed}: the same bits:" for seed in (0, 1)),
    ]
    first = min(recorded)
    altered = recorded | {first: "0" * 64}
    directory.write_manifest(workdir, directory.read_manifest(workdir) | {"auxiliaries": altered})
    status, out, err = finish("reproduce", f"--run={workdir}")
    assert status == 1, err
    said = f"auxiliary model {first}: other bits: params_sha256 {'0' * 64} recorded, {recorded[first]} now"
    assert out.splitlines()[0].startswith(said)


MADE = {
    "generate": ("generate", "generated", "--num=20", "--measure", "--figure_formats=svg,pdf"),
    "generate-density": ("generate", "generated", "--num=20", "--density=flow", "--density_steps=5"),
    "latent_space": ("latent_space", "latent_space", "--num_levels=3", "--num_walks=4", "--num_frames=3"),
    "beside": ("latent_space", "latent_space", "--beside={run}", "--num_levels=3", "--num_walks=4", "--num_frames=3"),
    "safetensors": ("export", "exported/model.safetensors"),
    "npz": ("export", "exported/model.npz", "--to=npz"),
    "stablehlo": ("export", "exported/stablehlo", "--to=stablehlo", "--functions=codes,latent_mahalanobis"),
    "hub": ("export", "exported/hub", "--to=hub"),
    "apply": ("apply", "applied", "--to=reconstructions", "--input={pictures}", "--resize"),
    "table": ("apply", "applied/codes.csv", "--to=codes", "--input={pictures}", "--resize", "--out={out}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_what_was_made_of_a_run_is_made_again_to_the_same_bytes(honest, finish, pictures, tmp_path, name):
    if name == "stablehlo":
        pytest.importorskip("flatbuffers")
    run = tmp_path / "run"
    shutil.copytree(honest, run)
    page, where, *flags = MADE[name]
    out = run / where
    places = dict(run=run, pictures=pictures / "disc", out=out)
    status, _, err = finish(page, f"--run={run}", *(flag.format(**places) for flag in flags))
    assert status == 0, err
    time.sleep(2.1)  # the times in zip files have a resolution of 2 s
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    run.rename(moved)
    status, said, err = finish("reproduce", f"--made={moved / where}")
    assert status == 0, said + err
    assert said.startswith("the same bytes: ")


@pytest.mark.slow
def test_pictures_of_another_seed_are_other_bytes(honest, finish, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(honest, run)
    assert finish("generate", f"--run={run}", "--num=20")[0] == 0
    record = directory.read_json(run / "generated" / "made.json")
    record["flags"]["seed"] = 1
    directory.write_json(run / "generated" / "made.json", stored.sealed(record))
    status, said, err = finish("reproduce", f"--made={run / 'generated'}")
    assert status == 1, err
    assert said.startswith("other bytes: samples.npz has SHA-256 ") and "and 1 more files differ" in said


def test_one_seed_of_several_can_differ():
    lines = [{"step": 5, "split": "test", "loss": 1.0}]
    then = {f"seed {seed}": reproduce.Result(seed * 64, lines) for seed in "34"}
    now = then | {"seed 4": reproduce.Result("5" * 64, lines)}
    same, said = reproduce.comparison(then, now, common=False)
    assert not same and said[0].startswith("seed 3: the same bits") and said[1].startswith("seed 4: other bits")


def test_only_the_steps_that_both_runs_report_are_compared_where_cadences_changed():
    def lines(*steps, loss=1.0):
        return [{"step": step, "split": "train", "loss": loss + step} for step in steps]

    assert reproduce.first_difference(lines(5, 10, 20), lines(5, 15, 20), common=True) is None
    assert reproduce.first_difference(lines(5, 10, 20), lines(5, 15, 20)) == "step 10, train step: 10 recorded, 15 now"
    # 5 to 20 is a mean of both runs, 0 to 5 of one
    other = [lines(5)[0], {"step": 20, "split": "train", "loss": 0.0}]
    said = reproduce.first_difference(lines(5, 20), other, common=True)
    assert said == "step 20, train loss: 21.0 recorded, 0.0 now"


def test_a_crash_is_not_an_answer(monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "_compare", lambda flags: [][1])
    assert reproduce.main(reproduce.Flags(run="x")) == reproduce.CRASHED not in (0, 1, 2)
    assert "IndexError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda m: m["packages"].update(jax="0.4.1"), "packages.jax: 0.4.1 then, "),
        pytest.param(lambda m: m.update(backend="tpu"), "backend: tpu then, cpu now", marks=pytest.mark.slow),
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


def test_a_directory_that_does_not_exist(finish, tmp_path):
    assert finish("reproduce", f"--run={tmp_path / 'x'}") == (2, "", f"error: {tmp_path / 'x'} does not exist\n")


@pytest.mark.parametrize("missing", ["summary.json", pytest.param("config.json", marks=pytest.mark.slow)])
def test_what_is_no_finished_run_is_refused(altered, finish, missing):
    workdir, _ = altered
    (workdir / missing).unlink()
    status, _, err = finish("reproduce", f"--run={workdir}")
    assert status == 2
    assert err == f"error: {workdir} is not a finished run: it has no {missing}\n"
