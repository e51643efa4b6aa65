"""PASCAL VOC 2012 and SBD from their own servers, through torchvision's data sets; and single files."""

from __future__ import annotations

import http.client
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import torch
from torchvision.datasets import SBDataset, VOCSegmentation

from dsrg import distributed
from dsrg.errors import InputError, reason
from dsrg.files import disk


def download_voc(directory: Path) -> None:
    """Download VOC 2012 (2 GB) and unpack it: directory/VOCdevkit/VOC2012.

    Raises:
        InputError: directory is in use, or the download fails; what was downloaded is then kept for the next call.
    """
    _download(directory, "VOC 2012", lambda root: VOCSegmentation(root, "2012", "train", download=True))


def download_sbd(directory: Path) -> None:
    """Download SBD (1.4 GB) and unpack it: directory/cls, img, train.txt, val.txt.

    Raises:
        InputError: as `download_voc`.
    """
    _download(directory, "SBD", lambda root: SBDataset(root, "train", mode="segmentation", download=True))


def download_file(url: str, md5: str) -> Path:
    """The file at an address, from the folder in which PyTorch keeps what it downloads (~/.cache/torch/hub/checkpoints)
    where it lies there with this MD5, and else downloaded to it.

    Raises:
        InputError: the download fails, or what came has another MD5.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file() and disk.digest(path, "md5") == md5:
        return path
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(partial), progress=distributed.is_main())
        found = disk.digest(partial, "md5")
        if found != md5:
            raise InputError(f"{url}: what was downloaded has the MD5 {found} in place of {md5}; try again later.")
        partial.replace(path)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise InputError(f"{url}: cannot be downloaded ({reason(error)}); put the file to {path} yourself.") from None
    finally:
        partial.unlink(missing_ok=True)
    return path


def _download(directory: Path, name: str, fetch: Callable[[Path], object]) -> None:
    """Fetch into a hidden folder beside `directory`, which takes its name when all is unpacked."""
    directory = directory.absolute()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(f"{directory}: holds something else than {name}; give a new folder to download to.")
    partial = directory.parent / f".{directory.name}.download"
    partial.mkdir(parents=True, exist_ok=True)
    for path in partial.iterdir():
        # Unpacked by half; the archive beside it is checked by its MD5 and used again.
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix not in (".tar", ".tgz"):
            path.unlink()
    try:
        fetch(partial)
    except (OSError, RuntimeError, EOFError, tarfile.TarError, shutil.Error) as error:
        raise InputError(
            f"{partial}: {name} could not be downloaded ({error}); run the same command again, or unpack the archive "
            f"yourself to {directory} (see data/README.md)."
        ) from None
    if directory.exists():
        directory.rmdir()
    partial.replace(directory)
