"""Estimators with scikit-learn's interface, for pipelines and grid searches over tables [n_samples, n_features].

    Autoencoder        transform to a code and back
    VAE                the same, with a density that can be scored and sampled
    OutlierDetector    outliers by reconstruction error
    Denoiser           transform to what is left without the noise

Parameters and fitted attributes have scikit-learn's names (`hidden_layer_sizes`, `learning_rate_init`,
`n_features_in_`). The models and the training loop are those of the rest of genjax; `params_` are their parameters.

An integer `random_state` gives the same bits in every fit on one machine. XLA divides sums by the size of its thread
pool, by default the number of CPU cores: for the same bits on any number of them, call
`genjax.training.determinism.set_up()` before JAX makes its first array. Processes that are started later (`n_jobs`)
inherit the setting.
"""

from genjax.sklearn.autoencoder import Autoencoder
from genjax.sklearn.denoiser import Denoiser
from genjax.sklearn.outliers import OutlierDetector
from genjax.sklearn.vae import VAE

__all__ = ["VAE", "Autoencoder", "Denoiser", "OutlierDetector"]
