"""The report of one search."""

import json
from collections.abc import Callable, Sequence

from qtt.evaluation.timeline import Timeline
from qtt.reporting import hyperparameters, page, tables, words
from qtt.reporting.charts import Chart
from qtt.reporting.output import Report
from qtt.reporting.page import Section
from qtt.reporting.progress import curves_chart, incumbent_chart
from qtt.reporting.run_view import RunView
from qtt.reporting.spending import spending_chart
from qtt.reporting.tradeoffs import tradeoff_charts
from qtt.reporting.workers import workers_chart, workers_table
from qtt.statistics.certainty import ties
from qtt.statistics.probes import BesideProbes
from qtt.tasks.contract import BASELINE, STDERR

Say = Callable[[str], None]


def run_report(view: RunView, say: Say = lambda message: None) -> Report:
    """The report of a search, finished or not.

    say: is told what takes time.
    """
    charts: list[Chart] = []
    sections = [
        *_search(view, charts),
        *_workers(view, charts),
        *_hyperparameters(view, charts, say),
        *_validation(view, charts, say),
        Section("Pipelines", _pipelines(view), wide=True),
        Section("Kept networks", tables.kept(view), wide=True),
        Section("Settings", _settings(view)),
    ]
    html = page.page(_title(view), _subtitle(view), _lead(view), sections)
    return Report(html, tuple(charts))


def _title(view: RunView) -> str:
    if view.best is None:
        return f"{view.dataset}: no result yet"
    return f"{view.dataset}: {view.model(view.best.config_id) or view.label(view.best.config_id)}"


def _subtitle(view: RunView) -> str:
    method = view.record.settings.get("optimizer")
    return f"qtt search {view.name}" + (f" · {method}" if method else "")


def _lead(view: RunView) -> str:
    parts = [page.paragraph(_summary(view)), page.tiles(_headline(view))]
    parts += [page.paragraph(problem, "warning") for problem in view.problems]
    if view.best is not None:
        pairs = [(name, words.value(v)) for name, v in view.pipeline(view.best.config_id).items()]
        parts.append(f"<h2>The best pipeline, #{view.best.config_id}</h2>{page.facts(pairs)}")
    return "".join(parts)


def _summary(view: RunView) -> str:
    """The search in a few sentences."""
    history, record = view.history, view.record
    tried = (
        f"{words.counted(history.evaluations, 'epoch')} of {words.counted(len(history.observed), 'pipeline')}"
    )
    offered = len(record.candidates)
    models = len({config.get("model") for config in record.candidates.configs} - {None})
    among = f"{offered:,}".replace(",", "\u202f") + " candidates"
    text = f"The search finished {tried} among {among}" + (
        f" with {words.counted(models, 'model')}" if models else ""
    )
    text += f" in {words.duration(record.elapsed)}." if record.entries else "."
    if view.finished is False:
        text += (
            " Its budget is not spent: it was interrupted or still runs. This is what was finished by then."
        )
    if view.certainty.stderr is not None:
        tied = len(ties(history))
        text += (
            f" The best score is a tie with {words.counted(tied, 'other')} within its standard error: these "
            "validation examples cannot say which is better."
            if tied
            else " No other pipeline is within the standard error of the best."
        )
    beside = BesideProbes.of(history, record.candidates)
    if beside is not None:
        text += f" {beside.in_words(record.candidates)}."
    for warning in view.warnings:
        text += f" Mind: {warning}"
    if view.best is None:
        text += " No pipeline has finished an epoch" + (
            ", and those that began failed; their reasons are below." if history.failed else " yet."
        )
    return text


def _headline(view: RunView) -> list[tuple[str, str, str]]:
    """Tiles: name, value, remark."""
    history, task = view.history, view.record.task
    tiles = []
    if view.best is not None:
        tiles.append((view.score_name, words.score(view.best.score), _certainty(view)))
    tiles += _test_tiles(view)
    if view.kept and view.best is not None and view.kept[0].score > view.best.score:
        tiles.append(
            (
                "after finetuning",
                words.score(view.kept[0].score),
                f"{view.kept[0].name}, epoch {view.kept[0].fidelity}",
            )
        )
    tiles.append(("time spent", words.duration(view.record.elapsed), _budget(view)))
    tiles.append(
        ("epochs", str(history.evaluations), f"of {words.counted(len(history.observed), 'pipeline')}")
    )
    tiles.append(
        ("failed", str(len(history.failed)), "pipeline" if len(history.failed) == 1 else "pipelines")
    )
    if task.class_names:
        tiles.append(("classes", str(task.num_classes), (task.dataset or "").split(", names")[0]))
    return tiles


def _certainty(view: RunView) -> str:
    """What is known of the best score."""
    known, best = view.certainty, view.best
    assert best is not None
    parts = [] if known.stderr is None else [f"± {words.score(known.stderr)}"]
    parts += [] if known.examples is None else [f"on {known.examples} {view.examples}"]
    parts = [" ".join(parts)] if parts else []
    parts += [] if known.baseline is None else [f"majority baseline {words.score(known.baseline)}"]
    return "; ".join([*parts, f"pipeline #{best.config_id}, epoch {best.fidelity}"])


def _test_tiles(view: RunView) -> list[tuple[str, str, str]]:
    """Figures on test examples; error and baseline stand beside the first of them."""
    figures = dict(view.test_figures(view.record.path / "incumbent"))
    error, baseline = figures.pop(STDERR, None), figures.pop(BASELINE, None)
    known = [] if error is None else [f"± {words.score(error)}"]
    known += [] if baseline is None else [f"majority baseline {words.score(baseline)}"]
    remark = f"on {view.examples} not used for choosing"
    return [
        (name, words.score(figure), "; ".join([*known, remark] if first else [remark]))
        for first, (name, figure) in zip([True, *[False] * len(figures)], figures.items(), strict=False)
    ]


def _budget(view: RunView) -> str:
    if view.budget is None:
        return ""
    parts = []
    if view.budget.seconds is not None:
        parts.append(words.duration(view.budget.seconds))
    if view.budget.evaluations is not None:
        parts.append(words.counted(view.budget.evaluations, "epoch"))
    return f"budget: {words.listed(parts)}"


def _search(view: RunView, charts: list[Chart]) -> Sequence[Section]:
    if not view.record.entries:
        return [Section("Search", page.paragraph("The journal is empty: no step has ended yet."))]
    drawn = [spending_chart(view)]
    if view.best is not None:
        drawn = [incumbent_chart(view), curves_chart(view), *tradeoff_charts(view), *drawn]
    charts += drawn
    models = f"<div><h3>Models</h3>{tables.models(view)}</div>" if view.models else ""
    return [Section("Search", page.figures(drawn, models))]


def _workers(view: RunView, charts: list[Chart]) -> Sequence[Section]:
    """Who trained what when; of one worker, what the budget was spent on tells it all."""
    timeline = Timeline(view.record.entries)
    if len(timeline.workers) < 2:
        return []
    drawn = workers_chart(view, timeline)
    charts.append(drawn)
    table = workers_table(timeline.times(view.record.elapsed))
    return [Section("Workers", page.figures([drawn], f"<div>{table}</div>"))]


def _hyperparameters(view: RunView, charts: list[Chart], say: Say) -> Sequence[Section]:
    if view.best is None:
        return []
    say("measuring the importance of hyperparameters")
    found = hyperparameters.measure(view)
    text, worth = hyperparameters.judgement(found, len(view.history.observed))
    drawn = [hyperparameters.slice_chart(view, name) for name in hyperparameters.sliced(view, found)]
    if worth and found is not None:
        drawn.insert(0, hyperparameters.importance_chart(found))
    charts += drawn
    told = page.paragraph(text)
    if drawn:
        told += page.paragraph(
            "A pipeline's score is its best so far; those that were stopped early had less time to improve.",
            "note",
        )
    return [Section("Hyperparameters", told + page.figures(drawn))]


def _validation(view: RunView, charts: list[Chart], say: Say) -> Sequence[Section]:
    """What the task says of the best kept network, or why it can say nothing."""
    if not view.kept:
        reason = "no weights were kept, so the mistakes of the best pipeline are not known."
        return [Section("Mistakes", page.paragraph(f"In this run folder {reason}"))] if view.best else []
    if view.task is None:
        return []
    parts = view.task.report(view.kept[0], view.record, say)
    charts += parts.charts
    return parts.sections


def _pipelines(view: RunView) -> str:
    found = (
        tables.pipelines(view)
        if view.best is not None
        else page.paragraph("No pipeline has finished an epoch.")
    )
    hint = page.paragraph("Hyperparameters that are the same everywhere are left out.", "note")
    hint += page.paragraph("Press a heading to sort.", "note screen")
    return (
        (hint if view.best is not None else "")
        + found
        + '<h3 class="apart">Failures</h3>'
        + tables.failures(view)
    )


def _settings(view: RunView) -> str:
    record, environment = view.record, view.record.environment
    pairs = [("run folder", str(record.path)), ("dataset", str(record.task.path))]
    if record.task.dataset:
        pairs.append((view.examples, record.task.dataset))
    pairs += [(name, str(environment[name])) for name in ("python", "platform") if environment.get(name)]
    packages = environment.get("packages") or {}
    pairs += (
        [(name, str(version)) for name, version in packages.items() if version]
        if isinstance(packages, dict)
        else []
    )
    text = page.facts(pairs)
    if environment.get("command"):
        text += page.folded("Command", " ".join(map(str, environment["command"])))
    if record.config_text is not None:
        text += page.folded("Resolved configuration (config.yaml)", record.config_text)
    else:
        task = {
            key: v
            for key, v in record.task.to_dict().items()
            if key in ("val_fraction", "seed", "max_fidelity", "settings", "metric")
        }
        told = json.dumps({"search": record.settings, "task": task}, indent=2, ensure_ascii=False)
        text += page.folded("Settings of the search (no config.yaml: it was called from Python)", told)
    return text
