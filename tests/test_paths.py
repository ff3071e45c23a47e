"""The user's folders, and what stands in for them where no home directory is known."""

import os
from pathlib import Path

import pytest

from genjax import paths
from genjax.errors import BadInput


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """As a user of a container who has neither HOME nor an entry in the passwd file."""

    def unknown():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"genjax-{os.getuid()}"


def test_the_cache_is_where_the_user_has_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths.user_cache() == tmp_path / "cache" / "genjax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.user_cache() == tmp_path / ".cache" / "genjax"


def test_without_a_home_the_cache_is_a_private_temporary_folder(homeless):
    for _ in range(2):
        assert paths.user_cache() == homeless
    assert homeless.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("how", ["open to others", "a link", "a file"])
def test_a_folder_that_others_could_write_to_is_refused(homeless, tmp_path, how):
    if how == "open to others":
        homeless.mkdir()
        homeless.chmod(0o777)
    elif how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        homeless.symlink_to(tmp_path / "elsewhere")
    else:
        homeless.write_text("")
    with pytest.raises(BadInput, match=r"is not a private folder of this user; set XDG_CACHE_HOME"):
        paths.user_cache()


def test_homes_are_expanded_and_unknown_ones_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.expand_user("~/data") == tmp_path / "data"
    assert paths.expand_user("data/~x") == Path("data/~x")
    with pytest.raises(BadInput, match=r"^data_dir: no home directory is known for ~nobody-of-this-name/x; give"):
        paths.expand_user("~nobody-of-this-name/x", parameter="data_dir")


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.json"
    with paths.replacing(path) as file:
        file.write(b"old")
        (draft,) = tmp_path.iterdir()
        assert paths.drafts(path) == [draft] and not path.exists()
    with pytest.raises(KeyboardInterrupt), paths.replacing(path) as file:
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_only_incomplete_files_of_that_name_are_drafts(tmp_path):
    for name in (".a.json.17", ".a.json.bak", ".a.json.", ".b.json.17", "a.json.17", ".a.json"):
        (tmp_path / name).write_text("")
    assert [path.name for path in paths.drafts(tmp_path / "a.json")] == [".a.json.17"]


def test_folders_that_cannot_be_written_to_are_refused_and_others_are_not_made(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "read-only").mkdir(mode=0o500)
    for name in ("file", "file/x", "read-only", "read-only/x/y", 300 * "x"):
        with pytest.raises(BadInput, match=rf"^out: {tmp_path / name} cannot be .*; give another path$"):
            paths.refuse_unwritable(tmp_path / name, parameter="out")
    paths.refuse_unwritable(tmp_path / "x" / "y", parameter="out")
    assert len(list(tmp_path.iterdir())) == 2


def test_the_cache_is_closed_to_other_users_whatever_the_umask(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache, before = tmp_path / "cache" / "genjax", os.umask(0)
    try:
        paths.make_folder(cache / "compiled" / "cpu")
        assert cache.stat().st_mode & 0o777 == 0o700
        cache.chmod(0o777)  # as an earlier version made it
        paths.make_folder(cache / "compiled")
        assert cache.stat().st_mode & 0o777 == 0o755
        paths.make_folder(tmp_path / "data" / "decoded")
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o777
    finally:
        os.umask(before)
