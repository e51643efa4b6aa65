"""Read a data folder once as a whole and list every fault by file; exit status 2 where there is one."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["check-data", *sys.argv[1:]]))
