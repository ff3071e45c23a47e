"""`import genjax` as a notebook does it."""

import importlib.metadata
import inspect
import pydoc
import subprocess
import sys

import pytest

import genjax
from genjax.training.fit import fit
from genjax.types import Model


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_modules_are_imported_when_they_are_first_named():
    heavy = "sorted({'jax', 'flax', 'optax', 'numpy'} & {*sys.modules})"
    assert python(f"import sys, genjax; print({heavy})") == "[]"
    assert python("import genjax; print(genjax.models.vae.model.__name__)") == "model"
    assert python("import genjax; print(genjax.training.fit.fit.__name__)") == "fit"
    assert python("import genjax; print(genjax.data.batching.source.__name__)") == "source"
    assert python("import genjax; print(genjax.errors.BadInput.__name__)") == "BadInput"


def test_an_experiment_starts_without_the_libraries_that_it_may_not_need():
    late = "{'flax.nnx', 'IPython', 'orbax.checkpoint', 'matplotlib', 'sklearn', 'tensorflow_datasets'}"
    assert python(f"import sys, experiments.vae, genjax.training.fit; print(sorted({late} & {{*sys.modules}}))") == "[]"


def test_what_there_is_can_be_listed_and_what_there_is_not_is_an_attribute_error():
    assert {"models", "losses", "training", "types"} <= {*dir(genjax)}
    assert {"vae", "gan"} <= {*dir(genjax.models)}
    for package in (genjax, genjax.models, genjax.data):
        with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'modells'"):
            _ = package.modells


def test_the_version_is_that_of_the_distribution():
    assert importlib.metadata.version("genjax-autoencoders") == genjax.__version__


def test_help_names_every_part():
    page = pydoc.plain(pydoc.render_doc(genjax))
    for part in ("models", "losses", "gradients", "data", "training", "runs"):
        assert f"genjax.{part} " in page


def test_reprs_show_what_a_thing_is_and_no_addresses():
    model = Model(lambda key: None, lambda state, batch, key: None, lambda state, batch, key: None)
    assert repr(model) == "Model(init, train_step, evaluate)"
    assert repr(model._replace(sample=lambda state, num, key: None)) == "Model(init, train_step, evaluate, sample)"
    assert "0x" not in str(inspect.signature(fit))
