"""The inventory of the public interface, and that the reference leaves nothing out."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import genjax
from docs._ext import inventory, reference


def test_everything_public_is_documented():
    assert inventory.undocumented() == []


def test_the_inventory_has_what_importing_finds():
    """A second way to the same names: the functions and classes of the imported modules."""
    known = inventory.aliases()
    pages = {module.name for module in inventory.modules()}
    for info in pkgutil.walk_packages(genjax.__path__, "genjax."):
        if info.name == "genjax.__main__":
            continue
        assert info.name in pages
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            is_own = (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == info.name
            if is_own and not name.startswith("_"):
                assert f"{info.name}.{name}" in known
        for name in getattr(module, "__all__", ()):
            assert f"{info.name}.{name}" in known or f"{info.name}.{name}" in pages


@pytest.fixture
def package(tmp_path):
    """A package whose module has documented and undocumented names."""
    folder = tmp_path / "house"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""A house."""\nfrom house.room import door\n__all__ = ["door"]\n')
    (folder / "room.py").write_text(
        '"""A room."""\n'
        "WIDTH = 3  # in metres\n"
        "HEIGHT = 2\n"
        "_SECRET = 1\n"
        "def door():\n"
        '    """Opens."""\n'
        "def window():\n"
        "    pass\n"
        "class Lamp:\n"
        '    """Shines."""\n'
        "    power: int = 60  # in watts\n"
        "    def switch(self):\n"
        "        pass\n"
    )
    return inventory.modules(tmp_path, "house")


def test_what_a_package_exports_is_documented_by_its_name(package):
    house, room = package
    assert house.exports == ("house.door",)
    assert [symbol.path for symbol in room.symbols] == [
        *("house.room.WIDTH", "house.room.HEIGHT", "house.door", "house.room.window", "house.room.Lamp"),
    ]


def test_what_has_no_docstring_is_found(package, monkeypatch):
    monkeypatch.setattr(inventory, "modules", lambda: package)
    assert inventory.undocumented() == ["house.room.HEIGHT", "house.room.window", "house.room.Lamp.switch"]


def test_comments_document_constants_and_fields(package):
    symbols = {symbol.name: symbol for symbol in package[1].symbols}
    assert symbols["WIDTH"].doc == "in metres"
    assert symbols["Lamp"].fields == (inventory.Field("power", "int", "in watts", "60"),)


def test_what_the_reference_lacks_is_named():
    everything = [*inventory.symbols(), *(module.name for module in inventory.modules())]
    assert reference.missing_from(everything) == []
    everything.remove("genjax.losses.gaussian_kl")
    assert reference.missing_from(everything) == ["genjax.losses.gaussian_kl"]


def test_names_in_docstrings_become_links():
    link = reference.linker("genjax.losses.divergence")
    assert link("bounded_exp") == ":py:obj:`bounded_exp <genjax.losses.divergence.bounded_exp>`"
    assert link("losses.gaussian_kl") == ":py:obj:`losses.gaussian_kl <genjax.losses.gaussian_kl>`"
    assert link("models.vae") == ":py:mod:`models.vae <genjax.models.vae>`"
    assert link("nothing.of_this_name") is None


def test_type_variables_have_one_letter_by_which_the_site_knows_them():
    """The site has no page of a type variable, and is built with every warning as an error."""
    assert genjax.__file__ is not None
    found = {
        ast.literal_eval(node.value.args[0])
        for path in Path(genjax.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if getattr(node.value.func, "id", None) == "TypeVar"
    }
    assert found and all(len(name) == 1 for name in found)
