"""The study of disentanglement: its cells, its measures of codes whose values are known, its table; and its runs."""

import csv
import itertools
import json
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import disentanglement, regularizers, vae
from genjax import data, gradients
from genjax.data import sprites
from genjax.errors import BadInput
from genjax.losses import FULL_COVARIANCE_GAUSSIAN
from genjax.runs.runner import default_workdir
from genjax.types import Batch

FACTORS = np.tile([*itertools.product(*map(range, (3, 2, 2, 4, 2)))], (6, 1))


def test_the_study_is_models_times_strengths_times_seeds():
    planned = [*disentanglement.cells(disentanglement.Flags())]
    assert len(planned) == 45 and len({name for name, _ in planned}) == 45
    assert len({default_workdir(vae.EXPERIMENT, flags) for _, flags in planned}) == 45
    kinds = Counter((flags.regularizer, flags.regularizer_weight, flags.rate_weight) for _, flags in planned)
    assert set(kinds.values()) == {3}  # the seeds
    assert {name for name, _, _ in kinds} == set(regularizers.REGULARIZERS) - {"mmd"}
    few = disentanglement.Flags(beta_vae=(2,), beta_tcvae=(6,), factor_vae=(), dip_vae_i=(), dip_vae_ii=(), num_seeds=1)
    (_, one), (_, other) = disentanglement.cells(few)
    assert (one.rate_weight, one.regularizer) == (2, "none")
    # beta weighs the total correlation, of which the rate beside it has 1 already
    assert (other.rate_weight, other.regularizer, other.regularizer_weight) == (1, "total_correlation", 5)
    with pytest.raises(BadInput, match=r"^beta_tcvae: the beta of a beta-TCVAE is at least 1"):
        list(disentanglement.cells(few.replace(beta_tcvae=(0.5,))))


def codes(mean, log_variance=-9.0):
    mean = np.asarray(mean, np.float32)
    return disentanglement.Codes(mean, np.full_like(mean, log_variance), FACTORS)


def test_factors_as_codes_are_perfect_by_all_measures():
    found = disentanglement.measure(codes(np.concatenate([FACTORS, 0 * FACTORS[:, :1]], axis=1)))
    perfect = ("mig", "binned_mig", "mig_orientation", "dci_disentanglement", "dci_completeness", "irs", "modularity")
    for name in (*perfect, "dci_informativeness", "beta_vae_score", "factor_vae_score"):
        assert found[name] == pytest.approx(1, abs=1e-3), name
    # of four factors R^2 = 1, and of the shape the accuracy of a classifier beside that of chance
    assert found["sap"] == pytest.approx((4 + 2 / 3) / 5)
    assert found["active_units"] == 5
    assert found["total_correlation"] == pytest.approx(0, abs=1e-3)
    assert found["gaussian_total_correlation"] == pytest.approx(0, abs=1e-6)
    assert found["information"] == pytest.approx(np.log(96), abs=1e-2)


def test_a_code_of_nothing_has_no_score():
    found = disentanglement.measure(codes(np.zeros((len(FACTORS), 2)), 0.0))
    assert found["active_units"] == found["modularity"] == found["irs"] == found["gaussian_total_correlation"] == 0
    assert found["mig"] == found["binned_mig"] == pytest.approx(0, abs=1e-6)
    assert found["factor_vae_score"] == 1 / 5


def test_the_population_is_every_combination_beside_its_picture():
    x, factors = disentanglement.population(data.load("sprites"))
    assert len(np.unique(factors, axis=0)) == len(factors) == len(x) == 4608
    images = sprites.render(sprites.SPRITES)
    rows = np.ravel_multi_index(tuple(factors.T), sprites.SPRITES.counts)
    np.testing.assert_allclose(x, images[rows] / 255, rtol=1e-6)
    with pytest.raises(BadInput, match="the factors of digits are not known; those of sprites and sprites_64 are"):
        disentanglement.population(data.load("digits"))


def test_the_table_has_means_and_standard_errors(tmp_path):
    table = [
        {"flags": {"beta": str(i)}, "runs": [str(tmp_path / "a" / str(i))] * 3, "values": {"mig": values, "x": [i]}}
        for i, values in enumerate(([0.1, 0.2, 0.6], [0.5, 0.5, 0.5]))
    ]
    text = disentanglement.write(table, tmp_path)
    assert "| 0    | 3     | 0.300 ± 0.153 | [traversals](a/0/traversals.png) |" in text.splitlines()
    assert (tmp_path / "disentanglement.md").read_text() == text
    with open(tmp_path / "disentanglement.csv", newline="") as file:
        first, _ = csv.DictReader(file)
    assert float(first["mig"]) == pytest.approx(0.3)
    assert float(first["mig_standard_error"]) == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1) / np.sqrt(3))
    assert first["x_standard_error"] == "" and first["seeds"] == "3"
    assert json.loads((tmp_path / "disentanglement.json").read_text())["rows"] == table


# The regularisers of the page vae


@pytest.mark.parametrize("name", regularizers.REGULARIZERS)
def test_each_regulariser_is_measured_beside_the_bound(name):
    flags = vae.Flags(regularizer=name, regularizer_weight=3.0, hidden=(4,), num_steps=2, batch_size=8)
    dataset = data.load("digits")
    model, parts, _ = vae.build(flags, dataset, gradients.whole_batch)
    state = jax.eval_shape(model.init, jax.random.key(0))
    batch = jax.ShapeDtypeStruct((8, *dataset.train.x.shape[1:]), np.float32)
    _, metrics = jax.eval_shape(model.train_step, state, Batch(batch), jax.random.key(0))
    more = {"none": set(), "total_correlation": {"total_correlation"}, "factor": {"total_correlation"}, "mmd": {"mmd"}}
    assert more.get(name, {"dip_penalty"}) == metrics.keys() & {"total_correlation", "dip_penalty", "mmd"}
    # what the applications, the codec and the samples of the page read
    assert state.evaluation_params.keys() == {"encoder", "decoder"}
    assert parts.latent_dim == flags.latent_dim


def test_regularisers_refuse_what_they_cannot_do():
    dataset = data.load("digits")
    factor = vae.Flags(regularizer="factor")
    for flags, message in (
        (factor.replace(batch_size=7), "^batch_size: factor needs an even number of examples, not 7"),
        (factor.replace(shards=128), "^batch_size: factor needs 2 examples or more in each of 128 shards, not 1"),
        (vae.Flags(regularizer="total_correlation", batch_size=1), "^batch_size: .* 2 examples or more, not 1"),
        (factor.replace(warm_up_steps=5), "^warm_up_steps: the regulariser factor has no warm-up"),
        (vae.Flags(regularizer="mmd", prior="mixture"), "^regularizer: mmd needs the standard prior"),
    ):
        with pytest.raises(BadInput, match=message):
            vae.build(flags, dataset, gradients.whole_batch)
    parts = vae.build(vae.Flags(), dataset, gradients.whole_batch).parts._replace(posterior=FULL_COVARIANCE_GAUSSIAN)
    with pytest.raises(BadInput, match=r"^regularizer: dip_i needs a diagonal Gaussian posterior"):
        regularizers.penalties(vae.Flags(regularizer="dip_i"), dataset, parts)


def test_a_run_without_a_regulariser_keeps_its_directory():
    plain = default_workdir(vae.EXPERIMENT, vae.Flags())
    assert plain == Path("runs/vae-digits-seed0-c217472c")
    assert default_workdir(vae.EXPERIMENT, vae.Flags(regularizer="dip_i")) != plain


# Whole studies


@pytest.mark.slow  # eight runs
def test_a_study_is_trained_measured_and_resumed(tmp_path, monkeypatch, capsys):
    small = sprites.SPRITES._replace(num_orientations=2, num_positions=4, size=12)
    monkeypatch.setitem(sprites.GRIDS, "sprites", small)
    sizes = dict(hidden=(8,), latent_dim=2, num_steps=5, batch_size=16, num_seeds=2)
    strengths = dict(beta_vae=(1,), beta_tcvae=(3,), factor_vae=(2,), dip_vae_i=(), dip_vae_ii=(2,))
    flags = disentanglement.Flags(**sizes, **strengths, out=str(tmp_path / "study"))
    disentanglement.main(flags)
    first = capsys.readouterr().out
    progress = [line for line in first.splitlines() if line.startswith("cell ")]
    assert len(progress) == 8 and progress[2].startswith("cell 3 of 8: beta_tcvae 3, seed 0: MIG ")
    rows = json.loads((tmp_path / "study" / "disentanglement.json").read_text())["rows"]
    assert [row["flags"]["regularizer"] for row in rows] == ["none", "total_correlation", "factor", "dip_ii"]
    for row in rows:
        assert len(row["runs"]) == 2 and {"mig", "udr", "negative_elbo"} <= row["values"].keys()
        for run in map(Path, row["runs"]):
            assert (run / "traversals.png").is_file() and (run / "disentanglement.npz").is_file()
    # one cell is lost: it alone is trained again, to the same bits
    lost = Path(rows[2]["runs"][1])
    before, kept = (path / "disentanglement.json" for path in (lost, Path(rows[0]["runs"][0])))
    expected, untouched = before.read_text(), kept.stat().st_mtime_ns
    for path in sorted(lost.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    disentanglement.main(flags)
    again = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cell ")]
    assert [line.endswith("already finished") for line in again] == [n != 5 for n in range(8)]
    assert before.read_text() == expected and kept.stat().st_mtime_ns == untouched
    # finished runs are measured without training
    one = disentanglement.Flags(runs=(rows[1]["runs"][0],), out=str(tmp_path / "one"))
    disentanglement.main(one)
    (row,) = json.loads((tmp_path / "one" / "disentanglement.json").read_text())["rows"]
    assert row["values"]["mig"] == rows[1]["values"]["mig"][:1] and "udr" not in row["values"]


def test_a_study_of_nothing_is_refused(tmp_path):
    flags = disentanglement.Flags(
        beta_vae=(), beta_tcvae=(), factor_vae=(), dip_vae_i=(), dip_vae_ii=(), out=str(tmp_path)
    )
    with pytest.raises(BadInput, match=r"^beta_vae: the study has no model"):
        disentanglement.main(flags)
