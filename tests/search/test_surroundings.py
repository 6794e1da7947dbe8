"""Searches from scripts that protect nothing, standard input, one-liners, notebooks and threads."""

import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import objectives
from qtt import QuickTuner, TaskInfo
from qtt.finetune.cv.classification.randomness import seeded
from qtt.optimizers.random import RandomOptimizer
from qtt.types import Candidates
from waiting import LIMIT

SEARCH = """
import sys
sys.path[:] = {path!r}
print("it runs")
from pathlib import Path
import objectives
from qtt import QuickTuner, TaskInfo
from qtt.optimizers.random import RandomOptimizer
from qtt.types import Candidates

def search(objective, name, **settings):
    optimizer = RandomOptimizer(seed=0)
    optimizer.setup(Candidates(tuple({{"lr": 0.1 * i}} for i in range(4))))
    tuner = QuickTuner(optimizer, objective, Path({folder!r}) / name, trackers=(), **settings)
    return tuner.run(TaskInfo(path=Path("data")), evaluations=3)

print(search(objectives.good, "named", isolation="process").history.evaluations, "epochs in a process")

def mine(trial, task_info):
    return objectives.good(trial, task_info)

print(search(mine, "mine").history.evaluations, "epochs of a function of this script's own")
try:
    search(mine, "refused", isolation="process")
except Exception as error:
    print(error)
"""

SAID = [
    "it runs",
    "3 epochs in a process",
    "3 epochs of a function of this script's own",
]


def _expect(shown: str) -> None:
    *said, refused = shown.splitlines()
    assert said == SAID
    assert "Define it at the top level of a module, or use isolation='inline'" in refused


@pytest.mark.parametrize("how", ["script", "standard input", "one-liner"])
def test_a_program_that_protects_nothing_runs_once(how: str, tmp_path: Path) -> None:
    code = SEARCH.format(path=sys.path, folder=str(tmp_path))
    (tmp_path / "script.py").write_text(code)
    words = {"script": [str(tmp_path / "script.py")], "standard input": ["-"], "one-liner": ["-c", code]}[how]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, input=code)
    assert done.returncode == 0, done.stderr
    _expect(done.stdout)


@pytest.mark.filterwarnings("default")  # of the libraries that talk to the kernel
def test_a_notebook_searches(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell(SEARCH.format(path=sys.path, folder=str(tmp_path)))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=int(LIMIT), kernel_name="python3").execute()
    _expect("".join(output.text for output in notebook.cells[0].outputs))


@pytest.mark.parametrize("isolation", ["process", "inline"])
def test_searches_in_two_threads_find_what_each_finds_alone(isolation: str, tmp_path: Path) -> None:
    found = {}

    def search(name: str, seed: int) -> None:
        optimizer = RandomOptimizer(seed=seed)
        optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(4))))
        tuner = QuickTuner(optimizer, objectives.good, tmp_path / name, trackers=(), isolation=isolation)
        summary = tuner.run(TaskInfo(path=Path("data")), evaluations=6)
        found[name] = [(r.config_id, r.fidelity, r.score) for r in summary.history]

    threads = [threading.Thread(target=search, args=(f"thread {seed}", seed)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (0, 1):
        search(f"alone {seed}", seed)
        assert found[f"thread {seed}"] == found[f"alone {seed}"]


def test_threads_that_draw_from_the_process_s_random_numbers_take_turns() -> None:
    import torch

    def draw() -> list[float]:
        with seeded(5):
            values = []
            for _ in range(50):
                pause.wait(0.0001)  # the other thread would draw in between
                values.append(torch.rand(()).item())
        return values

    pause = threading.Event()
    alone = draw()
    found: list[list[float]] = []
    threads = [threading.Thread(target=lambda: found.append(draw())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone, alone]
