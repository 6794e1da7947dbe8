"""kill -9 of a training process, an actor, a raylet or the head, and a frozen machine, at random moments.

Run as a program, with `tests` among the folders of PYTHONPATH, it prints a table of `ROUNDS` rounds each.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cluster_search import EVERYTHING, WORKERS
from qtt.evaluation.keeper import descendants
from qtt.runs.journal import Journal

pytestmark = pytest.mark.slow
ROUNDS = 10
BUDGET, PACE = 8.0, 0.4
"""Seconds of the first search of a round, which ends before everything is trained, and of an epoch."""

LONGEST_FREEZE = 60.0


class Machines:
    """A cluster of a head without room, and of machines with room for one worker each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        health = {"health_check_period_ms": 1000, "health_check_timeout_ms": 1000}
        head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "_system_config": health}
        self._cluster = Cluster(True, head_node_args=head)
        self.address: str = self._cluster.address
        self._nodes: list[Any] = []
        self.fill()

    def fill(self) -> None:
        """Put new machines in the places of dead ones."""
        for node in list(self._nodes):
            if node.dead_processes():
                self._cluster.remove_node(node, allow_graceful=False)
                self._nodes.remove(node)
        while len(self._nodes) < WORKERS:
            self._nodes.append(self._cluster.add_node(num_cpus=1, num_gpus=0, wait=False))

    def raylets(self) -> list[int]:
        """Process ids."""
        return [node.all_processes["raylet"][0].process.pid for node in self._nodes]

    def below(self, raylet: int, word: str) -> list[int]:
        """Processes of a machine whose command line has a word."""
        found = []
        for pid in descendants(raylet):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if word in command:
                found.append(pid)
        return found

    def some(self, word: str, draw: random.Random) -> int | None:
        """One of those of any machine."""
        found = [pid for raylet in self.raylets() for pid in self.below(raylet, word)]
        return draw.choice(found) if found else None

    def close(self) -> None:
        self._cluster.shutdown()


TRAINING, ACTOR = "qtt.evaluation.worker", "ray::NodeWorker"


def kill_training(machines: Machines, head: int, draw: random.Random) -> bool:
    return _kill(machines.some(TRAINING, draw))


def kill_actor(machines: Machines, head: int, draw: random.Random) -> bool:
    return _kill(machines.some(ACTOR, draw))


def kill_raylet(machines: Machines, head: int, draw: random.Random) -> bool:
    return _kill(draw.choice(machines.raylets()))


def kill_head(machines: Machines, head: int, draw: random.Random) -> bool:
    """The orphans must end within a minute."""
    orphans = [pid for raylet in machines.raylets() for pid in machines.below(raylet, TRAINING)]
    _kill(head)
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in orphans) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert time.monotonic() < deadline, "an orphan goes on training"
    return True


def freeze(machines: Machines, head: int, draw: random.Random) -> bool:
    """A machine stands still until it counts as dead, and comes back later."""
    raylet = draw.choice(machines.raylets())
    frozen = [raylet, *descendants(raylet)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    thaw = time.monotonic() + LONGEST_FREEZE / 4
    while time.monotonic() < thaw and Path(f"/proc/{head}/stat").exists() and not _ended(head):
        time.sleep(0.2)
    for pid in frozen:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue
    return True


MISDEEDS: dict[str, Callable[[Machines, int, random.Random], bool]] = {
    "training process": kill_training,
    "actor": kill_actor,
    "raylet": kill_raylet,
    "head": kill_head,
    "frozen machine": freeze,
}


def _kill(pid: int | None) -> bool:
    if pid is None:
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def _ended(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@dataclass(frozen=True)
class Outcome:
    """What came of a round.

    done: the misdeed was. overrun: seconds beyond the budget. doubled, lost, failed: epochs.
    """

    done: bool
    overrun: float
    doubled: int
    lost: int
    failed: int

    @property
    def well(self) -> bool:
        return not (self.doubled or self.lost or self.failed) and self.overrun <= max(2.0, 0.02 * BUDGET)


def round_of(name: str, machines: Machines, folder: Path, draw: random.Random) -> Outcome:
    """A search within a budget of time that meets the misdeed, and then one to the end."""
    search = _begin(folder, machines, BUDGET)
    journal = folder / "journal.jsonl"
    while not journal.exists() and search.poll() is None:
        time.sleep(0.05)
    time.sleep(draw.uniform(0.0, BUDGET - 3.0))
    done = search.poll() is None and MISDEEDS[name](machines, search.pid, draw)
    elapsed = _output(search)
    if name == "head":
        elapsed = _output(_begin(folder, machines, BUDGET))
    machines.fill()
    _output(_begin(folder, machines, 0.0))
    results = [entry.result for entry in Journal(journal).read()]
    finished = Counter((r.config_id, r.fidelity) for r in results if r.succeeded)
    failed = sum(str(r.status) == "failed" for r in results)
    doubled = sum(count - 1 for count in finished.values())
    return Outcome(
        done, float(elapsed or 0.0) - BUDGET, doubled, len(set(EVERYTHING) - set(finished)), failed
    )


def _begin(folder: Path, machines: Machines, seconds: float) -> subprocess.Popen[str]:
    program = Path(__file__).parents[1] / "cluster_search.py"
    command = [sys.executable, str(program), str(folder), machines.address, str(seconds), str(PACE)]
    errors = (folder.parent / f"{folder.name}.err").open("a")
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)


def _output(search: subprocess.Popen[str]) -> str:
    """What it said last."""
    return search.communicate(timeout=300)[0].strip().rpartition("\n")[2]


@contextmanager
def running() -> Iterator[Machines]:
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    machines = Machines()
    try:
        yield machines
    finally:
        machines.close()
        patch.undo()


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'qtt[ray]')")
    with running() as made:
        yield made


@pytest.mark.parametrize("name", MISDEEDS)
def test_nothing_is_lost_or_doubled(name: str, machines: Machines, tmp_path: Path) -> None:
    outcome = round_of(name, machines, tmp_path / "run", random.Random(0))
    assert outcome.done and outcome.well, outcome


def main(rounds: int, names: list[str]) -> None:
    """Print a table."""
    sys.stdout.write(
        f"{'killed':18} {'rounds':>6} {'lost':>5} {'doubled':>8} {'failed':>7} {'worst overrun':>14}\n"
    )
    with running() as machines, TemporaryDirectory() as folder:
        for name in names or MISDEEDS:
            found: list[Outcome] = []
            for number in range(rounds):
                path = Path(folder) / f"{name.replace(' ', '-')}-{number}"
                found.append(round_of(name, machines, path, random.Random(number)))
                sys.stderr.write(f"{name} {number} {found[-1]}\n")
                if not found[-1].well:
                    sys.stderr.write((path.parent / f"{path.name}.err").read_text()[-3000:])
            lost, doubled, failed = (
                sum(getattr(o, key) for o in found) for key in ("lost", "doubled", "failed")
            )
            hit, worst = sum(o.done for o in found), max(o.overrun for o in found)
            sys.stdout.write(f"{name:18} {hit:6} {lost:5} {doubled:8} {failed:7} {worst:12.2f} s\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS, sys.argv[2:])
