"""The command line of a search: what composes, what is refused, interrupts, and one whole search."""

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_method, instantiate
from omegaconf import DictConfig, OmegaConf

from images import write_image_folder
from qtt.cli.configuration import config_directory
from qtt.finetune.cv.classification import FinetuneSettings
from qtt.run import surveyed
from qtt.space.config_manager import ConfigManager
from qtt.tasks import load_task
from waiting import LIMIT, wait_until

CONF = Path(config_directory())
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
GROUPS = [
    f"{path.parent.name}={path.stem}"
    for path in sorted(CONF.glob("*/*.yaml"))
    if path.parent.name not in ("artifact", "experiment", "predictor", "trainer")
]

SEARCH = [
    "+experiment=quickstart",
    "num_candidates=8",
    "budget.seconds=null",
    "search_space.narrow={batch_size:[64],sched:[cosine],opt:[adamw],lr:[0.001]}",
]


def _compose(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("run", overrides=list(overrides))


def _run(*arguments: str, cwd: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "qtt.run", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_says_what_to_expect(experiment: str) -> None:
    config = _compose(f"+experiment={experiment}")
    assert config.budget.seconds or config.budget.evaluations
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    for word in ("Command:", "Hardware:", "Duration:", "Expected:"):
        assert word in text, f"{experiment}.yaml does not say {word}"
    assert f"+experiment={experiment}" in text


@pytest.mark.parametrize("choice", GROUPS)
def test_every_option_names_things_that_exist(choice: str) -> None:
    config = _compose(choice)
    for target in _targets(OmegaConf.to_container(config[choice.split("=")[0]])):
        assert callable(get_method(target) if target.rsplit(".", 1)[1].islower() else _class(target))


@pytest.mark.parametrize("trainer", sorted(path.stem for path in (CONF / "trainer").glob("*.yaml")))
def test_objective_and_trainer_together_set_every_setting(trainer: str) -> None:
    settings = OmegaConf.to_container(_compose(f"trainer={trainer}").objective.settings)
    assert isinstance(settings, dict)
    FinetuneSettings.from_mapping({str(name): value for name, value in settings.items()})
    assert set(settings) == {field.name for field in fields(FinetuneSettings)}


def test_what_is_missing_is_told_before_the_journal_with_a_status_of_its_own(tmp_path: Path) -> None:
    command = [*SEARCH, "optimizer=random", "budget.evaluations=1", f"run_dir={tmp_path / 'run'}"]
    blind = _run(*command, "trainer=cuda", cwd=tmp_path, CUDA_VISIBLE_DEVICES="")
    assert blind.returncode == 3, blind.stderr
    assert blind.stderr.splitlines() == [
        "Error: objective.settings.device=cuda (trainer=cuda), but there is no GPU here. Use trainer=auto or "
        "trainer=cpu. Nothing of it is recorded; mend it, and the same command goes on."
    ]
    assert blind.stdout == "", "the data need not be read for that"
    assert not (tmp_path / "run" / "journal.jsonl").exists()
    seeing = _run(*command, "trainer=cpu", cwd=tmp_path)
    assert (seeing.returncode, seeing.stderr) == (0, "")
    assert seeing.stdout.count("Checked: device cpu, weights of ") == 1
    assert len((tmp_path / "run" / "journal.jsonl").read_text().splitlines()) == 1


def _targets(node: Any) -> list[str]:
    if not isinstance(node, dict):
        return []
    own = [
        node[key]
        for key in ("_target_", "function", "describe", "check", "evaluate")
        if isinstance(node.get(key), str)
    ]
    return own + [target for child in node.values() for target in _targets(child)]


def _class(target: str) -> Any:
    return instantiate({"_target_": "hydra.utils.get_class", "path": target})


def test_a_missing_dataset_is_asked_for_and_nothing_is_left_behind(tmp_path: Path) -> None:
    missing = _run("+experiment=image_folder", cwd=tmp_path)
    assert missing.returncode == 1
    assert (
        missing.stderr
        == "Error: dataset.path has no value and needs one: add dataset.path=… to the command.\n"
    )
    wrong = _run("+experiment=image_folder", "dataset.path=nowhere", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "There is no dataset folder" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert not list(tmp_path.iterdir())


def test_what_the_dataset_holds_is_told_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_image_folder(tmp_path / "set", {".": 5})
    (root / "blue" / "photo.dng").write_text("")
    kind = load_task("image_classification")
    task, _ = kind.describe(instantiate(_compose("dataset=image_folder", f"dataset.path={root}").dataset))
    files = surveyed(kind, task, quiet=False)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"Data: {root} (class folders)"
    assert told[-1].startswith("Warning: Not used: 1 .dng")
    assert json.loads(files["dataset.json"])["images"] == {"train": 12, "val": 3, "test": 0}
    assert surveyed(kind, task, quiet=True) == files
    assert capsys.readouterr().out == ""


def test_settings_that_finetuning_refuses_are_refused_before_the_search(tmp_path: Path) -> None:
    refused = _run("+experiment=quickstart", "objective.settings.hflip=2", cwd=tmp_path)
    assert refused.returncode == 1
    assert "objective.settings.hflip=2: expected a share" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_help_reads_well(tmp_path: Path) -> None:
    text = _run("--help", cwd=tmp_path).stdout
    assert text.startswith("qtt: which pretrained model should I finetune, and how?")
    assert "experiment: image_folder, quickstart" in text
    assert "num_candidates: 128" in text


@pytest.mark.parametrize(
    ("signum", "send"),
    [(signal.SIGINT, os.kill), (signal.SIGTERM, os.kill), (signal.SIGTERM, os.killpg)],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM to all processes"],
)
def test_an_interrupt_ends_cleanly_and_says_how_to_go_on(tmp_path: Path, signum: int, send: Any) -> None:
    arguments = [word for word in SEARCH if not word.startswith("budget")] + [f"budget.seconds={LIMIT:g}"]
    command = [sys.executable, "-m", "qtt.run", *arguments]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **pipes) as search:
        try:
            assert search.stdout is not None
            for line in search.stdout:
                if line.startswith("Results go to"):
                    break
            (folder,) = (tmp_path / "runs" / "quickstart").iterdir()
            journal = folder / "journal.jsonl"
            wait_until(lambda: journal.exists() and journal.read_text(), search)  # until it trains
            send(search.pid, signum)
            out, err = search.communicate(timeout=LIMIT)
        finally:
            search.kill()
    assert search.returncode == 130, err
    assert err == ""
    assert "Interrupted; everything finished is kept." in out
    assert "To search on: " in out
    assert out.strip().endswith(f"-m qtt.run {shlex.join(arguments)}")
    statuses = [json.loads(line)["status"] for line in journal.read_text().splitlines()]
    assert set(statuses) <= {"success", "timeout"}, "the pipeline that was trained is not to blame"


def test_a_search_runs_resumes_and_ends_with_a_test_accuracy(tmp_path: Path) -> None:
    first = _run(*SEARCH, "budget.evaluations=2", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert "Best" in first.stdout
    assert "test accuracy: 0." in first.stdout
    assert "budget.evaluations=4" in first.stdout
    (folder,) = (tmp_path / "runs" / "quickstart").iterdir()
    journal = (folder / "journal.jsonl").read_text()
    assert journal.count("\n") == 2
    assert json.loads((folder / "environment.json").read_text())["packages"]["timm"]
    assert "num_candidates: 8" in (folder / "config.yaml").read_text()
    space = ConfigManager.from_json((folder / "search_space.json").read_text())
    assert all(space.validate(c) for c in json.loads((folder / "candidates.json").read_text())["configs"])
    again = _run(*SEARCH, "budget.evaluations=2", cwd=tmp_path)
    assert "The budget of 2 epochs is spent" in again.stdout
    assert (folder / "journal.jsonl").read_text() == journal
    longer = _run(*SEARCH, "budget.evaluations=3", cwd=tmp_path)
    assert longer.returncode == 0, longer.stderr
    assert (folder / "journal.jsonl").read_text().startswith(journal)
    assert (folder / "journal.jsonl").read_text().count("\n") == 3
