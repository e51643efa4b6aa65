"""Box objects with a trained classifier's maps: boxes.json, pictures, and one table over methods and networks."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["localize", *sys.argv[1:]]))
