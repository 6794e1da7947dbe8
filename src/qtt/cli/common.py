"""What the command-line entry points share: finding `conf/`, names of run folders, errors for people."""

import errno
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from rich.console import Console
from rich.text import Text

from qtt.errors import QTTError

INTERRUPTED = 130
"""Exit status after an interrupt, as shells have it."""

UNNAMED = (
    "experiment",
    "budget.",
    "run_dir",
    "runs_dir",
    "tracker",
    "quiet=",
    "disk_quota_gb",
    "isolation",
    "weights_dir",
)
"""Overrides that do not change what is searched, and so do not change the name of the run folder."""


def stop_as_by_ctrl_c() -> None:
    """Let SIGTERM, by which job queues stop jobs, do what Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def config_directory() -> str:
    """Absolute path of `conf/`: beside the package when installed, at the top of a checkout otherwise."""
    packaged = Path(__file__).parents[1] / "conf"
    return str(packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf")


def prepare(config_name: str) -> None:
    """What every command does before Hydra takes over: explain typos, heed job queues."""
    check_overrides(config_name, sys.argv[1:])
    stop_as_by_ctrl_c()


def check_overrides(config_name: str, arguments: Sequence[str]) -> None:
    """Compose the configuration once ahead of Hydra, to explain a typo better than it would.

    Exits with status 1 and a message that names close matches. Sweeps and calls for help are left to Hydra.
    """
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    if len(overrides) < len(arguments):
        return
    with initialize_config_dir(config_directory(), version_base="1.3"):
        try:
            compose(config_name, overrides=overrides)
        except (HydraException, OmegaConfBaseException) as error:
            known = list(_keys(compose(config_name)))
            fail(f"{error}{_suggestion(overrides, known)}")


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn qtt's own errors, which say what to do, and a full disk into a message and exit status 1."""
    try:
        yield
    except QTTError as error:
        fail(str(error))
    except MissingMandatoryValue as error:
        key = error.full_key or "?"
        fail(f"{key} has no value and needs one: add {key}=… to the command.")
    except InstantiationException as error:
        if isinstance(error.__cause__, QTTError):
            fail(str(error.__cause__))
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" ({error.filename})" if error.filename else ""
        fail(f"{error.strerror}{where}. Make room and repeat the command: what is in the journal is kept.")


def fail(message: str) -> NoReturn:
    """Print an error for people and exit with status 1."""
    text = Text.assemble(("Error: ", "bold red"), message)
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)
    sys.exit(1)


def run_directory(config: DictConfig, overrides: Sequence[str], choices: dict[str, Any]) -> Path:
    """Where a run's results go: `runs_dir/<experiment or dataset>/<overrides that change the search>`.

    The name holds no time, so that the same command continues its run, and a larger budget does too.
    """
    if config.run_dir is not None:
        return Path(config.run_dir)
    naming = sorted(o.lstrip("+~") for o in overrides if not o.lstrip("+~").startswith(UNNAMED))
    name = ",".join(re.sub(r"[^\w=.,+-]+", "-", override) for override in naming)
    return Path(config.runs_dir) / str(choices.get("experiment") or choices["dataset"]) / (name or "default")


def python_command() -> str:
    """What to type for this very Python: `python` where that finds it, else its path."""
    if shutil.which("python") == sys.executable:
        return "python"
    executable = Path(sys.executable)
    here = Path.cwd()
    return str(executable.relative_to(here) if executable.is_relative_to(here) else executable)


def plain(node: Any) -> Any:
    """A config node as plain Python containers, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        yield f"{prefix}{key!s}"
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            yield from _keys(child, f"{prefix}{key!s}.")


def _suggestion(overrides: Sequence[str], known: Sequence[str]) -> str:
    keys = (override.lstrip("+~").split("=")[0] for override in overrides)
    hints = [
        f"{key}: did you mean {' or '.join(close)}?"
        for key in keys
        if key not in known and (close := get_close_matches(key, known, n=3, cutoff=0.6))
    ]
    return "".join(f"\n{hint}" for hint in hints)
