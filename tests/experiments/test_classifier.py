"""The page of the classifier: its table of mistakes, what it leaves behind, and the accuracy it claims."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import mistakes


def test_the_most_certain_mistake_of_each_kind_is_shown():
    # images of one pixel, whose value names them
    x = np.array([0.1, 0.2, 0.3, 0.4])[:, None, None, None]
    truth = np.array([0, 0, 4, 4])
    probabilities = np.zeros((4, 6))
    probabilities[[0, 1, 2, 3], [2, 2, 0, 2]] = [0.9, 0.6, 0.5, 0.7]
    classes, table = mistakes.by_class(x, truth, probabilities)
    assert classes.tolist() == [0, 2, 4]
    expected = np.ones((3, 3))
    expected[0, 1], expected[2, 0], expected[2, 1] = 0.1, 0.3, 0.4
    np.testing.assert_allclose(table[..., 0, 0, 0], expected)
    # of more classes those with the most mistakes, and only what is between them
    classes, table = mistakes.by_class(x, truth, probabilities, at_most=2)
    assert classes.tolist() == [0, 2]
    np.testing.assert_allclose(table[..., 0, 0, 0], [[1, 0.1], [1, 1]])


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [(), ("--network=convolutional", "--features=4,8", "--dataset=PICTURES", "--batch_size=16")]
)
def test_run_directory(train, tmp_path, pictures, flags):
    workdir, flags = tmp_path / "run", [flag.replace("PICTURES", f"folder:{pictures}") for flag in flags]
    summary = train("classifier", workdir, "--num_steps=4", "--log_every=2", "--eval_every=2", *flags)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["split"]) for line in lines] == [(s, w) for s in (2, 4) for w in ("train", "test")]
    assert summary["metrics"].keys() == {"loss", "cross_entropy", "accuracy"}
    assert summary["metrics"]["loss"] == summary["metrics"]["cross_entropy"]
    assert np.asarray(Image.open(workdir / "mistakes.png").convert("L")).std() > 5


@pytest.mark.slow
def test_data_without_classes_are_refused(finish, tmp_path):
    status, _, err = finish("classifier", "--dataset=curve", f"--workdir={tmp_path / 'run'}")
    assert (
        status == 2
        and "a classifier needs 2 classes or more, and data set 'curve' has no labels" in err.splitlines()[-1]
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_reaches_its_mark_on_digits(train, tmp_path, seed):
    metrics = train("classifier", tmp_path / "run", f"--seed={seed}")["metrics"]
    assert metrics["accuracy"] >= 0.96 and metrics["cross_entropy"] < 0.12
