"""Networks, each an (init, apply) pair; the only folder that imports Flax."""

from genjax.networks.adversarial import (
    average_pool,
    dcgan_discriminator,
    dcgan_generator,
    matching_discriminator,
    multi_scale,
    patch_discriminator,
    pixel_norm,
    residual_discriminator,
    residual_generator,
)
from genjax.networks.autoregressive import causal_transformer
from genjax.networks.bijections import (
    activation_normalization,
    affine_coupling,
    amortized,
    chain,
    inverse_autoregressive,
    inverted,
    masked_autoregressive,
    num_parameters,
    permutation,
    planar,
)
from genjax.networks.combinators import (
    flattened,
    full_covariance_heads,
    gaussian_heads,
    unit_vectors,
    von_mises_fisher_heads,
    with_label,
    with_log_variance,
)
from genjax.networks.convolution import convolution, transposed_convolution, upsampled_convolution
from genjax.networks.convolutional import (
    convolutional_decoder,
    convolutional_encoder,
    map_decoder,
    map_encoder,
    map_shape,
)
from genjax.networks.equinox import from_equinox, stateful_from_equinox
from genjax.networks.flows import (
    coupling_flow,
    flow_heads,
    inverse_autoregressive_flow,
    masked_autoregressive_flow,
    planar_flow,
)
from genjax.networks.identity_swap import identity_network, identity_swap_generator
from genjax.networks.linen import from_linen, stateful_from_linen
from genjax.networks.masked import mask_degrees, masked_mlp, masked_mlp_sampler
from genjax.networks.mlp import ACTIVATIONS, affine, mlp
from genjax.networks.nnx import from_nnx, stateful_from_nnx
from genjax.networks.quantization import (
    Codebook,
    Quantised,
    averaged_codebook,
    learned_codebook,
    residual_codebook,
    scalar_codebook,
)
from genjax.networks.sparsity import group_threshold, hard_threshold, k_sparse, soft_threshold, unit_norm_rows
from genjax.networks.spectral import spectral_norm

__all__ = [
    "ACTIVATIONS",
    "Codebook",
    "Quantised",
    "activation_normalization",
    "affine",
    "affine_coupling",
    "amortized",
    "average_pool",
    "averaged_codebook",
    "causal_transformer",
    "chain",
    "convolution",
    "convolutional_decoder",
    "convolutional_encoder",
    "coupling_flow",
    "dcgan_discriminator",
    "dcgan_generator",
    "flattened",
    "flow_heads",
    "from_equinox",
    "from_linen",
    "from_nnx",
    "full_covariance_heads",
    "gaussian_heads",
    "group_threshold",
    "hard_threshold",
    "identity_network",
    "identity_swap_generator",
    "inverse_autoregressive",
    "inverse_autoregressive_flow",
    "inverted",
    "k_sparse",
    "learned_codebook",
    "map_decoder",
    "map_encoder",
    "map_shape",
    "mask_degrees",
    "masked_autoregressive",
    "masked_autoregressive_flow",
    "masked_mlp",
    "masked_mlp_sampler",
    "matching_discriminator",
    "mlp",
    "multi_scale",
    "num_parameters",
    "patch_discriminator",
    "permutation",
    "pixel_norm",
    "planar",
    "planar_flow",
    "residual_codebook",
    "residual_discriminator",
    "residual_generator",
    "scalar_codebook",
    "soft_threshold",
    "spectral_norm",
    "stateful_from_equinox",
    "stateful_from_linen",
    "stateful_from_nnx",
    "transposed_convolution",
    "unit_norm_rows",
    "unit_vectors",
    "upsampled_convolution",
    "von_mises_fisher_heads",
    "with_label",
    "with_log_variance",
]
