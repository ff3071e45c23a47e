"""The map from the specification to code, and the pages made of BUILD_NOTES.md."""

import pytest
from sphinx.errors import ExtensionError

from docs._ext import notes

ROW = (
    "| S56 KL | `losses.gaussian_kl_to_standard`, `gaussian_kl` | `vae --rate_weight` "
    "| `losses/test_divergence`, `test_contract` |"
)


def test_every_row_of_the_map_resolves():
    text = notes.section(notes.MAP, notes.NOTES.read_text())
    linked = notes.linked_map(text)
    assert linked.splitlines()[:4] == text.splitlines()[:4]
    assert len(linked.splitlines()) == len(text.rstrip("\n").splitlines())
    assert linked.count("{py:") > 80


def test_a_row_links_functions_and_experiments_and_names_tests():
    row = notes.linked_map(ROW)
    assert "{py:obj}`losses.gaussian_kl_to_standard <genjax.losses.gaussian_kl_to_standard>`" in row
    assert "{py:obj}`gaussian_kl <genjax.losses.gaussian_kl>`" in row
    assert "[`vae --rate_weight`](experiments/vae.rst)" in row
    assert "`losses/test_divergence`, `losses/test_contract`" in row


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("`gaussian_kl`", "`gaussian_lk`", "S56 KL.*no function 'gaussian_lk'"),
        ("`vae -", "`vea -", "no experiment 'vea'"),
        ("--rate_weight", "--rate", "vae has no flag --rate"),
        ("`test_contract`", "`test_contracts`", "no test 'test_contracts'"),
        (" | `vae", " `vae", "four cells"),
    ],
)
def test_a_name_that_does_not_exist_is_refused(old, new, message):
    with pytest.raises(ExtensionError, match=message):
        notes.linked_map(ROW.replace(old, new))


def test_a_section_has_its_headings_raised_and_its_links_moved():
    text = "## One\n\n### Part\n\n[speed](docs/results/speed.md)\n\n## Two\n\nmore\n"
    assert notes.section("One", text) == "\n## Part\n\n[speed](results/speed.md)\n\n"
    with pytest.raises(ExtensionError, match="no section 'Three'"):
        notes.section("Three", text)
