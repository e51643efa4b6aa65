"""Make masks from a run's DSRG network in several ways and print how good each is; nothing but the table is written."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["compare-masks", *sys.argv[1:]]))
