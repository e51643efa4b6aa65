"""Write report.html: a run, finished or not, on one page that opens without a server."""

import sys

from dsrg.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
