"""iBOWIMG: a question's bag of words beside globally pooled image features, and one linear layer to the answers.

Zhou et al., "Simple Baseline for Visual Question Answering", arXiv:1512.02167, 2015. The layer is linear in both, so an
answer's score falls apart:

    score_a = sum over the question's words of v_a,word  +  mean over the grid of M_a(x, y)  +  bias_a,
    M_a(x, y) = sum_k w_k^a f_k(x, y)

M_a is the class activation map (Zhou et al. 2016) of the answer, and v_a,word what each word says for it. The paper's
word vectors are between words and answers, one linear layer behind another: here they are multiplied out.

What the layer cannot do follows from the sum: the image says the same for an answer whatever is asked. "Is there a
dog?" and "is there a cat?" of one photograph differ in their words alone.

Shapes: N questions, P photographs, V words, A answers, D features on a grid of h x w.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from dsrg.errors import InputError
from dsrg.files import disk, storage

MOST_WORDS = 10_000
"""Words of the vocabulary, the most frequent ones."""
DECAYS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Weights of the squared length that the training chooses from; of the words' first, then of the image's."""
EPOCHS, BATCH, RATE = 20, 256, 0.01
STEPS = 500
"""Iterations at least, for which few questions are seen more than EPOCHS times."""
LARGEST = 2 * 2**30
"""Bytes of a file of weights."""
_ARRAYS = ("words", "answers", "word_weight", "image_weight", "bias", "features")


def words_of(question: str) -> list[str]:
    """The words of a question, in lower case and without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", question.lower())


def most_frequent(texts: Iterable[str], count: int) -> tuple[str, ...]:
    """The most frequent texts, the most frequent first, of equal ones in the order of the alphabet."""
    counts = Counter(texts)
    return tuple(sorted(counts, key=lambda text: (-counts[text], text))[:count])


@dataclass(frozen=True)
class Layer:
    """The trained layer. Each word's and each feature's weights have the mean 0 over the answers, which changes no
    probability: what is above 0 speaks for an answer, what is below against it."""

    words: tuple[str, ...]
    answers: tuple[str, ...]
    word_weight: np.ndarray
    """(V, A) float32."""
    image_weight: np.ndarray
    """(A, D) float32; D is 0 for a layer of words alone."""
    bias: np.ndarray
    """(A,) float32."""
    features: str = ""
    """What the features are of, a digest of the network; '' for none."""

    def places(self, question: str) -> list[int | None]:
        """The row of each of a question's words in `word_weight`; None for a word that is not in the vocabulary."""
        rows = {word: row for row, word in enumerate(self.words)}
        return [rows.get(word) for word in words_of(question)]

    def contributions(self, question: str) -> list[tuple[str, np.ndarray | None]]:
        """What each of a question's words adds to the answers' scores, (A,); None for one that is not known."""
        rows = zip(words_of(question), self.places(question), strict=True)
        return [(word, None if row is None else self.word_weight[row]) for word, row in rows]

    def scores(self, questions: Sequence[str], pooled: np.ndarray | None) -> np.ndarray:
        """Scores (N, A) before the softmax, of questions and the pooled features (N, D) of their photographs."""
        bags = Bags.of([[row for row in self.places(text) if row is not None] for text in questions])
        scores: np.ndarray = bags.sums(torch.from_numpy(self.word_weight)).numpy() + self.bias
        if pooled is not None:
            scores = scores + pooled @ self.image_weight.T
        return scores

    def write(self, path: Path) -> None:
        """Write the layer as an .npz file."""
        arrays = {name: getattr(self, name) for name in ("word_weight", "image_weight", "bias")}
        names = {name: np.array(getattr(self, name)) for name in ("words", "answers", "features")}
        disk.write_bytes(path, storage.npz(**arrays, **names))

    @classmethod
    def read(cls, path: Path) -> Layer:
        """Read a layer that `write` wrote.

        Raises:
            InputError: the file is missing or broken, or its arrays do not fit together.
        """
        mend = "train it anew with dsrg vqa train"
        found = storage.read_arrays(path, "layer of answers", _ARRAYS, limit=LARGEST, mend=mend)
        fault = _fault(found)
        if fault:
            raise InputError(f"{path}: not a readable layer of answers ({fault}); {mend}.")
        weights = {name: found[name].astype(np.float32) for name in ("word_weight", "image_weight", "bias")}
        words, answers = (tuple(found[name].tolist()) for name in ("words", "answers"))
        return cls(words, answers, **weights, features=str(found["features"]))


@dataclass(frozen=True)
class Bags:
    """Questions as bags of words: how often each holds a word."""

    rows: Tensor
    """(sum of the lengths,) int64, the words of all questions one after another."""
    starts: Tensor
    """(N,) int64, where each question begins in `rows`."""

    @classmethod
    def of(cls, questions: Sequence[Sequence[int]]) -> Bags:
        """From the words' rows of each question."""
        lengths = [len(words) for words in questions]
        flat = [row for words in questions for row in words]
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if lengths else np.zeros(0)
        return cls(torch.tensor(flat, dtype=torch.int64), torch.from_numpy(starts.astype(np.int64)))

    def sums(self, weight: Tensor) -> Tensor:
        """The sum of the rows of `weight` (V, A) over each question's words, (N, A)."""
        if not len(self.starts) or not len(weight):
            return weight.new_zeros(len(self.starts), weight.shape[1])
        return functional.embedding_bag(self.rows, weight, self.starts, mode="sum")


@dataclass(frozen=True)
class Examples:
    """Questions to learn from, whose answers are in the vocabulary."""

    words: list[list[int]]
    """The rows of each question's known words."""
    photos: np.ndarray
    """(N,) int64, the photograph of each, a row of `pooled`."""
    answers: np.ndarray
    """(N,) int64."""
    pooled: np.ndarray | None
    """(P, D) float32; None to learn from words alone."""

    def take(self, numbers: np.ndarray) -> Examples:
        """Some of the questions."""
        words = [self.words[number] for number in numbers.tolist()]
        return Examples(words, self.photos[numbers], self.answers[numbers], self.pooled)

    def blind(self) -> Examples:
        """The questions without their photographs' features."""
        return replace(self, pooled=None)


@dataclass(frozen=True)
class Weights:
    """A layer's weights while it is trained."""

    word: Tensor
    """(V, A)."""
    image: Tensor
    """(A, D), of standardised features."""
    bias: Tensor
    """(A,)."""
    mean: Tensor
    """(D,) of the features over the photographs."""
    deviation: Tensor
    """(D,)."""

    def scores(self, bags: Bags, pooled: Tensor | None) -> Tensor:
        """(N, A) of bags and of raw features (N, D)."""
        scores = bags.sums(self.word) + self.bias
        if pooled is not None:
            scores = scores + (pooled - self.mean) / self.deviation @ self.image.T
        return scores


def fit(
    examples: Examples, num_words: int, num_answers: int, *, word_decay: float, image_decay: float, seed: int
) -> Weights:
    """Train the layer: the mean cross-entropy of the answers, plus half of each decay times the squared length of the
    words' and the image's weights; Adam, its rate falling to 0 along a cosine.

    Args:
        examples: At least one.
        num_words, num_answers: V and A.
        word_decay, image_decay: Not negative.
        seed: Of the order of the questions.
    """
    pooled = None if examples.pooled is None else torch.from_numpy(examples.pooled)
    depth = 0 if pooled is None else pooled.shape[1]
    mean, deviation = torch.zeros(depth), torch.ones(depth)
    if pooled is not None:
        own = pooled[torch.from_numpy(np.unique(examples.photos))]
        mean, deviation = own.mean(dim=0), own.std(dim=0, correction=0).clamp(min=1e-6)
    weights = Weights(
        torch.zeros(num_words, num_answers, requires_grad=True),
        torch.zeros(num_answers, depth, requires_grad=True),
        torch.zeros(num_answers, requires_grad=True),
        mean,
        deviation,
    )
    batches = -(-len(examples.answers) // BATCH)
    epochs = max(EPOCHS, -(-STEPS // batches))
    total = epochs * batches
    adam = torch.optim.Adam([weights.word, weights.image, weights.bias], lr=RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, total)
    answers, random = torch.from_numpy(examples.answers), np.random.default_rng(seed)
    with tqdm(total=total, desc="training the layer", leave=False) as bar:
        for _ in range(epochs):
            order = random.permutation(len(answers))
            for first in range(0, len(order), BATCH):
                batch = order[first : first + BATCH]
                seen = None if pooled is None else pooled[torch.from_numpy(examples.photos[batch])]
                bags = Bags.of([examples.words[number] for number in batch.tolist()])
                loss = functional.cross_entropy(weights.scores(bags, seen), answers[batch])
                decays = ((word_decay, weights.word), (image_decay, weights.image))
                loss = loss + sum(decay / 2 * weight.square().sum() for decay, weight in decays)
                adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                adam.step()
                falling.step()
                bar.update()
    return weights


@torch.no_grad()
def log_loss(weights: Weights, examples: Examples) -> float:
    """The mean cross-entropy of the answers."""
    pooled = None if examples.pooled is None else torch.from_numpy(examples.pooled[examples.photos])
    scores = weights.scores(Bags.of(examples.words), pooled)
    return float(functional.cross_entropy(scores, torch.from_numpy(examples.answers)))


def choose_decay(
    learn: Examples, check: Examples, num_words: int, num_answers: int, *, word_decay: float | None, seed: int
) -> float:
    """The one of DECAYS with the lowest cross-entropy on questions that were not learnt from, of equal ones the first.

    Args:
        learn, check: Questions to learn from, and others.
        num_words, num_answers: V and A.
        word_decay: That of the words, to choose the image's; None to choose the words'.
        seed: As in `fit`.
    """

    def loss(decay: float) -> float:
        word, image = (decay, 0.0) if word_decay is None else (word_decay, decay)
        weights = fit(learn, num_words, num_answers, word_decay=word, image_decay=image, seed=seed)
        return log_loss(weights, check)

    return min(DECAYS, key=loss)


def to_layer(weights: Weights, words: tuple[str, ...], answers: tuple[str, ...], features: str = "") -> Layer:
    """The layer on raw features: the standardisation goes into weights and bias, and all are brought to mean 0."""
    with torch.no_grad():
        image = weights.image / weights.deviation
        bias = weights.bias - image @ weights.mean
        word = weights.word - weights.word.mean(dim=1, keepdim=True)
        image, bias = image - image.mean(dim=0), bias - bias.mean()
    return Layer(words, answers, word.numpy(), image.numpy(), bias.numpy(), features)


class AnswerHead(nn.Module):
    """A layer's image half behind a network's features: what `dsrg.explain` takes, its classes the answers.

    Args:
        layer: The layer.
        features: From normalised images (B, 3, H, W) to features (B, D, h, w).
    """

    def __init__(self, layer: Layer, features: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._extract = features
        self.linear = nn.Linear(layer.image_weight.shape[1], len(layer.answers))
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(layer.image_weight))
            self.linear.bias.copy_(torch.from_numpy(layer.bias))

    def features(self, images: Tensor) -> Tensor:
        """(B, D, h, w) of normalised images."""
        return self._extract(images)

    def classify(self, features: Tensor) -> Tensor:
        """What the image and the bias give to each answer, (B, A)."""
        scores: Tensor = self.linear(features.mean(dim=(2, 3)))
        return scores


def _fault(found: dict[str, np.ndarray]) -> str:
    """What is wrong with a layer's arrays; '' for nothing."""
    for name in ("words", "answers", "features"):
        if found[name].dtype.kind != "U" or found[name].ndim != (name != "features"):
            return f"its {name} are no texts"
    words, answers = len(found["words"]), len(found["answers"])
    for name, shape in (
        ("word_weight", (words, answers)),
        ("image_weight", (answers, *found["image_weight"].shape[1:2])),
        ("bias", (answers,)),
    ):
        values = found[name]
        if values.dtype.kind != "f" or values.shape != shape or not np.isfinite(values).all():
            return f"its {name} is {values.dtype} of the shape {values.shape}, for {words} words and {answers} answers"
    return "" if answers > 1 and found["image_weight"].ndim == 2 else f"it has {answers} answers"
