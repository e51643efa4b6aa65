"""Train every variant of the ablation with several random seeds, on one set of seeds; a table and a chart of them."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["ablate", *sys.argv[1:]]))
