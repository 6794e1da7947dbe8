"""Miniatures of the experiments: what is left out, what has failed, and where one can read why."""

from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def small(load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    module = load("small")
    (tmp_path / "good.py").write_text("import sys; print('made', *sys.argv[1:])")
    (tmp_path / "bad.py").write_text("import sys; print('broken'); sys.exit(3)")
    miniatures = (
        module.Small("good", (f"{tmp_path}/good.py {{out}} {{shared}}",)),
        module.Small("bad", (f"{tmp_path}/bad.py", f"{tmp_path}/good.py")),
        module.Small("curves", (f"{tmp_path}/good.py",), curves=True),
        module.Small("images", (f"{tmp_path}/good.py",), shared=True),
    )
    monkeypatch.setattr(module, "SMALL", miniatures)
    monkeypatch.setattr(module, "CURVES", tmp_path / "no_table")
    return module


def test_what_is_missing_is_left_out_and_what_fails_is_told(
    small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert small.main(["--out", str(out), "--shared", str(tmp_path / "nowhere")]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "it needs recorded curves: make curves" in said
    assert "it needs images and weights in" in said
    assert "failed with status 3" in said
    assert (out / "good.log").read_text() == f"made {out / 'good'} {tmp_path / 'nowhere'}\n"
    assert (out / "bad.log").read_text() == "broken\n"
    assert not (out / "curves").exists()


def test_those_that_were_named_run_alone(small: Any, tmp_path: Path) -> None:
    (tmp_path / "out" / "good").mkdir(parents=True)
    (tmp_path / "out" / "good" / "old").touch()
    assert small.main(["good", "--out", str(tmp_path / "out")]) == 0
    assert list((tmp_path / "out" / "good").iterdir()) == [], "of an earlier time"
    assert not (tmp_path / "out" / "bad.log").exists()
    with pytest.raises(SystemExit):
        small.main(["nonsense"])


def test_scripts_of_the_miniatures_exist(load: Any) -> None:
    for miniature in load("small").SMALL:
        for command in miniature.commands:
            script = command.split()[0]
            assert script == "-m" or (SCRIPTS.parent / script).is_file(), script
