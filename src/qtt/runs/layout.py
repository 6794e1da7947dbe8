"""Every file of a run folder: what it holds, who writes it, and when it is there.

The documentation's page of the run folder is made from `LAYOUT`, and tests hold real run folders against it.
"""

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from qtt.runs.folder import FORMAT


class Room(StrEnum):
    """What a file is for."""

    SEARCHED = "What is searched"
    RESULTS = "Results, as they came"
    NETWORKS = "Networks"
    AFTER = "Made from the search"
    INSIDE = "For qtt itself"


@dataclass(frozen=True)
class RunFile:
    """One file of a run folder, or files of one kind.

    pattern: path below the run folder, `*` for any part of a name and `**` for any path.
    room: what it is for. writer: who writes it. content: what it holds.
    members: keys of a JSON object or of each line, columns of a CSV file; empty where they are free or the
        file is of another kind.
    when: what must be so for it to be there; empty: every search has it.
    format: version that the file states of itself, None: none.
    """

    pattern: str
    room: Room
    writer: str
    content: str
    members: tuple[str, ...] = ()
    when: str = ""
    format: int | None = None

    def matches(self, path: str) -> bool:
        """Whether a path below a run folder, with slashes, is of this kind."""
        mine, given = self.pattern.split("/"), path.split("/")
        if mine[-1] == "**":
            return len(given) >= len(mine) and given[: len(mine) - 1] == mine[:-1]
        return len(mine) == len(given) and all(map(fnmatchcase, given, mine))


RESULT = ("elapsed", "config_id", "fidelity", "score", "cost", "status", "info", "crc")
MODEL = ("config_id", "fidelity", "score", "config", "card", "class_names", "sha256")
TRAJECTORY = ("elapsed", "config_id", "model", "epoch", "score", "cost", "status", "incumbent", "worker")
ENDED = "the search has ended, and there are test images"

LAYOUT = (
    RunFile(
        "config.yaml",
        Room.SEARCHED,
        "`python -m qtt.run`",
        "The resolved configuration: every value, defaults included.",
        when="the search was started on the command line",
    ),
    RunFile(
        "choices.json",
        Room.SEARCHED,
        "`python -m qtt.run`",
        "The option that was chosen of each config group, by which reports call the search.",
        when="the search was started on the command line",
    ),
    RunFile(
        "task.json",
        Room.SEARCHED,
        "the tuner",
        "The dataset: its folder, its classes, how it is split, a hash of what it held when the search "
        "began; the objective's settings; the `metric` where it is not accuracy. A `source` says how images "
        "are laid out that are not in folders of splits.",
        (
            "path",
            "class_names",
            "val_fraction",
            "seed",
            "max_fidelity",
            "settings",
            "image_size",
            "dataset",
        ),
    ),
    RunFile(
        "dataset.json",
        Room.SEARCHED,
        "`python -m qtt.run`",
        "What the dataset held at the latest start: images by split and class, formats, sizes, what is left "
        "out and why, and warnings.",
        when="the search was started on the command line, and the task looks at its data",
    ),
    RunFile(
        "search_space.json",
        Room.SEARCHED,
        "the tuner",
        "The hyperparameters with their options and conditions, and the cards of the hub's models.",
        ("format", "space", "hub"),
        when="the optimizer samples from a ConfigManager",
        format=1,
    ),
    RunFile(
        "candidates.json",
        Room.SEARCHED,
        "the tuner",
        "The pipelines; a `config_id` is a position in `configs`. The last `proposed` of them came during "
        "the search.",
        ("format", "proposed", "models", "configs"),
        format=FORMAT,
    ),
    RunFile(
        "search.json",
        Room.SEARCHED,
        "the tuner",
        "Optimizer, objective with its task, budget and places of the latest call.",
        ("optimizer", "objective", "task", "isolation", "disk_quota_gb", "weights_dir", "budget"),
    ),
    RunFile(
        "end.json",
        Room.SEARCHED,
        "the tuner",
        "Why the latest call ended, how many results there were then, and whether it came to its own end.",
        ("reason", "results", "whole"),
        when="a search has ended in a way that it could notice",
    ),
    RunFile(
        "footprints.json",
        Room.SEARCHED,
        "`python -m qtt.run`",
        "Parameters, image size and latency of every model of the hub, by name.",
        when="the search has constraints",
    ),
    RunFile(
        "environment.json",
        Room.SEARCHED,
        "the tuner",
        "Versions of Python and packages, commit of qtt, hardware, command.",
        ("python", "platform", "packages", "commit", "hardware", "command"),
    ),
    RunFile(
        "journal.jsonl",
        Room.RESULTS,
        "the search loop",
        "One line for every finished epoch, failure or timeout, in order, on disk before anyone learns from "
        "it. `elapsed`: seconds of the budget that were spent; `cost`: seconds of this epoch; `score`: null "
        "unless `status` is success; `info`: losses, learning rate, reason of a failure.",
        RESULT,
    ),
    RunFile(
        "finetuning.jsonl",
        Room.RESULTS,
        "`python -m qtt.finetune`",
        "The same for epochs of finetuning after the search.",
        RESULT,
        when="pipelines were finetuned",
    ),
    RunFile(
        "trajectory.csv",
        Room.RESULTS,
        "the tracker `csv`",
        "The journal as a table, with the best score so far.",
        TRAJECTORY,
        when="the tracker is on, as it is by default",
    ),
    RunFile(
        "search.log",
        Room.RESULTS,
        "the search and its training process",
        "What they said, with times.",
    ),
    RunFile(
        "tensorboard/**",
        Room.RESULTS,
        "the tracker `tensorboard`",
        "Event files for TensorBoard.",
        when="the tracker is on",
    ),
    RunFile(
        "wandb/**",
        Room.RESULTS,
        "the tracker `wandb`",
        "What Weights & Biases keeps of its run; `wandb sync` uploads it.",
        when="the tracker is on",
    ),
    RunFile(
        "incumbent/model.json",
        Room.NETWORKS,
        "the search loop",
        "The best network so far: which epoch of which pipeline, its hyperparameters, its model's card, the "
        "classes in the order of its outputs.",
        MODEL,
        when="an epoch has finished",
    ),
    RunFile(
        "incumbent/weights.safetensors",
        Room.NETWORKS,
        "the objective",
        "Its weights.",
        when="the objective leaves weights, as finetuning does",
    ),
    RunFile(
        "incumbent/test.json",
        Room.NETWORKS,
        "`python -m qtt.run`",
        "Its figures on the test images.",
        when=ENDED,
    ),
    RunFile(
        "finetuned/*/model.json",
        Room.NETWORKS,
        "`python -m qtt.finetune`",
        "The best epoch of a pipeline that was finetuned after the search; the folder is its `config_id`.",
        MODEL,
        when="pipelines were finetuned",
    ),
    RunFile(
        "finetuned/*/weights.safetensors",
        Room.NETWORKS,
        "the objective",
        "Its weights.",
        when="pipelines were finetuned",
    ),
    RunFile(
        "finetuned/*/test.json",
        Room.NETWORKS,
        "`python -m qtt.finetune`",
        "Figures on the test images, of the best network.",
        when="pipelines were finetuned, and there are test images",
    ),
    RunFile(
        "pipelines/*/*",
        Room.NETWORKS,
        "the objective",
        "The last checkpoint of a pipeline that may be continued; the folder is its `config_id`.",
        when="the pipeline is live and the disk quota leaves room",
    ),
    RunFile(
        "report.html",
        Room.AFTER,
        "`python -m qtt.report`",
        "The report, in one file.",
        when="a report was made",
    ),
    RunFile(
        "figures/*",
        Room.AFTER,
        "`python -m qtt.report`",
        "Its figures, as SVG and PNG.",
        when="a report was made",
    ),
    RunFile(
        "export/*",
        Room.AFTER,
        "`python -m qtt.export`",
        "A timm checkpoint, an ONNX file, a model card.",
        when="a network was exported",
    ),
    RunFile(
        "predictions/*.npz",
        Room.INSIDE,
        "`python -m qtt.report`",
        "What a network said of the validation images, kept for the next report.",
        ("about", "probabilities"),
        when="a report was made",
    ),
    RunFile(
        "wandb.json",
        Room.INSIDE,
        "the tracker `wandb`",
        "Which run of Weights & Biases a resumed search continues.",
        ("id", "logged", "opened", "closed"),
        when="the tracker is on",
    ),
    RunFile(
        ".lock",
        Room.INSIDE,
        "the tuner",
        "Held while a search runs, so that no second one starts in the folder.",
    ),
)
"""All of them, as a reader of a run folder would look at them."""


def files(run_dir: Path) -> list[str]:
    """Paths of all files below a run folder, with slashes, sorted."""
    return sorted(path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*") if path.is_file())


def describe(path: str) -> RunFile | None:
    """The kind of a file, given its path below the run folder; None: nothing is known of it."""
    return next((file for file in LAYOUT if file.matches(path)), None)
