"""`python -m qtt.metatrain`: what it fits, keeps, leaves out and refuses; and the stages it goes through."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from metatrained import DATASETS, call, few_steps, write_tables
from qtt import metatrain
from qtt.artifacts.files import Facts, read_artifact
from qtt.cli.configuration import config_directory, plain
from qtt.errors import ArtifactError, ConfigError, CurveTableError
from qtt.metatraining.fit import Fitted, feature_spec
from qtt.metatraining.sources import Choice, TableChoice, read_sources
from qtt.metatraining.stages import Stages
from qtt.predictors.meta import MetaPerformance
from qtt.predictors.meta_cost import MetaCost
from waiting import LIMIT

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_tables(tmp_path_factory.mktemp("tables"))


class FakeFit:
    """Stands for `fit`: notes what it is given, and computes two stages of one number each."""

    def __init__(self) -> None:
        self.runs: list[list[tuple[str, int]]] = []
        self.computed: list[str] = []
        self.interrupt_at: str | None = None

    def __call__(self, runs, *, seed, stages):  # type: ignore[no-untyped-def]
        self.runs.append([(part.dataset, len(part)) for part in runs])
        stages.plan(["first", "second"])
        first = stages.run("first", lambda: self._compute("first", seed))
        second = stages.run("second", lambda: self._compute("second", first["first"] + 1))
        return Fitted(feature_spec(runs), first, second, {"seed": seed}, {"figure": float(second["second"])})

    def _compute(self, name, value):  # type: ignore[no-untyped-def]
        if name == self.interrupt_at:
            raise KeyboardInterrupt
        self.computed.append(name)
        return {name: np.asarray(value)}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeFit:
    fit = FakeFit()
    monkeypatch.setattr("qtt.metatraining.fit.fit", fit)
    return fit


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    few_steps(monkeypatch)
    yield


def test_a_real_artifact_is_the_same_for_the_same_seed(tables, tmp_path, fast) -> None:
    facts, said = call(*tables, tmp_path / "one", "seed=3", "paper_steps=2")
    call(*tables, tmp_path / "two", "seed=3", "paper_steps=2")
    assert "holds this artifact already" not in said
    assert facts.summary.startswith("own: fitted on 60 runs (2,340 epochs) of 5 datasets")
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert names == [
        *("README.md", "artifact.json", "cost.safetensors", "features.json", "paper.safetensors"),
        *("performance.safetensors", "portfolio.json", "space.json"),
    ]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    artifact = read_artifact(tmp_path / "one")
    MetaPerformance.from_tensors(artifact.features, artifact.performance)
    MetaCost.from_tensors(artifact.features, artifact.cost)
    assert artifact.facts == facts
    assert {entry.dataset for entry in artifact.portfolio.entries} <= set(DATASETS)
    assert all(np.isfinite(value) for value in facts.validation.values())


def test_what_is_there_is_not_fitted_again(tables, tmp_path, fake) -> None:
    facts, _ = call(*tables, tmp_path / "out")
    again, said = call(*tables, tmp_path / "out")
    assert again == facts
    assert "fresh=true fits it again" in said
    assert fake.computed == ["first", "second"]
    call(*tables, tmp_path / "out", "fresh=true")
    assert fake.computed == ["first", "second"] * 2
    with pytest.raises(ArtifactError, match=r"made from something else.*fresh=true"):
        call(*tables, tmp_path / "out", "seed=1")


def test_an_interrupted_call_goes_on_at_its_stage(tables, tmp_path, fake) -> None:
    fake.interrupt_at = "second"
    with pytest.raises(KeyboardInterrupt):
        call(*tables, tmp_path / "out")
    fake.interrupt_at = None
    facts, _ = call(*tables, tmp_path / "out")
    assert fake.computed == ["first", "second"]
    assert facts.validation == {"figure": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "the stages are removed at the end"


def test_stages_of_other_inputs_are_not_used(tables, tmp_path, fake) -> None:
    fake.interrupt_at = "second"
    for overrides in ((), ("seed=5",)):
        with pytest.raises(KeyboardInterrupt):
            call(*tables, tmp_path / "out", *overrides)
    assert fake.computed == ["first", "first"]


def test_excluded_datasets_and_models_are_left_out(tables, tmp_path, fake) -> None:
    facts, _ = call(*tables, tmp_path / "out", "exclude=[B,D]", "exclude_models=[large]")
    assert [dataset for dataset, _ in fake.runs[0]] == ["A", "C", "E"]
    assert facts.datasets == ("A", "C", "E")
    assert facts.counts["runs"] == sum(count for _, count in fake.runs[0])
    assert facts.counts["runs"] < 36
    assert "; without B, D, large)" in facts.summary
    artifact = read_artifact(tmp_path / "out")
    assert {entry.dataset for entry in artifact.portfolio.entries} <= {"A", "C", "E"}
    assert "large" not in {entry.config["model"] for entry in artifact.portfolio.entries}
    assert artifact.features.categories("model", "name") == {"small", "medium"}, "nothing is known of others"


def test_a_dataset_is_excluded_from_every_table(tables) -> None:
    table, hub = tables
    twice = [TableChoice(table, str(hub)), TableChoice(table, str(hub))]
    sources = read_sources(twice, Choice(exclude=("A",), exclude_models=("small",)))
    assert [[part.dataset for part in source.runs] for source in sources] == [["B", "C", "D", "E"]] * 2
    for source in sources:
        for part in source.runs:
            assert "small" not in {config["model"] for config in part.candidates.configs}
            assert len(part.scores) == len(part.candidates.configs) == len(part)


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["tables=[nowhere]"], ConfigError, "no curve table nowhere.*`make curves`"),
        (["tables=[{dir: x}]"], ConfigError, "hub, optional, table"),
        (["tables=[]"], ConfigError, "tables=\\[DIR\\]"),
        (["exclude=[Aa]"], ConfigError, "Unknown dataset 'Aa'.*"),
        (["datasets=[A,Z]"], ConfigError, "Unknown dataset 'Z'"),
        (["exclude_models=[larg]"], ConfigError, "Did you mean 'large'"),
        (["datasets=[A]", "exclude=[A]"], ConfigError, "No runs are left"),
    ],
)
def test_what_cannot_be_used_is_named(tables, tmp_path, fake, overrides, error, message) -> None:
    with pytest.raises(error, match=message):
        call(*tables, tmp_path / "out", *overrides)
    assert not (tmp_path / "out").exists()


def test_a_damaged_table_is_an_error_though_optional(tables, tmp_path) -> None:
    (tmp_path / "table").mkdir()
    choice = TableChoice.of({"table": str(tmp_path / "table"), "optional": True}, str(tables[1]))
    with pytest.raises(CurveTableError):
        read_sources([choice], Choice())
    there = TableChoice(tables[0], str(tables[1]))
    missing = TableChoice(tmp_path / "missing", "table4", optional=True)
    assert len(read_sources([missing, there], Choice())) == 1


def test_another_command_s_folder_is_left_alone(tables, tmp_path, fake) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(ArtifactError, match="is no artifact; nothing was written"):
        call(*tables, tmp_path / "out", "fresh=true")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_the_command_explains_a_missing_table(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qtt.metatrain", "artifact=extended"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 1
    assert "There is no curve table meta_dataset/tables/quicktune_extended" in done.stderr
    assert "make curves" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["micro", "mini", "extended"])
def test_every_artifact_of_conf_names_its_tables(name: str) -> None:
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config = compose("metatrain", [f"artifact={name}"])
    tables = [TableChoice.of(entry, config.hub) for entry in plain(config.artifact.tables)]
    assert config.artifact.name == name
    assert "meta_dataset/tables/quicktune_extended" in {str(table.folder) for table in tables}
    for table in tables:
        shipped = (ROOT / table.hub).is_file() if table.hub.endswith(".yaml") else table.hub == "table4"
        assert shipped, table.hub


def test_the_project_s_own_curves_have_cards_for_all_models() -> None:
    table = ROOT / "meta_dataset" / "tables" / "own" / "micro"
    (source,) = read_sources([TableChoice(table, str(ROOT / "meta_dataset/hubs/own_micro.yaml"))], Choice())
    models = {card.name for part in source.runs for card in part.candidates.models}
    assert models == set(source.hub.names)
    assert all(card.macs and card.params for card in source.hub)


def test_commands_of_the_readme_compose() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("python -m qtt.metatrain")]
    assert len(lines) >= 2
    for line in lines:
        with initialize_config_dir(config_directory(), version_base="1.3"):
            config = compose("metatrain", shlex.split(line, comments=True)[3:])
        assert config.artifact.name in ("micro", "mini", "extended", "own")


class Recorder:
    """A watcher that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def planned(self, names):  # type: ignore[no-untyped-def]
        self.told.append(("planned", *names))

    def began(self, name):  # type: ignore[no-untyped-def]
        self.told.append(("began", name))

    def ended(self, name, kept):  # type: ignore[no-untyped-def]
        self.told.append(("ended", name, kept))


def _never() -> dict[str, np.ndarray]:
    raise AssertionError("computed again")


ARRAYS = {
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "sliced": np.arange(10)[::3],
    "scalar": np.float32(2.5),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 4)),
}


def test_a_stage_is_computed_once(tmp_path: Path) -> None:
    first, second = Recorder(), Recorder()
    stages = Stages(tmp_path, "same", first)
    stages.plan(["one"])
    computed = stages.run("one", lambda: ARRAYS)
    found = Stages(tmp_path, "same", second).run("one", _never)
    assert list(computed) == list(found) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        for got in (computed[name], found[name]):
            np.testing.assert_array_equal(got, array)
            assert got.dtype == array.dtype
    assert first.told == [("planned", "one"), ("began", "one"), ("ended", "one", False)]
    assert second.told == [("began", "one"), ("ended", "one", True)]


def test_a_stage_of_other_inputs_or_a_damaged_one_is_computed_again(tmp_path: Path) -> None:
    Stages(tmp_path, "old").run("one", lambda: {"x": np.array([1.0])})
    found = Stages(tmp_path, "new").run("one", lambda: {"x": np.array([2.0])})
    assert found["x"] == 2.0
    (tmp_path / "one.safetensors").write_bytes((tmp_path / "one.safetensors").read_bytes()[:-3])
    assert Stages(tmp_path, "new").run("one", lambda: {"x": np.array([3.0])})["x"] == 3.0


def test_two_stages_of_one_name_are_refused(tmp_path: Path) -> None:
    stages = Stages()
    stages.run("one", dict)
    with pytest.raises(ValueError, match="'one' has run already"):
        stages.run("one", dict)


def test_the_figures_are_shown(tables, tmp_path, fake) -> None:
    facts, _ = call(*tables, tmp_path / "out")
    assert isinstance(facts, Facts)
    table = metatrain.figures(facts)
    assert [list(column.cells) for column in table.columns] == [["figure"], ["1"]]
