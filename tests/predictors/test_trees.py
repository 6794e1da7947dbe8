import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from qtt.errors import ArtifactError
from qtt.predictors.trees import Trees

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(400, 6))
ROWS[RNG.uniform(size=ROWS.shape) < 0.2] = np.nan
ROWS[:, 5] = RNG.normal(size=400)  # never missing while fitted
TARGET = np.nan_to_num(ROWS[:, 0]) ** 2 + np.isnan(ROWS[:, 1]) - ROWS[:, 5] + 3.0
NEW = RNG.normal(size=(200, 6)) * 2.0
NEW[RNG.uniform(size=NEW.shape) < 0.3] = np.nan


def regressor(seed=0, **settings):
    model = HistGradientBoostingRegressor(
        **{"max_iter": 25, "max_features": 0.5, **settings}, random_state=seed, early_stopping=False
    )
    return model.fit(ROWS, TARGET)


@pytest.mark.parametrize("settings", [{}, {"max_leaf_nodes": 2}, {"max_leaf_nodes": None, "max_depth": 9}])
def test_trees_predict_what_scikit_learn_does(settings):
    model = regressor(**settings)
    for rows in (ROWS, NEW, np.full((1, 6), np.nan)):
        np.testing.assert_allclose(Trees.of(model).predict(rows), model.predict(rows), rtol=1e-12)


def test_a_row_on_a_threshold_goes_where_scikit_learn_sends_it():
    rows = np.repeat(np.arange(8.0), 20)[:, None]
    model = HistGradientBoostingRegressor(max_iter=5, early_stopping=False, min_samples_leaf=5)
    model.fit(rows, np.sin(rows[:, 0]))
    trees = Trees.of(model)
    thresholds = np.unique(trees.threshold)[:, None]
    for shift in (-1e-12, 0.0, 1e-12):
        np.testing.assert_allclose(trees.predict(thresholds + shift), model.predict(thresholds + shift))


def test_several_models_are_averaged_whatever_their_sizes():
    models = [regressor(0), regressor(1, max_leaf_nodes=4), regressor(2, max_iter=3)]
    expected = np.mean([model.predict(NEW) for model in models], axis=0)
    np.testing.assert_allclose(Trees.of(*models).predict(NEW), expected, rtol=1e-12)


def test_a_classifier_gives_log_odds():
    model = HistGradientBoostingClassifier(max_iter=12, early_stopping=False).fit(ROWS, TARGET > 4.0)
    np.testing.assert_allclose(Trees.of(model).predict(NEW), model.decision_function(NEW), rtol=1e-12)


def test_a_constant_target_gives_trees_of_one_leaf():
    model = HistGradientBoostingRegressor(max_iter=3, early_stopping=False).fit(ROWS, np.full(400, 2.5))
    np.testing.assert_allclose(Trees.of(model).predict(NEW), 2.5)


def test_no_rows_have_no_predictions():
    assert Trees.of(regressor()).predict(np.zeros((0, 6))).shape == (0,)


def test_arrays_come_back_as_they_were():
    trees = Trees.of(regressor())
    again = Trees.from_tensors("cost", trees.tensors("cost"))
    np.testing.assert_array_equal(again.predict(NEW), trees.predict(NEW))
    for name, array in trees.tensors("cost").items():
        assert array.dtype == again.tensors("cost")[name].dtype


@pytest.mark.parametrize("name", list(Trees.__dataclass_fields__))
def test_a_missing_array_is_named(name):
    tensors = Trees.of(regressor()).tensors("cost")
    del tensors[f"cost.{name}"]
    with pytest.raises(ArtifactError, match=f"lacks the array 'cost.{name}'"):
        Trees.from_tensors("cost", tensors)


@pytest.mark.parametrize(("name", "value"), [("left", -1), ("right", 10_000), ("column", -3)])
def test_a_damaged_array_is_refused(name, value):
    tensors = Trees.of(regressor()).tensors("cost")
    tensors[f"cost.{name}"][2, 0] = value
    with pytest.raises(ArtifactError, match="'cost' of the predictor are damaged"):
        Trees.from_tensors("cost", tensors)
