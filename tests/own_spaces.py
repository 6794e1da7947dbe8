"""Search spaces of people's own: one with every kind of thing that ConfigSpace has, and random ones."""

import copy
from contextlib import suppress
from typing import Any

import ConfigSpace as Cs
from ConfigSpace.exceptions import ActiveHyperparameterNotSetError
from hypothesis import strategies as st

from qtt.types import Result, TaskInfo, Trial


def everything() -> Cs.ConfigurationSpace:
    """All kinds of hyperparameters and conditions, forbidden clauses, options that are lists; no models."""
    space = Cs.ConfigurationSpace(name="everything")
    space.add(
        Cs.UniformFloatHyperparameter("step", 1e-5, 1e-1, log=True),
        Cs.UniformFloatHyperparameter("share", -1.0, 1.0),
        Cs.UniformIntegerHyperparameter("layers", 1, 12),
        Cs.UniformIntegerHyperparameter("width", 8, 4096, log=True),
        Cs.NormalFloatHyperparameter("tilt", mu=0.0, sigma=0.5, lower=-50.0, upper=50.0),
        Cs.NormalIntegerHyperparameter("depth", mu=5, sigma=2, lower=0, upper=40),
        Cs.BetaFloatHyperparameter("mix", alpha=2, beta=5, lower=0.0, upper=2.0),
        Cs.BetaIntegerHyperparameter("seats", alpha=3, beta=2, lower=0, upper=9),
        Cs.OrdinalHyperparameter("size", ["small", "medium", "large"]),
        Cs.CategoricalHyperparameter(
            "kernel", ["rbf", None, True, [1, 2], [3, [4, 5]]], weights=[3, 1, 1, 1, 1]
        ),
        Cs.Constant("version", 3),
    )
    space.add(
        Cs.EqualsCondition(space["mix"], space["kernel"], [1, 2]),
        Cs.NotEqualsCondition(space["seats"], space["size"], "small"),
        Cs.OrConjunction(
            Cs.GreaterThanCondition(space["depth"], space["layers"], 6),
            Cs.LessThanCondition(space["depth"], space["step"], 1e-3),
        ),
        Cs.AndConjunction(
            Cs.InCondition(space["tilt"], space["size"], ["medium", "large"]),
            Cs.LessThanCondition(space["tilt"], space["seats"], 9),
        ),
        Cs.ForbiddenAndConjunction(
            Cs.ForbiddenInClause(space["layers"], [1, 2]), Cs.ForbiddenEqualsClause(space["size"], "large")
        ),
        Cs.ForbiddenGreaterThanRelation(space["layers"], space["width"]),
    )
    return space


@st.composite
def spaces(draw: st.DrawFn) -> Cs.ConfigurationSpace:
    """A few hyperparameters of random kinds; those after the first may depend on the ones before."""
    space = Cs.ConfigurationSpace()
    for i in range(draw(st.integers(1, 6))):
        hyperparameter = draw(_hyperparameters(f"x{i}"))
        space.add(hyperparameter)
        if i and draw(st.booleans()):
            bound = copy.deepcopy(space)
            parent = bound[f"x{draw(st.integers(0, i - 1))}"]
            condition = draw(_conditions(bound[hyperparameter.name], parent))
            with suppress(ActiveHyperparameterNotSetError):  # it means a parent that is inactive by default
                bound.add(condition)
                space = bound
    return space


@st.composite
def _hyperparameters(draw: st.DrawFn, name: str) -> Any:
    lower = draw(st.sampled_from([-7.5, -1.0, 1e-6, 0.1, 3.0]))
    upper = lower + draw(st.sampled_from([1e-3, 1.0, 40.0, 1e6]))
    log = lower > 0 and draw(st.booleans())
    first, last = int(lower), int(lower) + draw(st.integers(1, 5000))
    return draw(
        st.sampled_from(
            [
                Cs.UniformFloatHyperparameter(name, lower, upper, log=log),
                Cs.NormalFloatHyperparameter(name, (lower + upper) / 2, (upper - lower) / 8, lower, upper),
                Cs.BetaFloatHyperparameter(name, 2, 3, lower, upper),
                Cs.UniformIntegerHyperparameter(name, first, last, log=first > 0 and log),
                Cs.NormalIntegerHyperparameter(name, first, max((last - first) / 4, 0.5), first, last),
                Cs.OrdinalHyperparameter(name, [1, 10, 100]),
                Cs.CategoricalHyperparameter(name, ["a", None, 2.5, [0.9, 0.99]]),
                Cs.Constant(name, "always"),
            ]
        )
    )


@st.composite
def _conditions(draw: st.DrawFn, child: Any, parent: Any) -> Any:
    value = parent.default_value
    equal = [Cs.EqualsCondition(child, parent, value), Cs.NotEqualsCondition(child, parent, value)]
    ordered = [Cs.LessThanCondition, Cs.GreaterThanCondition] if parent.ORDERABLE else []
    return draw(st.sampled_from([*equal, *(kind(child, parent, value) for kind in ordered)]))


def make_space() -> Cs.ConfigurationSpace:
    """A space for `search_space.function`."""
    return everything()


def space_of_models(models: tuple[str, ...]) -> Cs.ConfigurationSpace:
    """The same for one that chooses among the hub's models."""
    return Cs.ConfigurationSpace({"model": list(models), "lr": Cs.Float("lr", (1e-5, 1e-1), log=True)})


def no_space() -> dict[str, Any]:
    """Not what it should be."""
    return {"lr": (1e-5, 1e-1)}


def objective(trial: Trial, task: TaskInfo) -> Result:
    """Better for more layers and wider ones, at a cost; reads tuples where the space has them."""
    config = trial.config
    assert not isinstance(config["kernel"], list)
    quality = config["layers"] / 24 + 0.3 * (config["size"] == "medium") - 0.3 / trial.fidelity
    return Result(trial.config_id, trial.fidelity, quality, 0.01 * config["layers"])
