"""Train the segmentation network on the seeds, growing them at each iteration."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train-dsrg", *sys.argv[1:]]))
