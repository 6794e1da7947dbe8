"""Environments of their own for the tools that qtt does not depend on, made when they are first needed.

They lie below the folder of the experiment's output. What fails to be installed is told, and tried again at
the next need.
"""

import importlib.metadata
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from filelock import FileLock

OPTUNA, AUTOGLUON = "optuna", "autogluon"
PACKAGES = {OPTUNA: "optuna==5.*", AUTOGLUON: "autogluon.multimodal==1.6.*"}


class NotInstalledError(Exception):
    """An environment could not be made; the message says why."""


def python_of(tool: str, folder: Path) -> Path:
    """The interpreter of a tool's environment `folder/<tool>`, which is made where it is not there yet.

    Optuna's shares the packages of this interpreter, so that torch and timm are the same; AutoGluon has its
    own.

    Raises:
        NotInstalledError: see there.
    """
    place = folder / tool
    python, ready = place / "bin" / "python", place / ".ready"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{tool}.lock"):
        if not ready.exists():
            shutil.rmtree(place, ignore_errors=True)
            _make(place, python, PACKAGES[tool], shares=tool == OPTUNA)
            ready.touch()
    return python


def _make(place: Path, python: Path, package: str, *, shares: bool) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        _call([sys.executable, "-m", "venv", str(place)])
        install = [str(python), "-m", "pip", "install", "--quiet"]
    else:
        _call([uv, "venv", "--quiet", "--python", sys.executable, str(place)])
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    if shares:
        same = place / "same.txt"
        same.write_text(_versions(), encoding="utf-8")
        install += ["--constraint", str(same)]
    _call([*install, package])
    if shares:
        _share(place)


def _versions() -> str:
    """The packages of this interpreter as constraints."""
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name != "qtt")


def _share(place: Path) -> None:
    """Let an environment see the packages of this interpreter, after its own."""
    for folder in place.glob("lib*/python*/site-packages"):
        (folder / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")


def _call(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise NotInstalledError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()
        raise NotInstalledError(f"{' '.join(command[:3])} … {command[-1]}: {said[-1].strip()}")
