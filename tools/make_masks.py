"""Write pseudo-labels of the training photographs with the DSRG network."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["make-masks", *sys.argv[1:]]))
