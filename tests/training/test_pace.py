"""The number of steps per dispatch."""

from genjax.training.pace import SECONDS, Pace


def test_a_dispatch_is_one_step_until_its_speed_is_known_and_then_as_long_as_an_interruption_may_wait():
    pace = Pace(100)
    assert pace.steps() == 1
    pace.count(1, 30.0)  # with the compilation
    assert pace.steps() == 1
    pace.count(1, SECONDS / 8)
    assert pace.steps() == 8
    pace.count(8, 10 * SECONDS)  # the machine was busy
    assert pace.steps() == 8
    pace.count(8, SECONDS / 1000)
    assert pace.steps() == 100


def test_several_processes_have_the_same_number():
    pace = Pace(100, fixed=True)
    pace.count(1, 30.0)
    assert pace.steps() == 100
