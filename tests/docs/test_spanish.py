"""The tutorial in Spanish: its chapters are whole, its commands and names exist, and its code runs."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from genjax.runs.flags import specs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "tutorial_es"
CHAPTERS = sorted(FOLDER.glob("[0-9]*.md"))
TOPICS = [  # of the specification, by chapter
    range(1, 6),
    range(6, 11),
    range(11, 24),
    range(24, 31),
    range(31, 34),
    range(34, 39),
    range(39, 46),
    range(46, 50),
    range(50, 66),
    [*range(66, 73), *range(81, 84)],
    [*range(73, 81), 84, 85],
    [86],
]
COMMANDS = {"reproduce": "genjax.runs.reproduce", "lemmas": "experiments.lemmas.__main__"}  # whose flags are elsewhere
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
by_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)


def blocks(page, kind):
    """The bodies of the page's fenced blocks of one kind."""
    return [body for info, body in FENCE.findall(page.read_text()) if info.strip() == kind]


def cells(chapter):
    """The code of each cell, without its options, which are lines that begin with a colon."""
    return [re.sub(r"^:.*\n", "", body, flags=re.MULTILINE) for body in blocks(chapter, "{code-cell} python")]


def table(chapter):
    """(topic, section, functions) of each row of the table at the chapter's end."""
    rows = re.findall(r"^\| S(\d+) \| (.*?) \| (.*?) \|$", chapter.read_text(), re.MULTILINE)
    return [(int(topic), section, re.findall(r"`([\w.]+)`", functions)) for topic, section, functions in rows]


def test_the_contents_list_the_chapters_in_order():
    (contents,) = blocks(FOLDER / "index.md", "{toctree}")
    assert [line for line in contents.split() if not line.startswith(":") and line != "1"] == [c.stem for c in CHAPTERS]
    assert len(CHAPTERS) == len(TOPICS)


@by_chapter
def test_a_chapter_is_a_notebook_with_one_title_and_checks(chapter):
    text = chapter.read_text()
    assert text.startswith("---\njupytext:\n") and "\nkernelspec:\n" in text
    prose = FENCE.sub("", text)
    titles = re.findall(r"^# (\d+)\. \S", prose, re.MULTILINE)
    assert titles == [str(int(chapter.stem[:2]))]
    assert "```" not in prose, "a fence is not closed"
    assert {info.strip().split("}")[0] for info, _ in FENCE.findall(text)} <= {"{code-cell", "{admonition", "bash"}
    code = cells(chapter)
    for number, body in enumerate(code, start=1):
        compile(body, f"{chapter.name}, cell {number}", "exec")
    assert sum(len(re.findall(r"^\s*assert ", body, re.MULTILINE)) for body in code) >= 5


@by_chapter
def test_a_chapter_covers_its_topics_in_sections_that_exist(chapter):
    topics, found = TOPICS[CHAPTERS.index(chapter)], table(chapter)
    assert [topic for topic, _, _ in found] == list(topics)
    sections = re.findall(r"^## (.*)$", FENCE.sub("", chapter.read_text()), re.MULTILINE)
    assert sections.count("Para seguir") == 1
    assert {section for _, section, _ in found} <= set(sections)


def test_the_topics_are_those_of_the_specification():
    assert sorted(topic for topics in TOPICS for topic in topics) == list(range(1, 87))


@by_chapter
def test_the_functions_of_the_table_exist(chapter):
    for _, _, names in table(chapter):
        assert names
        for name in names:
            resolve(name)


def resolve(name):
    """The object of genjax with this dotted name."""
    found = importlib.import_module("genjax")
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("page", [FOLDER / "index.md", *CHAPTERS], ids=lambda page: page.stem)
def test_the_commands_exist_with_their_flags(page):
    commands = re.findall(r"python -m experiments\.(\w+)((?: --\w+=\S*?)*)(?=`|\n| )", page.read_text())
    assert commands
    for name, given in commands:
        module = importlib.import_module(f"experiments.{name}")
        if not hasattr(module, "Flags"):
            module = importlib.import_module(COMMANDS[name])
        known = {spec.name: spec for spec in specs(module.Flags)}
        for flag, value in re.findall(r"--(\w+)=(\S*)", given):
            known[flag].parse(value)


@pytest.mark.slow
@by_chapter
def test_the_code_of_a_chapter_runs(chapter, tmp_path):
    """The cells one after the other in a fresh process, as the site runs them; their own assertions are the test."""
    (tmp_path / "chapter.py").write_text("\n".join(cells(chapter)))
    settings = {
        name: value for name, value in os.environ.items() if name != "XLA_FLAGS"
    }  # the reader's, not the tests'
    done = subprocess.run(
        [sys.executable, "-W", "error", "chapter.py"],
        cwd=tmp_path,
        env=settings | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
