"""Train the segmentation network anew on the pseudo-labels."""

import sys

from dsrg.commands.retrain import main

if __name__ == "__main__":
    sys.exit(main())
