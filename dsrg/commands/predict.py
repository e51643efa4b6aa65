"""Segment photographs, folders of them and videos: palette PNGs, overlays, other tools' formats, probabilities."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dsrg.cli import MODEL, SHARD, guard
from dsrg.errors import InputError
from dsrg.run.table import NETWORKS
from dsrg.tables import ENGINES
from dsrg.tables import FORMATS as MORE_FORMATS

FORMATS = ("png", *MORE_FORMATS)
EPILOG = """\
--out gets masks/<name>.png and, if asked for, overlays/<name>.jpg, labelme/<name>.json, annotations.json (COCO, one
annotation for each class of a photograph), annotations-polygons.json, datumaro/ (COCO with the photographs), cvat/
(to be zipped: "Segmentation mask 1.1"), label-studio/ (tasks.json and the project's config.xml) and probs/<name>.npz.
Names keep the subfolders of the photographs.

Photographs are turned upright as their EXIF orientation says. A photograph that cannot be read is named at the end and
the exit status is 2; all others are done. The same command run again makes what is missing, and whatever was made from
a photograph that has changed. A file that was changed since dsrg wrote it stays, and is named.

Every frame of a video (or every N-th, --every) gets a mask; --formats overlay makes a silent mp4 (MPEG-4 part 2).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, segment, and return the exit status."""
    options = vars(_parser().parse_intermixed_args(arguments))
    return guard(lambda: _work(**options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("inputs", type=Path, nargs="+", metavar="PATH", help="photographs, videos, or folders of them")
    add(MODEL[0], **MODEL[1])
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the output")
    add("--formats", nargs="+", choices=FORMATS, default=["png"], metavar="F", help=f"any of {', '.join(FORMATS)}")
    add("--probs", action="store_true", help="also write the class probabilities before the CRF, as float16")
    add("--crf", action=argparse.BooleanOptionalAction, default=None, help="refine with the CRF (default: as the run)")
    add("--recursive", action="store_true", help="search subfolders too")
    add("--classes", nargs="+", metavar="NAME", help="allow only these classes, and background, in the masks")
    add("--tags", type=Path, metavar="FILE", help="table image,labels: allow each mask only its own labels")
    add("--network", choices=list(NETWORKS), help="which network (default: retrain if it is finished, otherwise dsrg)")
    add("--scales", nargs="+", type=_positive, metavar="X", help="sizes to average over (default: as the run)")
    add("--size", type=_count, metavar="PX", help="long side at scale 1 (default: as the run)")
    add("--every", type=_count, default=1, metavar="N", help="take every N-th frame of a video (default 1)")
    add("--tolerance", type=_distance, default=1.0, metavar="PX", help="of polygons, in pixels; 0 is exact (default 1)")
    add(
        "--image-url",
        default="/data/local-files/?d=",
        metavar="URL",
        help="what Label Studio puts before the photographs' names (default: its local storage, '%(default)s')",
    )
    add("--engine", choices=ENGINES, help="torch or onnx; auto: onnx on a CPU if installed (default: as the run)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default auto: CUDA if present)")
    add("--batch", type=_count, default=8, metavar="N", help="photographs of one size at a time (default 8)")
    add("--workers", type=_none_or_more, default=2, metavar="N", help="processes for the CRF (default 2)")
    add("--overwrite", action="store_true", help="rewrite everything in --out, even files that were changed since")
    parser.add_argument(SHARD[0], **SHARD[1])
    return parser


def _work(
    inputs: list[Path],
    model: Path,
    out: Path,
    recursive: bool,
    network: str | None,
    device: str,
    engine: str | None,
    tags: Path | None,
    **options: Any,
) -> None:
    from dsrg.data.sources import find_sources, read_tags
    from dsrg.predict import hub, loading
    from dsrg.predict.photographs import Options, predict

    if options["shard"] and options["overwrite"]:
        raise InputError("--overwrite: does not go with --shard, of which each would delete the others' files.")
    segmenter = loading.load(model, device, network=network, engine=engine)
    segmenter.restriction(None, options["classes"])  # a wrong name is found before anything is read
    sources, left = find_sources(inputs, recursive=recursive, without=out)
    if left.others:
        print(f"left out, no photographs or videos by their endings: {', '.join(map(str, left.others))}")
    if left.skipped:
        names = ", ".join(map(str, left.skipped[:3]))
        more = f" and {len(left.skipped) - 3} more" if len(left.skipped) > 3 else ""
        print(f"left out, hidden, a system's, or found twice: {names}{more}")
    labels = None if tags is None else read_tags(tags, sources, segmenter.classes)
    made: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    start = time.monotonic()
    where = model if hub.is_name(model) else model.resolve()
    named = {"model": str(where), "inputs": [str(path.resolve()) for path in inputs]}
    unread = [str(fault) for fault in left.faults.values()]
    count = predict(segmenter, sources, out, Options(tags=labels, **made), unread=unread, **named)
    seconds = time.monotonic() - start
    print(f"{out}: {count} masks in {seconds:.1f} s, {1000 * seconds / max(1, count):.0f} ms each")


def _number(kind: type[int] | type[float], fits: Callable[[float], bool], words: str) -> Callable[[str], float]:
    """The type of an option that takes the numbers that fit, which `words` describe."""

    def number(text: str) -> float:
        value = kind(text)
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text} is not {words}")
        return value

    return number


_count = _number(int, lambda value: value >= 1, "1 or more")
_none_or_more = _number(int, lambda value: value >= 0, "0 or more")
_positive = _number(float, lambda value: 0 < value < 100, "above 0 and below 100")
_distance = _number(float, lambda value: 0 <= value < 1000, "0 or more")
