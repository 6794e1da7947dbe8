"""`python -m qtt`: the same as the console script `qtt`."""

import sys

from qtt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
