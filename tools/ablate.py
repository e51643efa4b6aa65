"""Train every variant of the ablation with several random seeds, on one set of seeds; a table and a chart of them."""

import sys

from dsrg.commands.ablate import main

if __name__ == "__main__":
    sys.exit(main())
