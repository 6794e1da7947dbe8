"""The page of the configuration holds every value that the commands compose, with its default."""

from collections.abc import Iterator
from pathlib import Path

import config_reference
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from guides import ROOT
from qtt.cli.configuration import config_directory

CONF = ROOT / "conf"
PAGE = config_reference.page(CONF)
OPTIONS = [
    (path.parent.name, path.stem)
    for path in sorted(CONF.glob("*/*.yaml"))
    if path.parent.name not in ("experiment", "predictor")
]
FILL = {"dataset": ["dataset.path=PATH"], "model_hub": ["model_hub.models=[a]", "weights_dir=W"]}
"""Values without a default."""


def documented() -> dict[str, list[str]]:
    """Defaults by key, as the page's tables give them."""
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    found: dict[str, list[str]] = {}
    for key, default, *_ in rows:
        found.setdefault(key.strip("|` "), []).append(default.strip("`").replace("\\|", "|"))
    return found


def leaves(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and len(child):
            yield from leaves(child, f"{prefix}{key}.")
        elif not str(key).startswith("_"):
            yield f"{prefix}{key}", child


@pytest.mark.parametrize("command", config_reference.COMMANDS)
def test_every_value_of_a_command_is_on_the_page(command: str) -> None:
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config = compose(command)
    known = documented()
    for key, _ in leaves(config):
        assert key in known, key
        default = OmegaConf.to_container(config, resolve=False)
        for part in key.split("."):
            default = default[part]
        assert any(yaml.safe_load(text) == default for text in known[key]), key


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_value_of_an_option_is_on_the_page(group: str, option: str) -> None:
    conf = config_reference.Configuration(CONF)
    command = next(iter(conf.default(group)), "run")
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config = compose(command, overrides=[f"{group}={option}"])
    known = documented()
    assert f"### `{group}={option}`" in PAGE
    for key, _ in leaves(config):
        assert key in known, key


def test_every_value_says_what_it_means() -> None:
    conf = config_reference.Configuration(CONF)
    silent = [
        value.key
        for group in conf.groups
        if group not in ("experiment", "predictor")
        for option in conf.options(group)
        for value in option.values(conf.prefix(group))
        if not value.comment and value.key not in documented_elsewhere(conf, group, option.name)
    ]
    assert silent == []


def documented_elsewhere(conf: config_reference.Configuration, group: str, option: str) -> set[str]:
    """Values that another option of the group explains, or that name what the option is."""
    others = [other for other in conf.options(group) if other.name != option]
    explained = {v.key for other in others for v in other.values(conf.prefix(group)) if v.comment}
    return explained | {f"{group}.{name}" for name in ("name", "variant")}


def test_comments_are_text_and_not_markdown() -> None:
    assert config_reference.prose("a <b> of *c* [d]_e") == r"a &lt;b&gt; of \*c\* \[d\]\_e"
    assert config_reference.prose("see model_hub=timm, or --quiet") == "see `model_hub=timm`, or `--quiet`"
    assert config_reference.prose("'datasets=[A/*]' here") == "`'datasets=[A/*]'` here"


def test_a_file_is_read_with_its_comments(tmp_path: Path) -> None:
    text = (
        "# What it is.\n#   python -m x\na: 1   # one\nb:\n  c: [x, y] # two\n_target_: m.f\n"
        "list: # three\n  - z\n  - {k: v}\n"
    )
    path = tmp_path / "one.yaml"
    path.write_text(text)
    file = config_reference.ConfigFile(path)
    assert file.header == ["What it is.", "  python -m x"]
    assert file.made_from == "m.f"
    values = [(v.key, v.default, v.comment) for v in file.values("g.")]
    assert values == [("g.a", "1", "one"), ("g.b.c", "[x, y]", "two"), ("g.list", "[z, {k: v}]", "three")]
