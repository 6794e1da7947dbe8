"""The wheel carries configuration, hubs and weights, and runs from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from waiting import LIMIT

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_what_a_run_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in [*(ROOT / "conf").rglob("*.yaml")]:
        assert f"qtt/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in names
    for path in (ROOT / "src" / "qtt").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(ROOT / "src").as_posix() in names
    assert any(name.startswith("qtt/pretrained/tiny/") and name.endswith(".safetensors") for name in names)


def test_the_wheel_has_the_program(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (points,) = [name for name in archive.namelist() if name.endswith("dist-info/entry_points.txt")]
    assert "[console_scripts]\nqtt = qtt.cli.main:main\n" in archive.read(points).decode()


def test_the_unpacked_wheel_searches_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = ["+experiment=quickstart", "num_candidates=4", "budget.seconds=null", "budget.evaluations=1"]
    arguments += ["search_space.narrow={batch_size:[64]}"]
    done = subprocess.run(
        [sys.executable, "-m", "qtt.run", *arguments],
        cwd=elsewhere,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    assert "Best pipeline" in done.stdout
    (config,) = (elsewhere / "runs").rglob("config.yaml")
    assert config.exists()
