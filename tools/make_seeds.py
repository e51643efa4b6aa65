"""Train the classifier, compute CAMs and, if wanted, saliency maps, and cut seeds; what is finished is skipped."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["make-seeds", *sys.argv[1:]]))
