"""The units that speak most for a class, and the training photographs and regions that drive each most."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["show-units", *sys.argv[1:]]))
