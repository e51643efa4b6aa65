"""Photographs with their likeliest labels and a heat map of each: where did the classifier look?"""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["show-cams", *sys.argv[1:]]))
