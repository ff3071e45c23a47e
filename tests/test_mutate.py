"""The changes that `tests.mutate` makes, by hand for a small function."""

import ast

from tests import mutate

SOURCE = '''
def noisy(x: int, key, other_key):
    """Not 1 + 1."""
    if x < 2:
        raise ValueError(f"{x + 3}")
    return jnp.sum(x - 5, axis=1) + draw(key, x)
'''


def texts(source):
    tree, sites = ast.parse(source), mutate._Sites()
    sites.visit(tree)
    return {(kind, ast.unparse(new)) for node, keys in sites.found for kind, new in mutate.changes(node, keys)}


def test_each_kind_of_change_is_made_and_texts_are_left_alone():
    assert texts(SOURCE) == {
        ("condition", "x >= 2"),
        ("constant", "3"),
        ("operator", "jnp.sum(x - 5, axis=1) - draw(key, x)"),
        ("term left out", "jnp.sum(x - 5, axis=1)"),
        ("function", "jnp.mean(x - 5, axis=1)"),
        ("axis", "jnp.sum(x - 5, axis=0)"),
        ("operator", "x + 5"),
        ("term left out", "x"),
        ("constant", "6"),
        ("arguments exchanged", "draw(x, key)"),
        ("key", "other_key"),
    }


def test_a_mutant_is_the_module_with_one_change():
    found = mutate.mutants_of("genjax/information.py")
    whole = ast.unparse(ast.parse((mutate.ROOT / "genjax/information.py").read_text()))
    for mutant in found:
        ast.parse(mutant.source)
        differ = [
            pair for pair in zip(whole.splitlines(), mutant.source.splitlines(), strict=True) if len(set(pair)) > 1
        ]
        assert len(differ) == 1, mutant[:5]
    assert len({mutant.source for mutant in found}) > 0.9 * len(found)


def test_kinds_are_drawn_evenly():
    mutants = [mutate.Mutant("a.py", n, kind, "", "", "") for kind in "abc" for n in range(3 if kind == "a" else 50)]
    chosen = mutate.draw(mutants, 23, seed=0)
    assert [sum(mutant.kind == kind for mutant in chosen) for kind in "abc"] == [3, 10, 10]
    assert chosen == mutate.draw(mutants, 23, seed=0) and len(set(chosen)) == 23


def test_the_tests_of_a_module_come_in_the_order_of_nearness():
    assert mutate.tests_of("genjax/losses/penalty.py")[0] == "tests/losses/test_penalty.py"
    assert mutate.tests_of("genjax/stochastic/quantiles.py")[0] == "tests/test_stochastic.py"
    assert not any("experiments" in test for test in mutate.tests_of("genjax/models/vae.py"))
    # through the package: networks.full_covariance_heads
    assert "tests/models/test_vae.py" in mutate.tests_of("genjax/networks/combinators.py")


def test_a_copy_holds_every_module_and_test():
    def modules(folder):
        return {str(path.relative_to(folder)) for top in ("genjax", "tests") for path in (folder / top).rglob("*.py")}

    seen = []
    list(mutate.in_copies(1, lambda _, folder: seen.append(modules(folder)) is None, [None]))
    assert seen == [modules(mutate.ROOT)] and "genjax/runs/runner.py" in seen[0]


def test_a_copy_holds_no_history_and_no_virtual_environment(tmp_path):
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    assert mutate._left_out(str(tmp_path), ["venv", "genjax", "_build"]) == {"venv", "_build"}
    assert mutate._left_out(str(mutate.ROOT), [".git", "runs", "tests"]) == {".git", "runs"}


def test_results_are_kept_and_only_what_is_missing_is_tried_again(tmp_path, monkeypatch, capsys):
    mutants = mutate.choose("genjax/information.py", 3, seed=0)
    first = mutate.Results(tmp_path / "results.jsonl")
    first.add("unchanged", True)
    first.add(mutate.describe(mutants[0]), True)
    tried = []

    def noticed(mutant, folder):
        tried.append(mutant)
        return mutant is mutants[1]

    monkeypatch.setattr(mutate, "noticed", noticed)
    again = mutate.Results(tmp_path / "results.jsonl")
    mutate.attempt(mutants, again, workers=1)
    assert tried == mutants[1:]
    assert mutate.Results(tmp_path / "results.jsonl").known == again.known
    assert [again.known[mutate.describe(mutant)] for mutant in mutants] == [True, True, False]
    assert capsys.readouterr().out == f"survived: {mutate.describe(mutants[2])}\n"
