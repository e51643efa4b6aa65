"""Visual question answering on a run's features: trained, measured beside two blind baselines, and shown."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dsrg.data import vqa_rules
from dsrg.data.voc import spread
from dsrg.data.vqa import Question, Questions, read_questions, write_questions
from dsrg.data.vqa_answers import vqa_accuracy
from dsrg.errors import InputError
from dsrg.files import disk
from dsrg.run.folder import Run
from dsrg.study import ibowimg
from dsrg.study.ibowimg import Examples, Layer
from dsrg.study.probe_features import Features
from dsrg.study.vqa_ask import LAYER, Shown, show
from dsrg.study.vqa_features import network_digest, pooled_features
from dsrg.tables import PROBED

HELD_OUT = 0.2
"""Share of the training photographs on which the decays are chosen."""
MOST_TO_CHOOSE = 40_000
"""Questions to choose the decays with; of more, those of a part of the photographs."""
AT_ONCE = 10_000
"""Questions whose scores are in memory at a time."""
BOTH, WORDS, PRIOR = "image and words", "words alone", "most frequent answer of the type"
"""What is measured: the layer, and the two blind baselines."""


@dataclass(frozen=True)
class Source:
    """Where questions come from: VQA's two files, and the folder of their photographs."""

    questions: Path
    annotations: Path
    photos: Path


@dataclass(frozen=True)
class Trained:
    """What `train_vqa` made."""

    summary: dict[str, Any]
    shown: list[Shown]


def train_vqa(
    run: Run,
    sources: tuple[Source, Source] | None = None,
    *,
    groups: Path | None = None,
    answers: int = 1000,
    weights: str = "classifier",
    count: int = 24,
) -> Trained:
    """Train iBOWIMG (`dsrg.study.ibowimg`) on questions about photographs, and measure it on others.

    Writes vqa/layer.npz, vqa/answers.json (of the questions to measure on, in the challenge's format of results),
    vqa/results.json, vqa/results.md; where the questions are made by rule, these to vqa/questions/.

    The decays of the words' weights and then of the image's are chosen on a part of the training photographs that is
    not trained on; then all training questions are learnt from. Questions whose answer is none of the `answers` most
    frequent are left out of the training, as in the paper, and count as wrong in the measuring.

    Args:
        run: Its network gives the features, its data set the questions where there are no files.
        sources: Questions to learn from, and to measure on; None to make them from the run's splits by rule.
        groups: A file of groups (`dsrg.data.vqa_rules.read_groups`) for such rules; None for none.
        answers: Answers that the layer knows, the most frequent ones.
        weights: One of `tables.PROBED`: features of the run's classifier, or of model.weights.
        count: Questions to return with their maps.

    Raises:
        InputError: a file is missing or broken, the questions are of the same photographs or too few, the classifier is
            not trained, or an argument does not fit.
    """
    if answers < 2 or count < 1:
        raise InputError(f"--answers {answers} --count {count}: give two answers and one question at least.")
    if sources is not None and groups is not None:
        raise InputError("--groups: are for questions that are made by rule; leave out either it or --questions.")
    if weights not in PROBED:
        raise InputError(f"--weights {weights}: choose one of {', '.join(PROBED)}.")
    features = Features(run.cfg, weights)  # before questions are written: its network may be missing
    train, val = [read_questions(one.questions, one.annotations, one.photos) for one in sources or _made(run, groups)]
    _check_apart(train, val)
    pooled = pooled_features(run, features, [*train.photos, *val.photos])
    known = ibowimg.most_frequent((question.answer for question in train.questions if question.answer), answers)
    if len(known) < 2:
        raise InputError(f"the training questions have {len(known)} answers; there must be two at least to tell apart.")
    vocabulary = ibowimg.most_frequent(_all_words(train.questions), ibowimg.MOST_WORDS)
    examples = _examples(train.questions, pooled, vocabulary, known)
    layers, decays = _fit(examples, vocabulary, known, network_digest(features), run.cfg.seed)
    said = {name: _answers(layer, val.questions, pooled[len(train.photos) :]) for name, layer in layers.items()}
    said[PRIOR] = prior_answers(train.questions, val.questions)
    summary = _summary(features, weights, (train, val), known, vocabulary, decays) | {
        "figures": {name: figures(val.questions, said[name]) for name in (BOTH, WORDS, PRIOR)},
        "answered_by_classes": float(np.isin([question.answer for question in val.questions], known).mean()),
    }
    _write(run.directory / "vqa", layers[BOTH], summary, val.questions, said[BOTH])
    return Trained(
        summary,
        [show(features, layers[BOTH], val.photos[one.photo], one.text, one) for one in _chosen(val.questions, count)],
    )


def figures(questions: Sequence[Question], said: Sequence[str]) -> dict[str, Any]:
    """VQA accuracy of answers to questions: overall, and by the questions' and the answers' type."""
    right = [vqa_accuracy(answer, question.answers) for question, answer in zip(questions, said, strict=True)]

    def by(kinds: Iterable[str]) -> dict[str, float]:
        grouped: dict[str, list[float]] = {}
        for kind, value in zip(kinds, right, strict=True):
            grouped.setdefault(kind, []).append(value)
        return {kind: float(np.mean(values)) for kind, values in sorted(grouped.items())}

    return {
        "accuracy": float(np.mean(right)),
        "by_question_type": by(question.kind for question in questions),
        "by_answer_type": by(question.answer_kind for question in questions),
    }


def prior_answers(train: Sequence[Question], questions: Sequence[Question]) -> list[str]:
    """The most frequent answer to the training questions of each question's type; of all where the type is new."""
    by_kind: dict[str, list[str]] = {}
    for question in train:
        by_kind.setdefault(question.kind, []).append(question.answer)
    (overall,) = ibowimg.most_frequent((question.answer for question in train), 1)
    best = {kind: ibowimg.most_frequent(answers, 1)[0] for kind, answers in by_kind.items()}
    return [best.get(question.kind, overall) for question in questions]


def table(summary: Mapping[str, Any]) -> str:
    """The figures as a Markdown table, a line for each type of question."""
    found, counts = summary["figures"], summary["questions"]["val_by_type"]
    lines = [f"| questions | number | {' | '.join(found)} |", "|---|---:|" + "---:|" * len(found)]
    for kind, number in counts.items():
        cells = [f"{part['by_question_type'][kind]:.3f}" for part in found.values()]
        lines.append(f"| {kind} | {number:,} | {' | '.join(cells)} |")
    cells = [f"{part['accuracy']:.3f}" for part in found.values()]
    return "\n".join([*lines, f"| all | {sum(counts.values()):,} | {' | '.join(cells)} |"])


def _made(run: Run, groups: Path | None) -> tuple[Source, Source]:
    """The questions of the run's two splits by rule, written as the challenge's files."""
    folder, data = run.folder, run.cfg.data
    named = {} if groups is None else vqa_rules.read_groups(groups, run.classes)
    masks = folder.has_masks(run.train) and folder.has_masks(run.val)
    if not masks:
        print("note: without masks of both splits there are no questions of how many, and of left and right")
    out, answers, found = run.directory / "vqa/questions", None, []
    for split, photos in ((data.train_split, run.train), (data.val_split, run.val)):
        scenes = vqa_rules.scenes(folder, photos, masks=masks, title=f"questions of {split}")
        every = [one for scene in scenes for one in vqa_rules.questions_of(scene, run.classes, named)]
        kept = vqa_rules.balanced(every, run.cfg.seed, answers)
        answers = vqa_rules.answers_of(kept) if answers is None else answers
        if not kept:
            raise InputError(
                f"{folder.split_file(split)}: the rules find no question with two answers about its photographs; add "
                "photographs of other labels."
            )
        source = Source(out / f"{split}_questions.json", out / f"{split}_annotations.json", folder.image_dir)
        write_questions(kept, split, source.questions, source.annotations)
        found.append(source)
    return found[0], found[1]


def _check_apart(train: Questions, val: Questions) -> None:
    both = {photo.path.resolve() for photo in train.photos} & {photo.path.resolve() for photo in val.photos}
    if both:
        raise InputError(
            f"{min(both)}: is asked about in the questions to learn from and in those to measure on, as are "
            f"{len(both) - 1} more photographs; give questions about others to one of the two."
        )


def _all_words(questions: Sequence[Question]) -> Iterable[str]:
    return (word for question in questions for word in ibowimg.words_of(question.text))


def _examples(
    questions: Sequence[Question], pooled: np.ndarray, vocabulary: Sequence[str], known: Sequence[str]
) -> Examples:
    """The questions whose answer is known."""
    rows = {word: row for row, word in enumerate(vocabulary)}
    places = {answer: place for place, answer in enumerate(known)}
    own = [question for question in questions if question.answer in places]
    return Examples(
        [[rows[word] for word in ibowimg.words_of(question.text) if word in rows] for question in own],
        np.array([question.photo for question in own], np.int64),
        np.array([places[question.answer] for question in own], np.int64),
        pooled,
    )


def _fit(
    examples: Examples, vocabulary: tuple[str, ...], known: tuple[str, ...], digest: str, seed: int
) -> tuple[dict[str, Layer], dict[str, float]]:
    """The layer and that of words alone, and the decays that both were trained with."""
    sizes = (len(vocabulary), len(known))
    learn, check = _divide(examples, seed)
    words = ibowimg.choose_decay(learn.blind(), check.blind(), *sizes, word_decay=None, seed=seed)
    image = ibowimg.choose_decay(learn, check, *sizes, word_decay=words, seed=seed)
    both = ibowimg.fit(examples, *sizes, word_decay=words, image_decay=image, seed=seed)
    alone = ibowimg.fit(examples.blind(), *sizes, word_decay=words, image_decay=0.0, seed=seed)
    layers = {
        BOTH: ibowimg.to_layer(both, vocabulary, known, digest),
        WORDS: ibowimg.to_layer(alone, vocabulary, known),
    }
    return layers, {"words": words, "image": image}


def _divide(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    """Questions to learn from and to choose with, of different photographs."""
    photos = np.random.default_rng(seed).permutation(np.unique(examples.photos))
    if len(photos) < 2:
        raise InputError("the training questions are about one photograph; there must be two at least.")
    photos = photos[: max(2, round(len(photos) * min(1, MOST_TO_CHOOSE / len(examples.answers))))]
    held = photos[: max(1, round(HELD_OUT * len(photos)))]
    learn, check = np.isin(examples.photos, np.setdiff1d(photos, held)), np.isin(examples.photos, held)
    return examples.take(np.flatnonzero(learn)), examples.take(np.flatnonzero(check))


def _answers(layer: Layer, questions: Sequence[Question], pooled: np.ndarray) -> list[str]:
    """The likeliest answer to each question; of a layer without image weights, without a look at the features."""
    said: list[str] = []
    for first in range(0, len(questions), AT_ONCE):
        part = questions[first : first + AT_ONCE]
        image = pooled[[question.photo for question in part]] if layer.image_weight.shape[1] else None
        best = layer.scores([question.text for question in part], image).argmax(axis=1)
        said += [layer.answers[place] for place in best.tolist()]
    return said


def _summary(
    features: Features,
    weights: str,
    parts: tuple[Questions, Questions],
    known: Sequence[str],
    vocabulary: Sequence[str],
    decays: Mapping[str, float],
) -> dict[str, Any]:
    train, val = parts
    return {
        "questions": {
            "train": len(train.questions),
            "val": len(val.questions),
            "val_by_type": dict(sorted(Counter(question.kind for question in val.questions).items())),
        },
        "photographs": {"train": len(train.photos), "val": len(val.photos)},
        "answers": len(known),
        "words": len(vocabulary),
        "settings": {
            "backbone": features.cfg.model.backbone,
            "weights": weights,
            "size": features.size,
            "output_stride": features.output_stride,
            "seed": features.cfg.seed,
            "decays": dict(decays),
            "epochs": ibowimg.EPOCHS,
            "least_iterations": ibowimg.STEPS,
            "batch": ibowimg.BATCH,
            "lr": ibowimg.RATE,
        },
    }


def _write(out: Path, layer: Layer, summary: Mapping[str, Any], questions: Sequence[Question], said: list[str]) -> None:
    layer.write(out.parent / LAYER)
    rows = [{"question_id": question.id, "answer": answer} for question, answer in zip(questions, said, strict=True)]
    disk.write_json(out / "answers.json", rows)
    disk.write_json(out / "results.json", summary)
    disk.write_text(out / "results.md", table(summary) + "\n")


def _chosen(questions: Sequence[Question], count: int) -> list[Question]:
    """Questions to show, of each type as many as far as there are, spread over them."""
    kinds: dict[str, list[Question]] = {}
    for question in questions:
        kinds.setdefault(question.kind, []).append(question)
    turns = (kind for turn in range(count) for kind, own in kinds.items() if turn < len(own))
    quota = Counter(itertools.islice(turns, count))
    return [question for kind, own in kinds.items() for question in spread(own, quota[kind])]
