"""Train the segmentation network anew on the pseudo-labels."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["retrain", *sys.argv[1:]]))
