"""A Slurm of a few lines: `sbatch` runs all jobs of an array at once, here, and keeps the script."""

import os
import stat
import sys
from pathlib import Path

SBATCH = """
import os, re, subprocess, sys
script = open(sys.argv[1]).read()
open(os.path.join({folder!r}, "submitted.sh"), "w").write(script)
array = re.search(r"#SBATCH --array=0-(\\d+)", script)
for task in range(int(array[1]) + 1 if array else 1):
    job = {{"SLURM_JOB_ID": str(100 + task), "SLURM_JOB_NODELIST": "here", "SLURM_JOB_NUM_NODES": "1"}}
    job |= {{"SLURM_ARRAY_JOB_ID": "100", "SLURM_ARRAY_TASK_ID": str(task)}} if array else {{}}
    job |= dict.fromkeys(("SLURM_NODEID", "SLURM_PROCID", "SLURM_LOCALID"), "0")
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.Popen(["bash", "-c", script], env=os.environ | job, start_new_session=True, **quiet)
print("Submitted batch job 100")
"""

SRUN = """
import os, sys
output = sys.argv[sys.argv.index("--output") + 1]
for name, value in (("%A", "SLURM_ARRAY_JOB_ID"), ("%a", "SLURM_ARRAY_TASK_ID"), ("%j", "SLURM_JOB_ID")):
    output = output.replace(name, os.environ.get(value, ""))
os.makedirs(os.path.dirname(output), exist_ok=True)  # the job may begin before submitit has made it
log = os.open(output.replace("%t", "0"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
command = sys.argv[sys.argv.index("--error") + 2 :]
os.execv(command[0], command)
"""

SACCT = """
print("JobID|State|NodeList\\n" + "".join(f"100_{task}|RUNNING|here\\n" for task in range(9)))
"""


def fake_slurm(folder: Path) -> dict[str, str]:
    """Environment in which there is a Slurm; `submitted.sh` in `folder` is what was submitted to it."""
    folder.mkdir()
    for name, text in (("sbatch", SBATCH.format(folder=str(folder))), ("srun", SRUN), ("sacct", SACCT)):
        program = folder / name
        program.write_text(f"#!{sys.executable}{text}")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
