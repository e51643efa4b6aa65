"""A page to try a trained run on any photograph: labels in; class activation maps, seeds and a mask out."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["demo-app", *sys.argv[1:]]))
