"""Measures of arrays: detection, distances, coverage, images, likelihoods, latent spaces, compression, closed forms."""
