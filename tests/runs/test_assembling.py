"""What flags come to before anything is trained."""

import numpy as np
import pytest

from experiments import vae
from genjax import data
from genjax.errors import BadInput
from genjax.runs import assembling


def test_the_default_batch_is_at_most_all_training_examples_and_another_one_is_refused(capsys):
    x = np.random.RandomState(0).rand(90, 4, 4, 1).astype(np.float32)
    few = vae.EXPERIMENT._replace(load=lambda flags: data.from_arrays("few", x[:80], x[80:]))
    assembled = assembling.assemble(few, vae.Flags(hidden=(4,)))
    assert assembled.flags.batch_size == 80
    assert capsys.readouterr().err == "note: batch_size is 80, as there are no more training examples\n"
    with pytest.raises(BadInput, match="expected a number from 1 to 80, the number of training examples, not 100"):
        assembling.assemble(few, vae.Flags(hidden=(4,), batch_size=100))
    assert assembling.assemble(few, vae.Flags(hidden=(4,), batch_size=50)).flags.batch_size == 50
