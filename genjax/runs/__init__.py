"""Turns an experiment into a command, a run directory and a trained model.

    EXPERIMENT = runs.Experiment("vae", Flags, build, summarise)

    if __name__ == "__main__":
        runs.main(EXPERIMENT)

makes a module a command with flags. The same run from a script, and a finished run opened again:

    run = runs.train(EXPERIMENT, Flags(latent_dim=2), workdir="runs/two")
    run = runs.open("runs/two", experiment=EXPERIMENT)
"""

from genjax.runs.experiment import (
    Application,
    Built,
    Collapse,
    Experiment,
    Generator,
    Trained,
    load_named,
    read_shuffled,
)
from genjax.runs.flags import Record, flag
from genjax.runs.metrics import Metric
from genjax.runs.opening import Run, open
from genjax.runs.optimisation import optimizer
from genjax.runs.runner import main, train
from genjax.runs.settings import Flags

__all__ = [
    "Application",
    "Built",
    "Collapse",
    "Experiment",
    "Flags",
    "Generator",
    "Metric",
    "Record",
    "Run",
    "Trained",
    "flag",
    "load_named",
    "main",
    "open",
    "optimizer",
    "read_shuffled",
    "train",
]
