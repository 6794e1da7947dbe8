"""The import rules: light at the top, heavy things in their own corner, one direction."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qtt

SOURCE = Path(qtt.__file__).parent
HYDRA = {
    "cli.arguments",
    "cli.configuration",
    "cli.hints",
    "cli.jobs",
    "cli.values",
    "cli.extensions",
    "cli.parts",
    "run",
    "metatrain",
    "collect",
    "benchmark",
    "doctor",
}
"""Modules that may know Hydra: commands with a configuration, and what they share."""


LAYERS = [
    {"errors"},
    {"card_rules", "json_rules"},
    {"model_card"},
    {"types", "support"},
    {"data"},
    {"hub", "runs"},
    {"space", "tasks"},
    {"statistics", "curves"},
    {"predictors"},
    {"optimizers", "metatraining"},
    {"artifacts", "evaluation"},
    {"tracking", "reporting"},
    {"search", "benchmarking", "collecting"},
    {"finetune", "testing"},
    {"cli"},
    {"diagnosis"},
    {
        *("run", "benchmark", "collect", "metatrain", "predict", "leaderboard", "export", "report"),
        *("fetch", "doctor", "repeat", "__main__"),
    },
]
"""Lower layers know nothing of higher ones."""

EXCEPTIONS: set[tuple[str, str]] = {("testing", "optimizers"), ("collecting", "search")}
"""Pairs within one layer."""


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def _imports(tree: ast.Module) -> set[str]:
    """All modules that are imported anywhere in a file, except for type checking alone."""
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in checking:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "qtt":
                found |= {f"qtt.{alias.name}" for alias in node.names} - {"qtt.__version__"}
    return found


MODULES = dict(_modules())


@pytest.mark.parametrize("name", [name for name in MODULES if name and name != "__init__"])
def test_special_libraries_stay_in_their_corner(name: str) -> None:
    tops = {module.split(".")[0] for module in _imports(MODULES[name])}
    part = name.split(".")[0]
    if name not in HYDRA:
        assert not tops & {"hydra", "omegaconf"}, "only commands with a configuration know Hydra"
    if part != "tracking":
        assert not tops & {"wandb", "tensorboard"}, "only tracking knows dashboards"
    if name != "data.sources.saved":
        assert "datasets" not in tops, "saved datasets alone need what reads them"
    if part not in ("benchmarking", "reporting"):
        assert "matplotlib" not in tops, "only the benchmark and reports draw"
    if part != "finetune":
        assert not tops & {"lightning", "pytorch_lightning"}, "only finetune knows Lightning"
    if not name.startswith("evaluation.cluster."):
        assert "ray" not in tops, "only the pool of a cluster knows Ray"
    pickled = {
        alias for node in ast.walk(MODULES[name]) if isinstance(node, ast.Import) for alias in node.names
    }
    assert "pickle" not in {alias.name for alias in pickled}, "nothing of ours is pickled"


@pytest.mark.parametrize("name", [name for name in MODULES if name and name != "__init__"])
def test_imports_point_one_way(name: str) -> None:
    part = "__main__" if name.endswith(".__main__") else name.split(".")[0]  # commands may use all of it
    level = {module: i for i, layer in enumerate(LAYERS) for module in layer}
    assert part in level, f"say in LAYERS where {part} belongs"
    used = {module.split(".")[1] for module in _imports(MODULES[name]) if module.startswith("qtt.")}
    for other in used - {part}:
        allowed = level[other] < level[part] or (part, other) in EXCEPTIONS
        assert allowed, f"qtt.{name} must not import qtt.{other}"


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("finetune")])
def test_a_kind_of_data_is_known_by_its_task_alone(name: str) -> None:
    used = {module for module in _imports(MODULES[name]) if module.startswith("qtt.finetune")}
    assert not used, "tuner, commands and reports know the contract of qtt.tasks, no task"


LIGHT = [
    "qtt",
    "qtt.types",
    "qtt.hub.model_hub",
    "qtt.space.config_manager",
    "qtt.space.search_space",
    "qtt.curves.importers.__main__",
    "qtt.search.tuner",
    "qtt.benchmarking.runner",
    "qtt.benchmarking.plots",
    "qtt.finetune.cv.classification",
    "qtt.runs.record",
    "qtt.tasks",
    "qtt.statistics",
    *("qtt.report", "qtt.statistics.__main__", "qtt.finetune.__main__", "qtt.leaderboard"),
    *("qtt.predict", "qtt.export", "qtt.fetch", "qtt.doctor", "qtt.cli.main"),
]


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_load_no_torch(module: str) -> None:
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {
        "torch",
        "lightning",
        "timm",
        "gpytorch",
        "hydra",
        "wandb",
        "tensorboard",
        "matplotlib",
    } & set(loaded)


@pytest.mark.parametrize("module", ["qtt.statistics.scores", "qtt.finetune.cv.classification.task"])
def test_scores_cost_a_training_process_nothing(module: str) -> None:
    code = f"import sys, {module}; print('pandas' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_public_names_resolve() -> None:
    for name in qtt.__all__:
        assert getattr(qtt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = qtt.nonsense
