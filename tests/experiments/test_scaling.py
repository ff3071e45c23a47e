"""The command that measures how costs grow: its points, its table and chart, and that it goes on where it was."""

import itertools
import json
import statistics

import numpy as np
import pytest

from experiments.benchmark import scaled, scaling
from experiments.benchmark.way import dense
from genjax.errors import BadInput

SMALL = scaling.Family("small", {"batch_size": 4, "width": 2}, {"batch_size": (2, 4, 8), "width": (1, 2)})
BY_TWO_WAYS = SMALL._replace(ways=("by map", "by vmap"))
FLAGS = scaling.Flags(families=("mlp_vae",), cpu_threads=1)


def seen(seconds=(2e-3, 1e-3, 4e-3), examples=4):
    """What `scaled.measure` might find: 20 multiplications of 2 microseconds each."""
    return {
        "seconds": list(seconds),
        "examples": examples,
        "multiplications": 20.0,
        "product": 2e-6,
        "memory": 100.0,
        "needed": 3.0,
    }


@pytest.mark.parametrize("name", scaling.FAMILIES)
def test_one_size_grows_by_powers_of_two(name):
    family = scaling.FAMILIES[name]
    for line in scaling.lines(family):
        values = list(line.sizes)
        assert all(later == 2 * earlier for earlier, later in itertools.pairwise(values)) and len(values) > 2
        assert family.base[line.axis] in values  # where lines cross, and share a point
        for value, sizes in line.sizes.items():
            assert {k: v for k, v in sizes.items() if k not in ("way", line.axis)} == {
                k: v for k, v in family.base.items() if k != line.axis
            }
            assert sizes[line.axis] == value and sizes.get("way", "") == line.way
    assert len(list(scaling.lines(family))) == len(family.axes) * max(1, len(family.ways))


def test_costs_are_of_an_example():
    cost = scaling.Cost.of(seen())
    np.testing.assert_allclose([cost.example, min(cost.rounds), max(cost.rounds)], [500, 250, 1000])
    assert cost.ideal == pytest.approx(20 * 2 / 4)


def test_the_table_has_the_ratio_to_half_the_size_where_that_is_known():
    points = {
        scaling.name_of("small", {"batch_size": size, "width": 2}): seen([size**2 * 1e-3], examples=size)
        for size in (2, 4, 8)
    }
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in scaling.table(SMALL, "small", points).splitlines()
    ]
    assert rows[0][0] == "what grows" and len(rows) == 2 + 3 + 1  # the lines cross at one point
    assert [row[1] for row in rows[2:]] == ["2", "4", "8", "2"]
    assert [row[3] for row in rows[2:]] == ["", "2.00", "2.00", ""]
    assert rows[3][2:] == ["4000 (4000, 4000)", "2.00", "0 %", "100", "3"]


def test_lines_of_several_ways_are_told_apart(tmp_path):
    points = {
        scaling.name_of("small", sizes): seen() for line in scaling.lines(BY_TWO_WAYS) for sizes in line.sizes.values()
    }
    assert len(points) == 2 * (3 + 2 - 1)
    rows = scaling.table(BY_TWO_WAYS, "small", points).splitlines()[2:]
    assert sum("batch, by map" in row for row in rows) == sum("batch, by vmap" in row for row in rows) == 3
    scaling.save_chart(tmp_path / "small.png", BY_TWO_WAYS, "small", points)
    assert (tmp_path / "small.png").stat().st_size > 10_000


@pytest.fixture
def measured(monkeypatch):
    """Lets points be found at once; the load of each is taken from `measured.loads`."""

    class Measured:
        points, loads = [], {}

    def measure_alone(family, sizes, flags):
        Measured.points.append(sizes)
        return seen(), Measured.loads.get(sizes["batch_size"], 0.0)

    Measured.points, Measured.loads = [], {}
    monkeypatch.setitem(scaling.FAMILIES, "mlp_vae", SMALL)
    monkeypatch.setattr(scaling, "measure_alone", measure_alone)
    monkeypatch.setattr(scaling, "save_chart", lambda path, *of: path.touch())
    return Measured


def test_it_goes_on_with_the_points_that_are_missing(measured, tmp_path, capsys):
    flags = FLAGS.replace(out=str(tmp_path))
    measured.loads[8] = 0.5
    assert scaling.main(flags) == 1 and len(measured.points) == 4
    assert "1 points were disturbed" in capsys.readouterr().out
    measured.points.clear()
    measured.loads.clear()
    assert scaling.main(flags) == 0
    assert measured.points == [{"batch_size": 8, "width": 2}]
    kept = json.loads((tmp_path / "points.json").read_text())["points"]
    assert len(kept) == 4 and statistics.median(kept["mlp_vae batch_size=8 width=2"]["seconds"]) == 2e-3
    assert {path.name for path in tmp_path.iterdir()} == {"points.json", "mlp_vae.md", "mlp_vae.png"}


def test_disturbed_points_are_kept_on_request(measured, tmp_path):
    measured.loads |= dict.fromkeys((2, 4, 8), 2.0)
    assert scaling.main(FLAGS.replace(out=str(tmp_path), busy=True)) == 0
    assert {point["load"] for point in json.loads((tmp_path / "points.json").read_text())["points"].values()} == {2.0}


def test_points_of_another_number_of_threads_are_refused(measured, tmp_path):
    scaling.main(FLAGS.replace(out=str(tmp_path)))
    with pytest.raises(BadInput, match=r"out: .*'cpu_threads': 1}, and this is .*'cpu_threads': 3}"):
        scaling.main(FLAGS.replace(out=str(tmp_path), cpu_threads=3))


def test_a_step_has_the_multiplications_of_its_layers_and_needs_its_arguments():
    sizes = {"batch_size": 64, "examples": 100, "side": 16, "width": 32}
    found = scaled.of_one_step(scaled.linear_autoencoder(**sizes))
    assert 1 < found["multiplications"] / dense(64, (256, 32), (32, 256)) < 1.2
    parameters = 2 * 256 * 32 + 32 + 256
    assert 1 < found["needed"] * 2**20 / (4 * (3 * parameters + 64 * 256)) < 3  # Adam has two moments of each


@pytest.mark.slow
@pytest.mark.parametrize("way", [scaling.MAP, scaling.VMAP])
def test_seeds_have_as_many_times_the_multiplications(way):
    sizes = {"batch_size": 64, "examples": 100, "side": 8, "width": 32}
    alone, found = (scaled.of_one_step(scaled.seeds(seeds=num, way=way, **sizes)) for num in (1, 4))
    assert found["multiplications"] == 4 * alone["multiplications"] and found["needed"] > alone["needed"]


@pytest.mark.slow
def test_remat_has_the_multiplications_of_a_step_without_its_loop():
    sizes = {"batch_size": 4, "examples": 100, "side": 8, "width": 32, "num_samples": 64}
    kept, remat = (scaled.of_one_step(scaled.iwae(way=way, **sizes)) for way in (scaling.KEPT, scaling.REMAT))
    assert remat["multiplications"] == kept["multiplications"] and remat["needed"] < kept["needed"]


@pytest.mark.slow
@pytest.mark.parametrize("name", scaling.FAMILIES)
def test_a_small_point_of_each_family_is_measured(name):
    family = scaling.FAMILIES[name]
    sizes = dict(family.base) | {"batch_size": 4, "examples": 40, "side": 8, "width": 4}
    sizes |= {"way": family.ways[-1]} if family.ways else {}
    sizes |= {"seeds": 2} if name == "seeds" else {}
    found = scaled.measure(name, sizes, rounds=2, seconds=0.01)
    cost = scaling.Cost.of(found)
    assert len(cost.rounds) == 2 and min(cost.rounds) > 0 < cost.ideal and cost.memory > 50 and cost.needed > 0
    assert found["examples"] == (8 if name == "seeds" else 4)
