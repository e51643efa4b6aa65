"""Write report.html: a run, finished or not, on one page that opens without a server."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
