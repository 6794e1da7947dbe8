"""The command in a terminal of its own: what a person sees, and what Ctrl-C does."""

import os
import pty
import re
import select
import signal
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from qtt.runs.record import RunRecord
from waiting import LIMIT

CTRL_C = b"\x03"
CURSOR_HIDDEN, CURSOR_SHOWN = "\x1b[?25l", "\x1b[?25h"


@dataclass(frozen=True)
class Session:
    """What a command did in its terminal. restored: the terminal's modes are what they were."""

    text: str
    status: int
    restored: bool


def _session(arguments: Sequence[str], cwd: Path, interrupt_at: str, times: int = 1) -> Session:
    """Run the search in a pseudo-terminal; press Ctrl-C once a pattern is seen, and again soon after."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(cwd)
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
        os.execv(sys.executable, [sys.executable, "-m", "qtt.run", *arguments])
    before = termios.tcgetattr(terminal)
    output, pressed, next_press = b"", 0, float("inf")
    begin = time.monotonic()
    while time.monotonic() - begin < LIMIT:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                output += os.read(terminal, 65536)
            except OSError:  # the other side is closed
                break
        if not pressed and re.search(interrupt_at, output.decode(errors="ignore")):
            next_press = min(next_press, time.monotonic())
        if pressed < times and time.monotonic() >= next_press:
            os.write(terminal, CTRL_C)
            pressed, next_press = pressed + 1, time.monotonic() + 0.4
    else:
        os.kill(child, signal.SIGKILL)
    restored = termios.tcgetattr(terminal) == before
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return Session(output.decode(), os.waitstatus_to_exitcode(status), restored)


SEARCH = [
    "+experiment=quickstart",
    "num_candidates=8",
    f"budget.seconds={LIMIT:g}",
    "search_space.narrow={batch_size:[64],sched:[cosine],opt:[adamw],lr:[0.001]}",
    "run_dir=run",
]


def test_ctrl_c_keeps_everything_restores_the_terminal_and_says_how_to_go_on(tmp_path: Path) -> None:
    session = _session(SEARCH, tmp_path, r"0\.\d{4}.*  #\d+ \w+, epoch 1")
    assert session.status == 130, session.text
    assert "Traceback" not in session.text
    assert session.restored
    assert session.text.count(CURSOR_HIDDEN) == 2  # while it prepares, and while it searches
    assert session.text.rindex(CURSOR_SHOWN) > session.text.rindex(CURSOR_HIDDEN)
    end = session.text[session.text.rindex(CURSOR_SHOWN) :]
    assert "Interrupted; everything finished is kept." in end
    assert "Best pipeline: #" in end
    assert re.search(r"To search on: \S+ -m qtt.run \+experiment=quickstart", end)
    for word in ("budget", "done", "best", "now", "last"):
        assert word in session.text
    record = RunRecord.load(tmp_path / "run")
    assert record.history.incumbent is not None
    assert (tmp_path / "run" / "incumbent" / "weights.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["Searching", "now +"])
def test_an_impatient_user_finds_the_terminal_as_it_was(moment: str, tmp_path: Path) -> None:
    session = _session([*SEARCH, "tracker=all"], tmp_path, moment, times=3)
    assert session.status in (130, -signal.SIGINT), session.text
    assert "Traceback" not in session.text
    assert "failed and is switched off: '" not in session.text
    assert session.restored
    assert session.text.rfind(CURSOR_SHOWN) >= session.text.rfind(CURSOR_HIDDEN)
    assert "Interrupted" in session.text
