"""Identity encoder and swap as a user runs them: what they leave behind, encoders found again, folders of people."""

import json
import shutil
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import identity_swap, swap_judges
from genjax import data, gradients
from genjax.data import pairs
from genjax.errors import BadInput
from genjax.losses import weighted
from genjax.models.identity_swap import BRIEF, FREER
from genjax.runs import auxiliary, claiming, directory, recording
from genjax.runs.settings import NOT_IDENTITY
from genjax.training import checkpoint, digest

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
    ("given", "sizes", "noise", "widths", "losses"),
    [
        pytest.param({}, (600, 8, 600, 0, 100), [0.05], (32, 64, 128), BRIEF, id="quick"),
        pytest.param(
            {"schedule": "full"},
            (8000, 16, 4000, 4000, 100),
            [0.03, 0.05, 0.1, 0.2],
            (48, 96, 192),
            FREER,
            id="full",
        ),
        pytest.param(
            dict(
                schedule="full",
                num_steps=40,
                batch_size=5,
                encoder_noise=(0, 1),
                regressor_steps=0,
                identity_weight=0,
                matched_maps=3,
                penalty_weight=7,
                encoder_features=(8, 9),
            ),
            (40, 5, 4000, 0, 10),
            [0, 1],
            (8, 9),
            FREER._replace(identity_weight=0, matched_maps=3, penalty_weight=7),
            id="in the preset's place",
        ),
    ],
)
def test_flags_take_the_place_of_the_preset(given, sizes, noise, widths, losses):
    flags = identity_swap.resolve(identity_swap.Flags(**given), None)
    names = ("num_steps", "batch_size", "encoder_steps", "regressor_steps", "learning_rate_warm_up")
    assert tuple(getattr(flags, name) for name in names) == sizes
    encoders = swap_judges.encoders_to_learn_from(flags, identity_swap.PRESETS[flags.schedule].pictures_each)
    assert [encoder.noise for encoder in encoders] == noise
    assert [encoder.seed for encoder in encoders] == list(range(len(noise)))
    assert {encoder.features for encoder in encoders} == {widths}
    assert identity_swap.terms(flags) == losses


def test_alpha_weighs_the_players_and_more_maps_than_there_are_are_refused():
    flags = identity_swap.resolve(identity_swap.Flags(alpha=0.25), None)
    real, fake = np.array([2.0, -1.0]), np.array([0.5, 3.0])
    for own, expected in zip(
        identity_swap.terms(flags).adversarial, weighted(BRIEF.adversarial, alpha=0.25), strict=True
    ):
        np.testing.assert_array_equal(own(real, fake), expected(real, fake))
    assert identity_swap.terms(flags.replace(matched_maps=4)).matched_maps == 4
    with pytest.raises(BadInput, match="matched_maps: 5 is too many: the discriminator has 4 hidden maps"):
        identity_swap.terms(flags.replace(matched_maps=5))


SQUARES = identity_swap.Flags(
    dataset="digits",
    num_steps=2,
    batch_size=2,
    features=(4,),
    discriminator_features=(4,),
    num_blocks=1,
    encoder_features=(4, 6),
    encoder_noise=(0, 0.1),
)


@pytest.mark.slow
def test_nothing_is_trained_to_build_a_swap_and_its_encoders_come_with_its_directory(tmp_path, monkeypatch):
    trained = []

    def train(model, source, *, seed, num_steps, **options):
        trained.append((seed, num_steps))
        return jax.jit(model.init)(jax.random.key(100 + seed))

    monkeypatch.setattr(auxiliary, "fit", train)
    dataset = data.load("digits")
    flags = identity_swap.resolve(SQUARES, dataset)
    built = identity_swap.build(flags, dataset, gradients.whole_batch)
    assert not trained
    prepared = identity_swap.prepare(flags, dataset, built, tmp_path)
    assert trained == [(0, 600), (1, 600), (1, 600)]  # two to learn from, and one to be scored by
    before, after = (
        jax.jit(lambda key, init=made.model.init: init(key).frozen["identity"])(jax.random.key(0))
        for made in (built, prepared)
    )
    for body, fresh in zip(after, before, strict=True):
        different = jax.tree.map(lambda a, b: a.shape == b.shape and bool(np.any(a != b)), body, fresh)
        assert any(jax.tree.leaves(different))
    v = prepared.auxiliaries.encode(np.float32(dataset.test.x[:5] / 16))
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, rtol=1e-5)
    identity_swap.prepare(flags, dataset, built, tmp_path)
    assert len(trained) == 3  # found again


@pytest.mark.slow
def test_a_finished_run_and_a_directory_of_other_flags_train_no_encoder(finish, tmp_path):
    workdir = tmp_path / "run"
    flags = identity_swap.resolve(SQUARES, None)
    config = claiming.config(identity_swap.EXPERIMENT, flags)
    directory.claim(workdir, config, free=NOT_IDENTITY)
    given = [
        f"--{name}={','.join(map(str, np.atleast_1d(getattr(SQUARES, name))))}"
        for name in (
            "dataset",
            "num_steps",
            "batch_size",
            "features",
            "discriminator_features",
            "num_blocks",
            "encoder_features",
            "encoder_noise",
        )
    ]
    status, _, err = finish("identity_swap", *given, "--seed=1", f"--workdir={workdir}")
    assert status == 2 and "training" not in err and "--seed" in err.splitlines()[-1], err
    dataset = data.load("digits")
    manifest = directory.manifest(seed=0, data_fingerprint=dataset.fingerprint)
    manifest = directory.open_manifest(workdir, manifest, config, warn=pytest.fail, free=NOT_IDENTITY)
    state = identity_swap.build(flags, dataset, gradients.whole_batch).model.init(jax.random.key(0))
    with checkpoint.Checkpoints(workdir / "checkpoints", keep=2, run=manifest["run"]) as checkpoints:
        checkpoints.save(2, state)
    (workdir / "metrics.jsonl").write_text(json.dumps({"step": 2, "split": "test", "loss": 1.0}) + "\n")
    speed = {"num_steps": 2, "seconds": 1.0, "steps_per_second": 2.0}
    built: Any = None  # the end needs neither the model nor the source
    setting = recording.Setting(identity_swap.EXPERIMENT, built, dataset, built, manifest, pytest.fail)
    recording.write_end(workdir, setting, speed, {"loss": 1.0}, digest.params_sha256(state.params))
    status, out, err = finish("identity_swap", *given, f"--workdir={workdir}")
    assert status == 0 and "already finished" in out and "training" not in err, err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_an_encoder_that_has_learned_nothing_is_named(tmp_path, monkeypatch, capsys):
    def untrained(model, source, **options):
        return jax.jit(model.init)(jax.random.key(0))

    def by_heart(model, source, **options):
        """A body that sums pixels, of pictures whose sum is their label's own direction."""
        state = untrained(model, source)
        v = swap_judges.encode(state.params["body"], x, parts=parts)
        means = np.stack([np.mean(np.asarray(v)[label == c], axis=0) for c in range(10)])
        return state._replace(params=state.params | {"classes": means})

    dataset = data.load("digits")
    flags = identity_swap.resolve(SQUARES, dataset)
    own = swap_judges.encoders_to_learn_from(flags, 12)[:1]
    parts = swap_judges.encoder_parts(own[0], dataset)
    x, label = np.float32(dataset.train.x[:500] / 16), np.asarray(dataset.train.label)[:500]
    monkeypatch.setattr(auxiliary, "fit", untrained)
    for cache in ("new", "found"):
        del cache
        swap_judges.find_or_train_encoders(own, dataset, tmp_path / "nothing")
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("warning: the identity encoder to learn from in ")
        assert "no better than chance, after 600 steps; give more --encoder_steps" in lines[-1]
    monkeypatch.setattr(auxiliary, "fit", by_heart)
    swap_judges.find_or_train_encoders(own, dataset, tmp_path / "something")
    assert "warning" not in capsys.readouterr().err


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
    assert "background_attribute_error" in metrics and metrics["ideal_pose_attribute_floor"] > 0
    for others in ("seen", "alike"):
        assert metrics[f"ideal_{others}_identified"] == metrics[f"ideal_{others}_face_error_reduction"] == 1
        assert 0 <= metrics[f"{others}_rank1"] <= 1 and metrics[f"{others}_face_error_reduction"] < 1
    for name in ("swaps", "table", "curves"):
        assert np.asarray(Image.open(tmp_path / "run" / f"{name}.png").convert("L")).std() > 2
    with Image.open(tmp_path / "run" / "swaps.png") as picture:
        assert "synthetic" in picture.info["Comment"]
    encoders = sorted(path.name for path in tmp_path.glob("identity_encoder-*"))
    assert len(encoders) == 3  # two to learn from and one to be scored by
    status, _, err = finish(
        "identity_swap", *SWAP, "--seed=1", "--regressor_steps=0", f"--workdir={tmp_path / 'other'}"
    )
    assert status == 0 and "training the identity encoder" not in err
    assert "warning: the identity encoder to score swaps by in " in err  # 3 steps teach it nothing
    assert sorted(path.name for path in tmp_path.glob("identity_encoder-*")) == encoders
    other = json.loads((tmp_path / "other" / "summary.json").read_text())
    assert other["params_sha256"] != summary["params_sha256"]
    assert metrics.keys() - other["metrics"].keys() == {name for name in metrics if "_attribute_" in name}
    for wrong in ("much", "0.1,-0.1", "nan"):
        status, _, err = finish("identity_swap", *SWAP, f"--encoder_noise={wrong}")
        assert status == 2 and "--encoder_noise" in err.splitlines()[-1], err
        assert "numbers of at least 0, separated by commas" in err.splitlines()[-1]
    status, _, err = finish("identity_swap", *SWAP, "--encoder_features=32,wide")
    assert status == 2 and "whole numbers of at least 1, separated by commas" in err.splitlines()[-1], err


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
        (flags[:2], "--source: give a run, a target and a source"),
        ((*flags[:2], f"--source={tmp_path / 'none.png'}"), "none.png is unreadable"),
        ((f"--run={tmp_path / 'none'}", *flags[1:]), "none does not exist"),
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
def test_an_encoder_to_learn_from_is_that_of_the_page(train, tmp_path):
    own = swap_judges.Encoder("train", seed=3, num_steps=4, features=(4, 6), noise=0.1, pictures_each=2, image_size=16)
    flags = ("--seed=3", "--num_steps=4", "--features=4,6", "--noise=0.1", "--pictures_each=2", "--image_size=16")
    summary = train("identity_encoder", tmp_path / "run", *flags)
    swap_judges.find_or_train_encoders([own], data.load("faces"), tmp_path)
    (folder,) = tmp_path.glob("identity_encoder-*")
    assert directory.read_json(folder / "manifest.json")["params_sha256"] == summary["params_sha256"]


@pytest.mark.slow
def test_identities_never_seen_are_told_apart(train, tmp_path):
    metrics = train("identity_encoder", tmp_path / "run", "--num_steps=1500", "--cpu_threads=1", xla_flags="")[
        "metrics"
    ]
    assert metrics["verification_auroc"] >= 0.96 and metrics["rank1"] >= 0.70
    assert metrics["colour_rank1"] < 0.2  # what the colour of the skin alone would tell
