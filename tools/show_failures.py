"""The worst validation photographs of a finished run: every stage's picture of them, and what goes wrong."""

import argparse
import sys

from dsrg.cli import main
from dsrg.failures import show_failures

if __name__ == "__main__":
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--count", type=int, default=20, metavar="N", help="photographs to show (default 20)")
    sys.exit(main(__doc__, show_failures, parents=[options]))
