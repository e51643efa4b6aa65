"""Write the generated demo data set: photographs of made-up animals with their labels and masks."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["make-demo-data", *sys.argv[1:]]))
