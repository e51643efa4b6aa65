"""Bring photographs with image-level labels, PASCAL VOC 2012 with SBD, or COCO into the layout that the stages read."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["prepare-data", *sys.argv[1:]]))
