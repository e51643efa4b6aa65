"""The worst validation photographs of a finished run: every stage's picture of them, and what goes wrong."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["show-failures", *sys.argv[1:]]))
