"""The Vendi score against sets whose effective number is known, and the eigenvalues of the whole matrix of cosines."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from genjax.evaluation import diversity


def test_copies_count_once_and_orthogonal_vectors_all():
    assert diversity.vendi_score(np.tile([3.0, -4.0], (50, 1))) == pytest.approx(1, rel=1e-10)
    assert diversity.vendi_score(np.outer(np.arange(1, 9), [1.0, 2.0])) == pytest.approx(1, rel=1e-10)
    rotation = np.linalg.qr(np.random.RandomState(0).normal(size=(12, 12)))[0]
    assert diversity.vendi_score(5 * rotation[:7]) == pytest.approx(7, rel=1e-10)
    assert diversity.vendi_score(np.repeat(rotation[:7], 4, axis=0)) == pytest.approx(7, rel=1e-10)
    # shares 1/2, 1/4, 1/4: 2 to the power of 1.5 bits
    assert diversity.vendi_score(rotation[[0, 0, 1, 2]]) == pytest.approx(2**1.5, rel=1e-10)


def test_zeros_are_a_direction_of_their_own():
    assert diversity.vendi_score([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]) == pytest.approx(2**1.5)


@pytest.mark.parametrize("shape", [(40, 5), (20, 60)])  # either side may be the smaller one
def test_the_score_is_the_entropy_of_the_cosines(shape):
    x = np.random.RandomState(1).normal(size=shape)
    shares = np.linalg.eigvalsh(cosine_similarity(x) / len(x))
    shares = shares[shares > 1e-12]
    assert diversity.vendi_score(x) == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-9)


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        diversity.vendi_score(np.zeros((0, 3)))
