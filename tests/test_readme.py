"""The README's code runs as it stands, and does what the page says of it."""

import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def namespace():
    """The page's blocks, run one after the other as a reader would."""
    names: dict = {}
    names["states"] = []
    for block in BLOCKS:
        exec(block, names)
        names["states"].append(names["state"])
    return names


def test_hand_written_networks_train_and_sample(namespace):
    assert int(namespace["states"][0].step) == 200
    assert namespace["images"].shape == (16, 8, 8, 1)
    assert 0 <= float(namespace["images"].min()) and float(namespace["images"].max()) <= 1


def test_an_objective_of_three_terms_trains_other_params(namespace):
    first, second = (namespace["states"][i].params["decoder"] for i in (0, 1))
    assert np.isfinite(second).all() and not np.array_equal(first, second)


def test_a_whole_new_model_learns_and_is_under_forty_lines(namespace):
    code = [line for line in BLOCKS[2].splitlines() if line.strip()]
    model = code[
        code.index("class State(NamedTuple):") : code.index(
            "halves = networks.mlp((4, 8, 1), (4, 8, 1), hidden=(100,), activation=jax.nn.relu)"
        )
    ]
    assert len(model) < 40
    tests = [value for _, split, value in namespace["lines"] if split == "test"]
    assert len(tests) == 2 and tests[1] < tests[0] < 32 * np.log(2)
