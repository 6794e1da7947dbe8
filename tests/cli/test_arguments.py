"""What people type reaches Hydra as it was meant."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from qtt.cli.arguments import CommandLine, understood
from qtt.errors import ConfigError

PATHS = [
    "/data/my photos",
    "/data/a=b",
    "/data/a,b",
    "/data/#1 & more!",
    "/data/it's",
    '/data/"quoted"',
    "/data/[new] (2024) {x}",
    "/фото/日本語/é",
    "C:\\Users\\me\\",
    "2024",
    "true",
    "/data/a;b<c>|d*?",
    "./~",
    " /leading and trailing ",
]


def _meaning(argument: str) -> object:
    override = OverridesParser.create().parse_override(argument)
    assert not override.is_sweep_override()
    return override.value()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["dataset.path", "+own.data_dir", "out"])
def test_a_path_of_any_letters_is_a_path(key: str, path: str) -> None:
    (argument,) = understood([f"{key}={path}"])
    assert argument.startswith(f"{key}=")
    assert _meaning(argument) == path.strip()


def test_what_hydra_understands_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for argument in (
        "dataset.path=/data/photos",
        "dataset.path='/data/it\\'s'",
        'dataset.path="/a,b"',
        "weights_dir=null",
        "dataset.path=${oc.env:DATA}",
        "seed=3",
        "search_space.narrow={opt:[adamw],lr:[0.001]}",
        "optimizer.horizons=[1,2]",
        "datasets=[FOLDER/*,/other]",
        "datasets=[]",
        "tables=[{table: DIR, hub: tiny}]",
        "~tracker",
        "+experiment=quickstart",
        "quiet=",
        "word",
    ):
        assert understood([argument]) == [argument]
    assert _meaning(understood(["run_dir=~/runs"])[0]) == "/home/someone/runs"


def test_what_exists_as_typed_is_meant_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "'a'", "null", "~"):
        (tmp_path / name).mkdir()
        for arguments in ([f"dataset.path={name}"], ["-m", f"dataset.path={name}"]):
            assert _meaning(understood(arguments)[-1]) == name


def test_other_texts_are_quoted_where_they_must_be() -> None:
    assert _meaning(understood(["licence=CC-BY (4.0), it's mine"])[0]) == "CC-BY (4.0), it's mine"
    assert understood(["search_space.narrow={opt:[adamw}"]) == ["search_space.narrow={opt:[adamw}"], "no text"


def test_lists_of_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert _meaning(understood(["datasets=[~/a b,'/c,d',/e=f,10]"])[0]) == [
        "/home/someone/a b",
        "/c,d",
        "/e=f",
        "10",
    ]


def test_in_a_sweep_commas_separate() -> None:
    assert understood(["-m", "dataset.path=/a,/b"]) == ["-m", "dataset.path=/a,/b"]
    assert understood(["-m", "datasets=[a],[b]"]) == ["-m", "datasets=[a],[b]"]
    assert understood(["-m", "seed=range(0,3)"]) == ["-m", "seed=range(0,3)"]
    (_, argument) = understood(["-m", "dataset.path=/a#1,/b (2)"])
    override = OverridesParser.create().parse_override(argument)
    assert list(override.sweep_string_iterator()) == ["'/a#1'", "'/b (2)'"]


def test_flags_may_stand_anywhere(tmp_path: Path) -> None:
    assert understood(["a=1", "-m", "b=2", "--config-dir", "conf", "c=3"]) == [
        *("-m", "--config-dir", "conf"),
        *("a=1", "b=2", "c=3"),
    ]
    assert understood(["a=1", "--info", "b=2"]) == ["--info", "a=1", "b=2"]
    assert understood(["a=1", "--info", "plugins", "--cfg", "job"]) == [
        "--info",
        "plugins",
        "--cfg",
        "job",
        "a=1",
    ]


@pytest.mark.parametrize("flag", ["--experiment=quickstart", "--quite", "-x"])
def test_a_flag_that_there_is_not_is_refused(flag: str) -> None:
    """Argparse would take the first for an abbreviation of another flag."""
    with pytest.raises(ConfigError, match=f"There is no flag {flag.partition('=')[0]}"):
        understood(["seed=1", flag])


def test_the_command_line_is_read_as_far_as_it_is_about_configuration(tmp_path: Path) -> None:
    line = CommandLine.read(["a=1", "--config-dir", str(tmp_path), "-m", "b=2,3"])
    assert line == CommandLine(("a=1", "b=2,3"), tmp_path, multirun=True)
    assert CommandLine.read([f"--config-dir={tmp_path}"]) == CommandLine((), tmp_path)
    assert CommandLine.read(["--cfg", "job", "--package", "hydra", "--resolve", "a=1"]) == CommandLine(
        ("a=1",)
    )
    for arguments in (["--help"], ["a=1", "--info"], ["--config-dir"], ["--shell-completion", "query=bash"]):
        assert CommandLine.read(arguments) is None, "left to Hydra"


def test_every_value_of_a_sweep_is_tried_once() -> None:
    line = CommandLine(("seed=0,1,2", "optimizer=random,asha", "+experiment=quickstart"), multirun=True)
    assert line.runs() == [
        ["seed=0", "optimizer=random", "+experiment=quickstart"],
        ["seed=1", "optimizer=asha", "+experiment=quickstart"],
        ["seed=2", "optimizer=asha", "+experiment=quickstart"],
    ]
    assert CommandLine(("seed=range(0,3)",), multirun=True).runs() == [["seed=0"], ["seed=1"], ["seed=2"]]
    for beyond in ("optimizer=glob(*)", "seed=interval(0,1)", "seed=[", "+"):
        assert CommandLine((beyond,), multirun=True).runs() == [], "left to Hydra"
