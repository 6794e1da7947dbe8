"""The figures show what the optimizer decides: their data are compared, with its asks and with the files."""

from xml.etree import ElementTree

import make
import numpy as np
import palette
import pandas as pd
import pytest
import story as stories

from guides import ROOT

FIGURES = ROOT / "docs" / "figures"


@pytest.fixture(scope="module")
def told() -> stories.Story:
    """The search at the decision that is drawn."""
    return stories.search(make.BEGINNING)


@pytest.fixture(scope="module")
def table(told: stories.Story) -> pd.DataFrame:
    """What is weighed there, before anything is asked."""
    return stories.decision(told)


def test_the_drawn_decision_is_what_the_optimizer_asks(told: stories.Story, table: pd.DataFrame) -> None:
    trial = told.optimizer.ask()
    assert trial is not None
    assert table["config_id"][0] == trial.config_id
    assert np.isclose(table["value"], table["gain"] / table["seconds"]).all()


def test_the_committed_data_are_those_of_the_code(table: pd.DataFrame) -> None:
    committed, now = pd.read_csv(FIGURES / "decision.csv"), table
    assert list(committed.columns) == list(now.columns)
    first = make.SHOWN
    assert list(committed["config_id"][:first]) == list(now["config_id"][:first])
    for name in ("mean", "low", "high", "seconds", "value"):
        np.testing.assert_allclose(committed[name][:first], now[name][:first], rtol=0.02, atol=1e-4)


def test_expectations_and_truth_fit_what_was_seen(told: stories.Story) -> None:
    config_id = told.optimizer.history.ranking()[0]
    frame = stories.posterior(told, config_id)
    assert (frame["low"] < frame["mean"]).all()
    assert (frame["mean"] < frame["high"]).all()
    assert frame["truth"].is_monotonic_increasing
    assert frame["epoch"].iloc[0] == told.optimizer.history.fidelity(config_id) + 1


@pytest.mark.parametrize("name", ["decision", "posterior", "budget"])
def test_drawings_follow_the_page_and_do_not_collide(name: str) -> None:
    text = (FIGURES / f"{name}.svg").read_text(encoding="utf-8")
    ids = [node.get("id") for node in ElementTree.fromstring(text).iter() if node.get("id")]
    assert ids
    assert len(ids) == len(set(ids))
    assert all(str(identity).startswith(f"{name}-") for identity in ids)
    for colour, _ in palette.PALETTE.values():
        assert text.count(colour) == text.count(f", {colour})"), "every colour has a name"
