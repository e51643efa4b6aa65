"""Pooled features of the photographs that questions are about, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from dsrg.data.voc import Photo
from dsrg.errors import InputError
from dsrg.files import disk, storage
from dsrg.run.folder import Run
from dsrg.study.probe_features import Features

PART = 1024
"""Photographs whose features are kept in one file; what is interrupted goes on with the next file."""
LARGEST_PART = 2**28
"""Bytes of such a file."""


def pooled_features(run: Run, features: Features, photos: Sequence[Photo]) -> np.ndarray:
    """Globally averaged features (N, D) float32 of photographs, kept in vqa/features/<key>/, PART photographs a file.

    Raises:
        InputError: a photograph or one of the files is broken.
    """
    digest = hashlib.sha256(network_digest(features).encode())
    for photo in photos:
        digest.update(f"\n{photo.id} {photo.path.stat().st_size}".encode("utf-8", "surrogatepass"))
    directory = run.directory / "vqa/features" / digest.hexdigest()[:16]
    parts: list[np.ndarray] = []
    for first in range(0, len(photos), PART):
        part, path = photos[first : first + PART], directory / f"{first // PART}.npz"
        if not path.is_file():
            title = f"features {first + 1:,} to {first + len(part):,} of {len(photos):,}"
            disk.write_bytes(path, storage.npz(pooled=features.pool(part, title)))
        mend = "delete it to have it made anew"
        pooled = storage.read_arrays(path, "file of features", ("pooled",), limit=LARGEST_PART, mend=mend)["pooled"]
        fits = pooled.ndim == 2 and len(pooled) == len(part) and (not parts or parts[0].shape[1] == pooled.shape[1])
        if not fits or pooled.dtype != np.float32 or not np.isfinite(pooled).all():
            raise InputError(f"{path}: does not hold the features of {len(part)} photographs; {mend}.")
        parts.append(pooled)
    return np.concatenate(parts)


def network_digest(features: Features) -> str:
    """Says what the features are of: the kind of weights, and a digest of network and input size."""
    digest = hashlib.sha256(f"{features.size} {features.output_stride}".encode())
    for name, tensor in features.network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return f"{features.weights}:{digest.hexdigest()}"
