"""Measures of arrays: detection, distances, coverage, images, likelihoods, latent spaces, compression, closed forms."""

from genjax import lazy

__getattr__, __dir__ = lazy.submodules(__name__)
