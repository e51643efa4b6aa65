"""Questions asked of photographs: the answers, the first one's map, and what each word said for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from dsrg import explain
from dsrg.data.voc import Photo
from dsrg.data.vqa import Question, checked_text
from dsrg.data.vqa_answers import vqa_accuracy
from dsrg.data.warped import warped
from dsrg.errors import InputError
from dsrg.run import inference
from dsrg.run.folder import Run
from dsrg.study import ibowimg
from dsrg.study.ibowimg import AnswerHead, Layer
from dsrg.study.probe_features import Features
from dsrg.study.vqa_features import network_digest
from dsrg.tables import PROBED

LAYER = "vqa/layer.npz"
"""The trained layer in the run's folder."""
TOP = 3
"""Answers to show of each question, the likeliest ones."""


@dataclass(frozen=True)
class Shown:
    """A question, its answer, and what spoke for it."""

    photo: Photo
    picture: np.ndarray
    """(H, W, 3) uint8."""
    question: str
    answers: list[tuple[str, float]]
    """The likeliest answers and their probabilities."""
    heat: np.ndarray
    """(h, w) float32, the first answer's map, of any range; its mean is `image`."""
    image: float
    """What the image adds to the first answer's score."""
    words: list[tuple[str, float | None]]
    """What each word adds; None for one that is not known."""
    bias: float
    truth: str | None = None
    """The most frequent of the true answers; None where they are not known."""
    accuracy: float | None = None
    """VQA accuracy of the first answer."""


def ask(run: Run, photos: Sequence[Photo], question: str) -> list[Shown]:
    """Ask one question of each photograph.

    Args:
        run: A run on which `train_vqa` was called.
        photos: The photographs.
        question: The question.

    Raises:
        InputError: no layer was trained, it is of another network, the question is too long, or a photograph is broken.
    """
    path = run.directory / LAYER
    if not path.is_file():
        raise InputError(f"{path}: does not exist; run dsrg vqa train first.")
    text = checked_text(question, "--question", "text")
    if not ibowimg.words_of(text):
        raise InputError("--question: holds no word; ask something, such as 'what is this?'.")
    layer = Layer.read(path)
    weights = layer.features.partition(":")[0]
    features = Features(run.cfg, weights if weights in PROBED else PROBED[0])
    if network_digest(features) != layer.features:
        raise InputError(f"{path}: was trained on the features of another network; run dsrg vqa train again.")
    return [show(features, layer, photo, text) for photo in tqdm(photos, "answers")]


@torch.no_grad()
def show(features: Features, layer: Layer, photo: Photo, text: str, question: Question | None = None) -> Shown:
    """The answers to a question about a photograph, and what spoke for the first; scores and map are of one forward
    pass.

    Args:
        features: The network.
        layer: Trained on its features.
        photo: The photograph.
        text: The question.
        question: The same with its true answers, where they are known.

    Raises:
        InputError: the photograph is broken, or the layer is for other features.
    """
    ((images, _),) = warped([photo], features.size, batch=1)
    found = features(images)
    if found.shape[1] != layer.image_weight.shape[1]:
        raise InputError(f"{LAYER}: is for {layer.image_weight.shape[1]} features; run dsrg vqa train again.")
    head = AnswerHead(layer, lambda _: found).to(found.device)
    said = layer.contributions(text)
    words = sum((given for _, given in said if given is not None), np.zeros(len(layer.answers), np.float32))
    scores = head.classify(found)[0].cpu().numpy() + words
    order = np.argsort(-scores, kind="stable")[:TOP].tolist()
    best = order[0]
    probabilities = torch.from_numpy(scores).softmax(0).tolist()
    heat = explain.cam(head, images.float(), torch.tensor([[best]]))[0, 0].cpu().numpy()
    return Shown(
        photo=photo,
        picture=inference.read_pixels(photo).permute(1, 2, 0).numpy(),
        question=text,
        answers=[(layer.answers[place], probabilities[place]) for place in order],
        heat=heat,
        image=float(heat.mean()),
        words=[(word, None if given is None else float(given[best])) for word, given in said],
        bias=float(layer.bias[best]),
        truth=None if question is None else question.answer,
        accuracy=None if question is None else vqa_accuracy(layer.answers[best], question.answers),
    )
