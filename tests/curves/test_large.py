"""A table as large as the whole Quick-Tune meta-dataset."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from curve_frames import frames_with
from qtt.curves.schema import Frames
from qtt.curves.writing import write_table
from qtt.hub.model_hub import ModelHub
from qtt.space.config_manager import ConfigManager
from qtt.space.search_space import build_space

RUNS, EPOCHS, DATASETS = 20_000, 50, 30
READ = """
import json, sys, time
from pathlib import Path
import pandas as pd
from qtt.curves.table import CurveTable

start = time.process_time()
table = CurveTable.load(sys.argv[1])
opened = time.process_time() - start
curves = [table.curves(dataset) for dataset in table.datasets]
spent = time.process_time() - start
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000  # kB of this program
start = time.process_time()
read = {path.stem: pd.read_parquet(path) for path in Path(sys.argv[1]).glob("*.parquet")}
read["curves"].pivot(index="run_id", columns="epoch", values=["score", "seconds"])
plain = time.process_time() - start
epochs = int(sum(c.lengths.sum() for c in curves))
print(json.dumps([opened / plain, spent / plain, peak, sum(map(len, curves)), epochs]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_large_table_takes_500_megabytes_and_the_work_that_pandas_alone_has_with_it(tmp_path: Path) -> None:
    hub = ModelHub.load("table4")
    frames = frames_with(ConfigManager(build_space("full", hub), hub).sample(RUNS, seed=0).configs)
    ids = frames.runs["run_id"]
    generator = np.random.default_rng(0)
    curves = pd.DataFrame(
        {
            "run_id": np.repeat(ids, EPOCHS),
            "epoch": np.tile(np.arange(1, EPOCHS + 1), RUNS),
            "score": generator.random(RUNS * EPOCHS),
            "seconds": generator.random(RUNS * EPOCHS) + 1,
        }
    )
    names = [f"D{number:02d}" for number in range(DATASETS)]
    configs = frames.configs.assign(dataset=np.resize(names, RUNS))
    datasets = pd.concat([frames.datasets.assign(dataset=name) for name in names])
    table = write_table(tmp_path / "table", Frames(configs, curves, datasets, frames.runs), source="random")
    reading = subprocess.run(
        [sys.executable, "-c", READ, str(table.folder)], capture_output=True, text=True, check=True
    )
    opened, spent, peak, runs, epochs = json.loads(reading.stdout)
    assert (runs, epochs) == (RUNS, RUNS * EPOCHS)
    assert opened < 0.5, "what is opened is not read yet"
    assert spent < 4
    assert peak < 500
