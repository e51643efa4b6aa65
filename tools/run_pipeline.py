"""Run every stage in order; what is finished is skipped, what was interrupted continues."""

import sys

from dsrg.commands.run_pipeline import main

if __name__ == "__main__":
    sys.exit(main())
