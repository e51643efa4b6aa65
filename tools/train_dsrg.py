"""Train the segmentation network on the seeds, growing them at each iteration."""

import sys

from dsrg.commands.train_dsrg import main

if __name__ == "__main__":
    sys.exit(main())
