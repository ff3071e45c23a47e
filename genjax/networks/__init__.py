"""Networks, each an (init, apply) pair; the only folder that knows Flax."""

from genjax.networks.combinators import gaussian_heads, with_log_variance
from genjax.networks.convolution import convolution, transposed_convolution
from genjax.networks.convolutional import convolutional_decoder, convolutional_encoder
from genjax.networks.linen import from_linen
from genjax.networks.mlp import mlp

__all__ = [
    "convolution",
    "convolutional_decoder",
    "convolutional_encoder",
    "from_linen",
    "gaussian_heads",
    "mlp",
    "transposed_convolution",
    "with_log_variance",
]
