"""Run every stage in order; what is finished is skipped, what was interrupted continues."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run-pipeline", *sys.argv[1:]]))
