"""The guard of bits: what its digests depend on, what it names, and that it notices a loss changed in its last bit."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from genjax import losses
from tests import bits

A = np.array([[0.3, -1.2], [1.1, 0.4]])


def square(x):
    return jnp.sum(x**2, axis=-1)


def few(loss=losses.squared_error):
    arguments = np.float32(A), np.float32(A[::-1])
    return {
        "losses.squared_error": lambda: bits.derivatives(loss, *arguments),
        "square": lambda: bits.derivatives(square, arguments[0]),
    }


def test_digests_are_of_the_value_and_of_each_gradient():
    found = bits.derivatives(lambda x, y: x * y, jnp.float32([1, 2]), jnp.float32([3, 5]))
    weights = np.sin([1, 2]).astype(np.float32)
    np.testing.assert_array_equal(found["value"], [3, 10])
    np.testing.assert_allclose(found["gradients"], [weights * [3, 5], weights * [1, 2]], rtol=1e-6)


@pytest.mark.parametrize("part", ["losses", "networks"])
def test_programs_have_the_bits_that_are_recorded(part):
    """Those of models are compared where they are computed: in the tests of their contract."""
    jax.clear_caches()  # arrays that programs hold were perhaps traced in double precision, by tests of derivatives
    for name, program in bits.programs().items():
        if name.startswith(f"{part}."):
            bits.check(name, program())


@pytest.mark.parametrize("where", ["value", "gradient"])
def test_a_loss_that_is_changed_in_its_last_bit_is_named(where):
    def changed(x, y):
        loss, ulps = losses.squared_error(x, y), 1e-7 * x[:, 0]
        if where == "gradient":
            return loss + (ulps - lax.stop_gradient(ulps))
        return loss + lax.bitcast_convert_type(lax.bitcast_convert_type(loss, jnp.int32) + 1, jnp.float32) - loss

    before, again, after = (dict(bits.digests(few(*loss))) for loss in ((), (), (changed,)))
    assert bits.differences(before, again) == []
    (line,) = bits.differences(before, after)
    name = "losses.squared_error"
    assert line == f"{name}: recorded {before[name]}, now {after[name]}"


def test_the_command_compares_where_the_processor_is_known(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bits, "FILE", tmp_path / "bits.json")
    monkeypatch.setattr(bits, "programs", few)
    monkeypatch.setattr(bits.determinism, "set_up", lambda: None)  # the backend runs already
    monkeypatch.setattr(bits, "_record_by_tests", lambda: 0)
    assert bits.main([]) == 0 and "has no digests of" in capsys.readouterr().out
    assert bits.main(["--write"]) == 0 and "2 digests recorded" in capsys.readouterr().out
    assert bits.main([]) == 0 and "the same bits in all 2 programs that are recorded" in capsys.readouterr().out
    file = json.loads(bits.FILE.read_text())
    file[bits.kind()]["square"] = "0" * bits.LENGTH
    bits.FILE.write_text(json.dumps(file))
    assert bits.main([]) == 1 and "square: recorded 0000000000000000, now" in capsys.readouterr().out
    del file[bits.kind()]["square"]
    bits.FILE.write_text(json.dumps(file))
    assert bits.main([]) == 0
    out = capsys.readouterr().out
    assert "not recorded for this processor: square\n" in out and "in all 1 programs" in out


def test_every_loss_model_and_network_has_a_program():
    names = bits.programs().keys()
    assert {name.split(".")[0] for name in names} == {"losses", "networks", "models"}
    assert {"losses.squared_error", "networks.residual_generator", "models.vae"} <= names


def test_a_test_fails_for_other_bits_than_those_recorded_and_records_them_if_it_is_told_to(tmp_path, monkeypatch):
    monkeypatch.setattr(bits, "FILE", tmp_path / "bits.json")
    bits.write("another processor", {"one": "0"})
    bits.check("one", A)  # nothing is known of this processor
    monkeypatch.setenv(bits.WRITE, "1")
    bits.check("one", A)
    bits.check("two", A[0])
    monkeypatch.delenv(bits.WRITE)
    bits.check("one", A)
    bits.check("three", A)
    with pytest.raises(AssertionError, match=r"one: other bits than recorded: .* CHANGELOG"):
        bits.check("one", np.nextafter(A, 1))
    assert json.loads(bits.FILE.read_text())["another processor"] == {"one": "0"}
