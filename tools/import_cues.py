"""Bring the authors' cues (localization_cues.pickle) into a run's seeds/; without --cfg, print what they hold alone."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["import-cues", *sys.argv[1:]]))
