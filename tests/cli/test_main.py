"""`qtt` and `python -m qtt`: the same commands as `python -m qtt.NAME`, under one name."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import qtt
from qtt.cli import main as program
from qtt.cli.commands import COMMANDS
from waiting import LIMIT

SOURCE = Path(qtt.__file__).parent
WITH_CONFIGURATION = ("run", "collect", "metatrain", "benchmark")
TOOLS = {"curves.importers", "curves.summary", "evaluation.keeper"}
"""Commands of rooms, which have their own names alone, and a script that searches start."""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The console script as an installer writes it."""
    file = tmp_path / "bin" / "qtt"
    file.parent.mkdir()
    lines = [
        "import sys",
        "from qtt.cli.main import main",
        "if __name__ == '__main__':",
        "    sys.exit(main())",
    ]
    file.write_text("\n".join([f"#!{sys.executable}", *lines]))
    file.chmod(0o755)
    return file


def _call(*words: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(word) for word in words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT)


def test_every_module_that_can_be_run_is_a_command() -> None:
    found = set()
    for path in SOURCE.rglob("*.py"):
        starts = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.If)]
        if any("__main__" in ast.unparse(node.test) for node in starts):
            found.add(".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__main__"))
    assert found - TOOLS - {"__main__"} == set(COMMANDS)
    for name, command in COMMANDS.items():
        assert command.module.removesuffix(".__main__") == f"qtt.{name}"
        assert (SOURCE / Path(*command.module.split(".")[1:])).with_suffix(".py").exists()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["--version"], ["rnu"]], ids=str)
def test_the_program_itself_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['qtt', *{arguments!r}]\n"
        "from qtt.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "qtt.cli.main" in loaded
    assert not {"torch", "hydra", "omegaconf", "pandas", "numpy"} & loaded
    assert not {f"qtt.{name}" for name in COMMANDS} & loaded


def test_the_listing_names_all_commands_and_the_first_to_type(script: Path, tmp_path: Path) -> None:
    bare, asked = _call(script, cwd=tmp_path), _call(script, "--help", cwd=tmp_path)
    assert (bare.returncode, bare.stdout) == (0, asked.stdout)
    assert "First: bin/qtt run +experiment=quickstart" in bare.stdout
    listed = re.findall(r"^  (\w+) ", bare.stdout, re.MULTILINE)
    assert listed == list(COMMANDS)
    assert max(map(len, bare.stdout.splitlines())) <= 100
    assert _call(script, "--version", cwd=tmp_path).stdout == f"qtt {qtt.__version__}\n"
    module = _call(sys.executable, "-m", "qtt", "--version", cwd=tmp_path)
    assert module.stdout == f"qtt {qtt.__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("rprt", "Unknown command 'rprt'. Did you mean 'report'"),
        ("xyzzy", "Known: benchmark, collect"),
        ("+experiment=quickstart", "run +experiment=quickstart"),
        ("seed=1", "run seed=1"),
    ],
)
def test_what_is_no_command_is_explained(
    word: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["qtt", word])
    with pytest.raises(SystemExit, match="2"):
        program.main()
    assert hint in capsys.readouterr().err


def test_a_command_gets_its_arguments_and_gives_its_status(
    script: Path, tmp_path: Path, kept_run: Path
) -> None:
    missing = _call(script, "statistics", "nowhere", cwd=tmp_path)
    alone = _call(sys.executable, "-m", "qtt.statistics", "nowhere", cwd=tmp_path)
    assert (missing.returncode, missing.stderr) == (alone.returncode, alone.stderr) == (1, alone.stderr)
    wrong = _call(script, "statistics", "--tpo", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "usage: bin/qtt statistics" in wrong.stderr
    table = _call(script, "statistics", kept_run, cwd=tmp_path)
    assert table.returncode == 0, table.stderr
    assert f"To train the best to their ends: bin/qtt finetune {kept_run}" in table.stdout
    whole = _call(sys.executable, "-m", "qtt.statistics", kept_run, cwd=tmp_path).stdout
    assert table.stdout.splitlines()[:-1] == whole.splitlines()[:-1], "but for the next command"


@pytest.mark.parametrize("name", WITH_CONFIGURATION)
def test_hydra_s_commands_are_the_same_both_ways(name: str, script: Path, tmp_path: Path) -> None:
    for arguments in ([["--cfg", "all"]] if name == "run" else []) + [["--help"]]:
        mine = _call(script, name, *arguments, cwd=tmp_path)
        alone = _call(sys.executable, "-m", f"qtt.{name}", *arguments, cwd=tmp_path)
        assert mine.returncode == alone.returncode == 0, mine.stderr
        python = re.search(r"^  (\S+) -m qtt\.", alone.stdout, re.MULTILINE)
        typed = alone.stdout.replace(f"{python[1]} -m qtt.{name} ", f"bin/qtt {name} ") if python else ""
        assert mine.stdout == (typed or alone.stdout)
    assert f"  bin/qtt {name} " in mine.stdout


def test_modules_of_the_user_s_folder_are_found(script: Path, tmp_path: Path) -> None:
    """As with `python -m`: an optimizer of one's own is named by its import path."""
    (tmp_path / "mine.py").write_text("print('imported from here')\nraise SystemExit(7)\n")
    code = "import runpy, sys; sys.argv = ['qtt', 'export']; import qtt.cli.main as m; "
    code += (
        "sys.path[0] = '/nowhere'; import qtt.export; qtt.export.main = lambda: __import__('mine'); m.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (7, "imported from here\n"), done.stderr
    safe = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "No module named 'mine'" in safe.stderr


def test_a_sweep_and_a_folder_of_one_s_own_through_the_program(script: Path, tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)
    text = "# @package _global_\ndefaults: [quickstart]\nbudget: {seconds: null, evaluations: 0}\n"
    (folder / "none.yaml").write_text(text)
    done = _call(
        script,
        "run",
        "--config-dir",
        "conf",
        "-m",
        "+experiment=none",
        "seed=0,1",
        "quiet=true",
        cwd=tmp_path,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 1, done.stderr
    assert "evaluations" in done.stderr
