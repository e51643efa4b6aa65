"""Cut a run's CAMs into seeds in several ways, or take several sources of maps, and print how good the seeds are;
nothing but the table is written."""

import sys

from dsrg.commands.compare_seeds import main

if __name__ == "__main__":
    sys.exit(main())
