"""Questions about photographs, answered by a bag of words and a run's features: maps show what spoke for the answer.

`train` learns and measures: on the files of the VQA challenge, or on questions made by rule from the data set. `ask`
answers one question about each photograph.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsrg import cli, distributed
from dsrg.errors import InputError
from dsrg.tables import PROBED

if TYPE_CHECKING:
    from dsrg.run.folder import Run
    from dsrg.study.vqa_ask import Shown

_FILES = ("questions", "annotations", "photos", "val_questions", "val_annotations", "val_photos")


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, train or ask, and write the page; returns the exit status."""
    whose = {"": "to learn from", "val-": "to measure on"}
    files = [
        cli.option(f"--{prefix}{name}", type=Path, metavar=place, help=f"{what} {use} (train; with the five others)")
        for prefix, use in whose.items()
        for name, place, what in (
            ("questions", "FILE", "VQA's file of questions"),
            ("annotations", "FILE", "VQA's file of answers"),
            ("photos", "DIR", "photographs of the questions"),
        )
    ]
    options = (
        cli.option("what", choices=("train", "ask"), help="learn and measure, or ask"),
        cli.option("files", nargs="*", metavar="FILE", help="ask: photographs (default: of the validation split)"),
        cli.option("--question", metavar="TEXT", help="ask: the question"),
        *files,
        cli.option("--groups", type=Path, metavar="FILE", help="train: lines 'animal: cat, dog' for questions by rule"),
        cli.option("--answers", type=int, metavar="N", help="train: answers to know (default 1000)"),
        cli.option("--weights", choices=PROBED, help="train: what the features are of (default classifier)"),
        cli.option("--count", type=int, default=24, metavar="N", help="answers on the page (default 24)"),
    )
    return cli.main(str(__doc__).partition("\n\n")[0], _call, arguments, *options)


def _call(run: Run, what: str, files: Sequence[str], question: str | None, count: int, **options: Any) -> None:
    from dsrg.data.voc import spread
    from dsrg.page.vqa import write_page
    from dsrg.study.show_cams import find_photos
    from dsrg.study.vqa_ask import ask

    if count < 1:
        raise InputError(f"--count {count}: show at least one answer.")
    if what == "train":
        _train(run, files, question, count, **options)
        return
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"--{given[0].replace('_', '-')}: is for dsrg vqa train; leave it out.")
    if question is None:
        raise InputError("--question: is missing; ask something, such as --question 'what is this?'.")
    photos = find_photos(run, files) if files else spread(run.val, count)
    if not distributed.is_main():
        return
    shown = ask(run, photos, question)
    for one in shown:
        print(_sentence(one))
    print(f"\n{write_page(run.directory / 'vqa/ask.html', question, shown)}")


def _train(run: Run, files: Sequence[str], question: str | None, count: int, **options: Any) -> None:
    from dsrg.page.vqa import write_page
    from dsrg.study.vqa import Source, table, train_vqa

    if files or question is not None:
        stray = files[0] if files else "--question"
        raise InputError(f"{stray}: is for dsrg vqa ask; dsrg vqa train reads questions from --questions.")
    paths = [options.pop(name) for name in _FILES]
    if any(paths) and not all(paths):
        lacking = _FILES[paths.index(None)].replace("_", "-")
        raise InputError(f"--{lacking}: is missing; give all six files and folders of questions, or none of them.")
    if not distributed.is_main():
        return
    sources = (Source(*paths[:3]), Source(*paths[3:])) if all(paths) else None
    given = {name: value for name, value in options.items() if value is not None}
    trained = train_vqa(run, sources, count=count, **given)
    known = trained.summary["answered_by_classes"]
    print(f"{table(trained.summary)}\n\n{100 * known:.1f} % of the questions have an answer that the layer knows")
    page = write_page(run.directory / "vqa/answers.html", run.directory.resolve().name, trained.shown, trained.summary)
    print(f"\n{page}, results.json, results.md, answers.json, layer.npz")


def _sentence(shown: Shown) -> str:
    """One photograph's answers, and what spoke for the first."""
    answers = ", ".join(f"{answer} {probability:.2f}" for answer, probability in shown.answers)
    words = ", ".join(f"{word} {'not known' if value is None else f'{value:+.2f}'}" for word, value in shown.words)
    return textwrap.shorten(f"{shown.photo.path}: {answers} (image {shown.image:+.2f}, {words})", 2000)
