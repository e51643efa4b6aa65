"""Saliency maps of the training photographs, which know nothing of classes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dsrg import distributed, tables
from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import disk, pictures
from dsrg.models.saliency import SaliencyNetwork
from dsrg.run.folder import Figures, Run, Stage


def make_saliency(run: Run) -> Stage:
    """Write saliency/<id>.png, the saliency of each training photograph at its size, grey of 8 bits, white is salient.

    Raises:
        InputError: saliency.weights is null, cannot be downloaded, or is no network of saliency.
    """

    def prepare(stage: Stage) -> Callable[[], Figures]:
        network = SaliencyNetwork(weights_file(run.cfg.saliency.weights))

        def write(photo: Photo) -> None:
            saliency = network(np.array(pictures.read_image(photo.path)))
            content = pictures.encoded(Image.fromarray(saliency), "PNG")
            disk.write_bytes(stage.directory / f"{photo.id}.png", content)

        def work() -> Figures:
            todo = [
                p for p in distributed.share(run.train, sharded=True) if not (stage.directory / f"{p.id}.png").is_file()
            ]
            # onnxruntime leaves Python's lock, so threads do, and share one network.
            with ThreadPoolExecutor(max(1, run.cfg.workers)) as pool:
                for _ in tqdm(pool.map(write, todo), "saliency", len(todo), disable=not distributed.is_main()):
                    pass
            return {}

        return work

    return run.make("saliency", prepare)


def weights_file(weights: str | None) -> Path:
    """The file of a network of saliency, downloaded where `weights` is one of `tables.SALIENCY`.

    Raises:
        InputError: it is neither, or the download fails.
    """
    known = tables.SALIENCY.get(weights or "")
    if known is not None:
        from dsrg.data.download import download_file  # here, for torchvision comes with it

        return download_file(known.url, known.md5)
    names = ", ".join(tables.SALIENCY)
    if weights is None:
        raise InputError(f"saliency.weights is null; name the network that makes the maps: {names}, or an ONNX file.")
    if not Path(weights).is_file():
        raise InputError(f"saliency.weights = {weights}: there is no such file, and the names are {names}.")
    return Path(weights)
