"""Segment photographs, folders of them and videos: palette PNG, overlay, COCO JSON, LabelMe JSON, probabilities."""

import sys

from dsrg.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
