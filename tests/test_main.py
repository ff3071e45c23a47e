"""`python -m genjax`: what there is."""

import re
from pathlib import Path

import jax

from genjax import __main__ as command

ROOT = Path(__file__).parents[1]


def test_it_lists_the_experiments_of_the_readme_and_what_the_machine_has(capsys):
    command.main()
    printed = capsys.readouterr().out
    section = (ROOT / "README.md").read_text().partition("## Experiments\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)[^`]*` \|", section, re.MULTILINE)
    assert set(re.findall(r"^  python -m experiments\.(\w+)", printed, re.MULTILINE)) == set(rows) > {"vae", "compare"}
    assert f"jax {jax.__version__}, " in printed and jax.devices()[0].device_kind in printed
    assert "digits, faces" in printed and "genjax.losses  " in printed
    assert re.search(r"experiments\.vae +A variational autoencoder on images \(Kingma & Welling 2014\)\.\n", printed)


def test_without_a_clone_it_says_where_the_experiments_are(capsys, monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    command.main()
    assert "The experiments are in a clone of the repository" in capsys.readouterr().out
