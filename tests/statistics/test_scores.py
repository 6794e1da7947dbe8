"""Scores and their standard errors against scikit-learn and the bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from qtt.errors import ConfigError
from qtt.statistics.by_class import class_table, majority_note
from qtt.statistics.metrics import placements
from qtt.statistics.scores import METRICS, find_metric, test_figures
from qtt.statistics.standard_errors import binomial_error

test_figures.__test__ = False  # type: ignore[attr-defined] # it is none of pytest's

Drawn = tuple[np.ndarray, np.ndarray]


def _draw(seed: int, examples: int, classes: int, skill: float = 1.0) -> Drawn:
    """Probabilities that know something, and labels of which some classes are rare; every class occurs."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(classes, 2.0))
    labels = np.concatenate([np.arange(classes), rng.choice(classes, examples - classes, p=shares)])
    logits = rng.normal(size=(examples, classes)) + skill * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities.astype(np.float32), labels


drawn = st.builds(_draw, st.integers(0, 10_000), st.integers(12, 90), st.integers(2, 6))
two = st.builds(_draw, st.integers(0, 10_000), st.integers(12, 90), st.just(2))


@given(drawn)
def test_scores_of_classes_are_scikit_learns(seen: Drawn) -> None:
    probabilities, labels = seen
    said = probabilities.argmax(1)
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, said),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, said),
        "macro_f1": sklearn_metrics.f1_score(labels, said, average="macro"),
    }
    wide = probabilities.astype(np.float64)
    wide /= wide.sum(1, keepdims=True)
    names = np.arange(probabilities.shape[1])
    expected["log_loss"] = np.exp(-sklearn_metrics.log_loss(labels, wide, labels=names))
    for name, value in expected.items():
        found = METRICS[name].score(probabilities, labels)
        assert found == pytest.approx(value, rel=1e-5)
        assert 0 <= found <= 1


@given(two, st.integers(1, 4))
def test_auroc_is_scikit_learns_with_equal_scores_too(seen: Drawn, decimals: int) -> None:
    probabilities, labels = seen
    rounded = np.round(probabilities, decimals)
    expected = sklearn_metrics.roc_auc_score(labels, rounded[:, 1])
    assert METRICS["auroc"].score(rounded, labels) == pytest.approx(expected, abs=1e-9)


def test_placements_by_hand() -> None:
    above, below = placements(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    np.testing.assert_allclose(above, [1, 0.75])
    np.testing.assert_allclose(below, [0.75, 1])


@pytest.mark.parametrize("name", METRICS)
def test_standard_errors_are_those_of_the_bootstrap(name: str) -> None:
    metric = METRICS[name]
    probabilities, labels = _draw(3, 600, 2 if metric.two_classes else 4)
    rng = np.random.default_rng(0)
    resampled = [rng.integers(0, 600, 600) for _ in range(600)]
    spread = np.std([metric.score(probabilities[rows], labels[rows]) for rows in resampled])
    assert metric.error(probabilities, labels) == pytest.approx(spread, rel=0.12)


def test_the_binomial_error_is_the_textbooks_where_there_is_much() -> None:
    assert binomial_error(0.9, 10_000) == pytest.approx(np.sqrt(0.9 * 0.1 / 10_000), rel=1e-3)
    # 10.5 of 11
    assert binomial_error(1.0, 10) == pytest.approx(np.sqrt(10.5 / 11 * 0.5 / 11 / 11))


@pytest.mark.parametrize("name", METRICS)
@given(st.integers(2, 200))
@settings(max_examples=20)
def test_perfect_scores_are_not_certain(name: str, examples: int) -> None:
    labels = np.arange(examples) % 2
    sure = np.eye(2, dtype=np.float32)[labels]
    assert METRICS[name].score(sure, labels) == 1
    assert METRICS[name].error(sure, labels) >= 0.5 / (examples + 1)


def test_baselines_of_95_to_5() -> None:
    labels = np.array([0] * 95 + [1] * 5)
    counts = np.array([190, 10])
    found = {name: metric.baseline(counts, labels) for name, metric in METRICS.items()}
    entropy = -(0.95 * np.log(0.95) + 0.05 * np.log(0.05))
    assert found == pytest.approx(
        {
            "accuracy": 0.95,
            "balanced_accuracy": 0.5,
            "macro_f1": (2 * 95 / 195) / 2,
            "log_loss": np.exp(-entropy),
            "auroc": 0.5,
        }
    )


def test_the_baseline_takes_the_class_that_is_frequent_in_training() -> None:
    assert METRICS["accuracy"].baseline(np.array([1, 9]), np.array([0, 0, 0, 1])) == 0.25


def test_typos_and_impossible_metrics_are_explained() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'balanced_accuracy'"):
        find_metric("balanced_acuracy")
    with pytest.raises(ConfigError, match="metric=auroc compares two classes, but there are 10"):
        find_metric("auroc", 10)
    assert find_metric("auroc", 2) is METRICS["auroc"]
    with pytest.raises(ConfigError, match="all of these examples are of one"):
        METRICS["auroc"].score(np.full((3, 2), 0.5, np.float32), np.zeros(3, np.int64))


def test_classes_that_validation_lacks_do_not_count() -> None:
    probabilities, labels = _draw(1, 60, 3)
    wider = np.hstack([probabilities, np.zeros((60, 1), np.float32)])
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert METRICS[name].score(wider, labels) == METRICS[name].score(probabilities, labels)
        assert METRICS[name].error(wider, labels) == pytest.approx(METRICS[name].error(probabilities, labels))


def test_figures_of_a_test_begin_with_the_metric() -> None:
    probabilities, labels = _draw(5, 80, 3)
    found = test_figures("macro_f1", probabilities, labels, np.bincount(labels))
    said = probabilities.argmax(1)
    assert next(iter(found)) == "test macro F1"
    assert found["test macro F1"] == pytest.approx(sklearn_metrics.f1_score(labels, said, average="macro"))
    assert found["test accuracy"] == sklearn_metrics.accuracy_score(labels, said)


@given(drawn)
def test_the_table_of_classes_is_scikit_learns(seen: Drawn) -> None:
    probabilities, labels = seen
    names = [f"class {i}" for i in range(probabilities.shape[1])]
    said = probabilities.argmax(1)
    precision, recall, _, count = sklearn_metrics.precision_recall_fscore_support(
        labels, said, labels=np.arange(len(names)), zero_division=np.nan
    )
    table = class_table(probabilities, labels, names).set_index("class")
    assert list(table["recall"]) == sorted(table["recall"])
    np.testing.assert_allclose(table["recall"][names], recall)
    np.testing.assert_allclose(table["precision"][names], precision)
    np.testing.assert_array_equal(table["examples"][names], count)
    confused = sklearn_metrics.confusion_matrix(labels, said, labels=np.arange(len(names)))
    np.fill_diagonal(confused, 0)
    for i, name in enumerate(names):
        taken = table["taken_for"][name]
        assert taken == (names[confused[i].argmax()] if confused[i].any() else "")


def test_the_majority_in_a_sentence() -> None:
    note = majority_note(np.array([1] * 19 + [0]), ["cat", "dog"])
    assert note == "Majority rate: 0.9500 of them are of the class dog."
