"""The rows of the benchmark, and how each way of one starts in its own process."""

from __future__ import annotations

import importlib
import os
from typing import Any

from experiments.benchmark.way import (
    COMPILED,
    CUDA_GRAPH,
    DATA_LOADER,
    EAGER,
    OURS,
    PATCHES,
    PORTABLE,
    PYTHAE,
    RUN,
    Row,
    Way,
    dense,
)


def ours(
    name: str, *args: Any, module: str = "ours", devices: int = 1, portable_bits: bool = False, **options: Any
) -> Any:
    """A way of this project, imported in its own process, on a number of simulated CPU devices."""

    def start(cpu_threads: int, device: str) -> Way:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(devices)
        os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda,cpu"}[device]
        from genjax.training import determinism

        determinism.set_up(cpu_threads=cpu_threads, portable_bits=portable_bits)
        return getattr(importlib.import_module(f"experiments.benchmark.{module}"), name)(*args, **options)

    return start


def with_portable_bits(name: str, *args: Any, module: str = "ours") -> dict[str, Any]:
    """A way of this project by default, and by programs whose bits are the same on other processors."""
    return {OURS: ours(name, *args, module=module), PORTABLE: ours(name, *args, module=module, portable_bits=True)}


def torch(name: str, *args: Any, module: str = "peers", **options: Any) -> Any:
    """A way of PyTorch or pythae, imported in its own process."""

    def start(cpu_threads: int, device: str) -> Way:
        from experiments.benchmark import peers

        peers.set_up(cpu_threads, device)
        return getattr(importlib.import_module(f"experiments.benchmark.{module}"), name)(*args, **options)

    return start


def torch_forms(name: str, *args: Any, module: str = "peers", graph: bool = False) -> dict[str, Any]:
    """A way of PyTorch: eager, compiled, and as a CUDA graph where PyTorch 2.11 could replay it."""
    return {form: torch(name, *args, module=module, form=form) for form in (EAGER, COMPILED, *[CUDA_GRAPH] * graph)}


def many(name: str, num: int, mode: str, *, devices: int = 1) -> Any:
    """A way of doing many whole runs."""
    return ours(name, num, mode, module="whole_runs", devices=devices)


def beside_pythae(model: str, *sizes: Any) -> dict[str, Any]:
    """The ways of a latent-variable model of dense layers, at a batch size of 128."""
    return {
        OURS: ours("training", model, 128, *sizes, module="latent"),
        PYTHAE: torch("training", model, 128, *sizes, module="pythae_models"),
    }


LARGE, MLP, IWAE = "large product", ((500,), 20, 128), ((200, 200), 50, 20)
SPARSE = (256, 2048, 32, 512)
MLP_PRODUCTS = dense(128, (784, 500), (500, 40), (20, 500), (500, 784))
ROWS = {
    "mlp_vae": Row(
        "MLP VAE 784-500-20, batch 128, Adam",
        500,
        MLP_PRODUCTS,
        {
            **with_portable_bits("mlp_vae", *MLP),
            **torch_forms("mlp_vae", *MLP),
            PYTHAE: torch("training", "vae", 128, 500, 20, module="pythae_models"),
            "Flax, step by step": ours("step_by_step_mlp_vae", *MLP),
        },
    ),
    "iwae_mlp": Row(
        "MLP VAE 784-200-200-50, batch 20, Adam",
        1000,
        dense(20, (784, 200), (200, 200), (200, 100), (50, 200), (200, 200), (200, 784)),
        {
            **with_portable_bits("mlp_vae", *IWAE),
            **torch_forms("mlp_vae", *IWAE, graph=True),
            "Flax, step by step": ours("step_by_step_mlp_vae", *IWAE),
        },
    ),
    "iwae_50": Row(
        "importance-weighted autoencoder 784-200-200-50, 50 samples, batch 20, Adam",
        200,
        dense(20, (784, 200), (200, 200), (200, 100))
        + dense(20 * 50, (50, 200), (200, 200), (200, 784), first_seen=False),
        {**with_portable_bits("iwae", *IWAE, 50), **torch_forms("iwae", *IWAE, 50, graph=True)},
    ),
    "convolutional_vae": Row(
        "convolutional VAE, 28x28, batch 128, Adam",
        60,
        3 * 128 * (2 * 196 * 16 * 32 + 2 * 49 * 16 * 32 * 64 + 49 * 64 * 60) - 128 * 196 * 16 * 32,
        {**with_portable_bits("convolutional_vae"), **torch_forms("convolutional_vae", graph=True)},
    ),
    "convolutions": Row(
        "convolutional VAE, 28x28, batch 128, Adam",
        20,
        0,
        {
            OURS: ours("convolutional_vae"),
            PATCHES: ours("with_patches", "convolutional_vae"),
            "XLA's convolutions": ours("xla_convolutional_vae"),
        },
    ),
    "dcgan_convolutions": Row(
        "DCGAN, 28x28, batch 64, both players, Adam",
        60,
        0,
        {OURS: ours("dcgan"), PATCHES: ours("with_patches", "dcgan")},
    ),
    "vamp_vae": Row(
        "MLP VAE 784-500-20 with a VampPrior of 50 pseudo-inputs, batch 128, Adam",
        500,
        MLP_PRODUCTS + dense(50, (50, 784)) + dense(50, (784, 500), (500, 40), first_seen=False),
        beside_pythae("vamp_vae", 500, 20, 50),
    ),
    "iaf_vae": Row(
        "MLP VAE 784-500-20 with 2 inverse autoregressive layers 20-128-128-128-40, batch 128, Adam",
        500,
        MLP_PRODUCTS + 2 * dense(128, (20, 128), (128, 128), (128, 128), (128, 40), first_seen=False),
        beside_pythae("iaf_vae", 500, 20, 2, (128, 128, 128)),
    ),
    "beta_tc_vae": Row(
        "beta-TCVAE of dense layers 784-500-20, batch 128, Adam",
        500,
        MLP_PRODUCTS,
        beside_pythae("beta_tc_vae", 500, 20, 6.0),
    ),
    "vq_vae": Row(
        "VQ-VAE of dense layers 784-500-128, 16 codes of 8 dimensions out of 512, moving averages, batch 128, Adam",
        500,
        dense(128, (784, 500), (500, 128), (128, 500), (500, 784)) + 128 * 16 * 8 * 512,
        beside_pythae("vq_vae", 500, 16, 8, 512),
    ),
    "dcgan": Row(
        "DCGAN, 28x28, batch 64, both players, Adam",
        60,
        0,
        {**with_portable_bits("dcgan"), **torch_forms("dcgan")},
    ),
    "r3gan": Row(
        "DCGAN's networks, relativistic losses with R1 and R2, 28x28, batch 64, both players, Adam",
        40,
        0,
        {OURS: ours("r3gan"), EAGER: torch("r3gan", form=EAGER)},  # PyTorch cannot compile a gradient of a gradient
    ),
    "linear_autoencoder": Row(
        "linear autoencoder on digits, 64-8-64, batch 128, Adam",
        5000,
        dense(128, (64, 8), (8, 64)),
        {**with_portable_bits("linear_autoencoder"), **torch_forms("linear_autoencoder")},
    ),
    "sparse": Row(
        "sparse autoencoder 256-2048-256, the 32 largest units, atoms of norm 1, batch 512, Adam",
        60,
        dense(512, (256, 2048), (2048, 256)),
        {OURS: ours("sparse", *SPARSE), **torch_forms("sparse", *SPARSE, module="torch_models")},
    ),
    "flow": Row(
        "the flow of `experiments.flow`: 8 couplings 2-64-64-4, batch 256, Adam",
        2000,
        0,
        {
            **with_portable_bits("page", "flow", module="whole_runs"),
            **torch_forms("flow", module="torch_models"),
        },
    ),
    "identity_swap": Row(
        "the identity swap of `experiments.identity_swap`, 8 pairs of rendered faces of 32x32, both players, Adam",
        20,
        0,
        with_portable_bits("page", "identity_swap", module="whole_runs"),
    ),
    "streaming": Row(
        "MLP VAE 784-500-20, batch 128, Adam, on 200 000 images of 157 MB",
        500,
        MLP_PRODUCTS,
        {
            "from the disk": ours("streaming", module="whole_runs", in_memory=False),
            "in memory": ours("streaming", module="whole_runs", in_memory=True),
            DATA_LOADER: torch("streaming", module="torch_models"),
        },
    ),
    "seeds": Row(
        f"16 runs of {RUN} steps, MLP VAE 64-200-8 on digits, batch 128, compiled anew in every round",
        16 * RUN,
        0,
        {"in one program": many("seeds", 16, "map", devices=2), "one after another": many("seeds", 16, "alone")},
    ),
    "seeds_64": Row(
        f"64 runs of {RUN} steps, MLP VAE 64-200-8 on digits, batch 128, compiled anew in every round",
        64 * RUN,
        0,
        {"by vmap": many("seeds", 64, "vmap"), "by map": many("seeds", 64, "map")},
    ),
    "sweep": Row(
        f"{RUN} steps at each of 16 rates, MLP VAE 64-200-8 on digits, batch 128, compiled anew in every round",
        16 * RUN,
        0,
        {
            "by vmap": many("sweep", 16, "vmap"),
            "by map": many("sweep", 16, "map"),
            "one after another": many("sweep", 16, "alone"),
            EAGER: torch("sweep", 16, module="torch_models"),
        },
    ),
    "scoring": Row(
        "reconstruction losses of 10 000 images, autoencoder 784-500-20",
        10,
        10_000 * 2 * (784 * 500 + 500 * 20),
        {OURS: ours("scoring"), "PyTorch": torch("scoring")},
    ),
    "generation": Row(
        "50 000 samples of a VAE 784-500-20",
        4,
        50_000 * (20 * 500 + 500 * 784),
        {OURS: ours("generation"), EAGER: torch("generation")},
    ),
    "likelihood": Row(
        "likelihoods of 100 images by 500 samples, VAE 784-200-200-50",
        5,
        50_000 * (50 * 200 + 200 * 200 + 200 * 784),
        {OURS: ours("importance_weighted_likelihood"), "PyTorch": torch("importance_weighted_likelihood")},
    ),
    "faces": Row("64 rendered faces of 32x32 per step", 20, 0, {OURS: ours("rendered_faces")}),
    "shards_128": Row(
        "MLP VAE 784-500-20, batch 1024, Adam",
        25,
        0,
        {"eight shards": ours("sharded_mlp_vae", 1024, 8), "one sum": ours("mlp_vae", (500,), 20, 1024)},
    ),
    "shards_16": Row(
        "MLP VAE 784-500-20, batch 128, Adam",
        200,
        0,
        {"eight shards": ours("sharded_mlp_vae", 128, 8), "one sum": ours("mlp_vae", *MLP)},
    ),
}
PRODUCT = Row("a product of 1024 x 1024 matrices", 20, 1024**3, {LARGE: ours("large_product")})
