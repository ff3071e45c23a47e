"""Identity encoder and swap as a user runs them: what they leave behind, encoders found again, folders of people."""

import json
import shutil

import numpy as np
import pytest
from absl import flags
from PIL import Image

from experiments import common, identity_swap
from genjax import data
from genjax.data import pairs
from genjax.models.identity_swap import FREER

SMALL = (
    "--num_steps=4",
    "--encoder_steps=3",
    "--regressor_steps=3",
    "--image_size=16",
    "--features=4,6",
    "--discriminator_features=4,6",
)
SWAP = (*SMALL, "--encoder_noise=0,0.1", "--num_blocks=1", "--eval_every=4", "--batch_size=8")
MEASURED = {"psnr", "face_psnr", "error_reduction", "face_error_reduction", "background_error", "identified"}
IDENTIFIED = {"rank1", "rank1_is_target", "cosine_to_source"}


@pytest.mark.parametrize(
    ("given", "batch_size", "num_encoders", "widths", "regressor_steps", "losses"),
    [
        pytest.param(["--schedule=full"], 16, 4, ["48", "96", "192"], 4000, FREER, id="by the schedule"),
        pytest.param(
            [
                *("--schedule=full", "--batch_size=5", "--encoder_noise=0,1", "--regressor_steps=0"),
                *("--identity_weight=0", "--identity_noise=7", "--encoder_features=8,9"),
            ],
            5,
            2,
            ["8", "9"],
            0,
            FREER._replace(identity_weight=0, identity_noise=7),
            id="in the schedule's place",
        ),
    ],
)
def test_flags_stand_before_the_schedule(own_flags, given, batch_size, num_encoders, widths, regressor_steps, losses):
    identity_swap.EXPERIMENT.define_flags()
    flags.FLAGS(["", *given])
    config = common.configuration("identity_swap", flags.FLAGS)
    identity_swap.EXPERIMENT.resolve(config)
    assert (config.batch_size, config.regressor_steps) == (batch_size, regressor_steps)
    encoders = identity_swap.encoders_to_learn_from(config)
    assert [encoder.features for encoder in encoders] == [widths] * num_encoders
    assert identity_swap.build_parts(config, data.load("faces")).losses == losses


@pytest.fixture
def people(tmp_path):
    """Four people with ten grey pictures each, in subfolders.

    A pattern of light and dark is a person's own; two stronger ones, of either sign, are in everybody's pictures, so
    that an encoder has to learn which to look at.
    """
    draw = np.random.RandomState(0)
    own, shared = draw.choice([-1, 1], (4, 4, 4)), draw.choice([-1, 1], (2, 4, 4))
    for person in range(4):
        folder = tmp_path / "people" / f"person{person}"
        folder.mkdir(parents=True)
        for index in range(10):
            width, height = size = (10 + index, 12 + person)  # of any size
            strength = draw.choice([-1, 1], 2) * draw.uniform(0.5, 1, 2)
            pattern = 128 + 30 * own[person] + 40 * np.tensordot(strength, shared, 1)
            drawn = np.asarray(Image.fromarray(np.clip(pattern, 0, 255).astype(np.uint8)).resize(size))
            pixels = np.clip(drawn + draw.normal(0, 5, (height, width)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "people"


@pytest.mark.slow
def test_a_swap_from_nothing_and_its_encoders_found_again(train, finish, tmp_path):
    summary = train("identity_swap", tmp_path / "run", *SWAP)
    metrics = summary["metrics"]
    assert metrics.keys() >= MEASURED | IDENTIFIED | {f"colour_{name}" for name in MEASURED | IDENTIFIED}
    assert metrics["target_error_reduction"] == 0 and metrics["ideal_error_reduction"] == 1
    assert metrics["ideal_identified"] == 1 and metrics["target_identified"] == 0
    assert metrics["target_background_error"] == 0 and metrics["source_background_error"] > 0.1
    assert "background_attribute_error" in metrics
    for name in ("swaps", "table", "curves"):
        assert np.asarray(Image.open(tmp_path / "run" / f"{name}.png").convert("L")).std() > 2
    with Image.open(tmp_path / "run" / "swaps.png") as picture:
        assert "synthetic" in picture.info["Comment"]
    encoders = sorted(path.name for path in tmp_path.glob("identity_encoder-faces-*"))
    assert len(encoders) == 3  # two to learn from and one to be scored by
    status, _, err = finish(
        "identity_swap", *SWAP, "--seed=1", "--regressor_steps=0", f"--workdir={tmp_path / 'other'}"
    )
    assert status == 0 and "training a identity_encoder" not in err
    assert sorted(path.name for path in tmp_path.glob("identity_encoder-faces-*")) == encoders
    other = json.loads((tmp_path / "other" / "summary.json").read_text())
    assert other["params_sha256"] != summary["params_sha256"]
    assert metrics.keys() - other["metrics"].keys() == {name for name in metrics if name.endswith("_attribute_error")}
    for wrong in ("much", "0.1,-0.1", "nan"):
        status, _, err = finish("identity_swap", *SWAP, f"--encoder_noise={wrong}")
        assert status == 2 and err.splitlines()[-1].endswith("give standard deviations of 0 or more"), err
    status, _, err = finish("identity_swap", *SWAP, "--encoder_features=32,wide")
    assert status == 2 and "--encoder_features=32,wide: give positive whole numbers" in err.splitlines()[-1], err


@pytest.mark.slow
def test_two_pictures_are_swapped(train, finish, tmp_path, people):
    train("identity_swap", tmp_path / "run", *SWAP)
    for encoder in tmp_path.glob("identity_encoder-*"):  # a run is whole without them
        shutil.rmtree(encoder)
    pictures = [people / f"person{person}" / "0.png" for person in (0, 3)]
    out = tmp_path / "swapped.png"
    flags = (f"--run={tmp_path / 'run'}", f"--target={pictures[0]}", f"--source={pictures[1]}")
    status, line, err = finish("swap_faces", *flags, f"--out={out}")
    assert status == 0 and str(out) in line, err
    assert not list(tmp_path.glob("identity_encoder-*"))
    with Image.open(out) as picture:
        assert picture.size == (16, 16) and picture.mode == "RGB" and "synthetic" in picture.info["Comment"]
    for wrong, said in (
        (flags[:2], "--source is missing: give a run, a target and a source"),
        ((*flags[:2], f"--source={tmp_path / 'none.png'}"), "none.png is unreadable"),
        ((f"--run={tmp_path / 'none'}", *flags[1:]), "is not a finished run"),
    ):
        status, _, err = finish("swap_faces", *wrong)
        assert status == 2 and said in err.splitlines()[-1]


@pytest.fixture
def forty_people(tmp_path):
    """Forty rendered people with ten grey pictures each."""
    drawn = pairs.rendered_pictures(range(2000, 2040), each=10, stream=20, size=20)
    for number, (x, label) in enumerate(zip(drawn.x, drawn.label, strict=True)):
        folder = tmp_path / "forty" / f"person{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).convert("L").save(folder / f"{number}.png")
    return tmp_path / "forty"


@pytest.mark.slow
def test_people_in_folders_are_swapped_without_a_truth(train, tmp_path, forty_people):
    flags = (*SWAP[:-1], "--batch_size=16", f"--dataset=folder:{forty_people}")
    metrics = train("identity_swap", tmp_path / "run", *flags)["metrics"]
    assert {"cosine_to_source", "cosine_to_target"} <= metrics.keys()
    assert not MEASURED & metrics.keys()
    assert np.asarray(Image.open(tmp_path / "run" / "swaps.png").convert("L")).std() > 2


@pytest.mark.slow
def test_an_encoder_is_measured_on_identities_it_never_saw(train, tmp_path, people):
    flags = ("--num_steps=40", "--image_size=16", "--pictures_each=4", "--features=8,16", "--eval_every=40")
    metrics = train("identity_encoder", tmp_path / "faces", *flags)["metrics"]
    assert 0.5 < metrics["verification_auroc"] < 1 and 0.02 < metrics["rank1"] < 1
    assert 0.02 < metrics["colour_rank1"] < 1  # of 100
    flags = ("--num_steps=200", "--features=8", "--image_size=8", "--eval_every=200", "--batch_size=16")
    flags = (*flags, f"--dataset=folder:{people}")
    metrics = train("identity_encoder", tmp_path / "people-run", *flags)["metrics"]
    assert metrics["rank1"] > 0.8


@pytest.mark.slow
def test_identities_never_seen_are_told_apart(train, tmp_path):
    metrics = train("identity_encoder", tmp_path / "run", "--num_steps=1500", "--cpu_threads=1", xla_flags="")[
        "metrics"
    ]
    assert metrics["verification_auroc"] >= 0.96 and metrics["rank1"] >= 0.70
    assert metrics["colour_rank1"] < 0.2  # what the colour of the skin alone would tell
