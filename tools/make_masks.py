"""Write pseudo-labels of the training photographs with the DSRG network."""

import sys

from dsrg.commands.make_masks import main

if __name__ == "__main__":
    sys.exit(main())
