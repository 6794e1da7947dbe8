"""What a search believes of gains over probes, and what becomes its incumbent by that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtt.runs.history import History
from qtt.search.estimates import Estimates
from qtt.space.horizon import probe_of
from qtt.statistics.certainty import legend
from qtt.statistics.standard_errors import binomial_error
from qtt.types import Candidates, Config, Result


def finetuned(model: str) -> Config:
    return {"model": model, "head_init": "probe", "lr": 1e-4}


CANDIDATES = Candidates(
    (probe_of("poor"), probe_of("good"), finetuned("poor"), finetuned("good"), {"model": "poor"})
)
POOR, GOOD, POOR_TUNED, GOOD_TUNED, PLAIN = range(5)
IMAGES = 150


def result(config_id: int, right: int, fidelity: int = 1, **info: float) -> Result:
    """So many of `IMAGES` right."""
    score = right / IMAGES
    return Result(config_id, fidelity, score, 1.0, info={"stderr": binomial_error(score, IMAGES)} | info)


def told(*results: Result) -> History:
    history, estimates = History(), Estimates()
    for each in results:
        history.add(estimates.with_estimate(each, history, CANDIDATES))
    return history


PROBES = result(POOR, 118), result(GOOD, 126)


def test_a_lucky_image_does_not_make_the_model_with_the_poorer_probe_the_winner() -> None:
    history = told(*PROBES, result(GOOD_TUNED, 128), result(POOR_TUNED, 129))
    assert history.incumbent is not None
    assert history.incumbent.config_id == GOOD_TUNED
    assert history.ranking() == [GOOD_TUNED, GOOD, POOR_TUNED, POOR]
    clear = told(*PROBES, result(GOOD_TUNED, 128), result(POOR_TUNED, 140)).incumbent
    assert clear is not None and clear.config_id == POOR_TUNED


def test_gains_are_shrunk_and_losses_and_what_has_no_probe_are_not() -> None:
    history = told(*PROBES, result(POOR_TUNED, 130), result(GOOD_TUNED, 100), result(PLAIN, 127))
    estimates = [r.estimate * IMAGES for r in history]
    assert estimates[:2] == pytest.approx([118, 126])
    assert 118 < estimates[2] < 130
    assert estimates[3:] == pytest.approx([100, 127])
    assert told(result(POOR_TUNED, 130)).incumbent == result(POOR_TUNED, 130)  # nobody knows the probe


def test_what_an_objective_says_of_its_score_stands() -> None:
    history = told(*PROBES, result(POOR_TUNED, 140, estimate=0.1))
    assert history.incumbent is not None and history.incumbent.config_id == GOOD


@given(st.lists(st.tuples(st.sampled_from(range(5)), st.integers(0, IMAGES)), min_size=1, max_size=12))
def test_weights_are_kept_of_all_that_become_the_incumbent(steps: list[tuple[int, int]]) -> None:
    history, estimates = History(), Estimates()
    for epoch, (config_id, right) in enumerate(steps, 1):
        to_reach = estimates.to_reach(config_id, history, CANDIDATES)
        latest = estimates.with_estimate(result(config_id, right, epoch), history, CANDIDATES)
        history.add(latest)
        if history.incumbent is latest:
            assert to_reach is None or latest.score >= to_reach


def test_a_table_says_why_its_first_row_has_not_the_highest_score() -> None:
    assert "estimate" in legend(told(*PROBES, result(GOOD_TUNED, 128), result(POOR_TUNED, 129)), "accuracy")
    assert "estimate" not in legend(told(*PROBES, result(GOOD_TUNED, 129)), "accuracy")
