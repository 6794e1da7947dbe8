"""Several searches side by side: which belong together, and their incumbents over time.

Notation: r runs of a group, t times.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import factorial, prod
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ConfigError
from qtt.reporting import words
from qtt.reporting.progress import incumbent_steps
from qtt.reporting.run_view import RunView
from qtt.runs.record import EXPECTED

Array = NDArray[np.float64]

OF_A_RUN = ("candidates.json", "task.json")
DEPTH = 3
"""Levels of folders that are looked through for run folders."""

PASSING = (
    *("seed", "run_dir", "runs_dir", "tracker", "disk_quota_gb", "executor"),
    *("hang_factor", "hang_floor_s"),
)
"""Settings in which runs of one group may differ."""

MOST_EXACT, RESAMPLES = 7, 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed. label: what tells them from other groups."""

    label: str
    runs: tuple[RunView, ...]

    @property
    def with_results(self) -> tuple[RunView, ...]:
        """Those in which a pipeline finished an epoch."""
        return tuple(run for run in self.runs if run.best is not None)


@dataclass(frozen=True, eq=False)
class Band:
    """Incumbents of a group over time, from the time at which every run has one.

    times: (t,) seconds of the budget. mean, low, high: (t,); the latter are the 95 % interval of the mean by
    percentile bootstrap over runs (Efron 1979), None for a single run.
    """

    times: Array
    mean: Array
    low: Array | None
    high: Array | None


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """The run folders among and below `paths`, each once, in order of the arguments and then by name.

    Raises:
        ConfigError: a path is no run folder and has none below.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        inside = list(_runs(path, DEPTH))
        if not inside:
            what = "There is no folder" if not path.is_dir() else "There is no run folder in"
            raise ConfigError(f"{what} {path}. {EXPECTED}")
        found |= {run.resolve(): run for run in inside}
    return list(found.values())


def _runs(path: Path, depth: int) -> Iterator[Path]:
    if all((path / name).is_file() for name in OF_A_RUN):
        yield path
    elif depth and path.is_dir():
        for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
            yield from _runs(folder, depth - 1)


def common_folder(runs: Sequence[Path], arguments: Sequence[Path]) -> Path:
    """Where a comparison goes: the one folder that was named, or else the nearest that holds all runs."""
    if len(arguments) == 1:
        return arguments[0]
    return Path(os.path.commonpath([run.absolute().parent for run in runs]))


def grouped(views: Sequence[RunView]) -> list[Group]:
    """Runs by what differs in their configurations apart from the seed; without those, by folder name."""
    settings = [dict(_leaves(view.config)) for view in views]
    if any(not values for values in settings):
        labels = [_without_seed(view.name) for view in views]
    else:
        labels = group_labels(settings, [view.choices for view in views])
    groups: dict[str, list[RunView]] = {}
    for label, view in zip(labels, views, strict=True):
        groups.setdefault(label, []).append(view)
    return [Group(label, tuple(members)) for label, members in groups.items()]


def group_labels(
    settings: Sequence[Mapping[str, Any]], choices: Sequence[Mapping[str, str]] = ()
) -> list[str]:
    """For each run, what is different about it; equal for runs that differ in nothing that matters.

    Where other options of a config group were chosen, they are what tells runs apart: `optimizer=random`.
    Single settings below such a group are named only where runs of the same option differ in them.

    settings: values by dotted name. choices: option of each config group; a group counts where all runs have
        it. What belongs to a `_target_` that only some runs have is otherwise told by that target alone.
    """
    names = sorted({name for values in settings for name in values if name.split(".")[0] not in PASSING})
    different = [name for name in names if len({repr(v.get(name, ...)) for v in settings}) > 1]
    chosen = _different_choices(different, choices)
    owners = {group: [option[group] for option in choices] for group in chosen}
    for name in different:
        if name.endswith("._target_") and name.split(".")[0] not in chosen:
            owners[name.removesuffix("._target_")] = [repr(v.get(name, ...)) for v in settings]
    parts = [[f"{group}={option[group]}" for group in chosen] for option in choices or [{}] * len(settings)]
    for name in different:
        owner = next((kinds for prefix, kinds in owners.items() if name.startswith(f"{prefix}.")), None)
        itself = name.endswith("._target_") and name.split(".")[0] not in chosen
        for i, values in enumerate(settings):
            alike = [v for j, v in enumerate(settings) if owner is None or itself or owner[j] == owner[i]]
            if name in values and len({repr(v.get(name, ...)) for v in alike}) > 1:
                parts[i].append(_setting(name, values[name], [v.get(name) for v in settings]))
    return [", ".join(part) or "all runs" for part in parts]


def _different_choices(different: Sequence[str], choices: Sequence[Mapping[str, str]]) -> list[str]:
    """Groups of which the runs chose different options, with settings that differ below them."""
    if not choices or not all(choices):
        return []
    shared = [group for group in choices[0] if all(group in chosen for chosen in choices)]
    below = {name.split(".")[0] for name in different}
    return [g for g in shared if g in below and len({chosen[g] for chosen in choices}) > 1]


def _leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, node


def _setting(name: str, value: Any, others: Sequence[Any]) -> str:
    """A setting as people say it. others: values that it must be told from."""
    if name.endswith("._target_"):
        return str(value).rpartition(".")[2]
    text = words.value(value)
    if isinstance(value, str) and "/" in text:
        text = _distinct_end(text, [other for other in others if isinstance(other, str) and other != value])
    return f"{name.rpartition('.')[2]} = {text}"


def _distinct_end(path: str, others: Sequence[str]) -> str:
    """As much of the end of a path as tells it from other ones, two parts at least."""
    parts = PurePath(path).parts
    for count in range(2, len(parts)):
        end = parts[-count:]
        if all(PurePath(other).parts[-count:] != end for other in others):
            return "/".join(end)
    return path


def _without_seed(name: str) -> str:
    return re.sub(r"[-_,.]*seed[-_=]?\d+", "", name) or name


def incumbent_values(view: RunView, times: Array) -> Array:
    """The best score at each time (t,); NaN before the first, and the last one after the end."""
    steps = incumbent_steps(view)
    when, scores = np.array([t for t, _ in steps]), np.array([s for _, s in steps])
    place = np.searchsorted(when, times, side="right") - 1
    return np.where(place < 0, np.nan, scores[np.maximum(place, 0)])


def band(runs: Sequence[RunView]) -> Band:
    """Mean and confidence band of runs that have results."""
    steps = [incumbent_steps(run) for run in runs]
    begin = max(times[0][0] for times in steps)
    end = max(run.record.elapsed for run in runs)
    times = np.unique([begin, end, *(t for run in steps for t, _ in run if begin < t)])
    values = np.stack([incumbent_values(run, times) for run in runs])
    low, high = bootstrap_interval(values) if len(runs) > 1 else (None, None)
    return Band(times, values.mean(0), low, high)


def bootstrap_interval(values: Array) -> tuple[Array, Array]:
    """95 % percentile interval of the mean over runs; values (r, t) give two (t,).

    Of few runs all resamples are counted, of more than `MOST_EXACT` a fixed random choice.
    """
    weights, chances = _resamples(len(values))
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(weights @ values, tails, axis=0, weights=chances, method="inverted_cdf")
    return low, high


def _resamples(runs: int) -> tuple[Array, Array]:
    """Shares of the runs in each resample (b, r), and the probability of each resample (b,)."""
    if runs > MOST_EXACT:
        drawn = np.random.default_rng(0).multinomial(runs, np.full(runs, 1 / runs), size=RESAMPLES)
        return drawn / runs, np.full(RESAMPLES, 1 / RESAMPLES)
    chosen = combinations_with_replacement(range(runs), runs)
    counts = np.array([np.bincount(rows, minlength=runs) for rows in chosen])
    chances = [factorial(runs) / prod(map(factorial, row)) / runs**runs for row in counts.tolist()]
    return counts / runs, np.array(chances)
