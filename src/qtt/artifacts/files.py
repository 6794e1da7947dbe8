"""The format of predictor artifacts: folders of JSON and safetensors. Reading one runs nothing that is in it.

artifact.json            what it was fitted on and how well (`Facts`), and the sha256 of the files below
features.json            `FeatureSpec`: how pipelines, models and datasets become numbers
space.json               search space and hub, as `ConfigManager.to_json` writes them
performance.safetensors  arrays of `MetaPerformance`
cost.safetensors         arrays of `MetaCost`
portfolio.json           pipelines to begin with, as `Portfolio.to_json` writes them; may be missing
paper.safetensors        arrays of the paper's own predictors (`qtt.predictors.paper`); may be missing
README.md                the same facts for people; not read
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from qtt.errors import ArtifactError, ConfigError, unknown
from qtt.predictors.features import FeatureSpec
from qtt.space.portfolio import Portfolio
from qtt.support.files import read_json

if TYPE_CHECKING:
    from qtt.space.config_manager import ConfigManager

FORMAT = 1
FACTS, FEATURES, SPACE = "artifact.json", "features.json", "space.json"
PERFORMANCE, COST = "performance.safetensors", "cost.safetensors"
PORTFOLIO, PAPER = "portfolio.json", "paper.safetensors"
NEEDED, OPTIONAL = (FEATURES, SPACE, PERFORMANCE, COST), (PORTFOLIO, PAPER)
TEXTS = (FEATURES, SPACE, PORTFOLIO)

SHIPPED = Path(__file__).parents[1] / "pretrained"
SHIPPED_NAMES = ("mtlbm/micro", "mtlbm/mini", "mtlbm/extended")

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class TableFacts:
    """A curve table that an artifact was fitted on.

    name: its folder. hub: of the cards of its models. source, licence, epochs ("all" or "last") and sha256
    are the manifest's. datasets, runs: those that were used.
    """

    name: str
    hub: str
    source: str
    licence: str
    epochs: str
    datasets: tuple[str, ...]
    runs: int
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class Facts:
    """What is known of an artifact without its arrays.

    name: what it is called. identity: hash of all that it was made from, seed and settings included.
    tables: what it was fitted on; counts: datasets, runs, failed (of the runs) and epochs in sum.
    excluded: datasets and models that were left out on purpose.
    search_space: the variant (`qtt.space.search_space`) that space.json narrows to the artifact's hub and
        options.
    settings: of meta-training. validation: figures on datasets that were left out in turn.
    versions: of the packages that made it.
    """

    name: str
    identity: str
    tables: tuple[TableFacts, ...]
    counts: Mapping[str, int]
    excluded: Mapping[str, tuple[str, ...]]
    search_space: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def datasets(self) -> tuple[str, ...]:
        """All datasets, sorted; one that several tables have is one."""
        return tuple(sorted({name for table in self.tables for name in table.datasets}))

    @property
    def summary(self) -> str:
        """What it was fitted on, in one line."""
        counts = {name: f"{count:,}" for name, count in self.counts.items()}
        tables = ", ".join(table.name.rpartition("/")[2] for table in self.tables)
        left_out = ", ".join(name for names in self.excluded.values() for name in names)
        without = f"; without {left_out}" if left_out else ""
        return (
            f"{self.name}: fitted on {counts['runs']} runs ({counts['epochs']} epochs) "
            f"of {counts['datasets']} datasets ({tables}{without})"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dict; inverse of `from_dict`."""
        return {"format": FORMAT, "summary": self.summary, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read facts; keys that are none of theirs are passed over."""
        given = {item.name: data[item.name] for item in fields(cls)}
        tables = tuple(
            TableFacts(**{**table, "datasets": tuple(table["datasets"])}) for table in data["tables"]
        )
        excluded = {what: tuple(names) for what, names in data["excluded"].items()}
        return cls(**{**given, "tables": tables, "excluded": excluded})


@dataclass(frozen=True, eq=False)
class Artifact:
    """Meta-learned predictors with what they were learned from.

    space: JSON text. performance, cost, paper: arrays by name.
    """

    facts: Facts
    features: FeatureSpec
    space: str
    performance: Arrays
    cost: Arrays
    portfolio: Portfolio | None = None
    paper: Arrays | None = None

    def config_manager(self) -> "ConfigManager":
        """The search space and the hub that the artifact comes with.

        Raises:
            ArtifactError: they cannot be read.
        """
        from qtt.space.config_manager import ConfigManager

        try:
            return ConfigManager.from_json(self.space)
        except ConfigError as error:
            raise ArtifactError(f"{SPACE} of artifact '{self.facts.name}': {error}") from error


def write_artifact(folder: Path, artifact: Artifact) -> None:
    """Write an artifact, in place of one that is there; `artifact.json` comes last and makes it valid.

    Raises:
        ArtifactError: `folder` holds something else.
    """
    if folder.exists() and not (folder / FACTS).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise ArtifactError(f"{folder} exists and is no artifact; nothing was written. Name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        FEATURES: artifact.features.to_json().encode(),
        SPACE: artifact.space.encode(),
        PERFORMANCE: _saved(artifact.performance),
        COST: _saved(artifact.cost),
    }
    if artifact.portfolio is not None:
        contents[PORTFOLIO] = artifact.portfolio.to_json().encode()
    if artifact.paper is not None:
        contents[PAPER] = _saved(artifact.paper)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    facts = json.dumps({**artifact.facts.to_dict(), "sha256": hashes}, indent=1, ensure_ascii=False) + "\n"
    for name, content in contents.items():
        _write(folder / name, content)
    for name in set(OPTIONAL) - set(contents):
        (folder / name).unlink(missing_ok=True)
    _write(folder / "README.md", card(artifact.facts).encode())
    _write(folder / FACTS, facts.encode())


def read_artifact(source: str | Path) -> Artifact:
    """The artifact of a name (`SHIPPED_NAMES`) or folder; every file is checked before it is used.

    Raises:
        ArtifactError: no such artifact, one of a newer format, or a file that is missing or damaged.
    """
    folder = locate(source)
    facts, hashes = _facts(folder)
    there = [name for name in (*NEEDED, *OPTIONAL) if name in NEEDED or name in hashes]
    contents = {name: _checked(folder / name, hashes.get(name)) for name in there}
    texts = {name: _text(folder / name, content) for name, content in contents.items() if name in TEXTS}
    try:
        features = FeatureSpec.from_json(texts[FEATURES])
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable(folder / FEATURES, error) from error
    return Artifact(
        facts=facts,
        features=features,
        space=texts[SPACE],
        performance=_arrays(folder / PERFORMANCE, contents[PERFORMANCE]),
        cost=_arrays(folder / COST, contents[COST]),
        portfolio=Portfolio.from_json(texts[PORTFOLIO]) if PORTFOLIO in texts else None,
        paper=_arrays(folder / PAPER, contents[PAPER]) if PAPER in contents else None,
    )


def locate(source: str | Path) -> Path:
    """The folder of an artifact.

    Raises:
        ArtifactError: an unknown name (close ones are named), or a folder that holds none.
    """
    name = str(source)
    folder = SHIPPED / name if name in SHIPPED_NAMES else Path(source)
    if (folder / FACTS).is_file():
        return folder
    if name in SHIPPED_NAMES:
        raise ArtifactError(
            f"'{name}' is not part of this installation. `python -m qtt.metatrain "
            f"artifact={folder.name}` makes it from curve tables; 'cold' does without."
        )
    if folder.is_dir():
        raise ArtifactError(
            f"{folder} is no predictor artifact: it has no {FACTS}. `python -m qtt.metatrain` writes them."
        )
    hint = " The folder of an artifact does as well; 'cold' starts without one."
    raise ArtifactError(unknown("pretrained optimizer", name, SHIPPED_NAMES) + hint)


def card(facts: Facts) -> str:
    """The facts as a page for people, in Markdown."""
    tables = "\n".join(
        f"| `{t.name}` | {t.source} | {t.licence} | {len(t.datasets)} | {t.runs:,} | {t.epochs} |"
        for t in facts.tables
    )
    figures = "\n".join(f"| {name} | {value:.4g} |" for name, value in facts.validation.items())
    left_out = "".join(
        f"\nLeft out on purpose, {what}: {', '.join(names)}.\n"
        for what, names in facts.excluded.items()
        if names
    )
    return f"""# {facts.name}: predictors of Quick-Tune

{facts.summary}. Nothing else was used.

| curve table | source | licence | datasets | runs | epochs known |
|---|---|---|---|---|---|
{tables}

Datasets: {", ".join(facts.datasets)}.
{left_out}
## Figures

On datasets left out in turn, by `python -m qtt.metatrain` with seed {facts.seed}:

| figure | value |
|---|---|
{figures}

## Use

`get_pretrained_optimizer("FOLDER OR NAME")`, or `weights=` of `python -m qtt.benchmark`. The search space is
`{facts.search_space}`. `artifact.json` has all settings, versions and hashes.

## Licence

The curves are not in here: these are parameters of models that were fitted to them. The licences above are
those of the curves; "unstated" means that their publisher names none.
"""


def _facts(folder: Path) -> tuple[Facts, Mapping[str, str]]:
    path = folder / FACTS
    try:
        data = read_json(path)
        version = int(data["format"])
        if version > FORMAT:
            raise ArtifactError(
                f"{path} has format {version}; this version of qtt reads {FORMAT}. A newer qtt reads it."
            )
        return Facts.from_dict(data), dict(data["sha256"])
    except FileNotFoundError as error:
        raise ArtifactError(f"{folder} is no predictor artifact: it has no {FACTS}.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, error) from error


def _checked(path: Path, sha256: str | None) -> bytes:
    if not path.is_file():
        raise ArtifactError(f"The artifact {path.parent} lacks {path.name}. Fetch it or make it again.")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArtifactError(
            f"{path} is not the file that {FACTS} describes: it is damaged or was replaced. "
            "Fetch the artifact or make it again."
        )
    return content


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(path, error) from error


def _arrays(path: Path, content: bytes) -> Arrays:
    try:
        return dict(sorted(load(content).items()))  # which come in no order
    except (SafetensorError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path} holds no safetensors: {error}. It was not used.") from error


def _saved(arrays: Arrays) -> bytes:
    """Safetensors of arrays, put into C order, since `save` writes any other wrongly."""
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def _unreadable(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path} cannot be read: {type(error).__name__}: {error}.")


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
