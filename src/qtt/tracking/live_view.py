"""The view of a running search in a terminal, at any width from about 60 columns."""

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from qtt.tracking.progress import Event, SearchProgress, Step
from qtt.types import Status

FIXED_LINES = 8
"""Lines of the view with one worker, without recent results, and what the terminal needs below it."""

LABEL, SHORTEST_BAR = 8, 6
"""Columns of the labels on the left, and at least of a bar."""

BEST, BAD, PALE = "bold green", "red", "dim"


def live_view(progress: SearchProgress, height: int) -> RenderableType:
    """Budget, incumbent, what each worker is at, what is expected, and as many recent results as find room.

    height: lines of the terminal.
    """
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=LABEL, style=PALE, no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_row("budget", _with_bar(progress.share, _budget(progress)))
    grid.add_row("done", _done(progress))
    grid.add_row("best", _best(progress))
    shown = min(progress.workers, max(1, height - FIXED_LINES + 1))
    grid.add_row("now", _now(progress) if progress.workers == 1 else _workers(progress, shown))
    if progress.expected is not None:
        grid.add_row("expected", _expected(progress))
    room = max(0, height - FIXED_LINES + 1 - shown)
    events = list(progress.recent)[::-1][:room]
    for label, event in zip(["last", *[""] * len(events)], events, strict=False):
        outcome = _outcome(event, progress.name(event.result.config_id))
        grid.add_row(label, _line(outcome, (f", at {duration(event.elapsed)}", PALE)))
    return Group(Rule(style=PALE), grid)


def event_line(event: Event, name: str) -> Text:
    """When a result came, and the result."""
    return Text.assemble(f"{duration(event.elapsed):>7}  ", _outcome(event, name))


def heartbeat(progress: SearchProgress) -> Text:
    """The whole search in one line, for where there is no view."""
    parts = [_done(progress).plain]
    if progress.best is not None:
        parts.insert(0, f"best {progress.best.result.score:.4f}")
    if progress.workers > 1:
        steps = sorted(progress.steps.items())
        at_work = [f"{_at(progress, step)} ({worker}, {progress.device(worker)})" for worker, step in steps]
        parts.append(f"now {'; '.join(at_work) or 'no worker at work'}")
    elif progress.step is not None:
        parts.append(f"now {_at(progress, progress.step)}")
    return Text(f"{duration(progress.elapsed):>7}  {' · '.join([*parts, *_left(progress)])}")


def duration(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any: 0:07, 12:05, 26:03:00."""
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _outcome(event: Event, name: str) -> Text:
    result = event.result
    if result.status is Status.FAILED:
        reason = str(result.info.get("reason", "no reason given"))
        return Text.assemble(("failed", BAD), f"  {name}: {reason}")
    if result.status is Status.TIMEOUT:
        return Text.assemble(("cut off", PALE), f" {name}, epoch {result.fidelity}")
    score = (f"{result.score:.4f}", BEST if event.incumbent else "")
    return Text.assemble(score, f"  {name}, epoch {result.fidelity}")


def _budget(progress: SearchProgress) -> Text:
    budget = progress.budget
    elapsed = duration(progress.elapsed)
    parts = [f"{elapsed} of {duration(budget.seconds)}" if budget.seconds else elapsed]
    parts += [f"{progress.evaluations} of {budget.evaluations} epochs"] if budget.evaluations else []
    return _line(" · ".join([*parts, *_left(progress)]))


def _left(progress: SearchProgress) -> list[str]:
    seconds = progress.budget.seconds
    return [f"{duration(seconds - progress.elapsed)} left"] if seconds else []


def _done(progress: SearchProgress) -> Text:
    parts = [f"{counted(progress.evaluations, 'epoch')} of {counted(progress.pipelines, 'pipeline')}"]
    parts += [f"{progress.failures} failed"] if progress.failures else []
    utilisation = progress.timeline.utilisation
    if progress.workers > 1 and utilisation is not None:
        parts.append(f"{counted(progress.workers, 'worker')} {utilisation:.0%} busy")
    return _line(" · ".join(parts))


def _best(progress: SearchProgress) -> Text:
    if progress.best is None:
        return _line(("no pipeline has finished an epoch yet", PALE))
    best = progress.best.result
    when = (f", at {duration(progress.best.elapsed)}", PALE)
    return _line(
        (f"{best.score:.4f}", BEST), f"  {progress.name(best.config_id)}, epoch {best.fidelity}", when
    )


def _now(progress: SearchProgress) -> RenderableType:
    step = progress.step
    if step is None:
        return _line(("starting", PALE))
    name, spent = _named(progress, step), _spent(progress, step)
    if step.seconds is None:
        starting = "" if progress.warm else ", with the start of training"
        return _line(name, (f"  {spent}{starting}", PALE))
    return _with_bar(_share(progress, step), _line((spent, PALE)), _line(name))


def _workers(progress: SearchProgress, shown: int) -> RenderableType:
    """A line for each worker; where they are more than find room, the last line counts the others."""
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(no_wrap=True, style=PALE)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(ratio=1, min_width=SHORTEST_BAR)
    grid.add_column(no_wrap=True, style=PALE)
    whole = shown if shown == progress.workers else shown - 1
    for worker in range(whole):
        grid.add_row(f"{worker} {progress.device(worker)}", *_row(progress, progress.steps.get(worker)))
    if whole < progress.workers:
        busy = sum(worker >= whole for worker in progress.steps)
        grid.add_row("…", f"{counted(progress.workers - whole, 'other')}, {busy} at work")
    return grid


def _row(progress: SearchProgress, step: Step | None) -> tuple[RenderableType, ...]:
    """A worker's step, how far it is, and its seconds."""
    if step is None:
        return (_line(("free", PALE)),)
    bar: RenderableType = "" if step.seconds is None else _bar(_share(progress, step))
    return _line(_named(progress, step)), bar, _spent(progress, step)


def _at(progress: SearchProgress, step: Step) -> str:
    """A step's pipeline, and the epoch that is being trained."""
    return f"{progress.name(step.trial.config_id)}, epoch {progress.epoch(step)}"


def _named(progress: SearchProgress, step: Step) -> str:
    """The same, and which epochs the step has."""
    last = f" of {step.first}–{step.trial.fidelity}" if step.trial.fidelity > step.first else ""
    return f"{_at(progress, step)}{last}"


def _spent(progress: SearchProgress, step: Step) -> str:
    """Seconds of a step, and how many it is expected to take."""
    spent = _short(max(0.0, progress.elapsed - step.begin))
    return spent if step.seconds is None else f"{spent} of about {_short(step.seconds)}"


def _share(progress: SearchProgress, step: Step) -> float:
    """How much of the expected seconds a step has had, 0 to 1; it is expected to take some."""
    assert step.seconds is not None
    return min(1.0, max(0.0, progress.elapsed - step.begin) / step.seconds)


def _expected(progress: SearchProgress) -> Text:
    expected = progress.expected
    assert expected is not None
    better = progress.best is None or expected.score > progress.best.result.score
    score = (f"{expected.score:.4f}", "" if better else PALE)
    return _line(score, f"  {progress.name(expected.config_id)}, by epoch {expected.fidelity}")


def _with_bar(share: float, after: Text, before: Text | None = None) -> Table:
    """A bar that takes the room that the texts around it leave."""
    grid = Table.grid(padding=(0, 1), expand=True)
    if before is not None:
        grid.add_column(no_wrap=True)
    grid.add_column(ratio=1, min_width=SHORTEST_BAR)
    grid.add_column(no_wrap=True, min_width=after.cell_len)
    grid.add_row(*([] if before is None else [before]), _bar(share), after)
    return grid


def _bar(share: float) -> ProgressBar:
    return ProgressBar(total=1.0, completed=share, complete_style="green", finished_style="green")


def _line(*parts: str | Text | tuple[str, str]) -> Text:
    """One line, cut where the terminal ends."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _short(seconds: float) -> str:
    return (
        f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s" if seconds < 99.5 else duration(seconds)
    )


def counted(count: int, word: str) -> str:
    """A number with its noun."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
