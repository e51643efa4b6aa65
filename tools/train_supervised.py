"""Train the same network on ground-truth masks, for comparison."""

import sys

from dsrg.commands.train_supervised import main

if __name__ == "__main__":
    sys.exit(main())
