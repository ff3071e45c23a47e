"""What a run promises, on real processes: the same bits run again, however it is cut or killed, on any number of cores.

One table of experiments; a new experiment gets a row. A row is tested promise by promise, and all at once, which names
no culprit but fails with any of them. All are slow; a plain run of the tests has the same promises in small, within a
process in `training/` and in fresh processes in `test_reproduce.py`.
"""

import json
import os
import random
import signal
import time

import pytest

# by name, a command: small, but of the shapes at which a thread pool of another size gives other bits
SHAPE = "--dataset=PICTURES --batch_size=128"
CASES = {
    "vae-mlp": f"vae --network=mlp --hidden=500 --latent_dim=20 --num_steps=300 {SHAPE}",
    "vae-convolutional": f"vae --network=convolutional --latent_dim=20 --num_steps=80 {SHAPE}",
    "autoencoder": f"autoencoder --hidden=300 --latent_dim=20 --num_steps=120 {SHAPE}",
    "denoising": f"denoising --hidden=300 --latent_dim=20 --num_steps=60 {SHAPE}",
    "contractive": f"contractive --hidden=100 --latent_dim=4 --jacobian=hutchinson --num_steps=60 {SHAPE}",
    "linear_pca": "linear_pca --num_steps=60",
    "iwae": f"iwae --num_samples=5 --num_steps=60 --num_test_samples=10 {SHAPE}",
    "sfnn": "sfnn --num_steps=60",
    "gan": f"gan --hidden=300,300 --spectral_norm --num_critic_steps=2 --num_steps=60 {SHAPE}",
    "gan-dcgan": f"gan --network=dcgan --conditional --penalty=gradient --num_steps=40 {SHAPE}",
    "bigan": f"bigan --hidden=300,300 --encoder=gaussian --num_steps=60 {SHAPE}",
    "adversarial_autoencoder": "adversarial_autoencoder --hidden=300,300 --prior=swiss_roll --variant=labelled "
    f"--num_steps=60 {SHAPE}",
    "outliers": f"outliers --hidden=200 --num_steps=60 {SHAPE}",
    "compression": f"compression --hidden=200 --latent_dims=4,16 --num_steps=60 {SHAPE}",
    "visualise": f"visualise --hidden=200 --num_steps=60 {SHAPE}",
    "sparse": f"sparse --num_units=300 --num_steps=60 {SHAPE}",
    "sparse-dictionary": "sparse --dictionary --num_steps=60",
    "identity_encoder": f"identity_encoder --features=8,16 --num_steps=60 {SHAPE}",
    "identity_swap": "identity_swap --features=8,16 --discriminator_features=8,16 --num_blocks=2 --encoder_steps=20 "
    "--num_steps=40 --dataset=PICTURES --batch_size=2",
    "classifier": f"classifier --hidden=300 --num_steps=60 {SHAPE}",
    "vq": f"vq --hidden=300 --quantizer=residual --num_steps=60 {SHAPE}",
    "vq-convolutional": f"vq --network=convolutional --num_steps=40 {SHAPE}",
    "flow": "flow --flow=maf --num_layers=3 --num_steps=60",
    "made": f"made --hidden=300 --num_masks=2 --num_steps=60 {SHAPE}",
    "masked_autoencoder": "masked_autoencoder --width=16 --num_layers=1 --decoder_width=8 --num_draws=2 "
    f"--num_steps=60 {SHAPE}",
    "ladder": f"ladder --hidden=200,100 --num_importance_samples=3 --num_steps=60 {SHAPE}",
    "imputation": f"imputation --hidden=300 --num_imputation_samples=20 --num_steps=60 {SHAPE}",
    "learned_compression": "learned_compression --hidden=200 --code_dim=8 --side_dim=2 --distortion_weights=4,16 "
    f"--num_steps=60 {SHAPE}",
    "infogan": f"infogan --hidden=200 --num_steps=60 {SHAPE}",
    "gan-projection": f"gan --network=residual --features=8,16 --conditional --conditioning=projection --spectral_norm "
    f"--num_steps=40 {SHAPE}",
    "gan-auxiliary": f"gan --hidden=200 --conditional --conditioning=auxiliary --num_steps=60 {SHAPE}",
    "gan-batch-norm": "gan --network=dcgan --features=8,16 --normalization=batch --self_attention --conditional "
    f"--num_critic_steps=2 --num_steps=40 {SHAPE}",
    "gan-batch-both": "gan --network=residual --features=8,16 --normalization=batch_both --clip=.1 --conditional "
    f"--conditioning=projection --num_critic_steps=2 --num_steps=40 {SHAPE}",
    "infogan-batch": f"infogan --hidden=200,100 --normalization=batch_both --num_steps=60 {SHAPE}",
    "bigan-batch": f"bigan --hidden=200,100 --normalization=batch_both --encoder=gaussian --num_steps=60 {SHAPE}",
    "gan-adaptive": "gan --hidden=200 --augmentation=translation,colour --augmentation_target=.1 "
    f"--augmentation_ramp=5000 --spectral_norm --num_steps=60 {SHAPE}",
    "gan-top-k": f"gan --hidden=200 --top_k=.5 --top_k_steps=40 --unrolled_steps=2 --num_steps=60 {SHAPE}",
    "gan-style": f"gan --network=style --features=8,16 --noise_inputs --conditional --num_steps=40 {SHAPE}",
    "adversarial_autoencoder-semi": "adversarial_autoencoder --hidden=300,300 --variant=semi_supervised "
    f"--num_labels=40 --num_steps=60 {SHAPE}",
    "vae_gan": f"vae_gan --hidden=300 --adaptive_weight --start=20 --num_steps=60 {SHAPE}",
    "vae_gan-residual": f"vae_gan --network=residual --features=8,16 --adaptive_weight --num_steps=40 {SHAPE}",
    "semi_supervised": f"semi_supervised --hidden=300 --num_labels=40 --num_steps=60 {SHAPE}",
    "stacked": f"stacked --hidden=200,100 --masking=.1,.2 --pretraining_steps=20 --num_steps=60 {SHAPE}",
    "vae-vamp": "vae --conditional --prior=vamp --num_components=20 --regularizer=total_correlation --num_steps=60 "
    f"{SHAPE}",
    "vae-glu": f"vae --hidden=300,200 --activation=glu --prior=vamp --num_components=20 --num_steps=60 {SHAPE}",
    "vae-flows": f"vae --conditional --prior=flow --posterior=iaf --num_flow_layers=2 --num_steps=60 {SHAPE}",
    "vae-factor": "vae --prior=mixture --num_components=5 --posterior=full_covariance --regularizer=factor "
    f"--num_steps=60 {SHAPE}",
    "vae-sphere": f"vae --posterior=von_mises_fisher --regularizer=mmd --num_steps=60 {SHAPE}",
    "vae-categorical": f"vae --posterior=categorical --latent_dim=20 --num_steps=60 {SHAPE}",
    "vae-columns": "vae --dataset=breast_cancer --likelihood=learned_columns --num_steps=60 --batch_size=128",
    "outliers-table": "outliers --protocol=outlier_class --dataset=breast_cancer --num_splits=3 --hidden=200 "
    "--num_steps=60 --batch_size=128",
    "iwae-piwae": "iwae --posterior=planar --bound=piwae --num_samples=2 --num_bounds=2 --num_test_samples=10 "
    f"--num_steps=60 {SHAPE}",
    "iwae-remat": f"iwae --num_samples=5 --remat=2 --num_test_samples=10 --num_steps=60 {SHAPE}",
    "autoencoder-mmd": f"autoencoder --hidden=300 --mmd=10 --sliced_wasserstein=10 --num_steps=60 {SHAPE}",
    "sparse-gated": f"sparse --sparsity=gated --num_units=300 --num_steps=60 {SHAPE}",
    "sparse-batch": "sparse --sparsity=batch_top_k --revival_weight=.1 --revive_after=256 --num_units=300 "
    f"--num_steps=60 {SHAPE}",
    "sparse-largest": f"sparse --sparsity=k_sparse --active_units=8 --num_units=300 --num_steps=60 {SHAPE}",
    "sparse-jump": f"sparse --sparsity=jump_relu --prefixes=16 --num_units=300 --num_steps=60 {SHAPE}",
}
AS_USERS_DO = {"xla_flags": ""}  # the tests' own are for quick compiling
CADENCE = ("--log_every=7", "--eval_every=20", "--checkpoint_every=15")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=CASES)
def case(request, pictures):
    """(experiment, its flags)."""
    return flags_of(request.param, pictures)


def flags_of(name, pictures):
    experiment, *flags = CASES[name].split()
    return experiment, [flag.replace("PICTURES", f"folder:{pictures}") for flag in (*flags, *CADENCE)]


@pytest.fixture(scope="module")
def reference(case, train, tmp_path_factory):
    """The run that the others are held against: (workdir, summary)."""
    workdir = tmp_path_factory.mktemp("reference") / "run"
    return workdir, train(case[0], workdir, *case[1], **AS_USERS_DO)


def same_bits(reference, workdir, summary, lines=True):
    assert summary["params_sha256"] == reference[1]["params_sha256"]
    assert summary["metrics"] == reference[1]["metrics"]
    if lines:
        assert (workdir / "metrics.jsonl").read_text() == (reference[0] / "metrics.jsonl").read_text()


def test_run_again_in_a_fresh_process(case, reference, train, tmp_path):
    same_bits(reference, tmp_path / "run", train(case[0], tmp_path / "run", *case[1], cached=False, **AS_USERS_DO))


@pytest.mark.parametrize("steps_per_dispatch", [1, 7])
def test_any_number_of_steps_a_dispatch(case, reference, train, tmp_path, steps_per_dispatch):
    summary = train(case[0], tmp_path / "run", *case[1], f"--steps_per_dispatch={steps_per_dispatch}", **AS_USERS_DO)
    same_bits(reference, tmp_path / "run", summary)


def test_any_cadence(case, reference, train, tmp_path):
    other = ("--log_every=4", "--eval_every=9", "--checkpoint_every=11")
    same_bits(
        reference, tmp_path / "run", train(case[0], tmp_path / "run", *case[1], *other, **AS_USERS_DO), lines=False
    )


@pytest.fixture(scope="module")
def on_one_core():
    """The prefix that keeps a process on one of the cores."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs Linux and two cores, to run on one of them")
    return "taskset", "-c", str(min(os.sched_getaffinity(0)))


def test_one_core_or_two(case, reference, train, tmp_path, on_one_core):
    same_bits(
        reference, tmp_path / "run", train(case[0], tmp_path / "run", *case[1], prefix=on_one_core, **AS_USERS_DO)
    )


def names(workdir):
    """What lies among the checkpoints; a name with "tmp" is of one that is being written."""
    folder = workdir / "checkpoints"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def wait_until(condition, process):
    while process.poll() is None and not condition():
        time.sleep(0.0005)


def test_killed_ten_times_and_resumed(case, reference, launch, train, tmp_path):
    flags = [*case[1], "--checkpoint_every=2", "--steps_per_dispatch=1"]
    workdir, draw, kills, inside = tmp_path / "run", random.Random(0), 0, 0
    for life in range(10):
        process = launch(case[0], *flags, f"--workdir={workdir}", **AS_USERS_DO)
        if life % 4 == 2:  # anywhere, most likely while starting
            time.sleep(draw.uniform(0, 3))
        else:  # after some progress: in the middle of a save, or a random moment later
            before = names(workdir)
            wait_until(lambda before=before: names(workdir) - before, process)
            if life % 2:
                time.sleep(draw.uniform(0, 0.03))
            else:
                wait_until(lambda: any("tmp" in name for name in names(workdir)), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        inside += any("tmp" in name for name in names(workdir))
    assert kills == 10, "the run was over before it was killed ten times; give it more steps"
    assert inside, "no kill fell into a save"
    same_bits(reference, workdir, train(case[0], workdir, *flags, **AS_USERS_DO), lines=False)
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


@pytest.mark.parametrize("name", CASES)
def test_all_at_once(name, pictures, launch, train, tmp_path, on_one_core):
    experiment, flags = flags_of(name, pictures)
    summary = train(experiment, tmp_path / "first", *flags, **AS_USERS_DO)
    other = [*flags, "--log_every=4", "--eval_every=9", "--checkpoint_every=2", "--steps_per_dispatch=3"]
    workdir = tmp_path / "second"
    process = launch(experiment, *other, f"--workdir={workdir}", prefix=on_one_core, **AS_USERS_DO)
    wait_until(lambda: len(names(workdir)) > 1, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run was over before it was killed; give it more steps"
    same_bits(
        (tmp_path / "first", summary),
        workdir,
        train(experiment, workdir, *other, prefix=on_one_core, **AS_USERS_DO),
        lines=False,
    )
