"""Training: the loop, checkpoints, reproducible bits and placement over devices."""

from genjax import lazy

__getattr__, __dir__ = lazy.submodules(__name__)
