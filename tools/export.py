"""Export a trained network: ONNX, checked against PyTorch, and safetensors with a model card."""

import sys

from dsrg.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
