"""Pictures and charts of arrays, drawn with Matplotlib and Pillow."""

from genjax import lazy

__getattr__, __dir__ = lazy.submodules(__name__)
