"""Several runs in one table: what their networks are called, which maps each has, and whether they fit together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsrg import tables
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.run import contents
from dsrg.run.folder import Run
from dsrg.schema import Config
from dsrg.tables import MAPS


def network_names(runs: Sequence[Run]) -> list[str]:
    """Each run's classifier as tables call it; with the run's folder where two are of one kind."""
    names = [network_name(run.cfg) for run in runs]
    return [
        f"{name} ({run.directory})" if names.count(name) > 1 else name for name, run in zip(names, runs, strict=True)
    ]


def network_name(cfg: Config) -> str:
    """The classifier's backbone and GAP or GMP (global average or maximum pooling) or ACoL, as the papers name them: a
    star for the second convolution of AlexNet*, and nothing but the backbone for a network as published, AlexNet or
    VGG16 with its own head and GoogLeNet without the CAM paper's convolution."""
    classifier, name = cfg.classifier, cfg.model.backbone
    backbone = tables.backbone(name)
    whole = backbone.cut and not backbone.own_head and not classifier.conv and classifier.pooling == "avg"
    if classifier.head == "own" or (classifier.head == "gap" and whole):
        return name
    pooled = {"avg": "GAP", "max": "GMP"}[classifier.pooling]
    return f"{name}{'*' if classifier.convs > 1 else ''}-{'ACoL' if classifier.head == 'acol' else pooled}"


def check_comparable(runs: Sequence[Run]) -> None:
    """Check that the runs are different ones on one data set, whatever splits they learn from.

    Raises:
        InputError: they are not.
    """
    first = runs[0]
    folders = [run.directory.resolve() for run in runs]
    for number, run in enumerate(runs):
        if folders[number] in folders[:number]:
            raise InputError(
                f"{run.directory}: is the run_dir of two of the configurations; name different runs with --cfg and "
                "--also."
            )
        for key in ("masks", "annotations"):
            own, expected = getattr(run.cfg.data, key), getattr(first.cfg.data, key)
            if own != expected and _files_in(run, own) != _files_in(first, expected):
                raise InputError(
                    f"{run.directory}: data.{key} = {own}, but {first.directory} has {expected}; one table compares "
                    "networks on one data set."
                )
        other = contents.difference(_data_of(first), _data_of(run))  # which two copies of it have in common
        if other:
            raise InputError(
                f"{run.directory}: has other data than {first.directory}: {other}; one table compares networks on one "
                "data set."
            )


def _files_in(run: Run, folder: Path) -> str | None:
    """What the files of a folder of the data set are."""
    return contents.of_files(sorted((run.cfg.data.root / folder).glob("*")))


def _data_of(run: Run) -> dict[str, str]:
    """What all photographs of a run's data folder are, those of every split."""
    files = contents.of_files(files[-1] for _, files in sorted(run.folder.photo_files().items()))
    return {"classes": ", ".join(run.classes.names), "files": files or ""}


def every_nth(run: Run, every: int) -> list[Photo]:
    """Every n-th training photograph; raises InputError where there are no masks to measure on."""
    if every < 1:
        raise InputError(f"--every {every}: give a whole number from 1 on.")
    if not run.folder.has_masks(run.train):
        raise InputError(f"{run.folder.mask_dir}: holds no masks to measure on; add those of the training split.")
    return run.train[::every]


def methods_of(runs: Sequence[Run], asked: Sequence[str], known: Sequence[str], option: str) -> list[list[str]]:
    """The methods that each run's classifier has.

    Args:
        runs: The runs.
        asked: The methods that the user asked for; none means all.
        known: All methods.
        option: The command line's word for `asked`, for errors.

    Returns:
        For each run those of `asked` (of `known`, where nothing was asked) that it has, without repetition.

    Raises:
        InputError: a method is unknown, none of the networks has it, or a network has none of the methods.
    """
    for name in asked:
        if name not in known:
            raise InputError(f"{option} {name}: no such method; name some of {', '.join(known)}.")
    heads = [run.cfg.classifier.head for run in runs]
    wanted = list(dict.fromkeys(asked or known))
    for name in asked:
        if MAPS[name].head not in (None, *heads):
            raise InputError(
                f"{option} {name}: needs a classifier with classifier.head = {MAPS[name].head}; name the configuration "
                "of one with --cfg or --also."
            )
    each = [[name for name in wanted if MAPS[name].head in (None, head)] for head in heads]
    for run, own in zip(runs, each, strict=True):
        if not own:
            raise InputError(
                f"{run.directory}: its classifier, {network_name(run.cfg)}, has no maps by {', '.join(wanted)}; leave "
                f"it out, or add grad_cam to {option}."
            )
    return each
