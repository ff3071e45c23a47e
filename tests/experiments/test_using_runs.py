"""Commands on trained runs, called in this process: what they write against the models' own functions and NumPy."""

import csv
import dataclasses
import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from PIL import Image
from sklearn.decomposition import PCA

from experiments import apply, autoencoder, compare, compression, generate, vae
from experiments import outliers as outliers_page
from genjax import data, gradients, losses, runs
from genjax.errors import BadInput
from genjax.models import autoencoder as autoencoder_model
from genjax.models import vae as vae_model
from genjax.runs import rows as run_rows
from genjax.training.determinism import DEFAULT_CPU_THREADS
from genjax.types import Batch

SMALL = dict(num_steps=4, hidden=(8,), eval_every=2, log_every=2, checkpoint_every=4)


def bare(page):
    """The page without the pictures and measures at its end, which no test here reads."""
    return page._replace(summarise=lambda flags, trained: {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Small runs by name, of as many threads as this process has."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NPROC", str(DEFAULT_CPU_THREADS))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        pages = {
            "vae": (vae, dict(latent_dim=2)),
            "vae1": (vae, dict(latent_dim=2, seed=1)),
            "wide": (vae, dict(latent_dim=3)),
            "autoencoder": (autoencoder, dict(latent_dim=3)),
        }
        yield {
            name: runs.train(bare(page.EXPERIMENT), page.Flags(**SMALL, **own), workdir=folder / name)
            for name, (page, own) in pages.items()
        }


@pytest.fixture(scope="module")
def x():
    """Held-out digits as they are stored, 0 to 16."""
    return data.load("digits").test.x[:7]


def applied(run, tmp_path, given, **flags):
    """The arrays that `apply` writes."""
    path = tmp_path / "given.npy"
    np.save(path, given)
    out = tmp_path / "out.npz"
    apply.main(apply.Flags(run=str(run.directory), input=str(path), out=str(out), batch_size=3, **flags))
    return np.load(out)


@pytest.mark.slow
def test_codes_and_reconstructions_are_the_models_own(trained, x, tmp_path):
    for name, model in (("vae", vae_model), ("autoencoder", autoencoder_model)):
        run = trained[name]
        z = model.encode(run.params, jnp.float32(x) / 16, parts=run.parts)
        z = z[0] if name == "vae" else z
        np.testing.assert_allclose(applied(run, tmp_path, x, to="codes")["codes"], z, atol=1e-5)
        rebuilt = model.decode(run.params, z, parts=run.parts)
        found = applied(run, tmp_path, x, to="reconstructions")["reconstructions"]
        np.testing.assert_allclose(found, rebuilt, atol=1e-5)
        np.testing.assert_allclose(applied(run, tmp_path, z, to="decoded")["decoded"], rebuilt, atol=1e-5)


def test_scores_are_the_losses_by_hand(trained, x, tmp_path):
    run, scaled = trained["autoencoder"], x / 16
    rebuilt = applied(run, tmp_path, x, to="reconstructions")["reconstructions"].astype(np.float64)
    found = applied(run, tmp_path, x, to="scores")
    cross_entropy = -(scaled * np.log(rebuilt) + (1 - scaled) * np.log1p(-rebuilt)).sum((1, 2, 3))
    np.testing.assert_allclose(found["squared_error"], np.square(rebuilt - scaled).sum((1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(found["cross_entropy"], cross_entropy, rtol=1e-4)
    run = trained["vae"]
    found = applied(run, tmp_path, x, to="scores")
    mean, log_variance = vae_model.encode(run.params, jnp.float32(scaled), parts=run.parts)
    rate = 0.5 * (np.square(mean) + np.exp(log_variance) - 1 - log_variance).sum(1)
    np.testing.assert_allclose(found["rate"], rate, rtol=1e-4)
    keys = jax.random.split(jax.random.key(1), 2000)
    bound = jax.jit(
        jax.vmap(lambda key: vae_model.negative_elbo(run.params, jnp.float32(scaled), key, parts=run.parts))
    )
    many = bound(keys)
    np.testing.assert_allclose(found["negative_elbo"], found["distortion"] + found["rate"], rtol=1e-5)
    assert (np.abs(found["negative_elbo"] - many.mean(0)) < 5 * many.std(0) / np.sqrt(10)).all()


def test_the_latent_distance_is_scikit_learns(trained, x, tmp_path):
    from sklearn.covariance import EmpiricalCovariance

    run = trained["autoencoder"]
    encode = partial(autoencoder_model.encode, run.params, parts=run.parts)
    fitted = EmpiricalCovariance().fit(np.asarray(encode(jnp.float32(run.dataset.train.x) / 16), np.float64))
    expected = fitted.mahalanobis(np.asarray(encode(jnp.float32(x) / 16), np.float64))
    found = applied(run, tmp_path, x, to="latent_mahalanobis")["latent_mahalanobis"]
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_each_class_scores_by_its_own_autoencoder(key, x):
    flags = outliers_page.Flags(hidden=(8,), latent_dim=2)
    parts = outliers_page.build(flags, data.load("digits"), gradients.whole_batch).parts
    params = jax.vmap(partial(autoencoder_model.init_params, parts=parts))(jax.random.split(key, 10))
    train = data.load("digits").train
    known = Batch(jnp.float32(train.x[:200]) / 16, jnp.asarray(train.label)[:200])
    each: Any = outliers_page.of_each_class(flags, parts)
    found = each["scores"].each(params, jnp.float32(x) / 16, key)
    alone = jax.tree.map(lambda leaf: leaf[3], params)
    expected = losses.squared_error(autoencoder_model.reconstruct(alone, jnp.float32(x) / 16, parts=parts), x / 16)
    np.testing.assert_allclose(found["squared_error_class_3"], expected, rtol=1e-5)
    distance = each["latent_mahalanobis"]
    far = distance.each(params, jnp.float32(x) / 16, key, distance.fit(params, known))
    z, own = (autoencoder_model.encode(alone, a, parts=parts) for a in (jnp.float32(x) / 16, known.x[known.label != 3]))
    centred = np.asarray(z - own.mean(0)[None], np.float64)
    precision = np.linalg.inv(np.cov(np.asarray(own, np.float64).T, bias=True))
    np.testing.assert_allclose(far["latent_mahalanobis_class_3"], ((centred @ precision) * centred).sum(1), rtol=1e-2)


@pytest.mark.slow
def test_what_is_compressed_comes_back_quantised(x, key, tmp_path):
    flags = compression.Flags(hidden=(8,), latent_dims=(2, 5), bits=(2, 3))
    model, parts, _ = compression.build(flags, data.load("digits"), gradients.whole_batch)
    params, seen = model.init(key).params, jnp.float32(x) / 16
    of: Any = compression.of_each_setting(flags, parts)
    codes = of["compressed"].each(params, seen, key)
    assert list(codes) == ["d2_b2", "d2_b3", "d5_b2", "d5_b3"]
    np.savez_compressed(tmp_path / "packed.npz", **of["compressed"].pack("d5_b3", np.asarray(codes["d5_b3"])))
    back = of["decompressed"].each(params, of["decompressed"].read(tmp_path / "packed.npz"), key)
    own = jax.tree.map(lambda leaf: leaf[1], params)
    z = np.round(np.asarray(autoencoder_model.encode(own, seen, parts=parts)) * 7) / 7
    rebuilt = parts.reconstruction.mean(compression.decode(own, z, jnp.ones(5), parts=parts))
    np.testing.assert_allclose(back, rebuilt, atol=1e-5)
    np.testing.assert_allclose(of["reconstructions"].each(params, seen, key)["d5_b3"], rebuilt, atol=1e-5)
    np.savez(tmp_path / "other.npz", x=x)
    with pytest.raises(BadInput, match="does not hold compressed codes"):
        of["decompressed"].read(tmp_path / "other.npz")


def test_pictures_become_pictures_and_a_table(trained, x, tmp_path):
    run, folder = trained["autoencoder"], tmp_path / "pictures"
    (folder / "two").mkdir(parents=True)
    for i, path in enumerate((folder / "a.png", folder / "two" / "b.png")):
        Image.fromarray(np.uint8(x[i, ..., 0] * 15)).save(path)
    base = dict(run=str(run.directory), input=str(folder))
    apply.main(apply.Flags(to="reconstructions", out=str(tmp_path / "out"), **base))
    apply.main(apply.Flags(to="codes", out=str(tmp_path / "codes.csv"), **base))
    rows = list(csv.reader((tmp_path / "codes.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["example", "a.png", "two/b.png"] and rows[0][1:] == [
        "codes_1",
        "codes_2",
        "codes_3",
    ]
    seen = jnp.float32(np.uint8(x[:2] * 15)) / 255
    z = autoencoder_model.encode(run.params, seen, parts=run.parts)
    np.testing.assert_allclose(np.array([row[1:] for row in rows[1:]], float), z, atol=1e-5)
    drawn = np.asarray(Image.open(tmp_path / "out" / "reconstructions" / "two" / "b.png")) / 255
    np.testing.assert_allclose(drawn, autoencoder_model.decode(run.params, z, parts=run.parts)[1, ..., 0], atol=0.003)
    assert (tmp_path / "out" / "reconstructions.png").exists()
    # a table of codes is decoded again, whatever its rows are called
    apply.main(
        apply.Flags(run=base["run"], input=str(tmp_path / "codes.csv"), to="decoded", out=str(tmp_path / "d.npz"))
    )
    np.testing.assert_allclose(np.load(tmp_path / "d.npz")["decoded"][1, ..., 0], drawn, atol=0.003)


@pytest.mark.parametrize(
    ("given", "flags", "message"),
    [
        (np.zeros((2, 9, 8, 1)), {}, r"examples of shape \[9, 8, 1\]; the model takes \[8, 8, 1\]"),
        (np.full((2, 64), 17), {}, "example 0 has the value 17; the model takes values from 0 to 16"),
        (np.full((2, 64), np.nan), {}, "example 0 has the value nan"),
        (np.zeros((2, 64)), {"to": "nothing"}, "expected one of codes, reconstructions, scores"),
        (np.zeros((2, 64)), {"of": "d2"}, "expected one of codes"),
    ],
)
def test_what_does_not_fit_is_refused(trained, tmp_path, given, flags, message):
    with pytest.raises(BadInput, match=message):
        applied(trained["autoencoder"], tmp_path, given, **{"to": "codes"} | flags)


def generated(run, tmp_path, **flags):
    generate.main(generate.Flags(run=str(run.directory), out=str(tmp_path), **flags))
    return np.load(tmp_path / "samples.npz")


def test_codes_are_decoded_and_data_drawn(trained, tmp_path):
    run = trained["vae"]
    made = generated(run, tmp_path, z=(0.5, -1.0))
    expected = vae_model.decode(run.params, jnp.array([[0.5, -1.0]]), parts=run.parts)
    np.testing.assert_allclose(made["x"], expected, atol=1e-6)
    np.testing.assert_array_equal(made["z"], [[0.5, -1]])
    drawn = generated(run, tmp_path, draw=True, num=30, seed=4)["x"]
    key = jax.random.fold_in(jax.random.key(4), 0)
    np.testing.assert_array_equal(drawn, vae_model.generate(run.params, 500, key, parts=run.parts)[:30])
    assert set(np.unique(drawn)) == {0, 1}
    decoded = generated(trained["autoencoder"], tmp_path, z=(1.0, 2.0, 3.0))["x"]
    parts, params = trained["autoencoder"].parts, trained["autoencoder"].params
    np.testing.assert_allclose(
        decoded, autoencoder_model.decode(params, jnp.array([[1.0, 2, 3]]), parts=parts), atol=1e-6
    )
    for flags, message in (
        (dict(z=(1.0,)), "z: expected 2 numbers, not 1"),
        (dict(label=(3,)), "label: .* is not conditional"),
    ):
        with pytest.raises(BadInput, match=message):
            generated(trained["vae"], tmp_path, **flags)
    with pytest.raises(BadInput, match="cannot draw new samples; give a code as `z`"):
        generated(trained["autoencoder"], tmp_path)


def test_labels_are_the_classes_in_turn(trained):
    flags, run = generate.Flags(label=(3, 5)), trained["vae"]
    of_ten = runs.Generator(lambda *given: None, 2, num_classes=10)
    np.testing.assert_array_equal(generate.labels(run, of_ten, flags, 5), [3, 5, 3, 5, 3])
    np.testing.assert_array_equal(generate.labels(run, of_ten, generate.Flags(), 12), [*range(10), 0, 1])
    with pytest.raises(BadInput, match="label: the run has classes 0 to 9, not 10"):
        generate.labels(run, of_ten, generate.Flags(label=(10,)), 5)


def test_data_without_classes_are_measured_in_principal_components(trained, capsys):
    run = trained["vae"]
    bare = run.dataset._replace(num_classes=None)
    of_training, of_noise = (
        generate.measure(run._replace(dataset=bare), x, generate.Flags())
        for x in (run.dataset.scaled(run.dataset.train)[:500], np.random.RandomState(0).rand(500, 8, 8, 1))
    )
    assert of_training["frechet_distance"] < 0.2 * of_noise["frechet_distance"] and "classes_found" not in of_noise
    assert "32 principal components of the data: digits has no classes" in capsys.readouterr().err


def test_samples_are_compared_beside_those_of_probabilistic_pca(trained, capsys):
    run = trained["vae"]
    known, held_out = (run.dataset.scaled(split).reshape(-1, 64) for split in (run.dataset.train, run.dataset.test))
    found = generate.measure(run, run.sample(500, jax.random.key(0)), generate.Flags(components=True, draw=True))
    assert capsys.readouterr().err == "samples are compared in 32 principal components of the data\n"
    # the Fréchet distance of the Gaussian's own moments from those of the held-out digits, in these components
    basis = PCA(32, svd_solver="full").fit(known)
    model, m = PCA(2, svd_solver="full").fit(known), basis.transform(held_out)
    axes = np.asarray(basis.components_)
    own, other = axes @ model.get_covariance() @ axes.T, np.cov(m.T)
    cross = scipy.linalg.sqrtm(own @ other).real
    expected = np.sum(m.mean(0) ** 2) + np.trace(own + other - 2 * cross)
    assert found["ppca_frechet_distance"] == pytest.approx(expected, rel=0.1)  # of 500 draws
    assert found["frechet_distance"] > found["ppca_frechet_distance"]  # after four steps
    assert {"ppca_precision", "ppca_recall", "ppca_coverage"} < found.keys()
    assert not any(name.startswith(("ppca_train", "ppca_held_out")) for name in found)


def test_runs_are_compared_by_means_over_seeds(trained, tmp_path, capsys):
    folders = [str(trained[name].directory) for name in ("wide", "vae", "vae1")]
    compare.main(compare.Flags(runs=tuple(folders), out=str(tmp_path)))
    rows = list(csv.DictReader((tmp_path / "comparison.csv").read_text().splitlines()))
    assert [row["latent_dim"] for row in rows] == ["3", "2"] and [row["seeds"] for row in rows] == ["1", "2"]
    values = [trained[name].metrics["negative_elbo"] for name in ("vae", "vae1")]
    assert float(rows[1]["negative_elbo"]) == pytest.approx(np.mean(values), rel=1e-12)
    assert float(rows[1]["negative_elbo_deviation"]) == pytest.approx(np.std(values, ddof=1), rel=1e-9)
    text = (tmp_path / "comparison.md").read_text()
    assert text in capsys.readouterr().out and "negative_elbo (nats, lower is better)" in text
    wide = trained["wide"].metrics["negative_elbo"]
    bold = f"**{wide:.4g}**" if wide < np.mean(values) else f"**{np.mean(values):.4g} ± {np.std(values, ddof=1):.2g}**"
    assert text.count("**") == 2 and bold in text  # neither distortion nor rate has a better side
    assert r"\toprule" in (tmp_path / "comparison.tex").read_text() and (tmp_path / "curves.png").exists()
    grouped = run_rows.grouped([run_rows.read(trained[name].directory) for name in ("wide", "vae", "vae1")])
    assert len(run_rows.best(grouped, "negative_elbo", "lower")) == 1
    of_others = [row._replace(flags=row.flags | {"dataset": str(number)}) for number, row in enumerate(grouped)]
    assert run_rows.best(of_others, "negative_elbo", "lower") == set()  # values on several data sets are no rivals


def test_an_unfinished_run_is_compared_at_its_step(trained, tmp_path, capsys):
    cut = tmp_path / "cut"
    cut.mkdir()
    whole = trained["wide"].directory
    for name in ("config.json", "manifest.json"):
        (cut / name).write_text((whole / name).read_text())
    lines = (whole / "metrics.jsonl").read_text().splitlines(keepends=True)
    (cut / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= 2))
    flags = compare.Flags(runs=(str(cut), str(trained["autoencoder"].directory)), out=str(tmp_path / "out"))
    compare.main(flags)
    out = capsys.readouterr().out
    assert "step 2, not finished" in out and "| experiment" in out and "loss" in out
    with pytest.raises(BadInput, match="metrics: no run has nothing; there is"):
        compare.main(dataclasses.replace(flags, metrics=("nothing",)))
