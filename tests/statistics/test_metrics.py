import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from qtt.statistics.metrics import calibration_error, log_loss, reliability, top_accuracy


def _random(seed: int, images: int = 200, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.3), images).astype(np.float32)
    return probabilities, rng.integers(0, classes, images)


@pytest.mark.parametrize("seed", range(3))
def test_accuracies_and_log_loss_agree_with_scikit_learn(seed: int) -> None:
    probabilities, labels = _random(seed)
    names = np.arange(7)
    for k in (1, 3, 5):
        expected = sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=names)
        assert top_accuracy(probabilities, labels, k) == pytest.approx(expected)
    softened = 0.999 * probabilities.astype(np.float64) + 0.001 / 7
    softened /= softened.sum(1, keepdims=True)
    expected = sklearn_metrics.log_loss(labels, softened, labels=names)
    assert log_loss(softened.astype(np.float32), labels) == pytest.approx(expected, rel=1e-5)


def test_a_sure_mistake_costs_much_and_not_infinitely_much() -> None:
    assert log_loss(np.array([[1, 0]], dtype=np.float32), np.array([1])) == pytest.approx(87.336, abs=1e-3)


def test_calibration_by_hand() -> None:
    # bins of 1/15: .95 and 1 are in the last, .55 in the ninth
    probabilities = np.array([[0.95, 0.05], [1, 0], [0.45, 0.55], [0.45, 0.55]], dtype=np.float32)
    labels = np.array([0, 1, 1, 0])
    expected = 2 / 4 * abs(1 / 2 - 0.975) + 2 / 4 * abs(1 / 2 - 0.55)
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 10_000))
def test_calibration_agrees_with_a_loop_over_bins(seed: int) -> None:
    probabilities, labels = _random(seed, images=40, classes=3)
    confidence = probabilities.max(1).astype(float)
    right = probabilities.argmax(1) == labels
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(probabilities, labels) == pytest.approx(total, abs=1e-6)


def test_calibration_is_that_of_a_hand_computation() -> None:
    confidence = np.array([0.95, 0.92, 0.55, 0.52, 0.51])
    correct = np.array([True, False, True, True, False])
    found = reliability(confidence, correct, bins=10)
    assert found.count.tolist() == [0, 0, 0, 0, 0, 3, 0, 0, 0, 2]
    assert found.error == pytest.approx(3 / 5 * abs(2 / 3 - 1.58 / 3) + 2 / 5 * abs(0.5 - 0.935))
    edge = reliability(np.array([0.5, 1.0]), np.array([True, True]), bins=2)
    assert edge.count.tolist() == [1, 1]
