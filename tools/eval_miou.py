"""Print the IoU of each class and their mean, over two folders of masks."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["eval-miou", *sys.argv[1:]]))
