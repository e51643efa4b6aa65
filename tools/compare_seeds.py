"""Compare ways to cut seeds from a run's CAMs, or sources of maps for seeds; only the table is written."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["compare-seeds", *sys.argv[1:]]))
