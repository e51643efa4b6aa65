"""Write the generated demo data set: photographs of made-up animals with their labels and masks."""

import sys

from dsrg.commands.make_demo_data import main

if __name__ == "__main__":
    sys.exit(main())
