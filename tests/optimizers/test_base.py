import pytest

from qtt.errors import ConfigError, ObjectiveError
from qtt.optimizers import EpochwiseRandomOptimizer, RandomOptimizer
from qtt.space.portfolio import Portfolio, PortfolioEntry
from qtt.testing import OptimizerContract, SyntheticSpace, play
from qtt.testing.synthetic import CARDS
from qtt.types import Candidates, Result

SPACE = SyntheticSpace()


class Proposing(EpochwiseRandomOptimizer):
    """Proposes neighbours of its incumbent, the first of which it already has."""

    proposals = 2
    grew = 0

    def _propose(self):
        best = self.history.incumbent
        if best is None:
            return ()
        config = self.candidates.configs[best.config_id]
        return [config, *SPACE.neighbours(config, 5, self.seed + len(self.history))]

    def _candidates_grew(self):
        self.grew += 1


class Costly(Proposing):
    """Knows what a step costs: ten seconds, and one more for each id."""

    def _step_seconds(self, live):
        return [10.0 + i for i in live]


class TestProposing(OptimizerContract):
    def make(self, seed, **settings):
        return Proposing(SPACE, seed=seed, **settings)


class TestCostly(OptimizerContract):
    def make(self, seed, **settings):
        return Costly(SPACE, seed=seed, **settings)


@pytest.mark.parametrize("settings", [{"epochs_per_step": 0}, {"epochs_per_step": 51}, {"seed": -1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        RandomOptimizer(SPACE, **settings)


def test_sampling_needs_a_config_manager():
    with pytest.raises(ConfigError, match="config_manager"):
        RandomOptimizer().setup(4)


def test_a_search_needs_candidates():
    with pytest.raises(ConfigError, match="at least one"):
        RandomOptimizer().setup(Candidates(()))


def test_setup_starts_a_new_search():
    optimizer = Proposing(SPACE)
    optimizer.setup(4)
    trial = optimizer.ask()
    optimizer.tell({"config_id": trial.config_id, "fidelity": 1, "score": 0.5, "cost": 1.0, "status": True})
    optimizer.ask()
    optimizer.setup(4)
    assert len(optimizer.history) == 0
    assert len(optimizer.candidates) == 4
    assert not optimizer.waiting
    assert optimizer.ask() == trial


def proposing(n=6, kind=Proposing, **settings):
    optimizer = kind(SPACE, seed=2, **settings)
    optimizer.setup(n)
    return optimizer


def test_every_result_adds_new_pipelines_behind_the_others():
    optimizer = proposing()
    before = optimizer.candidates
    optimizer.tell(Result(0, 1, 0.5, 1.0))
    after = optimizer.candidates
    assert len(after) == 6 + 2 and after.proposed == 2
    assert after.initial == before.configs
    assert optimizer.grew == 1
    optimizer.tell([Result(1, 1, 0.4, 1.0), Result(2, 1, 0.6, 1.0)])
    assert len(optimizer.candidates) == 6 + 6
    assert optimizer.grew == 2, "once for all results of a call"
    configs = optimizer.candidates.configs
    assert all(config not in configs[:position] for position, config in enumerate(configs))


def test_proposals_are_asked_and_their_models_have_cards():
    optimizer = proposing(n=1, max_fidelity=1)
    told = play(optimizer, 40)
    assert max(result.config_id for result in told) > 10
    named = {config["model"] for config in optimizer.candidates.configs}
    assert len(named) > 1
    assert named == {card.name for card in optimizer.candidates.models}


def test_candidates_that_were_given_are_all_there_are():
    optimizer = Proposing(SPACE)
    optimizer.setup(SPACE.sample(6, 0))
    play(optimizer, 5)
    assert len(optimizer.candidates) == 6


def test_no_proposals_by_default():
    optimizer = type("Silent", (Proposing,), {"proposals": 0})(SPACE)
    optimizer.setup(6)
    play(optimizer, 5)
    assert len(optimizer.candidates) == 6


def test_a_refused_journal_leaves_no_trace_of_its_proposals():
    optimizer = proposing()
    optimizer.tell(Result(0, 1, 0.5, 1.0))
    before, ask = optimizer.candidates, optimizer.ask()
    told = [Result(1, 1, 0.6, 1.0), Result(8, 1, 0.7, 1.0), Result(99, 1, 0.7, 1.0)]
    with pytest.raises(ObjectiveError, match="config 99; the candidates are numbered 0 to 11"):
        optimizer.tell(told)
    assert optimizer.candidates == before
    assert [result.config_id for result in optimizer.history] == [0]
    assert optimizer.pending == {ask.config_id}
    assert optimizer.grew == 1
    optimizer.tell(told[:2])
    assert len(optimizer.candidates) == 12


def test_only_steps_that_fit_are_asked():
    optimizer = proposing(kind=Costly, max_fidelity=2)
    optimizer.seconds_left = 1.0
    assert not optimizer.nothing_fits, "no epoch was seen yet"
    optimizer.tell([Result(0, 1, 0.5, 1.0), Result(0, 2, 0.5, 1.0)])
    optimizer.seconds_left = 13.5
    assert sorted(optimizer.ask().config_id for _ in range(3)) == [1, 2, 3]
    assert optimizer.ask() is None
    assert optimizer.waiting and optimizer.nothing_fits
    assert optimizer.shortest_step == 14.0
    optimizer.seconds_left = None
    assert not optimizer.nothing_fits
    assert optimizer.ask().config_id > 3


def test_without_predicted_costs_every_step_is_asked():
    optimizer = proposing()
    optimizer.tell(Result(0, 1, 0.5, 1.0))
    optimizer.seconds_left = 0.001
    assert optimizer.shortest_step is None
    assert not optimizer.nothing_fits
    assert optimizer.ask() is not None


def test_nothing_left_is_not_nothing_that_fits():
    optimizer = Costly(SPACE, max_fidelity=1)
    optimizer.setup(SPACE.sample(1, 0))
    optimizer.tell(Result(0, 1, 0.5, 1.0))
    assert optimizer.ask() is None
    assert not optimizer.nothing_fits
    assert optimizer.shortest_step is None


def portfolio(n):
    configs = SPACE.sample(n, 77).configs
    cards = {card.name: card for card in CARDS}
    return Portfolio(tuple(PortfolioEntry(config, cards[config["model"]], "A", 1.0) for config in configs))


@pytest.mark.parametrize(("entries", "taken"), [(20, 4), (2, 2)])
def test_a_quarter_of_the_candidates_comes_from_the_portfolio(entries, taken):
    optimizer = RandomOptimizer(SPACE, seed=3)
    optimizer.portfolio = portfolio(entries)
    optimizer.setup(16)
    configs = optimizer.candidates.configs
    assert configs[:taken] == tuple(entry.config for entry in optimizer.portfolio.entries[:taken])
    assert configs[taken:] == SPACE.sample(16, 3).configs[: 16 - taken]
    assert optimizer.candidates.proposed == 0
    assert {config["model"] for config in configs} == {card.name for card in optimizer.candidates.models}


def test_a_pipeline_of_the_portfolio_is_not_sampled_again():
    optimizer = RandomOptimizer(SPACE, seed=3)
    sampled = SPACE.sample(16, 3).configs
    optimizer.portfolio = Portfolio((PortfolioEntry(sampled[5], None, "A", 1.0),))
    optimizer.setup(16)
    assert optimizer.candidates.configs == (sampled[5], *sampled[:5], *sampled[6:])
