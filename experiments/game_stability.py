"""Who wins an adversarial game, as a measure of each evaluation: has a player lost its hold, are the samples all alike?

A game is lost in two ways. Where the discriminator tells every example apart and is flat at the samples, the generator
has no gradient to follow. Where the samples are all alike, the generator has left the data, whether the discriminator
notices or not. Neither is said of the first updates, when the players are as they were drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from numpy.typing import ArrayLike

from genjax import runs
from genjax.evaluation.detection import auroc
from genjax.models import gan
from genjax.types import Array, Batch, Key, Params, StatefulNetwork

NUM_PLAYED, NUM_SPREAD = 500, 2000  # examples that the game is played on, and samples whose variance is taken
FIRST = 500  # updates before anything is said
WON, FLAT = 0.999, 1e-4  # AUROC of a discriminator that has won, and the norm of the gradient that it leaves
ALIKE, NARROW = 0.01, 0.1  # ratios of variances of samples that are all alike, and of those that hardly differ
COLLAPSED, COLLAPSED_FOR = 3, 1000  # evaluations in a row and updates between them with samples that are all alike
Line = Mapping[str, Any]  # an evaluation: its step and metrics


def measure(trained: runs.Trained, samples: ArrayLike) -> dict[str, float]:
    """How the game stands, at the parameters for evaluation.

        discriminator_auroc = P(a(x) > a(G(z))) + 1/2 P(a(x) = a(G(z)))
        generator_gradient_norm = ||grad_G E[L_G]||
        sample_variance_ratio = sum_d Var[G(z)_d] / sum_d Var[x_d]

    Args:
      trained: of the parts `gan.GAN`; x are held-out examples.
      samples: G(z), [N, ...].
    """
    real, fake, norm = play(trained.params, Batch(*trained.shown(NUM_PLAYED)), trained.key, parts=trained.parts)
    game = {
        "discriminator_auroc": auroc(np.asarray(fake), np.asarray(real)),
        "generator_gradient_norm": float(norm),
    }
    of_data = total_variance(trained.examples.x)
    ratio = {"sample_variance_ratio": total_variance(np.asarray(samples)[:NUM_SPREAD]) / of_data} if of_data else {}
    return game | ratio


@partial(jax.jit, static_argnames="parts")
def play(params: Params, batch: Batch, key: Key, *, parts: gan.GAN) -> tuple[Array, Array, Array]:
    """Logits of a batch and of as many samples, both [B], and the norm of the gradient of the generator's mean loss.

    A discriminator with batch normalisation judges both by their own moments, as in the game that it plays.
    """
    own, other = params["generator"], params["discriminator"]
    evaluation = not isinstance(parts.discriminator, StatefulNetwork)
    _, logits, *_ = gan.discriminator_objective(parts, evaluation=evaluation)(other, {"generator": own}, batch, key)

    def loss(generator: Params) -> Array:
        objective = gan.generator_objective(parts, evaluation=evaluation)
        return objective(generator, {"discriminator": other}, batch, key)[0].mean()

    return logits["real_logit"], logits["fake_logit"], optax.tree.norm(jax.grad(loss)(own))


def total_variance(x: ArrayLike) -> float:
    """Sum of the variances of all features: x [N, ...] -> a number in squared units."""
    return float(np.var(np.asarray(x, np.float64), axis=0).sum())


def remark(line: Line, flags: Any) -> str | None:
    """What an evaluation says of the game, and which flags to change; None where nothing is known to be wrong.

    Args:
      line: the step, with the metrics of `measure` if the run has them, and at the last step with `modes_covered` and
        `modes_expected` if it counts modes.
      flags: those of the game: `loss`, `penalty`, `clip`, `spectral_norm`, `normalization` and `num_steps`.
    """
    if line["step"] < FIRST or "sample_variance_ratio" not in line:
        return None
    separation, norm = line["discriminator_auroc"], line["generator_gradient_norm"]
    ratio = line["sample_variance_ratio"]
    spread = f"the variance of the samples is {ratio:.1g} of the data's"
    lost = separation >= WON and norm < FLAT
    said = f"at step {line['step']} "
    if lost and ratio >= ALIKE:
        return f"{said}the discriminator has won: it leaves the generator a gradient of {norm:.1g}; {_weaken(flags)}"
    if ratio >= NARROW:
        few = line["step"] == flags.num_steps and line.get("modes_covered", 1) < line.get("modes_expected", 0) / 2
        return f"{said}{_missing(line, flags)}" if few else None
    said += f"the samples {'are all alike' if ratio < ALIKE else 'hardly differ'}: {spread}"
    if lost:
        return f"{said}, and the generator has no gradient left; lower generator_learning_rate and {_weaken(flags)}"
    if ratio < ALIKE:  # the order of a single point among the data is not who wins
        return f"{said}; lower generator_learning_rate, since such a generator is not brought back by a penalty"
    if separation <= 0.6:
        penalised = " or penalty_weight" if flags.penalty != "none" else ""
        return (
            f"{said}, and the discriminator does not tell them from data (AUROC {separation:.2f}): the generator has "
            f"won; raise learning_rate or num_critic_steps, or lower generator_learning_rate{penalised}"
        )
    return f"{said}; {_either('lower generator_learning_rate', 'raise num_critic_steps', *_smoothen(flags))}"


def _missing(line: Line, flags: Any) -> str:
    advice = _either("raise num_steps or batch_size", *_smoothen(flags), "take the loss relativistic with r1_r2")
    return (
        f"the samples cover {line['modes_covered']:.0f} modes, where as many draws of equal modes cover "
        f"{line['modes_expected']:.0f}; {advice}"
    )


def _weaken(flags: Any) -> str:
    """The flags by which the discriminator of a game is weakened."""
    loss = ["take the loss non_saturating"] if flags.loss == "minimax" else []
    return _either("lower learning_rate", *_smoothen(flags), *loss)


def _smoothen(flags: Any) -> list[str]:
    """The flags by which the slope of the discriminator is bounded more tightly, if there is a way."""
    if flags.penalty != "none":
        return ["raise penalty_weight"]
    if flags.clip is not None or flags.spectral_norm:
        return []
    batches = "the normalization batch and " if flags.normalization == "batch_both" else ""
    return [f"take {batches}a penalty, such as r1"]


def _either(*advice: str) -> str:
    return ", or ".join(advice)


def expected_modes(num_modes: int, num_samples: int) -> float:
    """How many of K equal modes N independent draws cover on average, K (1 - (1 - 1/K)^N)."""
    return num_modes * (1 - (1 - 1 / num_modes) ** num_samples)


def collapsed_since(lines: Sequence[Line], num_steps: int) -> int | None:
    """The step since which a run has collapsed for good; None if it has not.

    The samples of the last evaluations are all alike: at least three in a row after the first 500 updates, over 1000
    updates or more. They differed before, or half of the training is over. The step is that of the first evaluation in
    the row whose samples are alike, however early, since no checkpoint from after it is good.

    Args:
      lines: all evaluations so far, in order.
      num_steps: updates of the whole run.
    """
    ratios = [line.get("sample_variance_ratio", 1.0) for line in lines]
    in_a_row = next((i for i, ratio in enumerate(reversed(ratios)) if ratio >= ALIKE), len(ratios))
    alike = [line["step"] for line in lines[len(lines) - in_a_row :]]
    counted = [step for step in alike if step >= FIRST]
    if len(counted) < COLLAPSED or counted[-1] - counted[0] < COLLAPSED_FOR:
        return None
    differed = any(line.get("sample_variance_ratio", 0.0) >= NARROW for line in lines[:-in_a_row])
    return alike[0] if differed or alike[-1] >= num_steps / 2 else None
