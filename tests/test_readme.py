"""The README's examples, word for word: Python is run, commands are composed or called."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

import guides
from clocks import COUNTING_CLOCK
from guides import Block, blocks, expanded, module_commands, understand
from images import write_image_folder
from qtt import fetch
from qtt.cli.commands import COMMANDS
from qtt.cli.configuration import config_directory
from qtt.runs.record import RunRecord
from qtt.space.config_manager import ConfigManager
from qtt.space.horizon import is_probe
from waiting import LIMIT

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = [README, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")]


BLOCKS = blocks(README)


def commands(program: str) -> list[list[str]]:
    """Arguments of every `python -m program` in the README."""
    scripts = [block.text for block in BLOCKS if block.language == "sh"]
    return [arguments for script in scripts for _, arguments in module_commands(script, program)]


RUNS = [run for command in commands("qtt.run") if "--help" not in command for run in expanded(command)]
EXAMPLES = [block.text for block in BLOCKS if block.language == "python"]
AFTER = re.findall(r"`python -m qtt\.(\w+) RUN( [^`]+)?`", README)
"""Commands that take a run folder, and their other arguments."""


def run_script(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    (folder / "example.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=folder, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    return done


def test_commands_of_the_program_exist() -> None:
    scripts = [block.text for block in BLOCKS if block.language == "sh"]
    lines = [words for script in scripts for words in guides.lines(script)]
    called = [words[1:2] for words in lines if words[:1] == ["qtt"]]
    assert called[0] == [], "alone, it lists them"
    assert {name for words in called for name in words} <= set(COMMANDS)
    assert ["doctor"] in called


def test_the_readme_has_what_the_tests_below_look_for() -> None:
    assert len(EXAMPLES) == 4
    assert len(AFTER) == 6
    assert len(RUNS) >= 9
    assert len(commands("qtt.fetch")) == 1


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_blocks_are_understood(block: Block) -> None:
    understand(block)


@pytest.mark.parametrize("overrides", RUNS, ids=" ".join)
def test_commands_compose_hub_and_space(overrides: list[str]) -> None:
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config = compose("run", overrides=overrides)
    hub = instantiate(config.model_hub)
    manager = ConfigManager(instantiate(config.search_space, models=list(hub.names)), hub)
    optimizer = instantiate(config.optimizer)(config_manager=manager, seed=config.seed)
    optimizer.setup(config.num_candidates)
    assert sum(map(is_probe, optimizer.candidates.configs)) == len(manager.probes())
    first = len(manager.probes()) + len(manager.recipes())
    assert len(optimizer.candidates) == config.num_candidates + first


@pytest.mark.parametrize("overrides", commands("qtt.benchmark"), ids=" ".join)
def test_benchmark_commands_compose(overrides: list[str]) -> None:
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config = compose("benchmark", overrides=overrides)
    assert config.policies[0] in ("random", "asha")


def test_fetch_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(card):  # type: ignore[no-untyped-def]
        return timm.create_model(card.timm_name, num_classes=card.num_classes).state_dict()

    monkeypatch.setattr(fetch, "_download", download)
    monkeypatch.chdir(tmp_path)
    for arguments in commands("qtt.fetch"):
        assert fetch.main(arguments) == 0
    assert len(list((tmp_path / "weights").glob("*.safetensors"))) == 2


@pytest.mark.slow
def test_the_paper_s_example_runs_for_its_whole_budget(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "path" / "to" / "dataset")
    shown = run_script(COUNTING_CLOCK + EXAMPLES[0], tmp_path).stdout
    assert "The budget of 3600 s is spent." in shown
    assert "config_id" in shown, "the statistics are printed"


def test_the_example_of_what_follows_a_search_runs(kept_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(kept_run, tmp_path / "runs" / "quickstart" / "default")
    test = RunRecord.load(run).task.path / "test"
    shutil.copytree(test, tmp_path / "path" / "to" / "images")
    shutil.copytree(test, tmp_path / "path" / "to" / "dataset" / "test")
    shown = run_script(EXAMPLES[1], tmp_path).stdout
    for column in ("config_id", "score", "probability"):
        assert column in shown
    assert (tmp_path / "exported" / "model.safetensors").exists()


@pytest.mark.parametrize(("command", "arguments"), AFTER, ids=lambda value: str(value).strip())
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning:runpy")
def test_commands_after_a_search_run(
    command: str,
    arguments: str,
    kept_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = shutil.copytree(kept_run, tmp_path / "run")
    images = RunRecord.load(run).task.path / "test"
    words = shlex.split(arguments.replace("path/to/test", str(images)).replace("path/to/images", str(images)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["", str(run), *words])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"qtt.{command}", run_name="__main__", alter_sys=True)
    assert not end.value.code
    assert capsys.readouterr().err == ""


OWN_TERM = """
import torch
from qtt.finetune.cv.classification.forward import ForwardStep
from qtt.hub.model_hub import load_hub
from qtt.space.search_space import build_space

logits = torch.randn(5, 3)
given = Confidence(0.1, None)(ForwardStep(None, None, logits))
entropy = torch.distributions.Categorical(logits=logits).entropy()
print(torch.allclose(given, -0.1 * entropy.mean()), build_space("full", load_hub("tiny"))["confidence_reg"])
"""


def test_the_example_of_an_own_regulariser_is_its_formula_and_in_the_space(tmp_path: Path) -> None:
    shown = run_script(EXAMPLES[2] + OWN_TERM, tmp_path).stdout
    assert shown.startswith("True confidence_reg, Type: Ordinal, Sequence: {0.0, 0.01, 0.1}")


def test_the_example_of_an_own_objective_runs(tmp_path: Path) -> None:
    shown = run_script(EXAMPLES[3], tmp_path).stdout
    assert "The budget of 20 epochs is spent." in shown
    assert (tmp_path / "runs" / "own-objective" / "journal.jsonl").exists()


@pytest.mark.parametrize("text", GUIDES, ids=["README", "CONTRIBUTING"])
def test_links_and_make_targets_exist(text: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\s*`?make ([a-z-]+)", text, re.MULTILINE))
    assert targets
    for target in targets:
        assert f"\n{target}:" in makefile, f"make {target}"
