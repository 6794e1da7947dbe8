"""The methods by name: how each one is called."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from environments import AUTOGLUON, OPTUNA, python_of

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]


@dataclass(frozen=True)
class Places:
    """What lies where.

    hub: folder of weights. environments: those of other tools. source, old_source: checkouts of qtt.
    """

    hub: Path
    environments: Path
    source: Path = CHECKOUT
    old_source: Path | None = None


@dataclass(frozen=True)
class Call:
    """How to start a method.

    source: checkout that it imports qtt from, if it does. arguments: what its command line ends with.
    """

    python: Path
    script: Path
    source: Path | None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Named:
    """A method. timeless: knows neither budget nor seed, one run is for all. long: part of `--long`."""

    call: Callable[[Places], Call]
    timeless: bool = False
    long: bool = False


def _own(script: str) -> Callable[[Places], Call]:
    return lambda places: Call(Path(sys.executable), HERE / script, places.source)


def _search(*overrides: str) -> Callable[[Places], Call]:
    return lambda places: _search_in(places.source, overrides)


def _old(places: Places) -> Call:
    if places.old_source is None:
        raise ValueError("The method 'old' needs --old-source DIR, another checkout of qtt.")
    return _search_in(places.old_source, ())


def _search_in(source: Path, overrides: tuple[str, ...]) -> Call:
    arguments = ("--source", str(source), "--", *overrides)
    return Call(Path(sys.executable), HERE / "qtt_search.py", None, arguments)


def _optuna(places: Places) -> Call:
    return Call(python_of(OPTUNA, places.environments), HERE / "optuna_search.py", places.source)


def _autogluon(places: Places) -> Call:
    return Call(python_of(AUTOGLUON, places.environments), HERE / "autogluon_fit.py", None)


METHODS: Mapping[str, Named] = {
    "probe": Named(_own("probe.py"), timeless=True, long=True),
    "qtt": Named(_search(), long=True),
    "cold": Named(_search("optimizer=quick")),
    "random": Named(_search("optimizer=random")),
    "asha": Named(_search("optimizer=asha")),
    "smac": Named(_search("optimizer=smac")),
    "dehb": Named(_search("optimizer=dehb")),
    "old": Named(_old),
    "plain": Named(_own("plain.py")),
    "optuna": Named(_optuna),
    "autogluon": Named(_autogluon, long=True),
}
