"""Exported runs: their files read by NumPy alone, and their compiled functions where genjax cannot be imported."""

import json
import os
import subprocess
import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import (
    autoencoder,
    classifier,
    compression,
    denoising,
    export,
    flow,
    gan,
    model_card,
    outliers,
    sfnn,
    vae,
)
from genjax.errors import BadInput
from genjax.gradients import whole_batch
from genjax.runs import directory, exporting, opening
from genjax.training import weights
from genjax.training.digest import params_sha256

X = np.random.RandomState(0).rand(7, 8, 8, 1).astype(np.float32)


def run_of(page, folder, **flags):
    """A run of a page as if it were opened, at step 0."""
    experiment = page.EXPERIMENT
    flags = page.Flags(**flags)
    dataset = experiment.load(flags)
    flags = experiment.resolve(flags, dataset)
    model, parts, _ = experiment.build(flags, dataset, whole_batch)
    state = jax.jit(model.init)(jax.random.key(1))
    return opening.Run(folder, experiment, flags, dataset, model, parts, state, 0)


def exported(run, to, output, **flags):
    export.main(export.Flags(run=str(run), to=to, out=str(output), **flags))


@pytest.fixture(scope="module")
def files(honest, tmp_path_factory):
    """Each export of the finished run; of the functions, two."""
    folder = tmp_path_factory.mktemp("exported")
    exported(honest, "safetensors", folder / "w.safetensors")
    exported(honest, "npz", folder / "w.npz")
    exported(honest, "hub", folder / "hub")
    return folder


def test_the_weights_read_by_numpy_have_the_runs_digest(honest, files):
    arrays = load_file(files / "w.safetensors")
    digest = directory.read_manifest(honest)["params_sha256"]
    assert params_sha256(arrays) == digest
    with np.load(files / "w.npz") as npz:
        assert params_sha256(dict(npz)) == digest
    assert (files / "hub" / "model.safetensors").read_bytes() == (files / "w.safetensors").read_bytes()
    about = exporting.about(opening.open(honest))
    assert about["params_sha256"] == about["params_sha256_of_last"] == digest
    assert (about["parameters"], about["step"], about["flags"]["hidden"]) == ("last", 20, [8])
    assert "[in, out]" in about["layout"] and "workdir" not in about["flags"]


def test_the_arrays_of_an_mlp_vae_make_a_twin_in_numpy(honest, files):
    w, run = load_file(files / "w.safetensors"), opening.open(honest)

    def dense(name, h):
        return h @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    h = np.maximum(dense("encoder/layer_1", X.reshape(7, -1)), 0)
    mean = dense("encoder/layer_2", h)[:, :2]
    logits = dense("decoder/layer_2", np.maximum(dense("decoder/layer_1", mean), 0)).reshape(X.shape)
    known = run.experiment.applications(run.flags, run.parts)
    np.testing.assert_allclose(mean, known["codes"].each(run.params, X, jax.random.key(0)), atol=1e-5)
    rebuilt = known["reconstructions"].each(run.params, X, jax.random.key(0))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), rebuilt, atol=1e-5)


def test_an_average_is_what_is_exported(tmp_path):
    run = run_of(vae, tmp_path, hidden=(8,), latent_dim=2, averaging=0.9)
    run = run._replace(state=run.state._replace(params=jax.tree.map(lambda a: a + 1, run.state.params)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directory, "read_manifest", lambda _: {"seed": 0})
        about = exporting.about(run)
        export.save_weights(tmp_path / "w", run, "safetensors")
    assert about["parameters"] == "averaged"
    assert params_sha256(load_file(tmp_path / "w")) == params_sha256(run.state.average) == about["params_sha256"]
    assert about["params_sha256_of_last"] == params_sha256(run.state.params) != about["params_sha256"]


def test_a_model_repository_describes_the_run(honest, files):
    folder, summary = files / "hub", directory.read_summary(honest)
    card, config = (folder / "README.md").read_text(), json.loads((folder / "config.json").read_text())
    assert {"model.safetensors", "config.json", "README.md", "curves.png", "samples.png"} <= {*os.listdir(folder)}
    assert card.startswith("---\nlicense: apache-2.0\n") and "`digits`: 1297 training and 500 held-out" in card
    assert f"| negative_elbo | {summary['metrics']['negative_elbo']:.6g} | nats | lower |" in card
    assert summary["params_sha256"] in card and "![samples.png](samples.png)" in card
    line = next(line for line in card.splitlines() if line.startswith("python -m experiments.vae --num_steps=20"))
    assert "--hidden=8" in line and "--latent_dim=2" in line and "workdir" not in line
    assert (config["experiment"], config["latent_dim"]) == ("vae", 2)
    assert str(honest) not in card + json.dumps(config) and "agreed" not in card


def test_the_card_of_a_face_swap_asks_for_consent(honest):
    run = opening.open(honest)
    run = run._replace(experiment=run.experiment._replace(name="identity_swap"))
    assert "only if each of them has agreed to that use" in model_card.of_run(run, exporting.about(run), [])


def test_the_places_of_files_are_not_given_away(tmp_path):
    flags = vae.Flags(dataset="file:/place/of/mine/secret/table.csv", initial_weights="/place/of/mine/w.safetensors")
    shared = exporting.shareable(flags.replace(workdir="/place/of/mine/runs", data_dir="/place/of/mine/data"))
    assert (shared["dataset"], shared["initial_weights"]) == ("file:table.csv", "w.safetensors")
    assert "/place" not in json.dumps(shared)


def test_nothing_is_written_over(honest, files, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for output in (files / "w.npz", files / "hub", tmp_path / "folder", tmp_path / "link"):
        with pytest.raises(BadInput, match=r"out: .* exists, and is not written over"):
            exported(honest, "hub", output)
    with pytest.raises(BadInput, match=r"out: .* cannot be written to"):
        exported(honest, "hub", files / "w.npz" / "below")
    with pytest.raises(BadInput, match=r"functions: expected some of codes, reconstructions, .*, not 'encode'"):
        exported(honest, "stablehlo", tmp_path / "f", functions=("encode",))
    with pytest.raises(BadInput, match="functions: only --to=stablehlo has functions"):
        exported(honest, "npz", tmp_path / "f", functions=("codes",))
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "link"}


def called(folder, run, name, *inputs):
    """What an exported function computes, after it was written and read."""
    function = exporting.functions(run)[name]
    made = exporting.export(name, function)
    assert made.platforms == exporting.PLATFORMS
    pytest.importorskip("flatbuffers")
    return jax.export.deserialize(bytearray(made.serialized)).call(*inputs), made


def same_bits(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert jax.tree.structure(found) == jax.tree.structure(expected)


def test_exported_functions_have_the_bits_of_the_run(honest, tmp_path):
    pytest.importorskip("flatbuffers")
    run = opening.open(honest, with_data=False)
    key = jax.random.key(5)
    scores = run.experiment.applications(run.flags, run.parts)["scores"].each
    found, made = called(tmp_path, run, "scores", X, jax.random.key_data(key))
    same_bits(found, jax.jit(scores)(run.params, X, key))
    assert made.inputs == {"x": "float32[rows, 8, 8, 1]", "key": "uint32[2]"}
    found, made = called(tmp_path, run, "sample", jax.random.key_data(jax.random.fold_in(key, 0)), np.zeros(500, "u1"))
    same_bits(np.asarray(found)[:9], run.sample(9, key))
    assert made.outputs == "float32[rows, 8, 8, 1]"
    codes = exporting.functions(run)["codes"]
    assert list(codes.inputs) == ["x", "key"]
    assert list(exporting.export("codes", codes).inputs) == ["x"]  # it draws nothing


def test_a_function_of_a_fixed_number_of_rows_is_refused_in_one_line():
    rows = exporting._rows((3,))
    fixed = exporting.Function(lambda w, x: x + jnp.zeros((len(x), 1)), lambda: (), {"x": rows}, "")
    with pytest.raises(BadInput, match=r"it cannot be exported for any number of rows \(TypeError: ") as caught:
        exporting.export("it", fixed)
    assert "\n" not in str(caught.value)


def test_weights_are_not_computed_with_in_advance():
    tree = {"a": jax.random.normal(jax.random.key(0), (20_000,))}
    x = np.ones((2, 20_000), np.float32)

    def call(w, x):
        return x * jnp.exp(w["a"])[None] * jnp.tanh(w["a"])[None]

    made = exporting.export("it", exporting.Function(call, lambda: tree, {"x": exporting._rows((20_000,))}, ""))
    same_bits(jax.export.deserialize(bytearray(made.serialized)).call(x), jax.jit(call)(tree, x))


def test_weights_that_a_function_does_not_read_are_left_out():
    big = {"used": jnp.ones(3), "unused": jax.random.normal(jax.random.key(0), (10_000,))}
    one = exporting.Function(lambda w, x: x * w["used"][None], lambda: big, {"x": exporting._rows((3,))}, "")
    pytest.importorskip("flatbuffers")
    made = exporting.export("one", one).serialized
    assert len(made) < 10_000
    assert b".py" not in made  # nor is the place of the code


PAGES: dict[str, tuple[Any, dict[str, Any]]] = {
    "vae": (vae, dict(network="convolutional", features=(4, 8), likelihood="learned_gaussian")),
    "autoencoder": (autoencoder, dict(hidden=(8,))),
    "classifier": (classifier, {}),
    "denoising": (denoising, {}),
    "compression": (compression, {}),
    "outliers": (outliers, dict(hidden=(8,))),
    "sfnn": (sfnn, {}),
    "gan": (gan, dict(network="dcgan", features=(4, 8), conditional=True)),
    "flow": (flow, dict(hidden=(8,), num_layers=2)),
    "vae-flows": (vae, dict(hidden=(8,), latent_dim=2, conditional=True, prior="flow", posterior="iaf")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_every_function_of_a_page_has_the_bits_of_the_live_one(name, tmp_path):
    pytest.importorskip("flatbuffers")
    page, flags = PAGES[name]
    run = run_of(page, tmp_path, **flags)
    draw, key = np.random.RandomState(0), jax.random.key(5)
    functions = exporting.functions(run)
    assert functions
    for each, function in functions.items():
        given = {}
        for of, shape in function.inputs.items():
            sizes = [size if isinstance(size, int) else 7 for size in shape.shape]
            given[of] = (draw.randint(0, 9, sizes) if of == "label" else draw.rand(*sizes)).astype(shape.dtype)
        if "key" in given:
            given["key"] = np.asarray(jax.random.key_data(key))
        made = exporting.export(each, function)
        inputs = [value for of, value in given.items() if of in made.inputs]
        found = jax.export.deserialize(bytearray(made.serialized)).call(*inputs)
        tree = function.weights()
        same_bits(found, jax.jit(function.call)(tree, *given.values()))
        assert made.platforms == exporting.PLATFORMS


ALONE = """
import sys
from pathlib import Path


class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("genjax", "experiments", "flax", "optax"):
            raise ImportError(name)


sys.meta_path.insert(0, Refused())
import numpy as np
from jax import export

folder = Path(sys.argv[1])
given = dict(np.load(folder / "given.npz"))
functions = __import__("json").loads((folder / "functions.json").read_text())["functions"]
for name, one in functions.items():
    function = export.deserialize(bytearray((folder / one["file"]).read_bytes()))
    found = function.call(*(given[each] for each in one["inputs"]))
    found = found if isinstance(found, dict) else {"": found}
    np.savez(folder / f"{name}.npz", **{f"_{key}": np.asarray(value) for key, value in found.items()})
assert "genjax" not in sys.modules
"""


@pytest.mark.slow
def test_functions_run_to_the_same_bits_where_genjax_cannot_be_imported(honest, tmp_path):
    pytest.importorskip("flatbuffers")
    exported(honest, "stablehlo", tmp_path / "functions")
    key, run = jax.random.key(5), opening.open(honest)
    z = np.random.RandomState(0).normal(size=(7, 2)).astype(np.float32)
    given = {"x": X, "z": z, "key": jax.random.key_data(key), "rows": np.zeros(500, np.uint8)}
    np.savez(tmp_path / "functions" / "given.npz", **given)
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(tmp_path / "functions")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    known = run.experiment.applications(run.flags, run.parts)
    expected = {name: jax.jit(known[name].each)(run.params, X, key) for name in ("codes", "reconstructions", "scores")}
    made: Any = vae.EXPERIMENT.generator(run.flags, run.parts)  # type: ignore[misc]
    expected |= {"decode": jax.jit(made.decode)(run.params, z), "draw": jax.jit(made.draw)(run.params, z, key)}
    expected["prior"] = jax.jit(partial(made.prior, num=500))(run.params, key=key)
    expected["sample"] = jax.jit(run.model.sample, static_argnums=1)(run.state, 500, key)
    for name, value in expected.items():
        value = value if isinstance(value, dict) else {"": value}
        with np.load(tmp_path / "functions" / f"{name}.npz") as found:
            assert set(found) == {f"_{each}" for each in value}
            for each, array in value.items():
                np.testing.assert_array_equal(found[f"_{each}"], array)


@pytest.mark.slow
def test_the_arrays_of_a_convolutional_vae_make_a_twin_in_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    run = run_of(vae, tmp_path, network="convolutional", features=(4, 6), latent_dim=2)
    w = {name: torch.from_numpy(np.array(leaf)) for name, leaf in weights.named(run.params).items()}

    def dense(name, h):
        return torch.nn.functional.linear(h, w[f"{name}/kernel"].T, w[f"{name}/bias"])

    def convolution(name, h):
        kernel = w[f"{name}/kernel"].permute(3, 2, 0, 1)
        return torch.nn.functional.conv2d(h, kernel, w[f"{name}/bias"], stride=2, padding=1)

    def transposed(name, h):
        kernel = w[f"{name}/kernel"].flip(0, 1).permute(2, 3, 0, 1)
        return torch.nn.functional.conv_transpose2d(h, kernel, w[f"{name}/bias"], stride=2, padding=1)

    h = torch.from_numpy(X).permute(0, 3, 1, 2)
    for depth in (1, 2):
        h = torch.relu(convolution(f"encoder/convolution_{depth}", h))
    mean = dense("encoder/dense", h.permute(0, 2, 3, 1).reshape(7, -1))[:, :2]
    h = dense("decoder/dense", mean).reshape(7, 2, 2, 6).permute(0, 3, 1, 2)
    for depth in (2, 1):
        h = transposed(f"decoder/convolution_{depth}", torch.relu(h))
    known = run.experiment.applications(run.flags, run.parts)
    np.testing.assert_allclose(mean.numpy(), known["codes"].each(run.params, X, jax.random.key(0)), atol=1e-5)
    rebuilt = known["reconstructions"].each(run.params, X, jax.random.key(0))
    np.testing.assert_allclose(torch.sigmoid(h).permute(0, 2, 3, 1).numpy(), rebuilt, atol=1e-5)
