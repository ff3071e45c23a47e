"""Autoencoders, variational autoencoders and adversarial networks as pure functions in JAX.

A model is a record of pure functions, and `genjax.training.fit.fit` trains any of them:

    state          = model.init(key)
    state, metrics = model.train_step(state, batch, key)
    metrics        = model.evaluate(state, batch, key)
    images         = model.sample(state, num, key)

    genjax.types, genjax.errors       shared records; the exception for bad input
    genjax.stochastic, information,
    variational                       distributions, their information measures, variational inference
    genjax.losses                     losses as pure functions, one value per example
    genjax.gradients                  where a loss meets an optimizer, and where devices meet
    genjax.networks                   networks as pairs (init, apply)
    genjax.models                     one file per model
    genjax.evaluation                 measures of arrays
    genjax.data                       data sets by name, arrays and files of your own, batches
    genjax.training                   the loop, checkpoints, determinism, placement over devices
    genjax.drawing                    pictures and charts
    genjax.runs                       runs as directories: flags, resumption, reproduction
    genjax.sklearn                    estimators with the interface of scikit-learn

Modules are imported when they are first named, so `import genjax` costs nothing.
"""

from genjax import lazy

__version__ = "0.1.0"

__getattr__, __dir__ = lazy.submodules(__name__)
