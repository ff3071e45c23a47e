"""Models, one file each, to be read from top to bottom."""

from genjax import lazy

__getattr__, __dir__ = lazy.submodules(__name__)
