import dataclasses

import numpy as np
import pytest

from qtt.curves.schema import FAILED
from qtt.curves.table import CurveTable
from qtt.curves.writing import write_table
from qtt.errors import ConfigError, CurveTableError, ModelHubError
from qtt.hub.model_hub import ModelHub
from qtt.metatraining.runs import LAST_FIDELITY, read_runs
from qtt.testing.synthetic import CARDS, METAFEATURES, SyntheticSpace
from recorded import frames, recorded

HUB = SyntheticSpace.hub
CURVES = [recorded("A", n=12, epochs=10, seed=0), recorded("B", n=7, epochs=10, seed=1)]


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path / "table", frames(CURVES), source="synthetic").folder


@pytest.fixture
def last_epochs(tmp_path):
    """The same runs, of which only the last epochs are known; the second one failed."""
    whole = frames(CURVES)
    rows = whole.curves.sort_values("epoch").groupby("run_id").tail(1)
    runs = whole.runs.copy()
    runs.loc[runs.run_id == "A-run001", "status"] = FAILED
    known = dataclasses.replace(whole, curves=rows, runs=runs)
    return write_table(tmp_path / "last", known, source="synthetic", all_epochs=False).folder


def test_runs_are_those_of_the_table_without_the_unusable(table):
    parts = read_runs(table, HUB)
    assert [part.dataset for part in parts] == ["A", "B"]
    for part, truth in zip(parts, CURVES, strict=True):
        assert len(part) == len(truth)
        assert part.candidates.configs == truth.configs
        assert part.metafeatures == METAFEATURES
        assert part.scores.shape == part.seconds.shape == (len(truth), LAST_FIDELITY)
        np.testing.assert_allclose(part.scores[:, :10], truth.scores)
        np.testing.assert_allclose(part.seconds[:, :10], truth.seconds)
        assert np.isnan(part.scores[:, 10:]).all()
        np.testing.assert_array_equal(part.lengths, truth.lengths)
        assert not part.failed.any()
        assert {card.name for card in part.candidates.models} == {c["model"] for c in truth.configs}


def test_failed_runs_are_marked_and_may_have_no_epoch(tmp_path):
    failing = dataclasses.replace(
        CURVES[0],
        lengths=np.array([0, *CURVES[0].lengths[1:]]),
        statuses=(FAILED, FAILED, *CURVES[0].statuses[2:]),
    )
    folder = write_table(tmp_path / "table", frames([failing]), source="synthetic").folder
    (part,) = read_runs(folder, HUB)
    np.testing.assert_array_equal(part.failed, [True, True] + [False] * 10)
    assert part.lengths[0] == 0
    assert part.lengths[1] == CURVES[0].lengths[1]
    assert np.isnan(part.scores[0]).all()


def test_a_table_of_last_epochs_gives_runs_of_one_point(last_epochs):
    assert CurveTable.load(last_epochs).manifest.epochs == "last"
    part, other = read_runs(last_epochs, HUB)
    assert len(other) == 7
    truth = CURVES[0]
    assert part.candidates.configs == truth.configs
    np.testing.assert_array_equal(part.lengths, truth.lengths)
    np.testing.assert_array_equal(np.isfinite(part.scores).sum(axis=1), 1)
    for row, length in enumerate(truth.lengths):
        assert part.scores[row, length - 1] == pytest.approx(truth.scores[row, length - 1])
        assert part.seconds[row, length - 1] == pytest.approx(truth.seconds[row, length - 1])
    np.testing.assert_array_equal(part.failed, np.arange(12) == 1)


def test_datasets_are_read_by_name(table):
    (part,) = read_runs(table, HUB, ["B"])
    assert part.dataset == "B"
    with pytest.raises(CurveTableError, match="Unknown dataset 'Bb'"):
        read_runs(table, HUB, ["Bb"])


def test_curves_beyond_the_last_fidelity_are_refused(tmp_path):
    longer = recorded("A", n=2, epochs=LAST_FIDELITY + 1)
    folder = write_table(tmp_path / "table", frames([longer]), source="synthetic").folder
    with pytest.raises(ConfigError, match="curves of 51 epochs; predictors look at 50"):
        read_runs(folder, HUB)


def test_every_model_needs_its_card(table, monkeypatch):
    monkeypatch.setattr("qtt.hub.model_hub._timm_hint", lambda name: "")  # takes seconds to import timm
    with pytest.raises(ModelHubError, match="large"):
        read_runs(table, ModelHub("poor", CARDS[:2]))


def test_some_of_the_runs_can_be_selected(table):
    whole = read_runs(table, HUB, ["A"])[0]
    keep = whole.lengths == 10
    part = whole.select(keep)
    assert len(part) == keep.sum() < len(whole)
    assert part.candidates.configs == tuple(
        config for config, kept in zip(whole.candidates.configs, keep, strict=True) if kept
    )
    np.testing.assert_array_equal(part.scores, whole.scores[keep])
    np.testing.assert_array_equal(part.seconds, whole.seconds[keep])
    assert (part.dataset, part.metafeatures) == (whole.dataset, whole.metafeatures)
