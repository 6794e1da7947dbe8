"""Hubs: sets of pretrained models that a search chooses from.

A hub is made from one of
  `tiny`            models with weights shipped in the package (any folder of `qtt/pretrained`)
  `table4`          a YAML file shipped in `qtt/hub/hubs`: the 24 models of the tool paper's Table 4
  a `.yaml` path    your own cards
  a folder          one card for each weights file in it
  a list of models  any timm names
  an entry point    what an installed package announces (`qtt.hub.announced`)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml

from qtt.errors import ConfigError, ModelHubError, unknown
from qtt.hub.weight_files import file_card, folder_cards
from qtt.types import ModelCard

SHIPPED_WEIGHTS = Path(__file__).parents[1] / "pretrained"
SHIPPED_HUBS = Path(__file__).parent / "hubs"
YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class ModelHub:
    """Cards of pretrained models under unique names.

    Raises:
        ModelHubError: no cards, or two with one name.
    """

    name: str
    cards: tuple[ModelCard, ...]

    def __post_init__(self) -> None:
        if not self.cards:
            raise ModelHubError(f"Hub '{self.name}' has no models.")
        twice = sorted({card.name for card in self.cards if self.names.count(card.name) > 1})
        if twice:
            raise ModelHubError(f"Hub '{self.name}' has several models named {', '.join(twice)}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cards, in the hub's order."""
        return tuple(card.name for card in self.cards)

    def __len__(self) -> int:
        return len(self.cards)

    def __iter__(self) -> Iterator[ModelCard]:
        return iter(self.cards)

    def __contains__(self, name: object) -> bool:
        return any(name == card.name or name in card.aliases for card in self.cards)

    def __getitem__(self, name: str) -> ModelCard:
        """The card of this name or alias.

        Raises:
            ModelHubError: the hub has no such model; close matches are named, or timm's where it has it.
        """
        for card in self.cards:
            if name == card.name or name in card.aliases:
                return card
        message = unknown("model", name, self.names) + f" (hub '{self.name}')"
        raise ModelHubError(message + _timm_hint(name))

    def subset(self, models: Sequence[str]) -> Self:
        """The hub of these models alone, in the given order."""
        return replace(self, cards=tuple(self[name] for name in models))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dict; inverse of `from_dict`."""
        return {"name": self.name, "cards": [card.to_dict() for card in self.cards]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a hub.

        Raises:
            ModelHubError: a key is missing, or a card has unknown keys or impossible values.
        """
        try:
            cards = tuple(ModelCard.from_dict(card) for card in data["cards"])
            return cls(str(data["name"]), cards)
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise ModelHubError(f"Hub {data.get('name', '?')!r} cannot be read: {error}") from error

    @classmethod
    def load(cls, source: str | Path) -> "ModelHub":
        """A shipped or announced hub by name, the hub of a YAML file, or that of a folder of weights."""
        return load_hub(str(source))


def load_hub(
    name: str, models: Sequence[str] | None = None, weights_dir: str | Path | None = None
) -> ModelHub:
    """Make a hub.

    name: a shipped hub (`tiny`, `table4`) or one that an installed package announces, the path of a YAML file
        or of a folder of weights; `folder` for all files of `weights_dir`; `timm` for the `models` alone.
    models: names to keep, in this order. With `timm` any timm names: a file `<name>.safetensors` in
        `weights_dir` gives the card (its sidecar knows the preprocessing), timm does otherwise.

    Raises:
        ModelHubError: unknown hub or model, no weights in a folder, or an unreadable file.
    """
    folder = None if weights_dir is None else Path(weights_dir)
    if name == "timm":
        if not models:
            raise ModelHubError("The hub 'timm' needs a list of models, for instance models=[resnet18].")
        return ModelHub(name, tuple(_listed_card(model, folder) for model in models))
    if name == "folder":
        if folder is None:
            raise ModelHubError(
                "The hub 'folder' needs weights_dir: a folder of <timm name>.safetensors files."
            )
        hub = ModelHub(name, folder_cards(folder))
    else:
        hub = _named_hub(name)
    return hub if models is None else hub.subset(models)


def no_hub() -> None:
    """What `model_hub=none` gives: the search space names no models, as for an objective of one's own."""


def shipped_hubs() -> tuple[str, ...]:
    """Names of the hubs in the package."""
    folders = (path.name for path in SHIPPED_WEIGHTS.glob("*") if any(path.glob("*.safetensors")))
    return tuple(sorted({*folders, *(path.stem for path in SHIPPED_HUBS.glob("*.yaml"))}))


def locate_weights(card: ModelCard, weights_dir: Path | None = None) -> Path | None:
    """The card's weights file: shipped in the package, else in `weights_dir`; None where neither has it.

    Raises:
        ModelHubError: `weights_dir` is no folder.
    """
    if weights_dir is not None and not weights_dir.is_dir():
        raise ModelHubError(f"There is no weights folder {weights_dir}; correct or omit weights_dir.")
    name = card.weights or f"{card.timm_name}.safetensors"
    folders = [SHIPPED_WEIGHTS] if weights_dir is None else [SHIPPED_WEIGHTS, weights_dir]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def hub_of_path(path: Path) -> ModelHub:
    """The hub of a YAML file of cards, or of a folder of weights.

    Raises:
        ModelHubError: the path leads to neither, or the file cannot be read.
    """
    if path.suffix in YAML and path.is_file():
        return _read_yaml(path)
    if path.is_dir():
        return ModelHub(path.name, folder_cards(path))
    raise ModelHubError(f"{path} is no hub: there is neither such a YAML file nor such a folder of weights.")


def _named_hub(name: str) -> ModelHub:
    from qtt.hub.announced import announced_hub, announced_hubs

    path = Path(name)
    if path.suffix in YAML and path.is_file():
        return _read_yaml(path)
    shipped = SHIPPED_HUBS / f"{name}.yaml"
    if shipped.is_file():
        return _read_yaml(shipped)
    if name in shipped_hubs():
        return ModelHub(name, folder_cards(SHIPPED_WEIGHTS / name, prefix=f"{name}/"))
    announced = announced_hubs()
    if name in announced:
        return announced_hub(name)
    if path.is_dir():
        return hub_of_path(path)
    raise ModelHubError(
        unknown("hub", name, [*shipped_hubs(), *announced, "folder", "timm"])
        + " A path to a .yaml file or to a folder of weights makes a hub too."
    )


def _read_yaml(path: Path) -> ModelHub:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelHubError(f"The hub file {path} is not YAML: {error}.") from error
    if not isinstance(data, dict):
        raise ModelHubError(f"The hub file {path} must hold `name:` and `cards:`.")
    return ModelHub.from_dict({"name": path.stem, **data})


def _listed_card(model: str, weights_dir: Path | None) -> ModelCard:
    """Card of a timm model, from its file in `weights_dir` where there is one."""
    file = None if weights_dir is None else weights_dir / f"{model}.safetensors"
    if file is not None and file.is_file():
        return replace(file_card(file), weights=file.name)
    from qtt.hub.timm_facts import timm_card

    return timm_card(model)


def _timm_hint(name: str) -> str:
    """Says so where timm has a model that the hub lacks."""
    from qtt.hub.timm_facts import resolve

    try:
        resolve(name)
    except ModelHubError:
        return ""
    return f" timm has '{name}': a hub of any timm models is made with the hub 'timm' and models=[{name}]."
