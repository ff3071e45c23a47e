"""The benchmark: its rows' work counted by XLA too, its table, and one row as a user runs it."""

import io
import math
import os
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import io_callback
from scipy import special, stats

from experiments.benchmark import __main__ as command
from experiments.benchmark import latent, ours, whole_runs
from experiments.benchmark import sparse_codes as compared_codes
from experiments.benchmark import table_outliers as compared_outliers
from experiments.benchmark.way import images, images_on_disk, learning_rates, vectors
from genjax import data, gradients
from genjax.data import batching
from genjax.errors import BadInput
from genjax.networks import winograd
from genjax.training.fit import fit
from genjax.types import Batch, Model


@pytest.mark.parametrize(
    ("row", "model", "batch_size"),
    [
        ("mlp_vae", lambda: ours.vae_model(*ours.mlps((500,), 20), 20), 128),
        ("iwae_mlp", lambda: ours.vae_model(*ours.mlps((200, 200), 50), 50), 20),
        ("convolutional_vae", lambda: ours.vae_model(*ours.convolutional_networks(), 20), 128),
        ("vamp_vae", lambda: latent.vamp_vae(500, 20, 50), 128),
        ("iaf_vae", lambda: latent.iaf_vae(500, 20, 2, (128, 128, 128)), 128),
        ("beta_tc_vae", lambda: latent.beta_tc_vae(500, 20, 6.0), 128),
        ("vq_vae", lambda: latent.vq_vae(500, 16, 8, 512), 128),
        ("sparse", lambda: ours.sparse_model(256, 2048, 128), 512),  # 32 would be decoded by their places
    ],
)
@pytest.mark.slow
def test_multiplications_are_those_that_xla_counts(row, model, batch_size, monkeypatch):
    monkeypatch.setattr(winograd, "LEAST_SAVED", math.inf)  # or convolutions take fewer than by their definition
    model = model()
    batch = Batch(jnp.zeros((batch_size, 256) if row == "sparse" else (batch_size, 28, 28, 1)))
    state, key = jax.eval_shape(model.init, jax.random.key(0)), jax.random.key(1)
    cost = jax.jit(model.train_step).lower(state, batch, key).cost_analysis()
    counted = cost["flops"] / 2 if cost else 0
    assert 1 < counted / command.ROWS[row].multiplications < 1.2  # it counts additions and the like as well


def test_convolutions_are_timed_with_patches_alone_too(monkeypatch):
    monkeypatch.setattr(winograd, "LEAST_SAVED", winograd.LEAST_SAVED)
    monkeypatch.setattr(ours, "trained", lambda model, dataset, *, batch_size: (model, batch_size))
    sizes = (128, 16, 16, 128), (2, 2, 128, 64)
    assert winograd.pays(*sizes)
    way: Any = ours.with_patches("convolutional_vae")
    assert way[1] == 128 and not winograd.pays(*sizes)


def test_the_table_compares_with_this_project():
    measured = {
        "eight shards": command.Measured([1.0, 2.0, 4.0], first=3.0, memory=100.0),
        "one sum": command.Measured([1.0, 1.0, 1.0], first=1.0, memory=50.0),
        command.LARGE: command.Measured([1.0, 1.0, 1.0], first=1.0, memory=50.0),
    }
    head, sharded, plain = command.table("shards_128", measured).splitlines()
    assert head.split()[:4] == ["steps/s", "slowest", "fastest", "ratio"]
    steps = command.ROWS["shards_128"].steps
    np.testing.assert_allclose(
        [float(v) for v in sharded.split()[2:8]], [steps / 2, steps / 4, steps, 1.0, 3.0, 5.0], atol=0.06
    )
    assert plain.split()[:2] == ["one", "sum"] and float(plain.split()[5]) == 0.5
    unquiet = command.table("shards_128", measured, ratios=False).splitlines()
    assert [len(line) for line in unquiet] == [len(line) for line in (head, sharded, plain)]
    assert unquiet[1].split() == [*sharded.split()[:5], *sharded.split()[6:]]


def test_the_work_of_other_programs_is_what_the_cores_did_beyond_this_one(monkeypatch):
    seconds = os.sysconf("SC_CLK_TCK")
    counts = [n * seconds for n in (5, 1, 2, 100, 50, 0, 1, 3)]  # user, nice, system, idle, iowait, irq, softirq, steal
    text = " ".join(["cpu ", *map(str, counts), "0", "0"])
    monkeypatch.setattr("builtins.open", lambda path: io.StringIO(text))
    monkeypatch.setattr(os, "times", lambda: (2.0, 0.5, 1.0, 0.25, 1000.0))
    assert command.others() == 5 + 1 + 2 + 1 + 3 - 3.75
    monkeypatch.undo()
    monkeypatch.setattr("builtins.open", lambda path: io.StringIO(""))
    assert command.others() == 0.0


class Counted(NamedTuple):
    step: jax.Array
    params: tuple = ()


def test_training_is_timed_from_the_end_of_one_step_to_the_end_of_another():
    """The steps of this model sleep, and note when they end: neither the pace of dispatches nor evaluations count."""
    ended = []

    def note(step):
        time.sleep(0.005)
        ended.append(time.perf_counter())
        return np.float32(step)

    def evaluate(state, batch, key):
        return {"loss": io_callback(lambda: time.sleep(0.4) or np.float32(0), jax.ShapeDtypeStruct((), np.float32))}

    def train_step(state, batch, key):
        loss = io_callback(note, jax.ShapeDtypeStruct((), np.float32), state.step)
        return Counted(state.step + 1), {"loss": loss}

    model = Model(lambda key: Counted(jnp.zeros([], jnp.int32)), train_step, evaluate)
    source = batching.source(data.from_arrays("x", images(20), images(20)), batch_size=2)
    seconds = ours.timed(model, source)(60)
    assert len(ended) == 72
    # step 13 begins when the end of step 12 is noticed
    assert seconds == pytest.approx((ended[71] - ended[12]) * 60 / 59, abs=0.15)


def first_moves(mode):
    """The largest change of a parameter in the first step of each run of a sweep, and the last states."""
    model, source = whole_runs.small_vae(optax.inject_hyperparams(optax.adam)(learning_rate=1.0))
    start = jax.device_get(model.init(jax.random.key(0)).params)
    ends = jax.device_get(whole_runs.swept(model, source, learning_rates(3), mode, num_steps=1).params)
    moves = jax.tree.map(lambda a, b: np.abs(b - a).reshape(3, -1).max(axis=1), start, ends)
    return np.max(jax.tree.leaves(moves), axis=0), ends


@pytest.mark.slow
def test_a_sweep_has_one_learning_rate_in_each_run(monkeypatch):
    monkeypatch.setattr(whole_runs, "fit", partial(fit, eval_every=0, progress=False))
    largest, mapped = first_moves("map")
    np.testing.assert_allclose(largest, [1e-4, 1e-3, 1e-2], rtol=1e-3)  # Adam's first step has their length
    alone = first_moves("alone")[1]
    jax.tree.map(np.testing.assert_array_equal, mapped, alone)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), mapped, first_moves("vmap")[1])


def test_images_are_fed_from_the_disk_or_lie_in_memory(monkeypatch):
    monkeypatch.setattr(whole_runs, "images_on_disk", partial(images_on_disk, 300))
    monkeypatch.setattr(whole_runs, "timed", lambda model, source: source.train)
    on_disk, in_memory = whole_runs.streaming(in_memory=False), whole_runs.streaming(in_memory=True)
    assert on_disk.arrays is None and in_memory.feed is None
    key, arrays = jax.random.key(3), jax.tree.map(jnp.asarray, in_memory.arrays)
    batch = in_memory.next(arrays, in_memory.start(arrays, 0, key), 0, key)[1]
    x, _ = next(on_disk.feed(key, 0))
    np.testing.assert_allclose(x / 255, batch.x, rtol=1e-6)


def test_images_on_the_disk_repeat_those_in_memory():
    stored = images_on_disk(10_250)
    assert isinstance(stored, np.memmap)
    np.testing.assert_array_equal(stored, np.concatenate([images(), images()[:250]]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flow", "identity_swap"])
def test_the_model_of_a_page_takes_steps(name):
    seconds = whole_runs.page(name)(3)
    assert seconds and 0 < seconds < 60


# Small models of the rows beside pythae: hidden units, dimensions, and what each has besides
SMALL = {
    "vamp_vae": (12, 3, 4),
    "iaf_vae": (12, 3, 2, (8, 8)),
    "beta_tc_vae": (12, 3, 6.0),
    "vq_vae": (12, 5, 2, 7),
}


def started(name):
    """A small model of ours, its batch of 250 images, and a state far from the initial one."""
    model, batch = latent.MODELS[name](*SMALL[name]), Batch(images(250).reshape(-1, 28, 28, 1) / np.float32(255))
    fresh, draw = jax.device_get(jax.eval_shape(model.init, jax.random.key(0)).params), np.random.RandomState(1)
    params = jax.tree.map(lambda a: (0.2 * draw.standard_normal(a.shape)).astype(np.float32), fresh)
    if name == "vq_vae":
        params["codebook"]["count"] = np.ones_like(params["codebook"]["count"])
    if name == "iaf_vae":  # layers that do not depend on their input: gates of constants
        for layer in params["encoder"]["flow"][::2]:
            layer["layer_3"]["kernel"] *= 0
    return model, batch, model.init(jax.random.key(0), params)


def losses_of_ours(name, num_draws=20):
    """The mean loss over some draws, without constants that pythae leaves out, and its share that rebuilds x."""
    model, batch, state = started(name)
    evaluate = jax.jit(model.evaluate)
    found = [evaluate(state, batch, jax.random.key(draw)) for draw in range(num_draws)]
    constant = rate = 0.0
    if name == "vq_vae":
        constant, rate = 784 / 2 * np.log(np.pi), 5 * np.log(7)  # of the Gaussian density, and of the uniform prior
    loss, distortion = (np.mean([float(metrics[key]) for metrics in found]) for key in ("loss", "distortion"))
    return loss - constant - rate, distortion - constant


def loss_by_hand(name, params, x, draw):
    """The loss of pythae in NumPy, at one draw of each z."""

    def perceptron(layers, h):
        h = np.tanh(h @ flat(layers["layer_1"])["kernel"] + layers["layer_1"]["bias"].ravel())
        return h @ flat(layers["layer_2"])["kernel"] + layers["layer_2"]["bias"].ravel()

    if name == "vq_vae":
        z, e = perceptron(params["encoder"], x).reshape(-1, 5, 2), params["codebook"]["entries"]
        nearest = e[np.square(z[:, :, None] - e).sum(axis=-1).argmin(axis=-1)]
        output = perceptron(params["decoder"], nearest.reshape(-1, 10))
        return np.square(output - x).sum(axis=1).mean() + 0.25 * np.square(nearest - z).mean()
    encoder = params["encoder"]["network"] if name == "iaf_vae" else params["encoder"]
    mean, s = np.split(perceptron(encoder, x), 2, axis=1)
    z = start = mean + np.exp(s / 2) * draw.standard_normal(mean.shape)
    log_determinant = 0.0
    for layer in params["encoder"]["flow"][::2] if name == "iaf_vae" else ():
        m, a = layer["layer_3"]["bias"].reshape(3, 2).T
        gate = special.expit(2 + 3 * np.tanh(a / 3))
        z = (gate * z + (1 - gate) * m)[:, ::-1]
        log_determinant += np.log(gate).sum()
    z = z[:, ::-1] if name == "iaf_vae" else z  # reversed between the layers alone
    logits = perceptron(params["decoder"], z)
    distortion = (np.logaddexp(0, logits) - x * logits).sum(axis=1)
    log_prior = stats.norm.logpdf(z).sum(axis=1)
    if name == "vamp_vae":
        u = np.clip(flat(params["prior"]["layer_1"])["kernel"] + params["prior"]["layer_1"]["bias"].ravel(), 0, 1)
        m, t = np.split(perceptron(encoder, u), 2, axis=1)
        log_prior = special.logsumexp(stats.norm.logpdf(z[:, None], m, np.exp(t / 2)).sum(axis=-1), axis=1) - np.log(4)
    loss = distortion + stats.norm.logpdf(start, mean, np.exp(s / 2)).sum(axis=1) - log_determinant - log_prior
    if name == "beta_tc_vae":
        each = stats.norm.logpdf(z[:, None], mean, np.exp(s / 2))
        weight = np.log(10_000 * len(x))
        log_q, of_dimensions = (special.logsumexp(log, axis=1) - weight for log in (each.sum(-1), each))
        loss += 5 * (log_q - of_dimensions.sum(axis=1))
    return loss.mean()


@pytest.mark.parametrize("name", latent.MODELS)
@pytest.mark.slow
def test_losses_are_those_by_hand(name):
    _, batch, state = started(name)
    x, params, draw = np.array(batch.x).reshape(-1, 784), jax.device_get(state.params), np.random.RandomState(2)
    by_hand = np.mean([loss_by_hand(name, params, x, draw) for _ in range(20)])
    np.testing.assert_allclose(losses_of_ours(name)[0], by_hand, atol=1e-3 if name == "vq_vae" else 0.25)


@pytest.mark.slow
@pytest.mark.parametrize("name", latent.MODELS)
@pytest.mark.filterwarnings("ignore")  # pythae's own
def test_losses_are_those_of_pythae_at_the_same_parameters(name):
    torch = pytest.importorskip("torch", reason="needs the extra `bench`")
    pytest.importorskip("pythae", reason="needs the extra `bench`")
    from experiments.benchmark import pythae_models

    twin = pythae_models.MODELS[name](*SMALL[name])
    _, batch, state = started(name)
    give_params(name, twin, jax.device_get(state.params), torch)
    x = torch.from_numpy(np.array(batch.x).reshape(-1, 1, 28, 28))
    twin.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        outputs = [twin({"data": x}, dataset_size=10_000) for _ in range(20)]
    theirs = [np.mean([float(output[key]) for output in outputs]) for key in ("loss", "recon_loss")]
    np.testing.assert_allclose(losses_of_ours(name), theirs, atol=1e-3 if name == "vq_vae" else 0.25)


def as_linear(layer, torch):
    """The layer as PyTorch's linear layers have it."""
    bias = np.ravel(layer["bias"])
    return {"weight": torch.from_numpy(layer["kernel"].T.copy()), "bias": torch.from_numpy(bias.copy())}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_loss_of_a_sparse_autoencoder_is_that_of_pytorch_at_the_same_parameters():
    torch = pytest.importorskip("torch", reason="needs the extra `bench`")
    from experiments.benchmark import torch_models

    model, x = ours.sparse_model(6, 9, 2), vectors(6, 40)
    state, twin = model.init(jax.random.key(0)), torch_models.Sparse(6, 9, 2)
    for name, linear in {"encoder": twin.encoder, "decoder": twin.decoder}.items():
        linear.load_state_dict(as_linear(jax.device_get(state.params[name]["layer_1"]), torch))
    expected = float(twin(torch.from_numpy(x)))
    assert float(model.evaluate(state, Batch(jnp.asarray(x)), jax.random.key(1))["loss"]) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_loss_of_the_flow_is_that_of_pytorch_at_the_same_parameters():
    torch = pytest.importorskip("torch", reason="needs the extra `bench`")
    from experiments import flow
    from experiments.benchmark import torch_models

    model = flow.build(flow.Flags(num_layers=3, hidden=(5, 4)), data.load("ring"), gradients.whole_batch).model
    fresh, draw = jax.device_get(jax.eval_shape(model.init, jax.random.key(0)).params), np.random.RandomState(1)
    params = jax.tree.map(lambda a: draw.standard_normal(a.shape).astype(np.float32), fresh)
    twin = torch_models.Flow(2, 3, (5, 4))
    with torch.no_grad():
        twin.mean.copy_(torch.from_numpy(params[0]["mean"]))
        twin.log_scale.copy_(torch.from_numpy(params[0]["log_scale"]))
    for network, layers in zip(twin.networks, params[1], strict=True):
        for place, layer in zip((0, 2, 4), ("layer_1", "layer_2", "layer_3"), strict=True):
            network[place].load_state_dict(as_linear(layers[layer], torch))
    x = vectors(2, 40)
    state, expected = model.init(jax.random.key(0), params), float(twin(torch.from_numpy(x)))
    found = float(model.evaluate(state, Batch(jnp.asarray(x)), jax.random.key(1))["loss"])
    assert found == pytest.approx(expected, rel=1e-5)


def give_params(name, twin, params, torch):
    """Copies the parameters of our model into pythae's."""

    def give(linear, layer, columns=slice(None)):
        w, b = layer["kernel"][:, columns], layer["bias"][columns]
        linear.load_state_dict(
            {"weight": torch.from_numpy(w.T.copy()), "bias": torch.from_numpy(b.copy())}, strict=False
        )

    encoder, d = params["encoder"], SMALL[name][1]
    if name == "vq_vae":
        for linear, layer in zip(twin.encoder.body[::2], ("layer_1", "layer_2"), strict=True):
            give(linear, flat(encoder[layer]))
        twin.quantizer.embeddings.copy_(torch.from_numpy(params["codebook"]["entries"]))
    else:
        # pythae reverses the dimensions before its first layer
        order = np.arange(d)[::-1] if name == "iaf_vae" else np.arange(d)
        network = encoder["network"] if name == "iaf_vae" else encoder
        give(twin.encoder.body[0], flat(network["layer_1"]))
        give(twin.encoder.mean, network["layer_2"], order)
        give(twin.encoder.log_variance, network["layer_2"], d + order)
    decoder = twin.decoder.body if name == "vq_vae" else twin.decoder.body[0]
    for linear, layer in zip(decoder[::2], ("layer_1", "layer_2"), strict=True):
        give(linear, flat(params["decoder"][layer]))
    if name == "vamp_vae":
        give(twin.pseudo_inputs[0], flat(params["prior"]["layer_1"]))
    if name == "iaf_vae":
        for made, layer in zip(twin.iaf_flow.net[::-1], encoder["flow"][::2], strict=True):
            m, a = layer["layer_3"]["bias"].reshape(d, 2).T
            gate = 1 / (1 + np.exp(-2 - 3 * np.tanh(a / 3)))
            bias = np.concatenate([(1 - gate) * m, np.log(gate)])
            give(made.net[-1], {"kernel": np.zeros((8, 2 * d), np.float32), "bias": bias.astype(np.float32)})


def flat(layer):
    """A layer with its kernel as a matrix and its bias as a vector."""
    return {"kernel": layer["kernel"].reshape(len(layer["kernel"]), -1), "bias": layer["bias"].ravel()}


@pytest.mark.slow
def test_a_row_is_measured(finish):
    status, out, err = finish("benchmark", "--rows=linear_autoencoder", "--busy")
    assert status == 0, err
    title, _, line, *_ = out.strip().splitlines()[-5:] if "torch" in out else out.strip().splitlines()[-3:]
    assert title.startswith("linear autoencoder on digits") and line.startswith("genjax")
    rate, slowest, fastest, ratio, first, whole, memory, share = line.replace("%", "").split()[1:]
    assert 0 < float(slowest) <= float(rate) <= float(fastest) and float(ratio) == 1
    assert 0 < float(first) < float(whole) and float(memory) > 50 and 0 < float(share) < 100


@pytest.mark.slow
def test_unknown_rows_and_ways_are_refused(finish):
    for flags, said in (
        (("--rows=mlp",), "--rows: expected some of mlp_vae"),
        (("--way=x",), "--way: expected one of"),
    ):
        status, _, err = finish("benchmark", *flags)
        assert status == 2 and said in err.splitlines()[-1]


@pytest.mark.parametrize("module", [compared_codes, compared_outliers])
def test_without_the_other_library_the_command_says_what_is_missing(module, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"not installed; .* the extra `bench`"):
        module.main(module.Flags())


def test_what_is_reached_is_counted_of_held_out_and_of_known_examples():
    x = np.array([[0.0, 2], [2, 0], [4, 4]])
    z, known = np.array([[1.0, 0, 2], [0, 0, 1], [0, 0, 0]]), np.array([[0.0, 0, 1], [0, 0, 0]])
    found = compared_codes.measure(x, z, x + 1, known)
    assert found == pytest.approx({"L0": 1, "explained variance": 1 - 6 / 16, "dead units": 2})
    lines = compared_codes.table({("l1", "genjax"): found, ("l1", "SAELens"): found | {"L0": 7.0}}).splitlines()
    assert lines[0].split()[:3] == ["code", "library", "L0"] and lines[2].split()[:3] == ["l1", "SAELens", "7"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_codes_of_saelens_are_the_k_largest():
    pytest.importorskip("sae_lens", reason="needs the extra `bench`")
    from experiments.benchmark import sae_lens_models

    flags = compared_codes.Flags(num_units=12, active_units=3, num_steps=3, batch_size=8, cpu_threads=1)
    x = vectors(5, 40)
    trained = sae_lens_models.train(flags, "k_sparse", x)
    z = trained.encode(x)
    assert trained.atoms.shape == (12, 5) and (z != 0).sum(axis=1).max() <= 3 and z.min() >= 0
    bias = trained.decode(np.zeros((1, 12), np.float32))
    np.testing.assert_allclose(trained.decode(z), z @ trained.atoms + bias, atol=1e-5)
