"""Networks that a search kept: folders of weights and of what they are.

incumbent/          the best network of the search
finetuned/0042/     pipeline 42 after `QuickTuner.finetune`
"""

from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from qtt.errors import ConfigError
from qtt.json_rules import Kinds, check_fields, check_items
from qtt.support.files import file_sha256, read_object, write_json
from qtt.types import Candidates, Config, ModelCard, Result

INCUMBENT, FINETUNED = "incumbent", "finetuned"
WEIGHTS, FACTS = "weights.safetensors", "model.json"
ANNOUNCED = ".model.next.json"
"""What the weights that are on their way are: if a crash comes between them and `model.json`, it counts."""

FIELDS: Kinds = {
    "config_id": int,
    "fidelity": int,
    "score": float,
    "config": dict,
    "class_names": list,
    "sha256": (str, type(None)),
}
"""Kinds of the values of `model.json`."""


@dataclass(frozen=True)
class KeptModel:
    """One network.

    folder: holds `weights.safetensors`. config_id, fidelity, score: of the epoch that the weights are from.
    config: the pipeline. card: its model, None where the search has no hub. class_names: in order of the
    network's outputs. sha256: of the weights, None where an earlier version kept them.
    """

    folder: Path
    config_id: int
    fidelity: int
    score: float
    config: Config
    card: ModelCard | None
    class_names: tuple[str, ...]
    sha256: str | None = field(default=None, compare=False)

    @property
    def weights(self) -> Path:
        """File of the network's weights."""
        return self.folder / WEIGHTS

    @property
    def name(self) -> str:
        """Folder below the run's: `incumbent` or `finetuned/0042`."""
        folder = self.folder
        return folder.name if folder.name == INCUMBENT else f"{FINETUNED}/{folder.name}"

    @classmethod
    def of(cls, folder: Path, result: Result, candidates: Candidates, class_names: tuple[str, ...]) -> Self:
        """The network that a result is about."""
        return cls(
            folder,
            result.config_id,
            result.fidelity,
            result.score,
            candidates.configs[result.config_id],
            candidates.card(result.config_id),
            class_names,
        )

    def take(self, weights: Path) -> None:
        """Move a file of weights here; weights and description change together, whenever a crash comes."""
        model = replace(self, sha256=file_sha256(weights))
        write_json(self.folder / ANNOUNCED, model._facts() | {"stamp": _stamp(weights)})
        weights.replace(self.weights)
        model.write()

    def write(self) -> None:
        """Write down what the network is, whose weights are here already or nowhere."""
        write_json(self.folder / FACTS, self._facts() | {"sha256": self.sha256 or self._known_sha256()})
        (self.folder / ANNOUNCED).unlink(missing_ok=True)

    def check_weights(self) -> None:
        """See whether the weights are those that were kept.

        Raises:
            ConfigError: they are not: a disk or a person has changed them.
        """
        if self.sha256 is not None and file_sha256(self.weights) != self.sha256:
            raise ConfigError(
                f"{self.weights} is not the file that was kept: its checksum differs from that in {FACTS}. "
                "Copy it anew, or take another network of the run (--model)."
            )

    def _known_sha256(self) -> str | None:
        """What is written down of these very weights."""
        with suppress(ConfigError):
            known = self.read(self.folder)
            if (known.config_id, known.fidelity) == (self.config_id, self.fidelity):
                return known.sha256
        return None

    def _facts(self) -> dict[str, Any]:
        data = asdict(self)
        del data["folder"]
        data["config"] = dict(self.config)
        data["card"] = None if self.card is None else self.card.to_dict()
        return data

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Inverse of `write`.

        Raises:
            ConfigError: the folder describes no network.
        """
        path = folder / FACTS
        try:
            data = _announced(folder) or read_object(path)
            check_fields(data, FIELDS, "It")
            check_items(data["class_names"], str, "class_names")
            data["card"] = None if data["card"] is None else ModelCard.from_dict(data["card"])
            data["class_names"] = tuple(data["class_names"])
            return cls(folder, **data)
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
            raise ConfigError(f"{path} cannot be read as the description of a network: {error}.") from error


def _announced(folder: Path) -> dict[str, Any] | None:
    """The facts of weights that arrived without theirs; None in the usual case."""
    path, weights = folder / ANNOUNCED, folder / WEIGHTS
    if not path.is_file() or not weights.is_file():
        return None
    facts = read_object(path)
    return facts if facts.pop("stamp", None) == _stamp(weights) else None


def _stamp(file: Path) -> list[int]:
    """Size and time of the last change, which moving a file does not change."""
    state = file.stat()
    return [state.st_size, state.st_mtime_ns]


def kept_models(run_dir: Path) -> list[KeptModel]:
    """Networks of a run folder whose weights are there, the best on the validation images first.

    Of two of the same pipeline and epoch, the finetuned one is left out, which is the same network.
    """
    folders = [run_dir / INCUMBENT, *sorted((run_dir / FINETUNED).glob("[0-9]*"))]
    models = [KeptModel.read(folder) for folder in folders if (folder / WEIGHTS).is_file()]
    distinct = {(model.config_id, model.fidelity): model for model in reversed(models)}
    return sorted(distinct.values(), key=lambda model: (-model.score, model.name != INCUMBENT))
