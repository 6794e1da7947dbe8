"""Atheris on one reader, until the time is over or an error comes out: one.py READER FOLDERS … FLAGS …"""

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
warnings.simplefilter("ignore")

with atheris.instrument_imports(include=["qtt"]):
    from fuzz_targets import TARGETS

target = next(target for target in TARGETS if target.name == sys.argv[1])

with tempfile.TemporaryDirectory() as folder:

    def check(data: bytes) -> None:
        """Give the reader these bytes."""
        target.check(data, Path(folder))

    atheris.Setup([sys.argv[0], *sys.argv[2:]], check)
    atheris.Fuzz()
