"""The report of a run, and the comparison of several: what they contain, and that they need no other file."""

import base64
import errno
import hashlib
import json
import math
import re
import shutil
from html.parser import HTMLParser
from itertools import chain

import numpy as np
import pytest
import vl_convert

from experiments import report as command
from experiments import vae
from genjax.drawing import vega
from genjax.errors import BadInput
from genjax.runs import agreement, directory, html, report, rows, runner, stored
from genjax.runs.settings import NOT_IDENTITY


class Page(HTMLParser):
    """The elements of a page, its visible text, and its scripts by type."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.scripts, self.open = [], [], {}, []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script":
            self.scripts.setdefault(attributes.get("type", "script"), []).append(data)
        elif tag != "style":
            self.words.append(data)

    @property
    def curves(self):
        """The specifications of the charts."""

        def refuse(constant):
            raise AssertionError(f"{constant} is not JSON")

        return [json.loads(spec, parse_constant=refuse) for spec in self.scripts.get("application/json", [])]


def read(path):
    return Page(path.read_text(encoding="utf-8"))


def varied(run, workdir, *, factor, **flags):
    """Writes the directory of a run with other flags, whose metrics are another's times a factor."""
    config = directory.read_config(run) | flags
    summary = directory.read_summary(run)
    summary["metrics"] = {name: value * factor for name, value in summary["metrics"].items()}
    summary["params_sha256"] = hashlib.sha256(str(workdir).encode()).hexdigest()
    shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("checkpoints", "report.html"))
    digests = {
        "config_sha256": directory.config_digest(config, NOT_IDENTITY),
        "summary_sha256": stored.digest_of(summary),
        "params_sha256": summary["params_sha256"],
        "seed": config["seed"],
    }
    directory.write_manifest(workdir, directory.read_manifest(run) | digests)
    directory.write_json(workdir / "config.json", config)
    directory.write_json(workdir / "summary.json", summary)
    lines = [
        {name: value if name in ("step", "split") else value * factor for name, value in line.items()}
        for line in directory.read_metrics(run / "metrics.jsonl")
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def others(honest, tmp_path_factory):
    """A second seed of `honest`, and two seeds with another latent dimension."""
    folder = tmp_path_factory.mktemp("others")
    for factor, (latent_dim, seed) in zip((1.1, 0.7, 0.8), ((2, 1), (3, 0), (3, 1)), strict=True):
        varied(honest, folder / f"{latent_dim}-{seed}", factor=factor, seed=seed, latent_dim=latent_dim)
    return folder


@pytest.fixture
def written(honest, tmp_path):
    """Writes the report of the honest run with changes: `written(config={}, lines=[], metrics={})`."""

    def written(*, config=None, lines=None, metrics=None):
        logged = rows.read(honest)
        record = logged.record
        assert record.summary
        record = record._replace(
            config=record.config | (config or {}),
            summary=record.summary | {"metrics": record.summary["metrics"] | (metrics or {})},
        )
        row = rows.grouped([logged._replace(record=record, lines=lines or logged.lines)])
        report.write(tmp_path / "x.html", row, {"vae": vae.EXPERIMENT}, directory=honest)
        return read(tmp_path / "x.html")

    return written


def test_a_run_leaves_a_page_that_needs_no_other_file(honest):
    page = read(honest / "report.html")
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "background", "xlink:href")
    ]
    assert addresses and all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not {"link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    assert not re.search(r"url\(|@import|https?:", html.TEMPLATE.read_text())
    policies = [attributes for tag, attributes in page.elements if attributes.get("http-equiv")]
    assert "default-src 'none'" in policies[0]["content"]  # the browser refuses whatever else would be loaded
    assert len(page.scripts["script"]) == 2 and html.vega() in page.scripts["script"][0]


def test_the_report_has_what_the_run_directory_has(honest):
    page, summary = read(honest / "report.html"), directory.read_summary(honest)
    errors = summary["metrics_standard_error"]
    for name, value in summary["metrics"].items():
        shown = f"{value:.6g}" + (f" {errors[name]:.2g}" if name in errors else "")
        assert name == "loss" or re.search(rf"\b{name}( [↑↓])? nats {re.escape(shown)}\b", page.text), name
    assert "negative_elbo" in errors
    assert summary["params_sha256"] in page.text
    assert f"python -m experiments.reproduce --run={honest}" in page.text
    assert "vae on digits A variational autoencoder on images (Kingma & Welling 2014)." in page.text
    manifest = directory.read_manifest(honest)
    for value in (manifest["packages"]["jax"], manifest["processor"], manifest["data_fingerprint"]):
        assert value in page.text
    pictures = {
        attributes["alt"]: base64.b64decode(attributes["src"].partition(",")[2])
        for tag, attributes in page.elements
        if tag == "img"
    }
    files = {path.stem.replace("_", " "): path.read_bytes() for path in honest.glob("*.png")}
    assert pictures == {name: contents for name, contents in files.items() if name != "curves"} and len(pictures) > 2


def test_the_curves_are_those_of_the_metrics(honest):
    lines = [json.loads(line) for line in (honest / "metrics.jsonl").read_text().splitlines()]
    page = read(honest / "report.html")
    titles = re.findall(r"<figcaption>(.*?)</figcaption><div class=\"chart\">", (honest / "report.html").read_text())
    assert [title.split(" = ")[0] for title in titles] == ["negative_elbo", "distortion", "rate"]
    for title, spec in zip(titles, page.curves, strict=True):
        for metric in title.split(" = "):
            for split, name in (("train", "training"), ("test", "held out")):
                drawn = [(row["step"], row["value"]) for row in spec["data"]["values"] if row["name"] == name]
                assert drawn == [(line["step"], line[metric]) for line in lines if line["split"] == split]
        assert spec["layer"][-1]["encoding"]["y"]["title"] == "nats"


def test_flags_that_differ_from_the_defaults_come_first(honest):
    page = read(honest / "report.html")
    changed, _, every = page.text.partition("Configuration")[2].partition("All flags")
    assert "--hidden 8 500" in changed and "--latent_dim 2 8" in changed and "--batch_size" not in changed
    assert "--workdir" not in changed and "--batch_size 128" in every and "--clip_norm none" in every


def test_text_cannot_become_markup(written, honest):
    hostile = '</script><b onclick="x">&<!--'
    plain, page = read(honest / "report.html"), written(config={"dataset": hostile})
    assert [tag for tag, _ in page.elements if tag in ("b", "script")] == ["script"] * 5
    assert len(plain.curves) == len(page.curves) == 3 and f"vae on {hostile}" in page.text
    assert not any("onclick" in attributes for _, attributes in page.elements)
    spec = vega.curves({hostile: ([1], [[2.0]])}, ylabel=hostile)
    shown = Page(html.chart(hostile, spec))
    assert shown.curves == [spec] and hostile in shown.text and [tag for tag, _ in shown.elements].count("script") == 1


def test_numbers_that_are_not_finite_are_valid_json_and_gaps(written, honest):
    lines = [dict(line) for line in rows.read(honest).lines]
    lines[0]["rate"], lines[1]["rate"] = math.nan, math.inf
    page = written(lines=lines, metrics={"rate": math.inf, "distortion": math.nan})
    (rate,) = (spec for spec in page.curves if None in [row["value"] for row in spec["data"]["values"]])
    assert [row["value"] for row in rate["data"]["values"]].count(None) == 2
    assert "rate nats inf" in page.text and "distortion nats nan" in page.text


def test_long_curves_are_thinned_between_their_ends():
    steps = np.arange(1, 25001)
    found = vega.points("a", steps, (2.0 * steps)[:, None])
    assert len(found) == vega.AT_MOST and [found[0]["step"], found[-1]["step"]] == [1, 25000]
    assert all(row["value"] == 2 * row["step"] for row in found)
    gaps = np.diff([row["step"] for row in found])
    assert gaps.min() >= 25 and gaps.max() <= 26


def test_a_band_is_one_standard_error():
    (row,) = vega.points("a", [7], [[1.0, 2.0, 6.0]])
    # the mean is 3, and the squared deviations 4 + 1 + 9 = 14: s^2 = 7, and s / sqrt(3) = sqrt(7 / 3)
    assert row["value"] == 3 and row["error"] == pytest.approx(math.sqrt(7 / 3), rel=1e-12)
    assert (row["low"], row["high"]) == (3 - row["error"], 3 + row["error"])
    (alone,) = vega.points("a", [7], [[1.0]])
    assert alone == {"step": 7, "name": "a", "value": 1.0}


def test_a_report_that_cannot_be_written_is_one_line(honest, tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    record, said = agreement.read(honest)._replace(workdir=tmp_path), []
    shutil.copy(honest / "metrics.jsonl", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(report, "replacing", refuse)
        report.leave(record, vae.EXPERIMENT, warn=said.append)
    path = tmp_path / "report.html"
    assert said.pop() == f"{path} could not be written (No space left on device); the run is complete without it"
    assert not path.exists()
    with monkeypatch.context() as patch:
        patch.setattr(html, "vega", lambda: 1 / 0)
        report.leave(record, vae.EXPERIMENT, warn=said.append)
    assert (
        said.pop()
        == f"{path} could not be written (ZeroDivisionError: division by zero); the run is complete without it"
    )
    report.leave(record, vae.EXPERIMENT, warn=said.append)
    assert path.exists() and said == []


@pytest.mark.slow
def test_a_run_that_goes_on_writes_its_report_again_and_the_command_the_same(honest, start, tmp_path):
    shutil.copytree(honest, tmp_path / "run")
    start(tmp_path / "run", num_steps=30)
    page = read(tmp_path / "run" / "report.html")
    assert "steps 30 time" in page.text and page.curves[0]["data"]["values"][-1]["step"] == 30
    own = (tmp_path / "run" / "report.html").read_bytes()
    (tmp_path / "run" / "report.html").write_bytes(b"")
    command.main(command.Flags(run=(str(tmp_path / "run"),)))
    assert (tmp_path / "run" / "report.html").read_bytes() == own


@pytest.mark.slow
def test_several_seeds_have_a_report_each_and_one_together(start, tmp_path):
    flags = vae.Flags(num_steps=20, hidden=(8,), latent_dim=2, eval_every=10, log_every=10, num_seeds=2)
    runner._train(vae.EXPERIMENT, flags.replace(workdir=str(tmp_path)))
    a, b = (directory.read_summary(tmp_path / f"seed-{seed}") for seed in (0, 1))
    together = read(tmp_path / "report.html")
    x, y = (summary["metrics"]["negative_elbo"] for summary in (a, b))
    assert f"negative_elbo ↓ nats {(x + y) / 2:.5g} ± {abs(x - y) / 2:.2g} {x:.6g} {y:.6g}" in together.text
    for seed, summary in enumerate((a, b)):
        assert f"{seed} {summary['params_sha256']}" in together.text
        own = read(tmp_path / f"seed-{seed}" / "report.html")
        assert summary["params_sha256"] in own.text and f"{summary['metrics']['negative_elbo']:.6g}" in own.text
    assert f"--run={tmp_path}" in together.text and f"--run={tmp_path}/seed-0" not in together.text


def test_a_run_that_is_not_finished_has_a_report_by_command(honest, tmp_path, capsys):
    for name in ("config.json", "manifest.json"):
        (tmp_path / name).write_text((honest / name).read_text())
    lines = (honest / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= 10))
    command.main(command.Flags(run=(str(tmp_path),)))
    page = read(tmp_path / "report.html")
    last = json.loads(next(line for line in lines if '"step": 10, "split": "test"' in line))
    assert "step 10, not finished" in page.text and f"rate nats {last['rate']:.6g}" in page.text
    (tmp_path / "metrics.jsonl").write_text("")
    command.main(command.Flags(run=(str(tmp_path),)))
    assert "not evaluated yet" in read(tmp_path / "report.html").text


def test_runs_are_compared_by_configuration(honest, others, tmp_path, capsys):
    given = [honest, *(others / name for name in ("2-1", "3-0", "3-1"))]
    command.main(command.Flags(run=tuple(map(str, given)), out=str(tmp_path / "new" / "c.html")))
    assert capsys.readouterr().out == f"4 runs of 2 configurations: {tmp_path / 'new' / 'c.html'}\n"
    page = read(tmp_path / "new" / "c.html")
    assert f"2 0, 1 20 {honest} and 1 more 3 0, 1 20 {others / '3-0'} and 1 more" in page.text
    for metric in ("distortion", "rate"):
        values = [directory.read_summary(path)["metrics"][metric] for path in given]
        cells = [f"{(a + b) / 2:.5g} ± {abs(a - b) / 2:.2g}" for a, b in (values[:2], values[2:])]
        assert f"{metric} nats {' '.join(cells)}" in page.text
    lines = [rows.read(path).lines for path in given]
    drawn = [spec["data"]["values"] for spec in page.curves]
    assert len(drawn) == 6 and {row["name"] for row in chain(*drawn)} == {"latent_dim=2", "latent_dim=3"}
    a, b = ([line["negative_elbo"] for line in of if line["split"] == "test"] for of in lines[2:])
    assert [row["value"] for row in drawn[0] if row["name"] == "latent_dim=3"] == pytest.approx(np.add(a, b) / 2)
    assert [row["error"] for row in drawn[0] if row["name"] == "latent_dim=3"] == pytest.approx(
        np.abs(np.subtract(a, b)) / 2
    )
    domains = [spec["encoding"]["color"]["scale"]["domain"] for spec in page.curves]
    assert domains == [["latent_dim=2", "latent_dim=3"]] * 6  # one colour for each, the same in all charts
    alts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert alts == ["latent_dim=2", "latent_dim=3"] * (len(alts) // 2) and len(alts) >= 6
    assert all(directory.read_summary(path)["params_sha256"] in page.text for path in given)


def test_runs_that_differ_in_the_seed_alone_are_one_configuration(others, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = [str(others / name) for name in ("3-0", "3-1")]
    command.main(command.Flags(run=tuple(given)))
    assert capsys.readouterr().out == "2 runs of 1 configuration: comparison.html\n"
    page = read(tmp_path / "comparison.html")
    assert all(f"python -m experiments.reproduce --run={path}" in page.text for path in given)
    assert "seeds 0, 1 steps 20" in page.text and not (others / "3-0" / "report.html").exists()


def test_no_other_file_is_written_over(others, tmp_path):
    (tmp_path / "x.npy").write_bytes(b"mine")
    with pytest.raises(BadInput, match=r"^out: expected a file that ends in .html, not 'x.npy'$"):
        command.main(command.Flags(run=(str(others / "3-0"),), out=str(tmp_path / "x.npy")))
    assert (tmp_path / "x.npy").read_bytes() == b"mine"


def test_configurations_are_named_by_what_differs(honest):
    logged = rows.read(honest)

    def one(name, **flags):
        config = {key: value for key, value in (logged.record.config | flags).items() if value != "absent"}
        return logged._replace(record=logged.record._replace(config=config | {"experiment": name}))

    names = [row.name for row in rows.grouped([one("vae"), one("vae", seed=5), one("vae", clip_norm="absent")])]
    assert names == ["clip_norm=", "clip_norm=not recorded"]
    both = rows.grouped([one("vae"), one("vae", rate_weight=2.0), one("gan", rate_weight="absent", batch_size=7)])
    assert [row.name for row in both] == [
        "experiment=vae, batch_size=128, rate_weight=1.0",
        "experiment=vae, batch_size=128, rate_weight=2.0",
        "experiment=gan, batch_size=7, rate_weight=",
    ]


def test_bad_input_is_one_line(honest, tmp_path, monkeypatch):
    def refused(**flags):
        with pytest.raises(BadInput) as error:
            command.main(command.Flags(**flags))
        return str(error.value)

    assert refused() == "run: give the directory of a run"
    assert refused(run=(str(tmp_path),)) == f"run: {tmp_path} is not the directory of a run, nor a folder of runs"
    assert refused(run=(str(honest),), out=str(tmp_path)).startswith(f"out: {tmp_path} is a directory")
    (tmp_path / "config.json").write_text((honest / "config.json").read_text())
    assert "manifest.json" in refused(run=(str(tmp_path),))
    (tmp_path / "seed-x").mkdir()
    shutil.copy(honest / "config.json", tmp_path / "seed-x")
    assert rows.found(tmp_path) == [tmp_path]


def test_pictures_that_are_none_are_named(honest, tmp_path):
    for name in ("config.json", "manifest.json", "summary.json", "metrics.jsonl"):
        (tmp_path / name).write_text((honest / name).read_text())
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "b.png").mkdir()
    command.main(command.Flags(run=(str(tmp_path),)))
    page = read(tmp_path / "report.html")
    assert f"{tmp_path / 'a.png'} is not a PNG picture" in page.text and "b.png is not a regular file" in page.text
    assert not any(tag == "img" for tag, _ in page.elements)


def test_the_script_is_kept_and_made_again_where_it_is_damaged(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda snippet: made.append(snippet) or "'</script>'")

    def script(cache=tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        html.vega.cache_clear()
        assert html.vega() == html.vega() == r"'<\/script>'"
        return len(made)

    try:
        assert [script(), script()] == [1, 1]
        (kept,) = (tmp_path / "genjax" / "scripts").iterdir()
        kept.write_bytes(kept.read_bytes()[:-1])
        assert [script(), script()] == [2, 2]
        (tmp_path / "file").touch()  # no folder can be made below it
        assert [script(tmp_path / "file"), script(tmp_path / "file")] == [3, 4]
    finally:
        html.vega.cache_clear()
