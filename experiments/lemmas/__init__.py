"""Lemmas behind autoencoders, VAEs and GANs, each computed and compared with what theory predicts.

    python -m experiments.lemmas

It prints a line for each (value, oracle, error, tolerance), draws `lemmas.png`, and exits with status 1 if any is out
of tolerance. The last column names the items of the specification (S04 to S87), the equations of the lecture slides on
autoencoders in parentheses, and the errata (E01 to E102) that a lemma settles.

Draws are held to 4 standard errors, or to the Kolmogorov-Smirnov distance that one honest sample in a thousand
exceeds, so that an unlucky --seed can fail too. It takes less than two minutes on two CPU cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments.lemmas import (
    adversarial,
    autoencoders,
    foundations,
    identity_swap,
    information_theory,
    learning,
    sampling,
    variational,
)
from experiments.lemmas.table import Shown
from genjax.drawing import saving
from genjax.types import Key

# a lemma's place is in its key, so new ones come last; they are shown in the order of their items
LEMMAS: tuple[Callable[[Key], Shown], ...] = (
    foundations.universal_approximation,
    foundations.generative_and_discriminative,
    autoencoders.linear_autoencoder_is_pca,
    sampling.inverse_transform,
    sampling.sum_of_uniforms,
    sampling.gradient_estimators,
    variational.closed_form_kl,
    variational.evidence_decomposition,
    variational.importance_identity,
    variational.two_path_gradient,
    adversarial.gan_equilibrium,
    learning.gradient_descent,
    learning.maximum_likelihood,
    learning.maximum_a_posteriori,
    learning.tikhonov,
    autoencoders.spectral_decomposition,
    autoencoders.denoising_is_a_wiener_filter,
    autoencoders.contractive_penalty,
    autoencoders.sparse_code,
    sampling.stochastic_network,
    information_theory.entropy_and_divergence,
    information_theory.mutual_information,
    variational.mean_field,
    variational.linear_vae,
    variational.full_covariance,
    adversarial.gan_on_a_line,
    identity_swap.identity_losses,
    identity_swap.identity_injection,
    identity_swap.gradient_penalty,
)


def draw(path: Path, panels: Sequence[Callable[[Any], None]]) -> None:
    """Writes the panels as one picture, four in a row."""
    from matplotlib.figure import Figure

    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.4 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax, panel in zip(axes, panels, strict=False):
        panel(ax)
    for ax in axes[len(panels) :]:
        ax.remove()
    saving.save(figure, path, dpi=110)


def check(workdir: Path, *, seed: int) -> int:
    """Computes every lemma, prints the table and draws the picture: 0 if all hold, else 1."""
    with jax.enable_x64(True):
        key = jax.random.key(seed)
        shown = [lemma(jax.random.fold_in(key, number)) for number, lemma in enumerate(LEMMAS)]
        shown.sort(key=lambda one: one.item)
        panels = [one.panel for one in shown if one.panel]
        if panels:
            draw(workdir / "lemmas.png", panels)
    lines = [line for one in shown for line in one.lines]
    wide = max(len(line.says) for line in lines)
    print(f"{'lemma':{wide}}  {'value':>13}  {'oracle':>13}  {'error':>9}  {'tolerance':>9}        item")
    for one in shown:
        for line in one.lines:
            print(
                f"{line.says:{wide}}  {line.value:13.8g}  {line.oracle:13.8g}  {line.error:9.2e}  "
                f"{line.tolerance:9.2e}  {'pass' if line.holds else 'FAIL'}  {one.item}".rstrip()
            )
    failed = [line.says for line in lines if not line.holds]
    print(
        f"lemmas: {len(lines) - len(failed)} of {len(lines)} hold" + (f"; not: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0
