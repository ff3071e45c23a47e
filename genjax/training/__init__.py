"""Training: the loop, and what a run leaves behind."""

from genjax import lazy

__getattr__, __dir__ = lazy.submodules(__name__)
