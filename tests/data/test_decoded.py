"""The space of a decoded data set is reserved before it is written through a memory map."""

import errno
import os

import numpy as np
import pytest

from genjax.data import decoded


def failing(code):
    def posix_fallocate(file, offset, size):
        raise OSError(code, os.strerror(code))

    return posix_fallocate


def test_the_scratch_is_as_large_as_its_shape(tmp_path):
    x = decoded.scratch([tmp_path / "a" / "b"], (3, 4, 5))
    assert isinstance(x, np.memmap) and x.shape == (3, 4, 5) and not x.any()
    x[:] = 7
    assert (x == 7).all() and [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_without_the_space_is_passed_over(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "posix_fallocate", failing(code))
    x = decoded.scratch([tmp_path], (3, 4))
    assert not isinstance(x, np.memmap) and x.shape == (3, 4) and not list(tmp_path.iterdir())


def test_a_file_system_that_reserves_nothing_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.EOPNOTSUPP))
    x = decoded.scratch([tmp_path], (3, 4))
    x[:] = 7
    assert isinstance(x, np.memmap) and x.sum() == 84
