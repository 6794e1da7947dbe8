import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from qtt.evaluation.memory import keep_memory
{first}
for _ in range(3):
    np.ones(2**24)  # 128 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tells glibc what to do")
def test_freed_memory_is_used_again_without_new_pages() -> None:
    fresh, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS.format(first=first)], capture_output=True).stdout)
        for first in ("", "keep_memory()")
    )
    assert fresh > 3 * 2**24 * 8 / 2**21  # more than one fault for each huge page
    assert kept < fresh / 10
