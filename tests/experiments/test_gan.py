"""The adversarial network as a user runs it: what it leaves behind, the modes of toys, and contradictory flags."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import games, gan
from genjax import data, gradients, stochastic
from genjax.errors import BadInput
from genjax.types import Batch

SMALL = ("--num_steps=20", "--log_every=10", "--eval_every=10", "--hidden=16", "--features=4,8", "--batch_size=32")
TOY = {"modes_covered", "modes_expected", "share_near_modes"}
GAME = {"discriminator_auroc", "generator_gradient_norm", "sample_variance_ratio"}
QUALITY = {"frechet_distance", "train_frechet_distance", "kernel_distance", "kernel_distance_error"}
QUALITY |= {"precision", "recall", "density", "coverage"}
QUALITY |= {"nearest_training_distance", "held_out_nearest_training_distance"}
QUALITY |= {"classes_found", "smallest_class_share", "largest_class_share"}
MORE = {"frechet_distance_error", "mind", "mind_error", "vendi_score", "vendi_score_error"}
MORE |= {"authenticity", "authenticity_error", "data_copying", "data_copying_error"}  # of finished runs
OF_DATA = {"train_frechet_distance", "held_out_nearest_training_distance"}  # the same for every model
NAMES = {"loss", "discriminator_loss", "generator_loss", "real_logit", "fake_logit", "penalty"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("--dataset=digits", "--conditional", "--loss=hinge", "--penalty=dragan", "--alpha=0.3"),
        ("--dataset=digits", "--network=dcgan", "--loss=wasserstein", "--penalty=gradient", "--num_critic_steps=4"),
        ("--dataset=PICTURES", "--network=residual", "--loss=hinge", "--penalty=none", "--spectral_norm"),
        ("--dataset=grid", "--loss=wasserstein", "--penalty=none", "--clip=0.05"),
        ("--dataset=ring", "--conditional", "--loss=least_squares", "--penalty=lipschitz"),
        ("--dataset=digits", "--loss=relativistic", "--penalty=r1_r2", "--augmentation=colour,translation,cutout"),
    ],
    ids=lambda command: command[0],
)
def test_run_directory(train, tmp_path, pictures, command):
    workdir = tmp_path / "run"
    asked = command[0]
    command = [flag.replace("PICTURES", f"folder:{pictures}") for flag in command]
    summary = train("gan", workdir, *SMALL, *command)
    toy = asked.endswith(("ring", "grid"))
    few = "PICTURES" in asked  # too few are held out to compare samples with
    assert summary["metrics"].keys() - NAMES - GAME == (TOY if toy else set() if few else QUALITY)
    for name in ("samples", "curves", "along/00000010", "along/00000020"):
        assert np.asarray(Image.open(workdir / f"{name}.png").convert("L")).std() > 2
    with Image.open(workdir / "training.gif") as animation:
        assert getattr(animation, "n_frames", 1) == 2


@pytest.mark.slow
def test_the_ring_is_covered(train, tmp_path):
    metrics = train("gan", tmp_path / "run", "--dataset=ring", xla_flags="")["metrics"]
    assert metrics["modes_covered"] == 8 and metrics["share_near_modes"] > 0.9


@pytest.mark.slow
def test_generated_samples_are_measured(train, finish, tmp_path):
    train("gan", tmp_path / "run", *SMALL)
    status, line, err = finish("generate", f"--run={tmp_path / 'run'}", "--num=40", "--measure")
    assert status == 0, err
    assert "samples are compared in the 64 features of a classifier of digits" in err
    assert "40 samples, 500 held-out" in err
    quality = json.loads((tmp_path / "run" / "generated" / "quality.json").read_text())
    assert quality.keys() == QUALITY | MORE | {f"ppca_{name}" for name in QUALITY - OF_DATA} | {"step"}
    assert f"frechet_distance {quality['frechet_distance']:.4f}" in line


@pytest.mark.slow
def test_too_few_are_not_measured(train, finish, tmp_path):
    train("gan", tmp_path / "run", *SMALL)
    status, _, err = finish("generate", f"--run={tmp_path / 'run'}", "--num=19", "--measure")
    assert status == 2 and err.splitlines()[-1] == (
        "error: 19 examples are too few to compare; 20 are needed, of samples and held out"
    )


@pytest.mark.slow
def test_generated_samples_are_repeatable(train, finish, tmp_path):
    train("gan", tmp_path / "run", *SMALL, "--conditional")
    digests = set()
    for out in ("a", "b"):
        status, line, err = finish("generate", f"--run={tmp_path / 'run'}", "--num=20", f"--out={tmp_path / out}")
        assert status == 0, err
        digests.add(line.split("sha256 ")[1].split(";")[0])
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"clip": 0.1, "spectral_norm": True}, "`clip` and `spectral_norm` are two ways"),
        ({"num_critic_steps": 3}, "num_critic_steps: 3 does not divide `batch_size`, 256"),
        (
            {"dataset": "curve", "conditional": True},
            "conditional: a conditional model needs classes, and data set 'curve' has no labels",
        ),
        ({"dataset": "ring", "network": "dcgan"}, "network: ring has no images; use mlp"),
        ({"conditioning": "projection"}, "conditioning: it is the way in which a `conditional` discriminator learns"),
        ({"augmentation_target": 0.6}, "augmentation_target: there is no augmentation to adapt; give `augmentation`"),
        (
            {"augmentation_target": 0.6, "augmentation": ("colour",), "loss": "wasserstein"},
            "augmentation_target: the sign of a logit tells real from fake in minimax, non_saturating, hinge only",
        ),
        (
            {"normalization": "batch", "network": "style"},
            "normalization: batch applies to mlp, and to dcgan, dcgan_dense and residual of images",
        ),
        ({"normalization": "batch", "hidden": (8,)}, "hidden: batch normalization begins at the second hidden layer"),
        (
            {"normalization": "batch_both", "network": "dcgan", "features": (4,)},
            "features: batch_both begins at the second convolution; give two or more",
        ),
        (
            {"normalization": "batch_both", "penalty": "r1"},
            "penalty: with --normalization=batch_both, a logit depends on its batch and has no slope at one example",
        ),
        (
            {"normalization": "batch_both", "spectral_norm": True},
            "spectral_norm: batch normalization undoes the scale of the kernels before it",
        ),
        (
            {"normalization": "batch_both", "augmentation": ("colour",), "augmentation_target": 0.6},
            "augmentation_target: the sign of a logit that depends on its batch",
        ),
        ({"noise_inputs": True}, "noise_inputs: noise is added between the styles of --network=style"),
        (
            {"normalization": "batch", "network": "dcgan", "batch_size": 8, "shards": 8},
            "normalization: batch needs at least two examples in each shard and critic step, not 1",
        ),
        ({"self_attention": True}, "self_attention: an mlp has no map of places; use a convolutional network"),
        (
            {"self_attention": True, "network": "dcgan", "batch_size": 2**31 - 1},
            "self_attention: the weights of 16 places for each other, of 2147483647 images, would take",
        ),
        ({"top_k_steps": 10}, "top_k_steps: there is no share that falls; give `top_k`"),
        ({"dataset": "ring", "augmentation": ("cutout",)}, "augmentation: ring has no images to transform"),
    ],
)
def test_contradictory_flags_are_refused(given, problem):
    flags = gan.Flags(**given)
    dataset = data.load(flags.dataset)
    with pytest.raises(BadInput, match=re.escape(problem)):
        gan.build(gan.resolve(flags, dataset), dataset, gradients.whole_batch)


@pytest.mark.parametrize(
    "network", ["mlp", *(pytest.param(n, marks=pytest.mark.slow) for n in ("dcgan", "dcgan_dense", "residual"))]
)
@pytest.mark.parametrize("conditioning", ["concatenated", "projection", "auxiliary"])
def test_every_discriminator_learns_of_the_label_in_every_way(network, conditioning):
    small = dict(hidden=(8,), features=(4, 5), batch_size=4, spectral_norm=True)
    flags = gan.Flags(network=network, conditional=True, conditioning=conditioning, **small)
    dataset = data.load("digits")
    model = gan.build(gan.resolve(flags, dataset), dataset, gradients.whole_batch).model
    sample = model.sample
    assert sample is not None

    def trace(key):
        batch = Batch(jnp.zeros((4, 8, 8, 1)), jnp.arange(4))
        state, metrics = model.train_step(model.init(key), batch, key)
        return metrics, sample(state, 3, key, jnp.arange(3))

    metrics, samples = jax.eval_shape(trace, jax.random.key(0))
    auxiliary = {"real_cross_entropy", "fake_cross_entropy", "cross_entropy"}
    assert metrics.keys() == NAMES | (auxiliary if conditioning == "auxiliary" else set())
    assert samples.shape == (3, 8, 8, 1)


@pytest.mark.slow
def test_self_attention_is_in_both_networks():
    dataset = data.load("digits")
    flags = gan.Flags(network="residual", features=(4, 5), self_attention=True, conditional=True)
    init = gan.build(gan.resolve(flags, dataset), dataset, gradients.whole_batch).model.init
    params = jax.eval_shape(init, jax.random.key(0)).params
    assert all("attention" in params[player] for player in ("generator", "discriminator"))


@pytest.mark.slow
def test_clipping_leaves_the_probability_of_an_augmentation_alone(key):
    dataset = data.load("digits")
    flags = gan.Flags(
        hidden=(4,), batch_size=4, clip=0.01, augmentation=("colour",), augmentation_target=-1.0, augmentation_ramp=8
    )
    model = gan.build(gan.resolve(flags, dataset), dataset, gradients.whole_batch).model
    state = jax.jit(model.train_step)(model.init(key), Batch(jnp.full((4, 8, 8, 1), 0.5), None), key)[0]
    params = state.params["discriminator"]
    assert params["augmentation"]["probability"] in (0.0, 0.5)  # 0 where all four logits are negative
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(params["network"])) <= 0.01 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("conditioning", ["concatenated", "projection", "auxiliary"])
def test_neither_optimizer_nor_clipping_moves_the_averages_of_batch_normalisation(conditioning, key):
    dataset = data.load("digits")
    options = dict(network="dcgan", features=(4, 5), normalization="batch_both", conditional=True, batch_size=4)
    flags = gan.Flags(**options, conditioning=conditioning, weight_decay=0.5, optimizer="adamw", clip=0.01)
    model = gan.build(gan.resolve(flags, dataset), dataset, gradients.whole_batch).model
    state = model.init(key)
    after = jax.jit(model.train_step)(state, Batch(jnp.full((4, 8, 8, 1), 0.5), jnp.arange(4)), key)[0].params
    for player, name in (("generator", "norm_1"), ("discriminator", "norm_2")):
        assert jax.tree.leaves(state.optimizer_states[player].inner_states["frozen"]) == []
        old, new = (params[player]["batch_stats"][name] for params in (state.params, after))
        # r <- .9 r + .1 b of a variance that begins at 1 and of b >= 0
        assert (new["var"] >= 0.9 * old["var"]).all() and jnp.abs(new["mean"]).max() > 0
    clipped = jax.tree.leaves(after["discriminator"]["params"])
    assert max(float(jnp.abs(leaf).max()) for leaf in clipped) <= 0.01 + 1e-6


@pytest.mark.slow
def test_no_optimizer_moves_the_fixed_noise_of_a_style_generator(key):
    dataset = data.load("digits")
    flags = gan.Flags(network="style", features=(4, 5), noise_inputs=True, weight_decay=0.5, batch_size=4)
    model = gan.build(gan.resolve(flags, dataset), dataset, gradients.whole_batch).model
    state = model.init(key)
    after = jax.jit(model.train_step)(state, Batch(jnp.full((4, 8, 8, 1), 0.5)), key)[0]
    before, own = (each.params["generator"] for each in (state, after))
    jax.tree.map(np.testing.assert_array_equal, own["fixed_noise"], before["fixed_noise"])
    assert jnp.abs(own["params"]["style_1_2"]["noise"]["strength"]).max() > 0
    assert model.sample is not None
    np.testing.assert_array_equal(model.sample(after, 3, key), model.sample(after, 3, key))


def test_a_normalised_discriminator_has_no_penalty_by_default():
    for given, penalty in (({}, "r1"), ({"normalization": "batch"}, "r1"), ({"normalization": "batch_both"}, "none")):
        assert gan.resolve(gan.Flags(**given), None).penalty == penalty


@pytest.mark.parametrize(
    ("given", "resolved"),
    [
        ({}, (5000, 1e-3, 1e-3, 0.1, 16)),
        ({"dataset": "stacked:digits"}, (5000, 1e-3, 1e-3, 0.1, 48)),
        ({"dataset": "grid"}, (15_000, 2e-3, 2e-3, 0.003, 2)),
        ({"dataset": "grid", "penalty": "r1_r2"}, (15_000, 2e-3, 2e-3, 0.0015, 2)),
        ({"dataset": "ring", "penalty": "gradient", "learning_rate": 0.5}, (5000, 0.5, 0.5, 10, 2)),
        (
            {"num_steps": 7, "generator_learning_rate": 0.0, "penalty_weight": 0.0, "latent_dim": 3},
            (7, 1e-3, 0, 0, 3),
        ),
    ],
)
def test_defaults_follow_from_the_data_and_other_flags(given, resolved):
    names = ("num_steps", "learning_rate", "generator_learning_rate", "penalty_weight", "latent_dim")
    flags = gan.resolve(gan.Flags(**given), None)
    assert tuple(getattr(flags, name) for name in names) == resolved


@pytest.mark.slow
def test_the_penalty_of_r3gan_is_at_real_and_at_fake_points(key):
    # of the critic |x|^2 / 2 the slope at x is |x|: gamma / 2 (3^2 + 5^2)
    def critic(x):
        return jnp.sum(x**2, axis=1) / 2

    penalty = games.penalty_of(gan.Flags(penalty="r1_r2", penalty_weight=0.5))
    assert penalty is not None
    np.testing.assert_allclose(penalty(critic, jnp.full((4, 1), 3.0), jnp.full((4, 1), 5.0), key), 0.25 * (9 + 25))


def test_augmentations_follow_in_the_given_order(key):
    digits = data.load("digits")
    x = jnp.asarray(digits.train.x[:3])
    found = games.augmentation_of(gan.Flags(augmentation=("cutout", "colour")), digits)
    assert found is not None and games.augmentation_of(gan.Flags(), digits) is None
    by_hand = stochastic.in_turn(stochastic.cutout(), stochastic.colour_jitter())
    np.testing.assert_array_equal(found(x, key), by_hand(x, key))


# a game whose penalty, log(0.7 - gap), is a number for as long as the discriminator cannot tell the samples apart
DIVERGES = """
import jax.numpy as jnp
from experiments import games, gan
from genjax import runs

def penalty(critic, real, fake, key):
    return jnp.log(0.7 - (critic(real) - critic(fake)).mean())

games.penalty_of = lambda flags: penalty
runs.main(gan.EXPERIMENT)
"""


@pytest.mark.slow
def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tmp_path):
    flags_given = ["--dataset=ring", "--hidden=16", "--num_steps=400", "--checkpoint_every=5", "--eval_every=400"]
    flags_given += ["--learning_rate=0.005", "--generator_learning_rate=0"]
    command = [sys.executable, "-c", DIVERGES, *flags_given, f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 2
    said = re.fullmatch(
        r"error: train metric '(\w+)' is nan at step (\d+); stopped, the last checkpoint is that of step (\d+); .*",
        done.stderr.splitlines()[-1],
    )
    assert said and said[1] in NAMES
    last = max(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit())
    assert last == int(said[3]) == (int(said[2]) - 1) // 5 * 5 > 0
    assert not (tmp_path / "run" / "summary.json").exists()
