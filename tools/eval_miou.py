"""IoU of each class and their mean, over two folders of masks."""

import sys

from dsrg.commands.eval_miou import main

if __name__ == "__main__":
    sys.exit(main())
