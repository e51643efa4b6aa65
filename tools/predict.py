"""Segment photographs, folders of them and videos: palette PNG, overlay, COCO JSON, LabelMe JSON, probabilities."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
