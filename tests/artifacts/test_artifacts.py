"""Predictor artifacts: the folder's format and its faults, and optimizers made from them by name."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metatrained import call, few_steps, write_tables
from own_spaces import everything, space_of_models
from qtt import MetaFeatures, get_pretrained_optimizer
from qtt.artifacts import files as artifact_files
from qtt.artifacts.files import NEEDED, Artifact, Facts, TableFacts, card, read_artifact, write_artifact
from qtt.artifacts.pretrained import quick_tune
from qtt.errors import ArtifactError, ConfigError
from qtt.hub.model_hub import ModelHub
from qtt.optimizers.quick import QuickTune
from qtt.predictors.features import FeatureSpec
from qtt.predictors.meta import MetaPerformance
from qtt.predictors.performance import DeepKernelGP
from qtt.space.config_manager import ConfigManager
from qtt.space.portfolio import Portfolio, PortfolioEntry
from qtt.space.search_space import build_space
from qtt.support.announcements import announce
from qtt.testing.synthetic import CARDS

METAFEATURES = MetaFeatures(800, 10, 64, 3)
FACTS = Facts(
    name="test",
    identity="abc",
    tables=(
        TableFacts("tables/one", "synthetic", "a test", "CC0", "all", ("A", "B"), 7, {"runs.parquet": "0"}),
        TableFacts("two", "synthetic", "a test", "unstated", "last", ("B", "C"), 2000, {}),
    ),
    counts={"datasets": 3, "runs": 2007, "failed": 4, "epochs": 12345},
    excluded={"datasets": ("D",), "models": ()},
    search_space="quickstart",
    seed=3,
    settings={"trees": 5, "name": None},
    validation={"r2": 0.512345},
    versions={"qtt": "1.2.3"},
)


@pytest.fixture
def hub() -> ModelHub:
    return ModelHub("synthetic", CARDS)


def _artifact(hub: ModelHub, **changes) -> Artifact:  # type: ignore[no-untyped-def]
    parts = {
        "facts": FACTS,
        "features": FeatureSpec.from_options({"model": hub.names, "lr": (0.1, 0.001)}, list(hub)),
        "space": ConfigManager(build_space("quickstart", hub), hub).to_json(),
        "performance": {"x": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "n": np.array([3, 1])},
        "cost": {"y": np.float32([1.5])},
    }
    return Artifact(**(parts | changes))


@pytest.fixture
def folder(hub: ModelHub, tmp_path: Path) -> Path:
    entry = PortfolioEntry({"model": "small", "lr": 0.1, "opt_betas": (0.9, 0.99)}, CARDS[0], "A", 0.75)
    whole = _artifact(hub, portfolio=Portfolio((entry,)), paper={"z": np.zeros((1, 2), dtype=np.float32)})
    write_artifact(tmp_path / "artifact", whole)
    return tmp_path / "artifact"


def _replace(folder: Path, name: str, content: bytes, *, and_its_hash: bool) -> None:
    (folder / name).write_bytes(content)
    if and_its_hash:
        facts = json.loads((folder / "artifact.json").read_text())
        facts["sha256"][name] = artifact_files.hashlib.sha256(content).hexdigest()
        (folder / "artifact.json").write_text(json.dumps(facts))


def test_reading_gives_what_was_written(hub, folder) -> None:
    read, written = read_artifact(folder), _artifact(hub)
    assert read.facts == FACTS
    assert read.features == written.features
    assert read.config_manager().options == ConfigManager.from_json(written.space).options
    assert read.config_manager().hub == hub
    for name in ("performance", "cost"):
        found, expected = getattr(read, name), getattr(written, name)
        assert list(found) == sorted(expected)
        for key, array in expected.items():
            np.testing.assert_array_equal(found[key], array)
            assert found[key].dtype == array.dtype
    assert read.portfolio.entries[0].config["opt_betas"] == (0.9, 0.99)
    assert read.paper["z"].shape == (1, 2)


def test_what_is_optional_may_be_missing_and_goes_when_it_is_replaced(hub, folder) -> None:
    write_artifact(folder, _artifact(hub))
    read = read_artifact(folder)
    assert read.portfolio is None
    assert read.paper is None
    assert not (folder / "portfolio.json").exists()


def test_nothing_in_the_folder_is_pickled_or_dated(hub, folder, tmp_path) -> None:
    write_artifact(tmp_path / "again", read_artifact(folder))
    for file in folder.iterdir():
        assert file.suffix in (".json", ".safetensors", ".md")
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_the_summary_and_the_card_say_what_was_there_and_no_more(folder) -> None:
    assert FACTS.summary == ("test: fitted on 2,007 runs (12,345 epochs) of 3 datasets (one, two; without D)")
    assert json.loads((folder / "artifact.json").read_text())["summary"] == FACTS.summary
    text = (folder / "README.md").read_text()
    assert text == card(FACTS)
    for said in ("`tables/one` | a test | CC0 | 2 | 7 | all", "unstated", "r2 | 0.5123", "datasets: D."):
        assert said in text
    assert "Datasets: A, B, C." in text
    assert "extended" not in text
    assert "models:" not in text


@pytest.mark.parametrize("name", [*NEEDED, "portfolio.json", "paper.safetensors"])
def test_missing_and_damaged_files_are_named(folder, name) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(ArtifactError, match=rf"{name} is not the file.*damaged"):
        read_artifact(folder)
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=f"lacks {name}"):
        read_artifact(folder)


class Bomb:
    """Its pickle leaves a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("and_its_hash", [False, True])
@pytest.mark.parametrize("name", ["performance.safetensors", "cost.safetensors", "paper.safetensors"])
def test_a_pickle_in_a_weights_file_is_refused_and_not_loaded(folder, tmp_path, name, and_its_hash) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    _replace(folder, name, bomb, and_its_hash=and_its_hash)
    with pytest.raises(ArtifactError, match=name):
        read_artifact(folder)
    assert not (tmp_path / "exploded").exists()
    pickle.loads(bomb)
    assert (tmp_path / "exploded").exists(), "the bomb works"


@pytest.mark.parametrize("name", ["features.json", "portfolio.json"])
def test_other_json_is_refused(folder, name) -> None:
    _replace(folder, name, b'[{"no": "column"}]', and_its_hash=True)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_artifact(folder)


def test_a_space_that_cannot_be_read_is_named(folder) -> None:
    _replace(folder, "space.json", b"{}", and_its_hash=True)
    with pytest.raises(ArtifactError, match=r"space\.json of artifact 'test'"):
        read_artifact(folder).config_manager()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2; this version of qtt reads 1"),
        ({"counts": None}, "lacks or|cannot be read"),
        ({"tables": [{"name": "x"}]}, "artifact.json cannot be read"),
        ({"sha256": {}}, "features.json is not the file"),
    ],
)
def test_artifact_json_of_another_kind_is_refused(folder, change, message) -> None:
    facts = json.loads((folder / "artifact.json").read_text()) | change
    if change.get("counts", 0) is None:
        del facts["counts"]
    (folder / "artifact.json").write_text(json.dumps(facts))
    with pytest.raises(ArtifactError, match=message):
        read_artifact(folder)


def test_a_folder_without_an_artifact_and_unknown_names_are_explained(tmp_path) -> None:
    with pytest.raises(ArtifactError, match=r"no predictor artifact: it has no artifact\.json"):
        get_pretrained_optimizer(tmp_path)
    with pytest.raises(ArtifactError, match="Did you mean 'mtlbm/extended'"):
        get_pretrained_optimizer("mtlbm/extnded")
    with pytest.raises(ArtifactError, match="'cold' starts without one"):
        get_pretrained_optimizer("runs/nowhere")


@pytest.mark.parametrize("name", artifact_files.SHIPPED_NAMES)
def test_a_name_that_is_not_installed_says_how_to_make_it(name, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(artifact_files, "SHIPPED", tmp_path)
    with pytest.raises(ArtifactError, match=rf"not part of this installation.*artifact={name[6:]}`"):
        get_pretrained_optimizer(name)


NARROW = "search_space.narrow={batch_size:[16,128]}"


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of real predictors, fitted for a moment."""
    folder = tmp_path_factory.mktemp("learned")
    table, hub = write_tables(folder)
    with pytest.MonkeyPatch.context() as patch:
        few_steps(patch)
        call(table, hub, folder / "mtlbm" / "micro", "search_space=quickstart", NARROW)
    return folder


def test_three_lines_are_enough(learned, monkeypatch, capsys) -> None:
    monkeypatch.setattr(artifact_files, "SHIPPED", learned)
    announce.cache_clear()
    optimizer = get_pretrained_optimizer("mtlbm/micro")
    optimizer.setup(128, METAFEATURES)
    trial = optimizer.ask()
    assert (len(optimizer.candidates), trial.fidelity) == (128, 1)
    assert isinstance(optimizer.performance, MetaPerformance)
    assert {config["model"] for config in optimizer.candidates.configs} <= set(ModelHub.load("lite").names)
    get_pretrained_optimizer("mtlbm/micro")
    said = capsys.readouterr()
    assert said.out.startswith("Predictors own: fitted on 60 runs (2,340 epochs) of 5 datasets (table)")
    assert "\nModels for CPU" in said.out
    assert said.out.count("\n") == 2, "once each"
    assert said.err == ""


def test_an_artifact_of_one_s_own_keeps_its_hub(learned, capsys) -> None:
    optimizer = get_pretrained_optimizer(learned / "mtlbm" / "micro")
    optimizer.setup(16, METAFEATURES)
    assert optimizer.config_manager.hub.names == ("small", "medium", "large")
    assert "Models for" not in capsys.readouterr().out


def test_what_an_optimizer_was_told_changes_what_it_asks(learned, hub) -> None:
    optimizer = get_pretrained_optimizer(
        learned / "mtlbm" / "micro", seed=4, epochs_per_step=2, max_fidelity=9
    )
    optimizer.setup(16, METAFEATURES)
    asked = []
    while len(asked) < 12 and (trial := optimizer.ask()):
        asked.append((trial.config_id, trial.fidelity))
        optimizer.tell(
            {
                "config_id": trial.config_id,
                "fidelity": trial.fidelity,
                "score": 0.9 - 0.05 * trial.config_id,
                "cost": 1.0,
                "status": True,
            }
        )
    assert len({config_id for config_id, _ in asked}) > 1
    assert asked[0][1] == 2
    again = get_pretrained_optimizer(learned / "mtlbm" / "micro", seed=4)
    again.setup(16)
    assert again.candidates.configs == optimizer.candidates.configs


def test_hub_space_and_options_can_be_others_than_the_artifact_s(learned) -> None:
    folder = learned / "mtlbm" / "micro"
    own = ModelHub("mine", (CARDS[1],))
    optimizer = get_pretrained_optimizer(folder, model_hub=own, narrow={"opt": ["adamw"]})
    optimizer.setup(8, METAFEATURES)
    assert {(c["model"], c["opt"]) for c in optimizer.candidates.configs} == {("medium", "adamw")}
    assert optimizer.config_manager.options["batch_size"] == (16, 128), "narrowed as in the artifact"
    assert optimizer.ask() is not None
    wider = get_pretrained_optimizer(folder, search_space="full")
    assert set(wider.config_manager.options["lr"]) > set(optimizer.config_manager.options["lr"])
    assert wider.config_manager.hub.names == ("small", "medium", "large")
    with pytest.raises(ConfigError):
        get_pretrained_optimizer(folder, search_space="nonsense")


def test_searches_begin_with_the_portfolio(learned, hub) -> None:
    folder = learned / "mtlbm" / "micro"
    optimizer = get_pretrained_optimizer(folder)
    optimizer.setup(32, METAFEATURES)
    portfolio = read_artifact(folder).portfolio
    expected = portfolio.pipelines(optimizer.config_manager, 8)
    assert expected
    assert list(optimizer.candidates.configs[: len(expected)]) == expected


def test_quick_tune_takes_weights_or_predictors(learned, hub) -> None:
    manager = ConfigManager(build_space("quickstart", hub), hub)
    learnt = quick_tune(manager, weights=learned / "mtlbm" / "micro", seed=2, exploration=0.125)
    assert isinstance(learnt.performance, MetaPerformance)
    assert (learnt.config_manager, learnt.seed, learnt.exploration) == (manager, 2, 0.125)
    given = DeepKernelGP(steps=1)
    cost = quick_tune(manager).cost
    assert quick_tune(manager, performance=given, cost=cost).performance is given
    for weights in (None, "cold"):
        cold = quick_tune(manager, weights=weights)
        assert type(cold) is QuickTune
        assert isinstance(cold.performance, DeepKernelGP)
        assert cold.portfolio is None


def test_arrays_of_other_predictors_are_refused(hub, folder) -> None:
    with pytest.raises(ArtifactError, match="lacks the array"):
        get_pretrained_optimizer(folder)


def test_a_cold_optimizer_samples_from_its_hub_and_space(hub) -> None:
    optimizer = get_pretrained_optimizer("cold", model_hub=hub, narrow={"opt": ["adamw"]}, seed=3)
    optimizer.setup(16, MetaFeatures(800, 10, 64, 3))
    assert len(optimizer.candidates) == 16
    assert {config["opt"] for config in optimizer.candidates.configs} == {"adamw"}
    assert {config["model"] for config in optimizer.candidates.configs} <= set(hub.names)
    assert optimizer.ask().fidelity == 1


def test_settings_reach_the_optimizer(hub) -> None:
    optimizer = get_pretrained_optimizer(model_hub=hub, seed=7, epochs_per_step=2, max_fidelity=5)
    optimizer.setup(4)
    assert (optimizer.seed, optimizer.ask().fidelity, optimizer.max_fidelity) == (7, 2, 5)
    again = get_pretrained_optimizer(model_hub=hub, seed=7)
    again.setup(4)
    assert again.candidates == optimizer.candidates


def test_the_default_hub_has_candidates() -> None:
    optimizer = get_pretrained_optimizer()
    optimizer.setup(128, MetaFeatures(1437, 10, 64, 3))
    assert len(optimizer.candidates) == 128
    assert optimizer.candidates.models[0].name in ModelHub.load("lite").names


def test_an_unknown_search_space_is_refused(hub) -> None:
    with pytest.raises(ConfigError):
        get_pretrained_optimizer(model_hub=hub, search_space="nonsense")


def test_the_module_is_light() -> None:
    code = "import qtt.artifacts, sys; print([m for m in ('torch', 'ConfigSpace') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_space_of_ones_own_needs_no_hub_and_what_is_unknown_is_said_once(learned, capsys, tmp_path) -> None:
    folder = learned / "mtlbm" / "micro"
    everything().to_yaml(tmp_path / "space.yaml")
    capsys.readouterr()
    announce.cache_clear()
    for space in (everything(), tmp_path / "space.yaml", str(tmp_path / "space.yaml")):
        optimizer = get_pretrained_optimizer(folder, search_space=space)
        assert optimizer.config_manager.hub is None
        optimizer.setup(8)
        assert optimizer.ask() is not None
    said = [line for line in capsys.readouterr().out.splitlines() if "know nothing of" in line]
    assert len(said) == 1
    assert "depth" in said[0] and "version" in said[0]
    with pytest.raises(ConfigError, match="narrow a space of your own yourself"):
        get_pretrained_optimizer(folder, search_space=everything(), narrow={"layers": [3]})
    with pytest.raises(ConfigError, match="There is no search space"):
        get_pretrained_optimizer(search_space="nowhere.yaml")


def test_a_space_of_ones_own_may_choose_among_a_hubs_models(learned) -> None:
    space = space_of_models(("small", "large"))
    learnt = get_pretrained_optimizer(learned / "mtlbm" / "micro", search_space=space)
    assert learnt.config_manager.hub.names == ("small", "medium", "large")
    with pytest.raises(ConfigError, match="hub 'auto'"):
        get_pretrained_optimizer("cold", search_space=space)
