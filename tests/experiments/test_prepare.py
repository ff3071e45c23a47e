"""The page that prepares data sets, as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.prepare", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def data_dir(tmp_path):
    class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(3, 2, 3)),
                "label": tfds.features.ClassLabel(num_classes=2),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(4), "test": self._generate_examples(2)}

        def _generate_examples(self, num):
            for i in range(num):
                yield i, {"image": Image.fromarray(np.full((3, 2, 3), i, np.uint8)), "label": i % 2}

    tfds.disable_progress_bar()
    Tiny(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    return tmp_path


def test_what_is_prepared_is_described_on_one_line(data_dir):
    done = run("--dataset=tiny", f"--data_dir={data_dir}")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"tiny: train 4, test 2 of \[3, 2, 3\] uint8, 2 classes, fingerprint [0-9a-f]{64}\n", done.stdout
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=mnist", "--archives=."], "train-images-idx3-ubyte.gz (9912422 bytes, sha256 440fcabf73cc546fa"),
        pytest.param(["--dataset=mnits"], "unknown data set 'mnits'; did you mean 'mnist'?", marks=pytest.mark.slow),
        pytest.param([], "--dataset", marks=pytest.mark.slow),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, arguments, message):
    done = run(f"--data_dir={tmp_path}", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert [*tmp_path.iterdir()] == []
