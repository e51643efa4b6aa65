"""The one exception that means "the user can mend this"."""


class InputError(Exception):
    """Bad input: a file, a configuration key or a value that the user must mend.

    The message is one sentence that names the file, key or value and says what to do about it. The
    command-line tools print it without a traceback and exit with status 2.

    Args:
        message: The sentence.
        kind: What is wrong in a word or two, for lists of faults (`dsrg.data.check`); empty where none is made.
    """

    def __init__(self, message: str = "", kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind
