"""The loop against a plain Python loop of single steps: the same bits, however it is cut."""

import contextlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.data import batching
from genjax.data.dataset import from_arrays
from genjax.errors import BadInput
from genjax.losses import BERNOULLI
from genjax.models import vae
from genjax.training.checkpoint import Checkpoints
from genjax.training.digest import params_sha256
from genjax.training.evaluator import evaluator, standard_errors
from genjax.training.fit import fit
from genjax.training.placement import seeds
from genjax.training.reading import Progress, Window
from genjax.training.streams import streams
from genjax.types import Network

STEPS, SEED = 40, 3


def build(learning_rate=1e-2, optimizer=None):
    """A VAE of two affine maps on 4 x 4 images."""

    def encode(params, x):
        return tuple(jnp.split(x.reshape(len(x), -1) @ params, 2, axis=-1))

    encoder = Network(lambda key: jax.random.normal(key, (16, 4)) / 4, encode)
    decoder = Network(lambda key: jax.random.normal(key, (2, 16)), lambda p, z: (z @ p).reshape(-1, 4, 4, 1))
    parts = vae.VAE(encoder, decoder, BERNOULLI, 2)
    return vae.model(parts, optimizer or optax.adam(learning_rate), vae.objective(parts))


@pytest.fixture(scope="module")
def dataset():
    draw = np.random.RandomState(0).randint(0, 256, (50, 4, 4, 1)).astype(np.uint8)
    return from_arrays("noise", draw[:37], draw[37:])


@pytest.fixture(scope="module")
def source(dataset):
    return batching.source(dataset, batch_size=8, transform=batching.dynamic_binarization, test_batch=5)


@pytest.fixture(scope="module")
def reference(source):
    """State and train metrics of a Python loop of jitted single steps."""
    model, root = build(), streams(SEED)
    state = jax.jit(model.init)(root.init)
    arrays = jax.device_put(source.train.arrays)
    carried = source.train.start(arrays, state.step, root.data)
    step_fn, next_fn, metrics = jax.jit(model.train_step), jax.jit(source.train.next), []
    for _ in range(STEPS):
        carried, batch = next_fn(arrays, carried, state.step, root.data)
        state, logged = step_fn(state, batch, root.train)
        metrics.append(jax.tree.map(float, logged))
    return state, metrics


class Recorder:
    def __init__(self):
        self.lines, self.saved = [], []

    def report(self, step, split, metrics):
        self.lines.append((step, split, metrics))

    def save(self, step, state):
        self.saved.append((step, params_sha256(state.params)))

    def of(self, split):
        return [(step, metrics) for step, name, metrics in self.lines if name == split]


def run(source, recorder=None, model=None, **options):
    recorder = recorder or Recorder()
    options = {"num_steps": STEPS, "seed": SEED} | options
    return fit(model or build(), source, report=recorder.report, save=recorder.save, **options), recorder


@pytest.mark.parametrize(
    "steps_per_dispatch", [pytest.param(1, marks=pytest.mark.slow), 7, pytest.param(100, marks=pytest.mark.slow)]
)
def test_bits_are_those_of_single_steps(source, reference, steps_per_dispatch):
    state, recorder = run(source, steps_per_dispatch=steps_per_dispatch, log_every=10, eval_every=20)
    assert params_sha256(state) == params_sha256(reference[0])
    for index, (step, metrics) in enumerate(recorder.of("train")):
        window = reference[1][10 * index : 10 * index + 10]
        assert step == 10 * (index + 1)
        assert metrics == {name: np.mean([m[name] for m in window]) for name in window[0]}


def test_bits_do_not_depend_on_any_cadence(source, reference):
    for cadence in ({"log_every": 3, "eval_every": 7, "checkpoint_every": 11}, {"log_every": 1, "eval_every": 0}):
        state, _ = run(source, **cadence)
        assert params_sha256(state) == params_sha256(reference[0])


@pytest.mark.slow
def test_going_on_from_a_state_repeats_the_bits_and_the_lines(source):
    cadence = {"log_every": 10, "eval_every": 20, "checkpoint_every": 15}
    whole, recorder = run(source, **cadence)
    half, first = run(source, num_steps=15, **cadence)
    kept = [line for line in first.lines if line[0] <= 15 and line[1] == "train"]
    resumed, second = run(source, state=half, **cadence)
    assert params_sha256(resumed) == params_sha256(whole)
    assert kept + second.lines == recorder.lines
    assert recorder.saved == [(15, params_sha256(half.params)), *second.saved]


class After:
    """Becomes true when it is called for the given time."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self):
        self.left -= 1
        return self.left <= 0


@pytest.mark.slow
@pytest.mark.parametrize("calls", [2, 4, 7])
def test_an_interrupted_run_saves_its_step_and_goes_on_to_the_same_lines_and_bits(source, calls):
    cadence = {"log_every": 10, "eval_every": 20, "checkpoint_every": 15, "steps_per_dispatch": 4}
    whole, recorder = run(source, **cadence)
    unreported = Window(0)
    stopped, first = run(source, interrupted=After(calls), unreported=unreported, **cadence)
    step = int(stopped.step)
    assert 0 < step < STEPS and first.saved[-1] == (step, params_sha256(stopped.params))
    assert len({step for step, _ in first.saved}) == len(first.saved)
    values = unreported.values()
    assert all(len(value) == step - unreported.start for value in values.values())
    resumed, second = run(source, state=stopped, unreported=Window(unreported.start, values), **cadence)
    assert first.lines + second.lines == recorder.lines
    assert params_sha256(resumed) == params_sha256(whole)


def test_an_interruption_before_the_first_step_saves_nothing(source):
    stopped, recorder = run(source, interrupted=lambda: True)
    assert int(stopped.step) == 0 and not recorder.saved and not recorder.lines


@pytest.mark.slow
def test_the_state_that_is_given_stays_the_callers(source):
    state, _ = run(source, num_steps=5)
    run(source, state=state, num_steps=10)
    assert np.isfinite(jax.tree.leaves(state.params)[0]).all()  # raises where the buffer was donated


def test_the_last_line_of_a_window_may_be_short(source, reference):
    _, recorder = run(source, log_every=25, eval_every=0)
    assert [step for step, _ in recorder.of("train")] == [25, 40]
    window = reference[1][25:]
    assert recorder.of("train")[1][1]["loss"] == np.mean([m["loss"] for m in window])


def test_saves_at_its_cadence_and_at_the_end(source, reference):
    _, recorder = run(source, checkpoint_every=15)
    assert [step for step, _ in recorder.saved] == [15, 30, 40]
    assert recorder.saved[-1][1] == params_sha256(reference[0].params)


@pytest.mark.slow
def test_what_is_examined_is_the_state_of_each_evaluation_and_joins_its_metrics(source):
    examined = []

    def examine(step, state):
        examined.append((step, int(state.step), params_sha256(state.params)))
        return {"looks": 0.5 * step}

    _, recorder = run(source, examine=examine, eval_every=15, checkpoint_every=15)
    assert [(step, step, saved) for step, saved in recorder.saved] == examined
    assert [(step, metrics["looks"]) for step, metrics in recorder.of("test")] == [(15, 7.5), (30, 15), (40, 20)]
    _, plain = run(source, eval_every=15)
    assert [metrics | {"looks": 0.5 * step} for step, metrics in plain.of("test")] == [
        metrics for _, metrics in recorder.of("test")
    ]


def test_evaluation_is_the_mean_over_all_held_out_examples(dataset, source):
    # a model whose metric is a mean over the batch of something known: the first pixel
    model = build()._replace(evaluate=lambda state, batch, key: {"pixel": jnp.mean(batch.x[:, 0, 0, 0])})
    plain = batching.source(dataset, batch_size=8, test_batch=5)  # 13 = 5 + 5 + 3
    metrics = evaluator(model, plain.test)(model.init(jax.random.key(0)), jax.random.key(1))
    np.testing.assert_allclose(metrics["pixel"], dataset.test.x[:, 0, 0, 0].mean() / 255, rtol=1e-6)


def test_evaluation_draws_the_same_noise_each_time_and_other_noise_for_each_batch(dataset, source):
    model = build()._replace(evaluate=lambda state, batch, key: {"draw": jax.random.normal(key)})
    state, evaluate = model.init(jax.random.key(0)), evaluator(model, source.test)
    once, again = (float(evaluate(state, jax.random.key(1))["draw"]) for _ in range(2))
    assert once == again
    single = evaluator(model, batching.held_out(dataset.test, batch_size=13, scale=255.0))
    assert once != float(single(state, jax.random.key(1))["draw"])


def test_the_standard_error_of_an_evaluation_is_that_of_its_draws(dataset, source):
    plain = batching.source(dataset, batch_size=8, test_batch=5)  # 13 = 5 + 5 + 3

    def metrics(state, batch, key):
        return {"draw": jax.random.normal(key), "pixel": jnp.mean(batch.x[:, 0, 0, 0])}

    evaluate = evaluator(build()._replace(evaluate=metrics), plain.test)
    found = standard_errors(evaluate, (), jax.random.key(0), num=400)
    # the mean over batches of 5, 5 and 3 examples, each with a single standard normal draw
    assert set(found) == {"draw"} and abs(found["draw"] / (np.sqrt(59) / 13) - 1) < 4 / np.sqrt(2 * 399)
    without = evaluator(build()._replace(evaluate=lambda *given: {"one": jnp.ones([])}), source.test)
    assert standard_errors(without, (), jax.random.key(0)) == {}


def test_long_evaluations_for_standard_errors_show_how_far_they_are(monkeypatch, capsys):
    monkeypatch.setattr(Progress, "SECONDS", -1)
    draws = iter(range(4))
    both = [f"measuring: {done} of 2 evaluations for standard errors" for done in (0, 1)]
    for progress, lines in (False, []), (True, both):
        standard_errors(lambda *given: {"m": next(draws)}, (), jax.random.key(0), num=2, progress=progress)
        assert capsys.readouterr().err.splitlines() == lines


def test_the_standard_errors_of_several_runs_are_those_of_each(source):
    model, placement = build(), seeds(2, vectorized=False)
    own = jax.vmap(model.init)(streams(SEED, num_seeds=2).init)
    found = standard_errors(evaluator(model, source.test, placement=placement), own, streams(SEED, num_seeds=2).test)
    alone = standard_errors(evaluator(model, source.test), jax.tree.map(lambda a: a[1], own), streams(SEED + 1).test)
    assert found["negative_elbo"].shape == (2,)
    np.testing.assert_allclose(found["negative_elbo"][1], alone["negative_elbo"], rtol=1e-4)


def test_one_trace_of_the_step_serves_the_whole_run(source):
    traces, model = [], build()

    def train_step(state, batch, key):
        traces.append(1)
        return model.train_step(state, batch, key)

    run(source, model=model._replace(train_step=train_step), steps_per_dispatch=7, checkpoint_every=11, eval_every=13)
    assert len(traces) == 1


def poisoned(at, where):
    """A model whose loss, or whose params alone, become NaN in update number `at`."""
    model = build()

    def train_step(state, batch, key):
        new, metrics = model.train_step(state, batch, key)
        bad = jnp.where(new.step == at, jnp.nan, 0.0)
        if where == "metrics":
            return new, metrics | {"rate": metrics["rate"] + bad}
        return new._replace(params=jax.tree.map(lambda p: p + bad, new.params)), metrics

    return model._replace(train_step=train_step)


@pytest.mark.parametrize("steps_per_dispatch", [1, 7, 100])
def test_a_metric_that_is_not_finite_stops_the_run_and_is_named(source, steps_per_dispatch):
    recorder = Recorder()
    with pytest.raises(BadInput, match=r"train metric 'rate' is nan at step 33\b") as error:
        run(source, recorder, poisoned(33, "metrics"), checkpoint_every=10, steps_per_dispatch=steps_per_dispatch)
    assert "\n" not in str(error.value)
    assert [step for step, _ in recorder.saved] == [10, 20, 30]


def test_params_that_are_not_finite_are_not_saved(source):
    recorder = Recorder()
    with pytest.raises(BadInput, match="not finite at step 20"):
        run(source, recorder, poisoned(20, "params"), checkpoint_every=10, eval_every=0)
    assert [step for step, _ in recorder.saved] == [10]


def test_a_diverging_run_stops(source):
    with pytest.raises(BadInput, match=r"(nan|inf) at step \d+"):
        run(source, model=build(learning_rate=1e30))


@pytest.mark.slow
def test_a_loss_far_above_its_start_is_warned_of(source, caplog):
    def rising(to):
        model = build()
        return model._replace(
            train_step=lambda *given: (lambda new, logged: (new, logged | {"loss": 0.5 * new.step}))(
                *model.train_step(*given)
            ),
            evaluate=lambda *given: model.evaluate(*given) | {"loss": jnp.float32(to)},
        )

    run(source, model=rising(10.4))
    run(source, model=rising(-1e9))
    assert not caplog.records
    run(source, model=rising(10.6))
    assert "the held-out loss ends at 10.6, far above the 0.5 of the first step" in caplog.text


@pytest.mark.slow
def test_what_is_said_of_checkpoints_is_true(source):
    with pytest.raises(BadInput, match="at step 3; stopped, nothing was saved; a smaller `learning_rate`"):
        run(source, model=poisoned(3, "metrics"), checkpoint_every=10)
    with pytest.raises(BadInput, match="at step 33; stopped, the last checkpoint is that of step 30; a smaller"):
        run(source, model=poisoned(33, "metrics"), checkpoint_every=10)
    state, _ = run(source, num_steps=5)
    with pytest.raises(BadInput, match="at step 8; stopped, nothing was saved after step 5, where it started; a sm"):
        run(source, model=poisoned(8, "metrics"), state=state, checkpoint_every=10)
    with pytest.raises(BadInput, match=r"parameter .* is not finite at step 20; stopped, the last .* of step 10$"):
        run(source, model=poisoned(20, "params"), checkpoint_every=10, eval_every=0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_steps": -1}, "num_steps: expected a whole number of at least 0 and at most 2147483647, not -1"),
        ({"num_steps": 10.0}, r"num_steps: expected a whole number of at least \d.*, not 10.0"),
        ({"num_steps": "10"}, r"num_steps: expected a whole number of at least \d.*, not '10'"),
        ({"log_every": 0}, "log_every: expected a whole number of at least 1, not 0"),
        (
            {"steps_per_dispatch": 0},
            "steps_per_dispatch: expected a whole number of at least 1 and at most 2147483647, not 0",
        ),
        (
            {"steps_per_dispatch": 99999999999},
            r"steps_per_dispatch: expected a whole number of at least \d.*, not 99999999999",
        ),
        ({"eval_every": -1}, "eval_every: expected a whole number of at least 0, not -1"),
        ({"checkpoint_every": -5}, "checkpoint_every: expected a whole number of at least 0, not -5"),
        ({"seed": -1}, "seed: expected a whole number of at least 0 and at most 4294967295, not -1"),
        ({"seed": 2**32}, "seed: expected a whole number of at least 0 and at most 4294967295, not 4294967296"),
        ({"watch": "loss"}, r"watch: 'loss' is one name; give a tuple, \('loss',\)"),
        ({"watch": ("los",)}, "watch: 'los' is not a train metric of this model; it has distortion, .*loss"),
    ],
)
def test_arguments_out_of_range_are_named(source, arguments, said):
    with pytest.raises(BadInput, match=f"^{said}") as error:
        run(source, **arguments)
    assert "\n" not in str(error.value)


def test_other_kinds_of_arguments_are_named(dataset, source):
    for wrong in (dataset, dataset.train, source.train, None):
        with pytest.raises(
            BadInput, match=r"^source: a value of type \w+ is not a Source; .*source\(dataset, batch_size"
        ):
            run(wrong)
    for wrong in (build().init, "vae", Network(lambda key: None, lambda params, x: x)):
        with pytest.raises(BadInput, match=r"^model: a value of type .* is not a Model"):
            run(source, model=wrong)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("watch", 3, "a value of type int is not a sequence of names"),
        ("state", {"w": 1}, "a value of type dict is not a state of this model"),
        ("placement", "cpu", "a value of type str is not a Placement; genjax.training.placement makes one"),
        ("report", "print", "a value of type str is not a function"),
        ("save", 1, "a value of type int is not a function"),
        ("examine", [], "a value of type list is not a function"),
        ("interrupted", False, "a value of type bool is not a function"),
    ],
)
def test_hooks_and_states_of_other_kinds_are_named(source, name, value, said):
    with pytest.raises(BadInput, match=f"^{name}: {said}"):
        fit(build(), source, seed=0, num_steps=1, **{name: value})


def test_a_source_is_made_of_a_data_set(dataset):
    for wrong in (dataset.train, dataset.train.x):
        with pytest.raises(BadInput, match=r"^dataset: a value of type \w+ is not a Dataset; .*from_arrays"):
            batching.source(wrong, batch_size=2)


def test_no_steps_are_no_steps(source):
    state, recorder = run(source, num_steps=0)
    assert int(state.step) == 0 and not recorder.lines and not recorder.saved


def test_progress_is_lines_in_a_file_and_nothing_where_it_is_not_wanted(source, capsys):
    run(source, progress=False)
    assert capsys.readouterr() == ("", "")
    run(source, watch=("loss", "rate"))
    out, err = capsys.readouterr()
    assert not out and "\r" not in err
    (line,) = err.splitlines()
    assert re.fullmatch(r"step 40 of 40, [\d.e+]+ steps/s, loss [\d.]+, rate [\d.]+", line)


@pytest.mark.parametrize("broken", ["closed", "full", "absent"])
def test_a_standard_error_that_cannot_be_written_to_ends_no_training(source, monkeypatch, broken):
    stream = None if broken == "absent" else open("/dev/full", "w", buffering=1)  # noqa: SIM115
    if stream is not None and broken == "closed":
        stream.close()
    monkeypatch.setattr("sys.stderr", stream)
    state, _ = run(source, num_steps=3)
    assert int(state.step) == 3
    monkeypatch.undo()
    if stream is not None:
        with contextlib.suppress(OSError):  # it is full to the end
            stream.close()


@pytest.mark.slow
def test_an_optimizer_with_a_key_in_its_state_trains_and_goes_on(source, tmp_path):
    def noisy():
        return build(optimizer=optax.noisy_sgd(1e-3, key=5))

    def train(num_steps, state=None):
        with Checkpoints(tmp_path, keep=9) as checkpoints:
            fit(noisy(), source, seed=SEED, num_steps=num_steps, state=state, save=checkpoints.save, progress=False)
            restored = checkpoints.restore(jax.eval_shape(noisy().init, jax.random.key(0)))
        assert restored is not None
        return restored[1]

    assert params_sha256(train(20, train(10))) == params_sha256(
        fit(noisy(), source, seed=SEED, num_steps=20, progress=False)
    )


@pytest.mark.slow
def test_no_key_is_used_twice(source, no_key_reuse):
    state, _ = run(source, num_steps=6, eval_every=3)
    assert int(state.step) == 6


@pytest.mark.slow
def test_seeds_differ_and_streams_are_distinct(source):
    one, _ = run(source, num_steps=2, seed=0)
    two, _ = run(source, num_steps=2, seed=1)
    assert params_sha256(one.params) != params_sha256(two.params)
    keys = [tuple(np.asarray(jax.random.key_data(key))) for seed in range(3) for key in streams(seed)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("steps_per_dispatch", [7, pytest.param(100, marks=pytest.mark.slow)])
def test_data_read_from_the_disk_give_the_same_bits(dataset, reference, steps_per_dispatch):
    pytest.importorskip("grain", reason="needs the extra `stream`")
    streamed = batching.source(
        dataset, batch_size=8, transform=batching.dynamic_binarization, test_batch=5, memory_limit=0
    )
    state, _ = run(streamed, steps_per_dispatch=steps_per_dispatch, eval_every=15)
    assert params_sha256(state) == params_sha256(reference[0])
    half, _ = run(streamed, num_steps=13)
    assert params_sha256(run(streamed, state=half)[0]) == params_sha256(reference[0])
