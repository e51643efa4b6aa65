"""Train the classifier, compute CAMs and cut seeds; what is finished is skipped."""

import sys

from dsrg.commands.make_seeds import main

if __name__ == "__main__":
    sys.exit(main())
