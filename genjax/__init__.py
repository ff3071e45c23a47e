"""Autoencoders, variational autoencoders and adversarial networks as pure functions in JAX."""
