"""The autoencoder: PCA as its linear case, and life among scikit-learn's tools."""

import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from genjax.evaluation.linear import largest_angle
from genjax.sklearn import Autoencoder, OutlierDetector

LINEAR = dict(hidden_layer_sizes=(), activation="identity", learning_rate_init=0.01, random_state=0)


@pytest.fixture(scope="module")
def X():
    """Two strong directions of six, in units that differ a thousandfold."""
    rng = np.random.RandomState(0)
    mixed = rng.normal(size=(320, 2)) @ rng.normal(size=(2, 6)) + 0.5 * rng.normal(size=(320, 6))
    return mixed * [1, 10, 100, 1e3, 0.1, 1] + [0, 5, -100, 1e4, 0, 3]


@pytest.fixture(scope="module")
def linear(X):
    return Autoencoder(2, max_iter=100, **LINEAR).fit(X)


@pytest.fixture(scope="module")
def brief(X):
    return Autoencoder(2, max_iter=2, hidden_layer_sizes=(5,), random_state=3).fit(X)


def test_linear_one_is_pca_of_the_standardised_data(X, linear):
    x = StandardScaler().fit_transform(X)
    pca = PCA(2).fit(x)
    optimum = np.square(x - pca.inverse_transform(pca.transform(x))).sum(axis=1).mean()
    assert optimum <= -linear.score(X) < 1.01 * optimum
    restored = StandardScaler().fit(X).transform(linear.inverse_transform(linear.transform(X)))
    np.testing.assert_allclose(np.square(x - restored).sum(axis=1), -linear.score_samples(X), rtol=1e-3, atol=1e-6)
    assert largest_angle(linear.params_["decoder"]["layer_1"]["kernel"], pca.components_) < 0.05
    codes = np.linalg.lstsq(np.c_[linear.transform(X), np.ones(len(X))], pca.transform(x), rcond=None)[1]
    assert codes.sum() < 0.01 * np.square(pca.transform(x)).sum()


def test_without_standardisation_it_is_pca_of_the_data():
    rng = np.random.RandomState(1)
    X = rng.normal(size=(320, 1)) @ [[3.0, 1.0, 0.5]] + 0.3 * rng.normal(size=(320, 3)) + 1
    pca = PCA(1).fit(X)
    optimum = np.square(X - pca.inverse_transform(pca.transform(X))).sum(axis=1).mean()
    fitted = Autoencoder(1, standardize=False, max_iter=600, **LINEAR | {"learning_rate_init": 0.003}).fit(X)
    assert optimum <= -fitted.score(X) < 1.01 * optimum


def test_loss_curve_has_one_value_per_epoch(linear):
    assert linear.n_iter_ == 100 == len(linear.loss_curve_)
    assert linear.loss_ == linear.loss_curve_[-1] < 0.5 * linear.loss_curve_[0]


def test_units_do_not_matter(X, brief):
    moved = Autoencoder(**brief.get_params()).fit(X * 1e6 + 1e9)
    np.testing.assert_allclose(moved.transform(X * 1e6 + 1e9), brief.transform(X), atol=1e-4)
    restored = moved.inverse_transform(moved.transform(X * 1e6 + 1e9))
    np.testing.assert_allclose(
        (restored - 1e9) / 1e6, brief.inverse_transform(brief.transform(X)), atol=1e-4 * X.std(axis=0).max()
    )


def test_results_have_the_dtype_of_the_data(X, brief):
    assert brief.transform(X).dtype == np.float64
    assert brief.transform(X.astype(np.float32)).dtype == np.float32
    assert brief.transform(np.round(X).astype(np.int32)).dtype == np.float64
    assert brief.inverse_transform(np.zeros((1, 2), np.float32)).dtype == np.float32
    assert brief.params_["encoder"]["layer_1"]["kernel"].dtype == np.float32


def test_one_random_state_gives_the_same_bits_and_another_others(X, brief):
    assert np.array_equal(clone(brief).fit(X).transform(X), brief.transform(X))
    other = clone(brief).set_params(random_state=4).fit(X)
    assert not np.allclose(other.transform(X), brief.transform(X), atol=1e-2)


def test_the_bits_of_a_row_do_not_depend_on_its_neighbours(X, brief):
    whole, order = brief.transform(X), np.random.RandomState(0).permutation(len(X))
    assert np.array_equal(brief.transform(X[order]), whole[order])
    assert np.array_equal(np.concatenate([brief.transform(X[i : i + 7]) for i in range(0, len(X), 7)]), whole)
    assert np.array_equal(brief.score_samples(X[200:201]), brief.score_samples(X)[200:201])


def test_pickle_keeps_every_bit(X, brief):
    copy = pickle.loads(pickle.dumps(brief))
    assert np.array_equal(copy.transform(X), brief.transform(X))
    assert copy.score(X) == brief.score(X)


@pytest.mark.slow
def test_grid_search_in_a_pipeline_finds_the_number_of_components(X):
    pipeline = make_pipeline(StandardScaler(), Autoencoder(max_iter=40, **LINEAR))
    search = GridSearchCV(pipeline, {"autoencoder__n_components": [1, 2]}, cv=2).fit(X)
    assert search.best_params_ == {"autoencoder__n_components": 2}
    assert list(search.best_estimator_.get_feature_names_out()) == ["autoencoder0", "autoencoder1"]


def test_it_transforms_some_columns_before_a_classifier(X):
    y = X[:, 0] > 0
    columns = make_column_transformer(
        (Autoencoder(1, max_iter=2, **LINEAR), [1, 2, 3]), remainder="passthrough", verbose_feature_names_out=False
    )
    fitted = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(X / X.std(axis=0), y)
    assert list(fitted[0].get_feature_names_out()) == ["autoencoder0", "x0", "x4", "x5"]
    assert fitted.score(X / X.std(axis=0), y) > 0.95


def test_output_can_be_a_frame(X, brief):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[*"abcdef"])
    fitted = clone(brief).set_output(transform="pandas").fit(frame)
    assert list(fitted.feature_names_in_) == [*"abcdef"]
    assert list(fitted.transform(frame).columns) == ["autoencoder0", "autoencoder1"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(n_components=6), "n_components: a code of 6 is not smaller than the data, which have n_features=6"),
        (dict(n_components=0), "'n_components' parameter of Autoencoder must be"),
        (dict(hidden_layer_sizes=(4, 0)), "hidden_layer_sizes: expected whole numbers of at least 1"),
        (dict(activation="sine"), "'activation' parameter of Autoencoder must be a str among"),
        (dict(max_iter=0), "'max_iter' parameter"),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(X, parameters, message):
    with pytest.raises(ValueError, match=message) as refused:
        Autoencoder(**parameters).fit(X)
    assert "\n" not in str(refused.value)


def test_sparse_data_and_codes_of_another_width_are_refused(X, brief):
    with pytest.raises(TypeError, match="Sparse data was passed"):
        Autoencoder().fit(scipy.sparse.csr_matrix(X))
    with pytest.raises(ValueError, match="Z has 3 columns, but the codes have 2 components"):
        brief.inverse_transform(np.zeros((1, 3)))


def test_by_default_the_code_has_half_of_the_features(X):
    assert OutlierDetector(max_iter=1, hidden_layer_sizes=()).fit(X[:, :5]).n_components_ == 2
