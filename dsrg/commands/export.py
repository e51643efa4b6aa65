"""Export a trained network: ONNX, checked against PyTorch, and safetensors with a model card."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dsrg.cli import guard
from dsrg.run.table import NETWORKS
from dsrg.tables import EXPORTS


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, export, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="PATH", help="a run's folder, or an exported .safetensors file")
    add("--out", type=Path, required=True, metavar="PATH", help="a folder, or a file .onnx or .safetensors")
    add("--formats", nargs="+", choices=EXPORTS, metavar="F", help="onnx, safetensors (default: --out's, or both)")
    add("--network", choices=list(NETWORKS), help="default: retrain where it is finished, else dsrg")
    add("--overwrite", action="store_true", help="write over files that are there")
    options = parser.parse_args(arguments)
    out: Path = options.out
    formats = options.formats or ([out.suffix[1:]] if out.suffix[1:] in EXPORTS else list(EXPORTS))

    def work() -> None:
        from dsrg.predict import loading
        from dsrg.predict.export import export

        segmenter = loading.load(options.model, "cpu", network=options.network)
        for path in export(segmenter, out, formats, overwrite=options.overwrite):
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")

    return guard(work)
