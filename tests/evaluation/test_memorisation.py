"""Copies among samples: authenticity and C_T against loops, SciPy, the theory of neighbours, and permutation."""

import numpy as np
import pytest
import scipy.stats
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from genjax.evaluation import memorisation, neighbours


@pytest.mark.parametrize("dim", [2, 30])  # a tree finds neighbours in few dimensions, and products in many
def test_neighbours_are_those_of_a_loop_and_copies_are_at_no_distance(dim):
    draw = np.random.RandomState(0)
    x, known = 100 + draw.normal(size=(20, dim)), 100 + draw.normal(size=(50, dim))
    found = neighbours.nearest(x, known, num_neighbours=3)
    table = np.linalg.norm(x[:, None] - known[None], axis=-1)
    np.testing.assert_array_equal(found.index, np.argsort(table, axis=1)[:, :3])
    np.testing.assert_allclose(found.distance, np.sort(table, axis=1)[:, :3], rtol=1e-12)
    copies = neighbours.nearest(known[::-1], known, num_neighbours=100)
    assert copies.index.shape == (50, 50) and np.all(copies.distance[:, 0] == 0)
    np.testing.assert_array_equal(copies.index[:, 0], np.arange(50)[::-1])


@pytest.mark.parametrize("dim", [1, 20])
def test_authenticity_is_that_of_a_loop(dim):
    draw = np.random.RandomState(1)
    x = draw.normal(size=(60, dim))
    y = np.concatenate([x[:20] + 0.3 * draw.normal(size=(20, dim)), draw.normal(size=(20, dim))])
    far = []
    for sample in y:
        nearest = np.linalg.norm(x - sample, axis=1).argmin()
        others = np.delete(x, nearest, axis=0)
        far.append(np.linalg.norm(x[nearest] - sample) > np.linalg.norm(others - x[nearest], axis=1).min())
    found = memorisation.authenticity(y, x)
    assert 0 < found.share < 1 and found.share == np.mean(far)
    assert found.standard_error == pytest.approx(scipy.stats.binom(40, found.share).std() / 40)


def test_copies_have_no_authenticity():
    x = np.random.RandomState(2).normal(size=(50, 20))
    assert memorisation.authenticity(np.repeat(x, 2, axis=0), x).share == 0
    twice = np.concatenate([x, x])  # the nearest other example is a copy too
    assert memorisation.authenticity(x, twice).share == 0
    assert memorisation.authenticity(x + 100, x).share == 1
    with pytest.raises(ValueError, match="at least 2 examples, of which one is another's neighbour; got 1"):
        memorisation.authenticity(x, x[:1])


@pytest.mark.parametrize(
    ("dim", "expected"),  # one minus the share of reflexive nearest neighbours: 2/3, and 6 pi / (8 pi + 3^(3/2)) (Cox)
    [(1, 1 / 3), (2, 1 - 6 * np.pi / (8 * np.pi + 3 * np.sqrt(3)))],
)
def test_the_authenticity_of_new_draws_is_that_of_theory(dim, expected):
    draw = np.random.RandomState(3)
    found = [memorisation.authenticity(draw.rand(500, dim), draw.rand(500, dim)).share for _ in range(40)]
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(40))
    assert np.std(found) < 0.05


def test_rank_sums_are_those_of_scipy():
    draw = np.random.RandomState(4)
    for a, b in ((draw.rand(30), draw.rand(50) + 0.1), (draw.randint(0, 5, 30), draw.randint(0, 6, 20))):
        z = memorisation.standardised_rank_sum(a, b)
        scipys = scipy.stats.mannwhitneyu(a, b, alternative="less", method="asymptotic", use_continuity=False)
        assert scipy.stats.norm.cdf(z) == pytest.approx(scipys.pvalue, rel=1e-9)
        assert z < 0 and memorisation.standardised_rank_sum(b, a) == pytest.approx(-z)
    assert memorisation.standardised_rank_sum(np.zeros(3), np.zeros(4)) == 0


@pytest.mark.parametrize("num_cells", [1, 3])
@threadpool_limits.wrap(limits=1)
def test_c_t_of_new_draws_is_standard_normal(num_cells):
    draw = np.random.RandomState(5)
    train, pool = draw.normal(size=(300, 3)), draw.normal(size=(250, 3))
    z = []
    for _ in range(80):  # samples and held-out data are exchanged at random
        mixed = pool[draw.permutation(250)]
        found = memorisation.data_copying(mixed[:150], train, mixed[150:], num_cells=num_cells)
        z.append(found.value / found.standard_error)
        assert found.standard_error == 1 if num_cells == 1 else 0.5 < found.standard_error < 0.8
    assert abs(np.mean(z)) < 4 / np.sqrt(80)
    assert scipy.stats.kstest(z, "norm").pvalue > 0.01
    assert 0.75 < np.std(z) < 1.25


def test_c_t_is_below_0_for_copies_and_above_for_what_is_far():
    draw = np.random.RandomState(6)
    train, held_out = draw.normal(size=(300, 5)), draw.normal(size=(100, 5))
    copies = train[:200] + 0.05 * draw.normal(size=(200, 5))
    assert memorisation.data_copying(copies, train, held_out).value < -5
    assert memorisation.data_copying(2 * draw.normal(size=(200, 5)), train, held_out).value > 5


def test_c_t_weighs_cells_by_held_out_data_and_leaves_out_those_with_few_samples():
    draw = np.random.RandomState(7)
    centres = np.array([[0.0, 0.0], [50.0, 0.0], [0.0, 50.0]])
    train = np.concatenate([centre + draw.normal(size=(80, 2)) for centre in centres])
    held_out = np.concatenate(
        [centre + draw.normal(size=(n, 2)) for centre, n in zip(centres, (60, 20, 40), strict=True)]
    )
    samples = np.concatenate(
        [centre + draw.normal(size=(n, 2)) for centre, n in zip(centres, (30, 40, 19), strict=True)]
    )
    far, near = (np.linalg.norm(a[:, None] - train, axis=-1).min(1) for a in (samples, held_out))
    z = [memorisation.standardised_rank_sum(far[a:b], near[c:d]) for a, b, c, d in ((0, 30, 0, 60), (30, 70, 60, 80))]
    found = memorisation.data_copying(samples, train, held_out)
    assert len(np.unique(KMeans(3, random_state=0).fit(train).predict(centres))) == 3
    assert found.value == pytest.approx((60 * z[0] + 20 * z[1]) / 80)
    assert found.standard_error == pytest.approx(np.sqrt(60**2 + 20**2) / 80)
    few = memorisation.data_copying(samples[:19], train, held_out)  # one cell for all
    assert few == (pytest.approx(memorisation.standardised_rank_sum(far[:19], near)), 1)
