"""Train the classifier on the image-level labels and print what it measures on the validation split."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train-classifier", *sys.argv[1:]]))
