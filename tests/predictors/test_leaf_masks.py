import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from qtt.predictors.leaf_masks import MOST_LEAVES, ROWS, LeafMasks
from qtt.predictors.trees import Trees

RNG = np.random.default_rng(3)
COUNT = 2 * ROWS + 37
DATA = RNG.normal(size=(COUNT, 7)).round(1)
DATA[RNG.uniform(size=DATA.shape) < 0.15] = np.nan
TARGET = np.nan_to_num(DATA[:, 0]) * np.nan_to_num(DATA[:, 1]) + np.isnan(DATA[:, 2])


def trees(leaves, count=20):
    model = HistGradientBoostingRegressor(
        max_iter=count, max_leaf_nodes=leaves, min_samples_leaf=3, early_stopping=False
    )
    return Trees.of(model.fit(DATA, TARGET))


@pytest.mark.parametrize("leaves", [2, 5, MOST_LEAVES])
@pytest.mark.parametrize("count", [0, 1, 9, ROWS, COUNT])
def test_rows_end_where_steps_lead_to_the_last_bit(leaves, count):
    fitted = trees(leaves)
    masks = LeafMasks.of(fitted)
    assert masks is not None
    np.testing.assert_array_equal(masks.sums(DATA[:count]), fitted._followed(DATA[:count]))


def test_rows_without_missing_values_do_too():
    fitted, rows = trees(8), np.nan_to_num(DATA)
    np.testing.assert_array_equal(LeafMasks.of(fitted).sums(rows), fitted._followed(rows))


def test_trees_with_more_leaves_than_a_mask_has_bits_are_followed():
    wide = trees(MOST_LEAVES + 1)
    assert LeafMasks.of(wide) is None
    np.testing.assert_array_equal(wide.predict(DATA[:9]), wide._followed(DATA[:9]) + wide.baseline[0])


def test_a_condition_that_trees_share_is_computed_once():
    fitted = trees(4, count=40)
    masks = LeafMasks.of(fitted)
    assert len(masks.column) < (fitted.left != np.arange(fitted.left.shape[1])).sum()
    assert masks.condition.max() == len(masks.column) - 1


def test_nodes_that_lead_into_a_circle_are_no_trees_and_end():
    tensors = trees(4).tensors("cost")
    tensors["cost.left"][0, 1] = 0
    tensors["cost.right"][0, 1] = 0
    assert np.isfinite(Trees.from_tensors("cost", tensors).predict(DATA[:3])).all()
