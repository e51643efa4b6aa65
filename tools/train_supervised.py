"""Train the same network on ground-truth masks, for comparison."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train-supervised", *sys.argv[1:]]))
