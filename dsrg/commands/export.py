"""Export a trained network: ONNX, checked against PyTorch, and safetensors with a model card; also to the Hub."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dsrg.cli import MODEL, guard
from dsrg.run.table import NETWORKS
from dsrg.tables import EXPORTS

LARGEST = 16384
"""Pixels that a side may have."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, export, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add(MODEL[0], **MODEL[1])
    add("--out", type=Path, required=True, metavar="PATH", help="a folder, or a file .onnx or .safetensors")
    add("--formats", nargs="+", choices=EXPORTS, metavar="F", help="onnx, safetensors (default: --out's, or both)")
    add(
        "--opencv",
        nargs=2,
        type=_side,
        metavar=("HEIGHT", "WIDTH"),
        help="also write model-opencv.onnx, for OpenCV's dnn and photographs brought to this size",
    )
    add("--network", choices=list(NETWORKS), help="which network (default: retrain if it is finished, otherwise dsrg)")
    add("--license", default="other", metavar="NAME", help="licence of the weights for the model card, e.g. cc-by-4.0")
    add("--push", metavar="OWNER/NAME", help="also put the files on the Hugging Face Hub (needs dsrg[hub])")
    add("--private", action="store_true", help="if --push creates the repository, make it private")
    add("--overwrite", action="store_true", help="overwrite existing files")
    options = parser.parse_args(arguments)
    out: Path = options.out
    formats = options.formats or ([out.suffix[1:]] if out.suffix[1:] in EXPORTS else list(EXPORTS))

    def work() -> None:
        from dsrg.errors import InputError
        from dsrg.predict import hub, loading
        from dsrg.predict.export import export

        if options.push:  # before the export, which takes a while
            if out.suffix[1:] in EXPORTS:
                raise InputError(f"{out}: --push needs a folder as --out, for the model card too.")
            hub.check(options.push)
        segmenter = loading.load(options.model, "cpu", network=options.network)
        size = None if options.opencv is None else (options.opencv[0], options.opencv[1])
        more = {"size": size, "licence": options.license, "repo": options.push}
        files = export(segmenter, out, formats, overwrite=options.overwrite, **more)
        for path in files:
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
        if options.push:
            print(hub.push(files, options.push, private=options.private))

    return guard(work)


def _side(text: str) -> int:
    value = int(text)
    if not 1 <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {LARGEST}")
    return value
