"""The parts of an identity swap: how an identity enters, how it is compared, and what keeps the critic smooth."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lemmas.table import Line, Shown, kolmogorov_line, largest, numpy64
from genjax import losses
from genjax.networks.identity_swap import adaptive_instance_norm
from genjax.types import Array, Key


def identity_injection(key: Key) -> Shown:
    """AdaIN gives each channel the identity's mean and deviation, whatever its own were (Huang & Belongie 2017)."""
    image_key, moments_key = jax.random.split(key)
    image = 2 + 3 * jax.random.normal(image_key, (4, 8, 8, 3))
    scale, shift = jax.random.normal(moments_key, (2, 4, 3))
    styled, again = (numpy64(adaptive_instance_norm(x, scale, shift, epsilon=0.0)) for x in (image, 2 * image + 1))
    return Shown(
        "S76 E84",
        [
            Line("AdaIN: channel means - shift, largest", largest(styled.mean((1, 2)) - shift), 0.0, 1e-12),
            Line("AdaIN: their deviations - |scale|, largest", largest(styled.std((1, 2)) - abs(scale)), 0.0, 1e-12),
            Line("AdaIN: of F and of 2F + 1, largest difference", largest(styled - again), 0.0, 1e-12),
        ],
    )


def identity_losses(key: Key) -> Shown:
    """Of unit vectors 1 - cos is half the squared distance; ArcFace's logit is s cos(theta + m) (Deng et al. 2019)."""
    margin, size = 0.4, 8.0
    v, wanted = (u / np.linalg.norm(u, axis=1, keepdims=True) for u in numpy64(jax.random.normal(key, (2, 9, 5))))
    angle = np.linspace(0.02, math.pi - margin - 0.02, 80)  # beyond pi - m it goes on as a line
    cosine, label = jnp.cos(jnp.asarray(angle))[:, None], jnp.zeros(len(angle), int)
    logits = {m: losses.arcface_logits(cosine, label, scale=size, margin=m)[:, 0] for m in (0.0, margin)}
    halved = ((v - wanted) ** 2).sum(1) / 2
    distance = losses.identity_loss(jnp.asarray(v), jnp.asarray(wanted))
    lines = [
        Line("identity loss: 1 - cos - ||v - v_S||²/2, largest", largest(distance - halved), 0.0, 1e-12),
        *(
            Line(f"ArcFace, m = {m}: logit - s cos(θ + m)", largest(found - size * np.cos(angle + m)), 0.0, 1e-7)
            for m, found in logits.items()
        ),
    ]

    def panel(ax: Any) -> None:
        for m, found in logits.items():
            ax.plot(angle, found, label=f"m = {m}")
        ax.plot(angle[::8], size * np.cos(angle[::8] + margin), "k.", label="s cos(θ + m)")
        ax.set(title="ArcFace's logit of the true class", xlabel="θ")
        ax.legend(fontsize="small", frameon=False)

    return Shown("S75 S78 E86", lines, panel)


def gradient_penalty(key: Key) -> Shown:
    """(||grad D(x^)|| - 1)^2 on the line between real and fake; of a map, D is the mean (Gulrajani et al. 2017)."""
    num, (x_key, w_key, u_key) = 5000, jax.random.split(key, 3)
    real, fake = jax.random.normal(x_key, (2, 6, 3))
    w = jax.random.normal(w_key, (3, 16))  # a map of 16 linear logits

    def penalty(critic: Any) -> Array:
        return losses.gradient_penalty(critic, real, fake, u_key)

    by_hand, summed = ((float(np.linalg.norm(total)) - 1) ** 2 for total in (numpy64(w).mean(1), numpy64(w).sum(1)))
    three, five = jnp.full((num, 1), 3.0), jnp.full((num, 1), 5.0)
    # of the critic |x|^2 / 2 the slope is |x|: the penalty shows where it looked
    places = 1 + jnp.sqrt(losses.gradient_penalty(lambda x: jnp.sum(x**2, axis=-1) / 2, three, five, u_key))
    return Shown(
        "S82 S83 E91",
        [
            Line("gradient penalty: linear critic, (||w|| - 1)²", float(penalty(lambda x: 2 * x[:, 0])[0]), 1.0, 1e-12),
            Line("gradient penalty: patches, (||mean w|| - 1)²", float(penalty(lambda x: x @ w)[0]), by_hand, 1e-10),
            Line("gradient penalty: of 16 D, (||Σ w|| - 1)²", float(penalty(lambda x: 16 * x @ w)[0]), summed, 1e-9),
            kolmogorov_line("gradient penalty: places, U[3, 5]: KS distance", places, lambda x: (x - 3) / 2),
        ],
    )
