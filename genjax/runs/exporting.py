"""What a trained run gives to programs that do not have genjax: notes on its weights, and compiled functions.

A function is exported by `jax.export` with the weights as constants and a symbolic number of rows. It computes the same
bits as the function of the run, compiled for the same device with as many CPU threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp

import genjax
from genjax import data
from genjax.errors import BadInput, shorten
from genjax.runs import directory, opening
from genjax.runs.experiment import Application
from genjax.runs.settings import NOT_IDENTITY
from genjax.training import weights
from genjax.training.digest import is_key, params_sha256
from genjax.types import Array

PLATFORMS = ("cpu", "cuda", "tpu")  # for which functions are compiled

_SCOPE = jax.export.SymbolicScope()

_NOTED = ("seed", "data_fingerprint", "python", "packages", "backend", "device_kind", "bits_of_devices", "cpu_threads")
_NOTED += ("xla_flags", "jax_settings", "git_commit", "steps_done")


class Function(NamedTuple):
    """A function of a trained model that can be exported."""

    call: Callable[..., Any]  # weights, *inputs -> arrays
    weights: Callable[[], Any]  # -> a tree of arrays
    inputs: dict[str, jax.ShapeDtypeStruct]  # by name, with a symbolic number of rows
    about: str
    needs_data: bool = False  # whether its weights are fitted to the training data


class Exported(NamedTuple):
    """An exported function."""

    serialized: bytes
    inputs: dict[str, str]  # by name, such as float32[rows, 8, 8, 1]
    outputs: Any  # likewise
    platforms: tuple[str, ...]


def is_averaged(run: opening.Run) -> bool:
    """Whether the parameters for evaluation and sampling are, at least in part, an average over the steps."""
    return bool(jax.tree.leaves(getattr(run.state, "average", ())))


def shareable(flags: Any) -> dict[str, Any]:
    """The flags that identify a run, without the folders of the machine that it ran on."""
    config = {name: value for name, value in flags.to_config().items() if name not in NOT_IDENTITY}
    if data.is_local(flags.dataset):
        kind, _, path = flags.dataset.partition(":")
        config["dataset"] = f"{kind}:{path.rpartition('/')[2]}"
    if flags.initial_weights is not None:
        config["initial_weights"] = flags.initial_weights.rpartition("/")[2]
    return config


def about(run: opening.Run) -> dict[str, Any]:
    """What a file of the run's weights notes of them: `params_sha256` is the digest of the weights in that file."""
    manifest = directory.read_manifest(run.directory)
    return {
        "experiment": run.experiment.name,
        "step": run.step,
        "parameters": "averaged" if is_averaged(run) else "last",
        "params_sha256": params_sha256(run.params),
        "params_sha256_of_last": params_sha256(run.state.params),
        "flags": shareable(run.flags),
        "manifest": {name: manifest[name] for name in _NOTED if name in manifest},
        "layout": weights.LAYOUT,
        "genjax": genjax.__version__,
    }


def functions(run: opening.Run) -> dict[str, Function]:
    """What can be exported of a run, by name: its applications to examples, and how it makes new data."""
    applications = run.experiment.applications(run.flags, run.parts)
    found = {name: _of_application(run, each) for name, each in applications.items() if each.read is None}
    generator = None if run.experiment.generator is None else run.experiment.generator(run.flags, run.parts)
    conditional = generator is not None and generator.num_classes > 0
    key = jax.ShapeDtypeStruct((2,), jnp.uint32)
    label = {"label": _rows((), jnp.int32)} if conditional else {}
    counted = {"key": key, **(label or {"rows": _rows((), jnp.uint8)})}
    if generator is not None:
        z = {"z": _rows((generator.latent_dim,))}
        found["decode"] = Function(
            generator.decode, lambda: run.params, {**z, **label}, "the data that codes stand for"
        )
        if generator.draw is not None:
            inputs = {**z, "key": key, **label}
            found["draw"] = Function(_keyed(generator.draw), lambda: run.params, inputs, "draws of x given z")
        if generator.prior is not None:
            prior = _counted(generator.prior, conditional)
            found["prior"] = Function(prior, lambda: run.params, counted, "codes drawn from the prior")
    if run.model.sample is not None:
        sample = _counted(run.model.sample, conditional)
        found["sample"] = Function(sample, lambda: run.state, counted, "new data, as many as there are rows")
    return found


def _rows(shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    """The shape of any number of rows."""
    return jax.ShapeDtypeStruct((*jax.export.symbolic_shape("rows", scope=_SCOPE), *shape), dtype)


def _of_application(run: opening.Run, application: Application) -> Function:
    def fitted() -> tuple[Any, ...]:
        if application.fit is None:
            return ()
        known = opening.read(run, run.dataset.train, jax.random.key(0), at_most=10_000)
        return (application.fit(run.params, known),)

    def call(tree: Any, x: Array, key: Array, *label: Array) -> Any:
        params, of_data = tree
        return application.each(params, x, jax.random.wrap_key_data(key), *label, *of_data)

    inputs = {"x": _rows(run.dataset.train.x.shape[1:]), "key": jax.ShapeDtypeStruct((2,), jnp.uint32)}
    if application.num_classes:
        inputs["label"] = _rows((), jnp.int32)
    about = "of examples, as `experiments.apply` computes it"
    return Function(call, lambda: (run.params, fitted()), inputs, about, application.fit is not None)


def _keyed(draw: Callable[..., Any]) -> Callable[..., Any]:
    """A function of weights, codes, key and perhaps labels, of the key's data in place of the key."""

    def call(tree: Any, z: Array, key: Array, *label: Array) -> Any:
        return draw(tree, z, jax.random.wrap_key_data(key), *label)

    return call


def _counted(function: Callable[..., Any], conditional: bool) -> Callable[..., Any]:
    """The function of weights, number of rows, key and perhaps labels as one of weights, key data and rows."""

    def call(tree: Any, key: Array, rows: Array) -> Any:
        return function(tree, rows.shape[0], jax.random.wrap_key_data(key), *([rows] if conditional else []))

    return call


def export(name: str, function: Function, *, platforms: Sequence[str] = PLATFORMS) -> Exported:
    """Exports a function for all of these platforms, or those of them for which it can be compiled.

    A key that the function does not use is left out of its inputs.

    Raises:
      BadInput: it can be exported for none of them, or the package flatbuffers is missing.
    """
    leaves, structure = jax.tree.flatten(function.weights())
    names = list(function.inputs)

    def of_leaves(leaves: Sequence[Any], *inputs: Array) -> Any:
        return function.call(jax.tree.unflatten(structure, leaves), *inputs)

    try:
        used = _used(of_leaves, leaves, list(function.inputs.values()))
    except Exception as error:  # whatever the function does with a number of rows that is not known
        raise _refused(name, error) from error
    kept = [each for each, is_used in zip(names, used, strict=True) if is_used or each != "key"]

    def baked(*inputs: Array) -> Any:
        # XLA computes constants in advance, to other bits, unless they are hidden from it
        hidden = [leaf if is_key(leaf) else jax.lax.optimization_barrier(jnp.asarray(leaf)) for leaf in leaves]
        given = dict(zip(kept, inputs, strict=True))
        return of_leaves(hidden, *(given.get(each, jnp.zeros(2, jnp.uint32)) for each in names))

    given = [function.inputs[each] for each in kept]
    exported = _lowered(name, baked, given, platforms)
    try:
        serialized = bytes(exported.serialize())
    except ImportError:
        raise BadInput("writing compiled functions needs the package flatbuffers: pip install flatbuffers") from None
    outputs = jax.tree.unflatten(exported.out_tree, [_shown(aval) for aval in exported.out_avals])
    inputs = {each: _shown(function.inputs[each]) for each in kept}
    return Exported(serialized, inputs, outputs, tuple(exported.platforms))


def _used(function: Callable[..., Any], leaves: Sequence[Any], inputs: Sequence[Any]) -> list[bool]:
    """Whether the program of a function reads each input."""
    jaxpr = jax.make_jaxpr(function)(leaves, *inputs).jaxpr
    needed = {id(variable) for variable in jaxpr.outvars}
    for equation in reversed(jaxpr.eqns):  # a key is wrapped even where nothing is drawn
        if equation.effects or any(id(variable) in needed for variable in equation.outvars):
            needed |= {id(variable) for variable in equation.invars}
    return [id(variable) in needed for variable in jaxpr.invars[-len(inputs) :]]


def _lowered(name: str, function: Callable[..., Any], inputs: Sequence[Any], platforms: Sequence[str]) -> Any:
    """The exported function for these platforms; if that fails, for those for which it alone succeeds."""

    def lower(*platforms: str) -> Any:
        with _without_places():
            return jax.export.export(jax.jit(function), platforms=platforms)(*inputs)

    try:
        return lower(*platforms)
    except Exception:  # of any kind
        able, reason = [], None
        for platform in platforms:
            try:
                lower(platform)
                able.append(platform)
            except Exception as error:
                reason = error
    if not able and reason is not None:
        raise _refused(name, reason) from reason
    return lower(*able)


@contextlib.contextmanager
def _without_places() -> Iterator[None]:
    """Leaves out the places in the code that JAX notes of each operation: they differ from clone to clone."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _refused(name: str, error: Exception) -> BadInput:
    reason = shorten(" ".join(str(error).split()))
    return BadInput(f"{name} cannot be exported for any number of rows ({type(error).__name__}: {reason})")


def _shown(array: Any) -> str:
    return f"{array.dtype.name}[{', '.join(map(str, array.shape))}]"


def described(exported: Mapping[str, Exported], listed: Mapping[str, Function]) -> dict[str, Any]:
    """The inputs, outputs and platforms of exported functions by name, in values that JSON can hold."""
    return {
        name: {
            "about": listed[name].about,
            "file": f"{name}.jax_export",
            "inputs": each.inputs,
            "outputs": each.outputs,
            "platforms": list(each.platforms),
        }
        for name, each in exported.items()
    }
