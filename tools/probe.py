"""Linear SVMs on a network's pooled features for any labels: how well they tell them, and where they look."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["probe", *sys.argv[1:]]))
