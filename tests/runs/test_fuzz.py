"""Bad flags are one line before any work: every flag of every page and command meets bounds and nonsense."""

import importlib
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from genjax import data, memory
from genjax.errors import BadInput
from genjax.runs import assembling, command
from genjax.runs.flags import Spec, specs
from genjax.runs.settings import Flags as Shared

ROOT = Path(__file__).parents[2]
PAGES = [
    "adversarial_autoencoder",
    "autoencoder",
    "bigan",
    "classifier",
    "compression",
    "contractive",
    "denoising",
    "flow",
    "gan",
    "identity_encoder",
    "identity_swap",
    "imputation",
    "infogan",
    "iwae",
    "ladder",
    "learned_compression",
    "linear_pca",
    "made",
    "masked_autoencoder",
    "outliers",
    "semi_supervised",
    "sfnn",
    "sparse",
    "stacked",
    "vae",
    "vae_gan",
    "visualise",
    "vq",
]
COMMANDS = [
    "apply",
    "compare",
    "compare_samples",
    "generate",
    "latent_space",
    "prepare",
    "reproduce",
    "same_bits",
    "swap_faces",
]
SHARED = {spec.name for spec in specs(Shared)}
OUTSIDE = ("workdir", "coordinator", "num_processes", "process_id")  # they do not change what is built
NONSENSE = ["", " ", ",", "8,,8", "[8]", "None", "true", "2", "ü≠", "\x1b", "x" * 10_000, "(" * 5000, "1" * 5000]
NUMBERS = ["0", "-1", "nan", "inf", "-inf", "1e20", "1e39", "1e-50", str(2**31 - 1), str(2**31), str(2**63)]
LISTS = [",".join(["1"] * 3000), "1," * 3000, "999999,999999", "60000,60000", "1,nan", "0.5"]
PAIRS = ["b1=2", "b1=x", "b1='x'", "b1=None", "learning_rate=1", "eps=1e400", "b1=" + "(" * 5000, "mask=1", "=", "b1"]


def flags_of(name):
    module = importlib.import_module("genjax.runs.reproduce" if name == "reproduce" else f"experiments.{name}")
    return module.EXPERIMENT.flags if name in PAGES else module.Flags


def values(spec: Spec) -> list[str]:
    """Texts for a flag: its bounds, their neighbours, numbers beyond any machine, and nonsense."""
    bounds = [bound for bound in (spec.at_least, spec.at_most) if bound is not None]
    near = [str(bound + step) for bound in bounds for step in (-1, -1e-7, 0, 1e-7, 1)]
    cases = [case for choice in (spec.choices or ())[:1] for case in (choice.upper(), f"{choice},{choice}")]
    pairs = PAIRS if spec.name == "optimizer_options" else []
    return [*NUMBERS, *NONSENSE, *LISTS, *near, *cases, *pairs]


def parsed(spec: Spec, text: str):
    """The value and None, or None and the error."""
    try:
        return spec.parse(text), None
    except BadInput as error:
        return None, error


def is_one_line(error: BadInput, known: set[str]) -> bool:
    line = command.with_dashes(error, known)
    return bool(line) and len(line.splitlines()) == 1 and len(line) < 1000


def test_no_page_is_left_out():
    pages = (ROOT / "experiments").glob("*.py")
    assert {path.stem for path in pages if "\nEXPERIMENT = " in path.read_text()} == {*PAGES}


@pytest.mark.parametrize("name", [*PAGES, *COMMANDS])
def test_text_is_read_or_refused_by_the_name_of_its_flag(name):
    read = refused = 0
    for spec in specs(flags_of(name)):
        for text in values(spec):
            value, error = parsed(spec, text)
            if error is None:
                assert spec.check(value) == value  # NaN is not equal to itself
                assert spec.parse(spec.text(value)) == value
                read += 1
            else:
                assert error.parameter == spec.name and is_one_line(error, {spec.name}), (text[:50], error)
                refused += 1
    assert read and (refused or name in ("prepare", "reproduce", "compare", "swap_faces"))


DATA = {}


def attempt(name, arguments):
    """What the arguments come to before anything is trained: None, or the line that refuses them."""
    experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
    known = {spec.name for spec in specs(experiment.flags)}

    def load(flags):
        if flags.dataset not in DATA:  # rendered faces are one set here, however many and large the flags want them
            DATA[flags.dataset] = data.load(flags.dataset)
        return DATA[flags.dataset]

    own = any(argument.startswith(("--dataset", "--label_column")) for argument in arguments)
    refusal = None
    try:
        flags = command.parse(experiment.flags, [name, *arguments])
        assembling.assemble(experiment if own else experiment._replace(load=load), flags)
    except BadInput as error:
        refusal = error
    assert refusal is None or is_one_line(refusal, known), arguments
    return refusal and command.with_dashes(refusal, known)


TOO_LARGE = r"GiB, more than the [\d,.]+ GiB of this machine"


@pytest.mark.parametrize(
    ("name", "flag", "said"),
    [
        ("vae", "--latent_dim=2147483647", f"largest array is .*{TOO_LARGE}"),
        ("vae", "--latent_dim=2147483648", "--latent_dim: 2147483648 is too large: at most 2147483647 is possible"),
        (
            "vae",
            "--hidden=600000,600000",
            rf"^the model, whose largest array is params/\w+/layer_\d/kernel .*{TOO_LARGE}",
        ),
        ("vae", "--hidden=" + "1," * 200 + "1", "--hidden: expected at most 100 numbers, not 201"),
        ("vae", "--num_seeds=100000 --hidden=4000", f"100000 times for --num_seeds, would take .*{TOO_LARGE}"),
        ("vae", "--learning_rate=1e39", r"--learning_rate: 1e\+39 is too large"),
        (
            "vae",
            "--memory_limit=0 --batch_size=1000 --steps_per_dispatch=1000000",
            f"--steps_per_dispatch: .*{TOO_LARGE}",
        ),
        ("vae", "--optimizer_options=b1='x'", "--optimizer_options: adam cannot be used so: "),
        ("vae", "--optimizer_options=learning_rate=1", "--optimizer_options: "),
        (
            "vae",
            "--optimizer=sgd --optimizer_options=momentum=" + "(" * 5000,
            "--optimizer_options: expected NAME=VALUE",
        ),
        ("sparse", "--num_units=2147483647", TOO_LARGE),
        ("compression", "--latent_dims=2,2147483647", TOO_LARGE),
        ("iwae", "--stages=2147483647", "--stages: .* at most 2147483647"),
        ("gan", "--num_samples=1000001", "--num_samples: expected a whole number from 20 to 1000000"),
        pytest.param(
            "identity_swap",
            "--encoder_features=2147483647",
            f"largest array is frozen/identity/0/.*{TOO_LARGE}",
            marks=pytest.mark.slow,
        ),
        ("identity_swap", "--num_blocks=2147483647", "--num_blocks: expected a whole number from 1 to 100"),
        pytest.param(
            "identity_swap",
            "--image_size=1024",
            f"^a rendering of faces of 1024 x 1024 pixels .*{TOO_LARGE}",
            marks=pytest.mark.slow,
        ),
        ("classifier", "--dataset=inverse_sine", "'inverse_sine' has labels that are numbers, not classes"),
        ("gan", "--dataset=inverse_sine --conditional", "--conditional: .* has labels that are numbers, not classes"),
        ("outliers", "--dataset=inverse_sine", "'inverse_sine' has labels that are numbers, not classes"),
        ("identity_swap", "--dataset=inverse_sine", "'inverse_sine' has labels that are numbers, not classes"),
        ("identity_swap", "--dataset=curve", "'curve' has no labels; a folder has a subfolder for each class"),
    ],
)
def test_what_no_machine_holds_and_what_the_data_lack_is_said_before_work(name, flag, said, monkeypatch):
    monkeypatch.setattr(memory, "PHYSICAL", 16 * 2**30)  # the same answers on any machine
    line = attempt(name, flag.split(" "))
    assert line is not None
    assert re.search(said, line), line


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("vae", "--learning_rate=100"),
        ("vae", "--optimizer=lbfgs"),
        ("vae", "--optimizer=adamw --optimizer_options=b1=0.5,eps=1e-4"),
        ("vae", "--hidden=2000,2000 --latent_dim=5000"),
        ("sparse", "--dataset=inverse_sine --batch_size=16"),
        ("autoencoder", "--dataset=inverse_sine --overcomplete --reconstruction=squared_error"),
    ],
)
def test_what_merely_trains_badly_is_allowed(name, flag):
    assert attempt(name, flag.split(" ")) is None


@pytest.mark.slow
def test_the_test_of_a_swap_is_measured_before_the_swap_is_trained(monkeypatch):
    monkeypatch.setattr(memory, "PHYSICAL", 300 * 2**20)
    line = attempt("identity_swap", ["--image_size=64"])
    assert line is not None and line.startswith("--image_size: the test of the trained swap would take 0.5 GiB")


@pytest.fixture
def hurry():
    """Fails a test in which one attempt takes longer than a minute."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    yield lambda: signal.alarm(60)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_every_flag_of_a_page(name, hurry):
    record = flags_of(name)
    for spec in specs(record):
        if spec.name in OUTSIDE or (spec.name in SHARED and name != "vae" and spec.name != "batch_size"):
            continue
        for text in values(spec):
            hurry()
            line = attempt(name, [f"--{spec.name}={text}"])
            assert line is None or f"--{spec.name}" in line or "GiB" in line or "data set" in line, (text[:50], line)


@pytest.mark.slow
def test_random_combinations(hurry):
    draw = random.Random(0)
    outcomes = set()
    for _ in range(200):
        name = draw.choice(PAGES)
        chosen = draw.sample([spec for spec in specs(flags_of(name)) if spec.name not in OUTSIDE], 3)
        texts = {
            spec.name: draw.choice(
                [text for text in values(spec) if len(text) < 1000 and parsed(spec, text)[1] is None] or [""]
            )
            for spec in chosen
        }
        hurry()
        outcomes.add(attempt(name, [f"--{flag}={text}" for flag, text in texts.items() if text]) is None)
    assert outcomes == {True, False}


SAMPLE = [
    ("vae", "--hidden=60000,60000"),
    ("vae", "--latent_dim=2147483647"),
    ("vae", "--features=nan"),
    ("vae", "--averaging=nan"),
    ("vae", "--num_seeds=4294967296"),
    ("vae", "--num_seeds=99999 --hidden=9999"),
    ("vae", "--cpu_threads=100000"),
    ("vae", "--steps_per_dispatch=99999999999"),
    ("vae", "--num_steps=9223372036854775808"),
    ("vae", "--seed=18446744073709551616"),
    ("vae", "--optimizer_options=b1=None"),
    ("vae", "--optimizer=chain"),
    ("vae", "--variance=1e20 --likelihood=gaussian"),
    ("vae", "--learning_rate=1e38"),
    ("vae", "--log_every=2147483647 --eval_every=2147483647 --checkpoint_every=2147483647"),
    ("vae", "--shards=3"),
    ("vae", "--dataset="),
    ("vae", "--workdir=" + "x" * 5000),
    ("autoencoder", "--active_units=2147483647 --code=k_sparse"),
    ("autoencoder", "--group_size=2147483647 --code=group"),
    ("compression", "--bits=64"),
    ("compression", "--latent_dims=2,2147483647"),
    ("denoising", "--probability=nan"),
    ("gan", "--alpha=nan"),
    ("gan", "--num_critic_steps=2147483647"),
    ("iwae", "--num_samples=2147483647"),
    ("linear_pca", "--latent_dim=65"),
    ("outliers", "--quantile=nan"),
    ("sfnn", "--num_draws=2147483647"),
    ("sparse", "--num_units=4294967296"),
    ("sparse", "--active_units=2147483647 --sparsity=k_sparse --num_draws=2"),
    ("visualise", "--num_neighbours=2147483647 --hidden=8"),
    ("generate", "--run=/nowhere --num=100000001"),
    ("same_bits", "--shards=2147483648"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flags"), SAMPLE)
def test_the_real_command_ends_with_its_work_or_one_line(name, flags, tmp_path):
    given = flags.split(" ")
    if name in PAGES:
        given += [
            f"--{short}" for short in ("num_steps=1", "batch_size=16") if f"--{short.split('=')[0]}=" not in flags
        ]
        given += [] if "--workdir" in flags else [f"--workdir={tmp_path / 'run'}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    ended = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *given],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert ended.returncode in (0, 2) and "Traceback" not in ended.stderr, ended.stderr[-2000:]
    if ended.returncode == 2:
        assert [line[:7] for line in ended.stderr.splitlines()].count("error: ") == 1 and not ended.stdout
