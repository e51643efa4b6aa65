"""The boundary between the program and its user: what the user can mend becomes one sentence and an exit status.

Nothing heavy is imported here, for the boundary stands around the import of torch too, which takes seconds: Ctrl-C
during any import ends the process at once.

Exit statuses: 0; 2 after a sentence on what to mend; 130 after Ctrl-C or SIGTERM; 1 for a fault of the program's own.
"""

from __future__ import annotations

import errno
import os
import re
import select
import signal
import sys
import threading
import traceback
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO

from dsrg.errors import InputError

INTERRUPTED = "interrupted; the same command continues with what is not done"
FAULT = "this is a fault of the program, not of your data; please report it with the lines above and the command"
ENDINGS = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a command in good order."""
_MEMORY = "memory ran out; close other programs, or lower the batch, the sizes or the number of workers"
_GPU_MEMORY = "the GPU's memory ran out; lower the batch or the sizes, end other programs on it, or set device=cpu"
_SHARED = "shared memory (/dev/shm) is missing or full; set workers=0, or give it more room (docker's --shm-size)"
_WORKER = (
    "a worker process was ended from outside, as the system does when memory runs out; lower the number of workers or "
    "the batch"
)
_AGAIN = ", then run the same command again."
_SIGNS = (
    (r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|MPS backend out of memory", _GPU_MEMORY),
    (r"shared memory|/dev/shm|Bus error", _SHARED),
    (r"DataLoader worker \(pid", _WORKER),
    (r"not enough memory|(can't|cannot|unable to) allocate|out of memory|bad_alloc|insufficient memory", _MEMORY),
    (
        r"no NVIDIA driver|driver version is insufficient|no CUDA GPUs|not compiled with CUDA|no kernel image"
        r"|devices? (is|are) busy",
        "CUDA cannot be used here; set device=cpu, or mend the driver",
    ),
    (r"Symlink loop", "a path leads through a link that leads back to itself; remove the link"),
    (r"embedded null", "a path holds a NUL, as no file's name does; correct it"),
)
"""What torch, NumPy, OpenCV and the system say where the machine has too little of something, and the mend."""
_ERRNO = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EFBIG: "a file grew larger than allowed here; raise the limit (ulimit -f)",
    errno.EIO: "the disk or its connection fails; check it",
    errno.EROFS: "the disk can only be read; choose another folder",
    errno.ENOMEM: _MEMORY,
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n 4096) or lower the number of workers",
    errno.ENFILE: "too many files are open on this machine; close other programs",
    errno.EAGAIN: "no more processes or threads can be started; lower the number of workers",
    errno.ENOSYS: _SHARED,
}
"""The mend where the system names no file."""
_stopped = False


def guard(work: Callable[[], object]) -> int:
    """Run `work` and say in one sentence on stderr what a user can mend; the exit status, 0, 2 or 130.

    What is not foreseen is raised.
    """
    done = False
    try:
        work()
        done = True
        if sys.stdout is not None:
            sys.stdout.flush()  # now, for here its failure can still be told
    except KeyboardInterrupt:
        tell(INTERRUPTED)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and (done or _has_no_reader(sys.stdout)):  # `| head` has seen enough
            _discard(sys.stdout)
            return 0 if done else 130
        if done and isinstance(error, OSError):
            _discard(sys.stdout)
            tell(f"error: standard output: cannot be written ({error.strerror}); free some space{_AGAIN}")
            return 2
        if _stopped:  # compiled code turns KeyboardInterrupt into an error of its own
            tell(INTERRUPTED)
            return 130
        sentence = explain(error)
        if sentence is None:
            raise
        tell(f"error: {sentence}")
        return 2
    return 0


def run(work: Callable[[], int]) -> int:
    """A whole command: as `guard`, with `work`'s own exit status, Ctrl-C and SIGTERM in good order, and 1 after the
    traceback of a fault that is the program's."""
    global _stopped
    _stopped, status = False, 0

    def call() -> None:
        nonlocal status
        try:
            status = work()
        except SystemExit as leaving:  # argparse, after --help or a wrong option
            status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
            if isinstance(leaving.code, str):
                tell(leaving.code)

    _escape_what_streams_lack()
    with _signals_handled():
        try:
            return guard(call) or status
        except Exception:
            traceback.print_exc()
            tell(f"error: {FAULT}")
            return 1


def explain(error: BaseException) -> str | None:
    """One sentence on what to mend; None for an error that is the program's own.

    Args:
        error: From any depth, of a worker process too.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, BrokenExecutor):
        return _WORKER + _AGAIN
    if isinstance(error, RecursionError):
        return "the input is nested too deeply to be read; simplify or replace the file."
    if isinstance(error, UnicodeEncodeError):
        wrong = error.object[error.start : error.end][:20]
        return f"'{wrong}' cannot be written as {error.encoding}; rename what holds it{_AGAIN}"
    # not the file's name, which may be anything
    said = str(error.strerror) if isinstance(error, OSError) and error.filename is not None else str(error)
    for pattern, mend in _SIGNS if not isinstance(error, LookupError | TypeError) else ():
        if re.search(pattern, said, re.IGNORECASE):
            return mend + _AGAIN
    if isinstance(error, MemoryError):
        return _MEMORY + _AGAIN
    if isinstance(error, OSError) and error.filename is not None:
        mend = _ERRNO.get(error.errno or 0, "check the path, its permissions and the disk")
        return f"{os.fsdecode(error.filename)}: {error.strerror}; {mend.rpartition('; ')[2]}."
    if isinstance(error, OSError) and error.errno in _ERRNO:
        return _ERRNO[error.errno] + _AGAIN
    return None


def tell(text: str) -> None:
    """Write a line to stderr. Names of files are other people's: what would end the line or steer the terminal is
    escaped."""
    shown = "".join(_shown(letter) for letter in text)
    if sys.stderr is not None:
        print(shown, file=sys.stderr, flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    global _stopped
    del number
    if _imports(frame):  # one that is broken off leaves tracebacks, or compiled code that aborts
        with suppress(Exception):  # of a stream that was just being written to
            sys.stdout.flush()
        os.write(2, f"{INTERRUPTED}\n".encode())
        os._exit(130)
    _stopped = True
    raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    """Whether what runs is a module being imported by the command, here or wherever it first computes."""
    while frame is not None and frame.f_code is not run.__code__:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextmanager
def _signals_handled() -> Iterator[None]:
    """Within it `_stop` answers Ctrl-C and SIGTERM, which a cluster sends."""
    is_main = threading.current_thread() is threading.main_thread()  # no other may set handlers
    before = {number: signal.getsignal(number) for number in ENDINGS if is_main}
    # Not what somebody ignores: a shell does, in the background.
    ours = [number for number in before if before[number] in (signal.SIG_DFL, signal.default_int_handler, _stop)]
    for number in ours:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


def _escape_what_streams_lack() -> None:
    """Letters that the terminal's encoding lacks are escaped; before, a file's name could end a training."""
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")


def _has_no_reader(stream: TextIO) -> bool:
    """Whether a stream leads into a pipe whose other end is closed."""
    poll = select.poll()
    poll.register(stream, 0)  # errors alone
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard(stream: TextIO) -> None:
    """Lead a stream nowhere, for what is left in it to fail no more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _shown(letter: str) -> str:
    if 0xDC80 <= ord(letter) <= 0xDCFF:  # a byte of a name that is not in UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    if unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp"):
        return letter.encode("unicode_escape", "surrogatepass").decode() if letter != "\t" else letter
    return letter
