"""A term of the loss from another package: one registration, from the search space to the gradient."""

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from images import CLASSES, write_image_folder
from models import make_card
from pipelines import PLAIN, learned, run
from plugins import announce
from qtt import MetaFeatures, QuickTuner
from qtt.artifacts.pretrained import quick_tune
from qtt.errors import ConfigError
from qtt.evaluation import make_evaluator
from qtt.evaluation.inline import InlineEvaluator
from qtt.finetune.cv.classification import finetune_script, register_regularizer
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.regularizers import FIRST
from qtt.hub.model_hub import ModelHub
from qtt.metatraining.fit import feature_spec
from qtt.predictors.base import SearchTask
from qtt.predictors.features import FeatureSpec
from qtt.predictors.unknown import unknown_hyperparameters
from qtt.space.config_manager import ConfigManager
from qtt.space.domains import Range
from qtt.space.hyperparameters import BUILT_IN, Hyperparameter, register, registering_modules
from qtt.space.search_space import build_space
from qtt.types import Candidates, TaskInfo
from registrations import SPICE, empty_registry
from synthetic_runs import synthetic_runs

MakeTask = Callable[..., TaskInfo]
pytestmark = pytest.mark.usefixtures("cold")


@pytest.fixture
def spice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installed package `spice`; the file in which its term notes what it gave."""
    empty_registry(monkeypatch)
    folder, log = tmp_path / "site-packages", tmp_path / "spice.log"
    announce(folder, "spice", {"qtt.regularizers": {"spice_reg": "spice_terms:SPICE"}}, SPICE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "spice_terms", raising=False)
    monkeypatch.setenv("SPICE_LOG", str(log))
    return log


def test_every_weight_of_the_papers_has_its_term() -> None:
    assert {term.name for term in FIRST} == {item.name for item in BUILT_IN if item.loss_weight}


def test_a_search_with_an_installed_term(spice: Path, tmp_path: Path) -> None:
    """In a process of its own: the space has it, predictors see it, the loss feels it."""
    hub = ModelHub("tiny", (make_card("test_resnet"),))
    narrow = {
        "spice_reg": [0, 5.0],
        "batch_size": [16],
        "opt": ["adamw"],
        "lr": [1e-3],
        "data_augmentation": [None],
        "mixup": [0.0],
        "cutmix": [0.0],
        "sched": [None],
        "pct_to_freeze": [0.0],
    }
    manager = ConfigManager(build_space("quickstart", hub, narrow), hub)
    optimizer = quick_tune(manager, max_fidelity=2)
    optimizer.setup(6, MetaFeatures(24, 3, 32, 3))
    with_term = [i for i, c in enumerate(optimizer.candidates.configs) if c["spice_reg"] > 0]
    assert 0 < len(with_term) < 6
    spec = FeatureSpec.from_options(manager.options, hub.cards)
    assert ("spice_reg", "number") in [(column.source, column.kind) for column in spec.columns]
    columns = optimizer.performance._builder.features.pipeline
    column = [c.source for c in spec.columns if c.group == "pipeline"].index("spice_reg")
    assert set(np.flatnonzero(columns[:, column] > 0)) == set(with_term)

    dataset = write_image_folder(tmp_path / "images")
    settings = {"pretrained": False, "device": "cpu", "cache_gb": 0}
    task = TaskInfo(dataset, class_names=CLASSES, settings=settings)
    tuner = QuickTuner(optimizer, finetune_script, tmp_path / "run", trackers=[], isolation="process")
    history = tuner.run(task, evaluations=6 * 2).history
    assert history.evaluations == 12 and not history.failed
    noted = [line.split() for line in spice.read_text().splitlines()]
    assert len(noted) >= 2 * 2 * len(with_term), "two updates in each of two epochs, or more after a restart"
    assert {float(weight) for _, weight, _ in noted} == {5.0}
    assert all(float(penalty) > 0 for _, _, penalty in noted)
    space = ConfigManager.from_json((tmp_path / "run" / "search_space.json").read_text())
    assert space.options["spice_reg"] == (0, 5.0)
    assert json.loads((tmp_path / "run" / "candidates.json").read_text())["configs"][0]["spice_reg"] in (0, 5)


def test_the_term_moves_the_weights_and_nothing_without_it(
    spice: Path, make_task: MakeTask, tmp_path: Path
) -> None:
    results = {}
    for label, more in (("none", {}), ("off", {"spice_reg": 0.0}), ("on", {"spice_reg": 5.0})):
        results[label] = learned(run(make_task(work_dir=tmp_path / label), PLAIN | more, 2))
    assert results["none"] == results["off"] != results["on"]
    (refused,) = run(make_task(work_dir=tmp_path / "vit"), PLAIN | {"model": "test_vit", "spice_reg": 5.0}, 1)
    assert refused.info["not_applicable"] == {"spice_reg": "spice is not for transformers"}


def test_recipes_check_what_is_registered(spice: Path) -> None:
    recipe = Recipe.from_config({"model": "m", "spice_reg": 0.25})
    assert (recipe.extras, recipe.value("spice_reg"), recipe.value("lr")) == ({"spice_reg": 0.25}, 0.25, 1e-3)
    with pytest.raises(ConfigError, match=r"spice_reg=-1 is impossible: give a weight from 0"):
        Recipe.from_config({"model": "m", "spice_reg": -1})
    with pytest.raises(ConfigError, match="Did you mean 'spice_reg'"):
        Recipe.from_config({"model": "m", "spicy_reg": 1})
    register(Hyperparameter("pepper", ("black", "white"), "black", ("spice_reg", (0.5,))))
    Recipe.from_config({"model": "m", "spice_reg": 0.5, "pepper": "white"})
    with pytest.raises(
        ConfigError, match=r"pepper='white' has no effect with spice_reg=5.0 \(only with 0.5\)"
    ):
        Recipe.from_config({"model": "m", "spice_reg": 5.0, "pepper": "white"})
    with pytest.raises(ConfigError, match=r"pepper='red' is impossible: choose from \('black', 'white'\)"):
        Recipe.from_config({"model": "m", "spice_reg": 0.5, "pepper": "red"})


def test_weights_must_be_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    empty_registry(monkeypatch)
    for options in ((0.1, 1.0), (0.0, -1.0), (0.0, "much"), ()):
        with pytest.raises(ConfigError, match="weights from 0, with 0 for off"):
            register_regularizer("mine", options, lambda weight, start: None)
    term = register_regularizer("mine", Range(0.0, 2.0), lambda weight, start: None)
    assert term.hyperparameter.default == 0.0 and registering_modules() == (__name__,)


def test_a_script_that_registers_trains_inline_and_is_told_why_not_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty_registry(monkeypatch)
    register(Hyperparameter("mine", (0, 1), 0), module="__main__")
    assert isinstance(make_evaluator(finetune_script, tmp_path / "log"), InlineEvaluator)
    with pytest.raises(ConfigError, match=r"registered in __main__, which.*module of their own"):
        make_evaluator(finetune_script, tmp_path / "log", "process")


def test_an_imported_module_is_imported_in_the_training_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_task: MakeTask
) -> None:
    """Without an entry point: the module was imported here, and is imported there."""
    empty_registry(monkeypatch)
    (tmp_path / "kitchen_terms.py").write_text(SPICE)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("kitchen_terms")
    hub = ModelHub("tiny", (make_card("test_resnet"),))
    optimizer = quick_tune(None, max_fidelity=1)
    optimizer.setup(Candidates((PLAIN | {"model": "test_resnet", "spice_reg": 5.0},), hub.cards))
    tuner = QuickTuner(optimizer, finetune_script, tmp_path / "run", trackers=[], isolation="process")
    monkeypatch.setenv("SPICE_LOG", str(tmp_path / "log"))
    history = tuner.run(make_task(), evaluations=1).history
    assert not history.failed and (tmp_path / "log").read_text()


def test_artifacts_pass_over_it_and_learn_its_effect(spice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = ModelHub("tiny", (make_card("test_resnet"),))
    manager = ConfigManager(build_space("full", hub), hub)
    optimizer = quick_tune(manager, weights="mtlbm/micro")
    assert "know nothing of spice_reg: its effect is learned" in capsys.readouterr().out
    task = SearchTask(manager.sample(8, 0), None, manager.options)
    assert unknown_hyperparameters(optimizer.performance.spec, task) == ("spice_reg",)
    optimizer.setup(8, MetaFeatures(24, 3, 32, 3))
    assert optimizer.performance._unknown.shape[1] > 0


def test_meta_training_sees_it_where_it_was_recorded(spice: Path) -> None:
    plain = synthetic_runs("A", 0, n=4)
    configs = tuple({**config, "spice_reg": 0.5} for config in plain.candidates.configs)
    spiced = replace(plain, candidates=replace(plain.candidates, configs=configs))
    sources = [{column.source for column in feature_spec([runs]).columns} for runs in (plain, spiced)]
    assert sources[1] - sources[0] == {"spice_reg"}
