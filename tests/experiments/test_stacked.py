"""The page of stacked autoencoders: what it refuses, and what a run of it leaves and computes."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import apply, stacked
from genjax import data, gradients, runs
from genjax.errors import BadInput
from genjax.models import classifier
from genjax.models import stacked as model

SMALL = dict(num_steps=6, hidden=(8, 5), pretraining_steps=2, eval_every=3, log_every=2)

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(masking=(0.1, 0.2, 0.3)), r"^masking: expected one share, or 2, one per layer, not 3$"),
        (dict(pretraining_steps=3), r"^pretraining_steps: pretraining takes 6 of the 6 steps, which leaves none"),
    ],
)
def test_flags_that_do_not_fit_are_named(given, said):
    with pytest.raises(BadInput, match=said):
        stacked.build(stacked.Flags(**SMALL | given), data.load("digits"), gradients.whole_batch)


@pytest.mark.slow
def test_a_run_draws_its_units_and_gives_classes_and_features(tmp_path, monkeypatch):
    monkeypatch.setenv("NPROC", "4")
    run = runs.train(stacked.EXPERIMENT, stacked.Flags(**SMALL), workdir=tmp_path / "run")
    assert {"features.png", "mistakes.png"} <= {path.name for path in run.directory.iterdir()}
    x = data.load("digits").test.x[:7]
    np.save(tmp_path / "given.npy", x)
    parts, scaled = model.as_classifier(run.parts), jnp.float32(x) / 16
    for to, function in (("features", classifier.features), ("probabilities", classifier.probabilities)):
        out = tmp_path / f"{to}.npz"
        apply.main(apply.Flags(run=str(run.directory), input=str(tmp_path / "given.npy"), out=str(out), to=to))
        np.testing.assert_allclose(np.load(out)[to], function(run.params, scaled, parts=parts), atol=1e-5)
    assert np.load(tmp_path / "features.npz")["features"].shape == (7, 5)
