"""The benchmark: its rows' work counted by XLA too, its table, and one row as a user runs it."""

import io
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from experiments.benchmark import __main__ as command
from experiments.benchmark import latent, ours
from experiments.benchmark import sparse_codes as compared_codes
from experiments.benchmark import table_outliers as compared_outliers
from experiments.benchmark.way import images, vectors
from genjax.errors import BadInput
from genjax.types import Batch


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
        ("sparse", lambda: ours.sparse_model(256, 2048, 32), 512),
    ],
)
@pytest.mark.slow
def test_multiplications_are_those_that_xla_counts(row, model, batch_size):
    model = model()
    batch = Batch(jnp.zeros((batch_size, 256) if row == "sparse" else (batch_size, 28, 28, 1)))
    state, key = jax.eval_shape(model.init, jax.random.key(0)), jax.random.key(1)
    cost = jax.jit(model.train_step).lower(state, batch, key).cost_analysis()
    counted = cost["flops"] / 2 if cost else 0
    assert 1 < counted / command.ROWS[row].multiplications < 1.2  # it counts additions and the like as well


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


def test_training_is_timed_in_fit_between_two_reports(monkeypatch):
    asked, clock = {}, iter([10.0, 11.0, 12.5, 14.0, 15.0, 19.0])

    def fit(model, source, *, report, **given):
        asked.update(given)
        for step in range(given["log_every"], given["num_steps"] + 1, given["log_every"]):
            report(step, "train", {})

    monkeypatch.setattr(ours, "fit", fit)
    monkeypatch.setattr(ours.time, "perf_counter", lambda: next(clock))
    assert ours.linear_autoencoder()(50) == 9.0
    assert asked["num_steps"] == 60 and asked["log_every"] == 10


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_loss_of_a_sparse_autoencoder_is_that_of_pytorch_at_the_same_parameters():
    torch = pytest.importorskip("torch", reason="needs the extra `bench`")
    from experiments.benchmark import peers

    model, x = ours.sparse_model(6, 9, 2), vectors(6, 40)
    state, twin = model.init(jax.random.key(0)), peers.Sparse(6, 9, 2)
    layers = {"encoder": twin.encoder, "decoder": twin.decoder}
    for name, linear in layers.items():
        own = jax.device_get(state.params[name]["layer_1"])
        weights = {"weight": torch.from_numpy(own["kernel"].T.copy()), "bias": torch.from_numpy(own["bias"].copy())}
        linear.load_state_dict(weights)
    expected = float(twin(torch.from_numpy(x)))
    assert float(model.evaluate(state, Batch(jnp.asarray(x)), jax.random.key(1))["loss"]) == pytest.approx(expected)


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
