"""A small run of a real page, trained in this process."""

import os

import pytest

from experiments import vae
from genjax import runs
from genjax.runs import runner

SMALL = dict(num_steps=20, hidden=(8,), latent_dim=2, eval_every=10, checkpoint_every=10, log_every=5)


@pytest.fixture(scope="module")
def start():
    """Trains a small VAE, or goes on with it: `start(workdir, **flags)`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPROC", "4")  # what a command would set before the backend starts
        patch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])
        patch.setattr(runner, "keep_compiled", lambda: None)

        def start(workdir, **flags):
            return runs.train(vae.EXPERIMENT, vae.Flags(**SMALL | flags), workdir=workdir)

        yield start


@pytest.fixture(scope="module")
def honest(start, tmp_path_factory):
    """The directory of a finished run."""
    workdir = tmp_path_factory.mktemp("honest") / "run"
    start(workdir)
    return workdir
