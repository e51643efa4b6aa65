"""Answers of visual question answering as the official evaluation takes them: normalised, and how right one is.

Antol et al., "VQA: Visual Question Answering", ICCV 2015, and https://visualqa.org/evaluation.html.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache

ARTICLES = frozenset(("a", "an", "the"))
NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
AGREE = 3
"""Annotators whose answer makes one wholly right."""
_SPACED = re.compile(r"""[][;/"{}()=+\\_><@`?!,-]""")
"""Punctuation that becomes a blank. The apostrophe stays, for possessives and contractions, and the colon for times."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")
_PERIOD = re.compile(r"\.(?!\d)")
"""Every period but that of a decimal."""
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's i'd've i'm i've isn't it'd it'd've it'll let's ma'am mightn't mightn't've might've mustn't must've
needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd somebody'd've
somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's
there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll
what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
"""Words that may lack an apostrophe. Those that are words of their own without it (its, well, were) are not here."""


def normalise_answer(text: str) -> str:
    """An answer as the official evaluation compares it.

    Lower case; punctuation becomes a blank, but for apostrophes and colons; a comma within a number goes, and so does
    a period that is not a decimal's; number words become digits; articles go; a contraction gets the apostrophe that it
    lacks.

    The official script leaves answers as they are where all annotators gave the same, and its published table of
    contractions has slips (somebody'd). Here all answers are treated alike, as the evaluation's page says.
    """
    plain = _THOUSANDS.sub("", text.lower())
    plain = _PERIOD.sub("", _SPACED.sub(" ", plain))
    words = (NUMBERS.get(word, word) for word in plain.split())
    return " ".join(_apostrophes().get(word, word) for word in words if word not in ARTICLES)


def vqa_accuracy(said: str, answers: Sequence[str]) -> float:
    """How right an answer is: min(n / 3, 1) for the n annotators who gave it, averaged over the subsets that leave one
    annotator out, as the official evaluation does.

    With ten annotators of whom n gave the answer: 0, 0.3, 0.6, 0.9, and 1 from four on.

    Args:
        said: The answer, normalised.
        answers: The annotators', normalised; at least one. Of a single one nobody is left, so it counts itself.
    """
    count, given = len(answers), sum(answer == said for answer in answers)
    if count == 1:
        return float(given)
    without_it = min(given / AGREE, 1.0)
    without_one_of_it = min(max(given - 1, 0) / AGREE, 1.0)
    return (given * without_one_of_it + (count - given) * without_it) / count


@cache
def _apostrophes() -> dict[str, str]:
    """From a contraction that lacks one apostrophe or more to itself."""
    found = {}
    for word in _CONTRACTIONS.split():
        parts = word.split("'")
        for marks in itertools.product(("'", ""), repeat=len(parts) - 1):
            found["".join(itertools.chain(*zip(parts, (*marks, ""), strict=True)))] = word
    return found
