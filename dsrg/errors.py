"""The one exception that means "the user can mend this", and what may be told of other libraries' errors."""

import re

LONGEST = 1200
"""Letters that a sentence may have."""


class InputError(Exception):
    """Bad input: a file, a configuration key or a value that the user must mend.

    The message is one sentence that names the file, key or value and says what to do about it. The
    command-line tools print it without a traceback and exit with status 2.

    Args:
        message: The sentence. Of one that quotes pages of a broken file the middle is left out.
        kind: What is wrong in a word or two, for lists of faults (`dsrg.data.check`); empty where none is made.
    """

    def __init__(self, message: str = "", kind: str = "") -> None:
        super().__init__(message if len(message) <= LONGEST else f"{message[: LONGEST - 301]}…{message[-300:]}")
        self.kind = kind


_ADVICE = re.compile(
    r"weights_only|allow_pickle|trust|pickle\.load|unsafe|arbitrary code|unpickl|pickled|file an issue"
    r"|LOAD_TRUNCATED_IMAGES|MAX_IMAGE_PIXELS",
    re.IGNORECASE,
)


def reason(error: BaseException) -> str:
    """A library's own words for what is wrong with a file: one line, short.

    On a file that would run code PyTorch and NumPy tell the programmer which check to switch off. No user reads that:
    such a file is hostile or of another program, and the words here say so.
    """
    text = str(error)
    if _ADVICE.search(text):
        return "it holds objects of Python, which could run code, where only data belongs; nothing of it was run"
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return (line if len(line) <= 160 else f"{line[:157]}…").removesuffix(".")
