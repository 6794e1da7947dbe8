"""The tool paper's Figure 4, word for word, in a script of its own without a `__main__` guard."""

import json
import subprocess
import sys
from pathlib import Path

from clocks import COUNTING_CLOCK
from images import write_image_folder
from waiting import LIMIT

FIGURE_4 = """
from qtt import QuickTuner, get_pretrained_optimizer
from qtt.finetune.cv.classification import finetune_script, extract_task_info_metafeat

task_info, metafeat = extract_task_info_metafeat("path/to/dataset")
optimizer = get_pretrained_optimizer("cold")
optimizer.setup(128, metafeat)  # number of configs
qt = QuickTuner(optimizer, finetune_script)
qt.run(task_info, time_budget=3600)
"""


def test_figure_4_runs_as_it_is_printed(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "path" / "to" / "dataset")
    (tmp_path / "figure4.py").write_text(COUNTING_CLOCK + FIGURE_4)
    done = subprocess.run(
        [sys.executable, "figure4.py"], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (run,) = (tmp_path / "runs").iterdir()
    results = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    assert any(result["status"] == "success" for result in results)
    assert (run / "incumbent" / "weights.safetensors").exists()
    assert len(results) == 3
    assert "The budget of 3600 s is spent." in done.stdout
    assert f"Results go to {run}" in done.stdout
