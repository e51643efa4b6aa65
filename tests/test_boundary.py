"""The one boundary: every way in which a machine or a file fails is a sentence, whatever the command."""

import errno
import importlib
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from helpers import Tool
from torch.utils.data import DataLoader, Dataset

from dsrg import __main__ as console
from dsrg import boundary, cli, distributed
from dsrg.errors import LONGEST, InputError

COMMANDS = sorted(console.commands())


def deep(depth: int = 0) -> int:
    return deep(depth + 1) + 1


def no_memory_in_torch() -> None:
    torch.empty(2**62, dtype=torch.uint8)


def no_memory_in_numpy() -> None:
    np.empty(2**62, np.uint8)


def fail(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


FORESEEN = {
    "disk full, no name": (fail(OSError(errno.ENOSPC, "No space left on device")), "the disk is full; free some space"),
    "disk full, a name": (fail(OSError(errno.ENOSPC, "No space left", "a.png")), "a.png: No space left; free some"),
    "a name like a sign": (
        fail(FileNotFoundError(2, "No such file or directory", "/dev/shm/a.jpg")),
        "/dev/shm/a.jpg: No such file or directory; check the path",
    ),
    "no permission": (fail(PermissionError(13, "Permission denied", "a.png")), "a.png: Permission denied; check the"),
    "circle of links": (fail(OSError(errno.ELOOP, "Too many levels of symbolic links", "a")), "a: Too many levels"),
    "circle, resolved": (fail(RuntimeError("Symlink loop from 'a'")), "remove the link"),
    "many files": (fail(OSError(errno.EMFILE, "Too many open files")), "ulimit -n"),
    "no memory": (fail(MemoryError()), "memory ran out"),
    "no memory in torch": (no_memory_in_torch, "memory ran out"),
    "no memory in NumPy": (no_memory_in_numpy, "memory ran out"),
    "no memory in OpenCV": (fail(cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes")), "memory ran out"),
    "no memory on the GPU": (
        fail(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB; PYTORCH_CUDA_ALLOC_CONF=x")),
        "the GPU's memory ran out",
    ),
    "no driver": (fail(RuntimeError("Found no NVIDIA driver on your system.")), "device=cpu"),
    "no shared memory": (
        fail(RuntimeError("unable to open shared memory object </torch_1> in read-write mode: No such file")),
        "set workers=0",
    ),
    "bus error": (
        fail(
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's")
        ),
        "set workers=0",
    ),
    "no semaphores": (fail(OSError(errno.ENOSYS, "Function not implemented")), "set workers=0"),
    "a killed worker": (fail(RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")), "a worker process was"),
    "nested deeply": (deep, "nested too deeply"),
    "NUL": (lambda: Path("a\0b").read_bytes(), "holds a NUL"),
    "NUL in a command": (lambda: Path("a\0b").stat(), "holds a NUL"),
    "no UTF-8": (lambda: os.fsdecode(b"k\xe4se").encode(), "cannot be written as utf-8"),
    "bad input": (fail(InputError("a.jpg: cannot be read.", "unreadable")), "a.jpg: cannot be read."),
}


@pytest.mark.parametrize("name", FORESEEN)
def test_what_can_be_foreseen_is_one_sentence(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    work, said = FORESEEN[name]
    assert cli.guard(work) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
    assert "PYTORCH" not in err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("error", "status", "last"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: the disk is full; free some space"),
        (KeyboardInterrupt(), 130, boundary.INTERRUPTED),
        (MemoryError(), 2, "error: memory ran out"),
        (ZeroDivisionError("x"), 1, f"error: {boundary.FAULT}"),
    ],
    ids=["disk full", "Ctrl-C", "memory", "a fault of ours"],
)
def test_every_command_and_tool_stands_behind_it(
    command: str,
    error: BaseException,
    status: int,
    last: str,
    tool: Tool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(arguments: object) -> int:
        raise error

    monkeypatch.setitem(sys.modules, f"dsrg.commands.{command.replace('-', '_')}", SimpleNamespace(main=main))
    assert console.main([command]) == status
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith(last)
    assert ("Traceback" in err) == (status == 1)
    assert tool(command.replace("-", "_"))[0] == status


@pytest.mark.parametrize(("code", "status", "said"), [(None, 0, ""), (3, 3, ""), ("give a name", 1, "give a name\n")])
def test_a_command_may_leave_by_itself(
    capsys: pytest.CaptureFixture[str], code: int | str | None, status: int, said: str
) -> None:
    assert boundary.run(lambda: sys.exit(code)) == status
    assert capsys.readouterr().err == said


def test_a_fault_of_the_program_keeps_its_traceback_and_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert boundary.run(lambda: [][1]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-2:] == ["IndexError: list index out of range", f"error: {boundary.FAULT}"]


def process(program: str, *words: object, **more: object) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", f"import sys\nfrom dsrg import __main__, boundary\n{program}", *map(str, words)]
    # Buffered, as a user's is: a stream that fails is then met at the end.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": env}
    return subprocess.Popen(command, **usual | more)  # type: ignore[call-overload]


SLOW_IMPORT = """
import time
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == NAME:
            print("ready", flush=True)
            try:
                time.sleep(60)
            except KeyboardInterrupt:  # what compiled code does that is being imported
                raise SystemError("initialization failed")
sys.meta_path.insert(0, Slow())
sys.exit(__main__.main(["import-cues", "--cues", "none"]))
"""
SLOW_WORK = """
import time
def slow():
    print("ready", flush=True)
    time.sleep(60)
sys.exit(boundary.run(slow))
"""
WRAPPED = """
import time
def slow():
    print("ready", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        raise SystemError("returned a result with an exception set")
sys.exit(boundary.run(slow))
"""


@pytest.mark.parametrize("number", boundary.ENDINGS)
@pytest.mark.parametrize(
    "program",
    [
        SLOW_IMPORT.replace("NAME", "'dsrg.commands.import_cues'"),
        SLOW_IMPORT.replace("NAME", "'dsrg.data.cues'"),
        SLOW_WORK,
        WRAPPED,
    ],
    ids=["importing a command", "importing what computes", "working", "in compiled code"],
)
def test_a_signal_ends_with_one_line(program: str, number: signal.Signals) -> None:
    child = process(program)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    child.send_signal(number)
    _, err = child.communicate(timeout=30)
    assert (child.returncode, err.decode()) == (130, boundary.INTERRUPTED + "\n")


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("sys.exit(__main__.main(['--version']))", 0),
        ("sys.exit(__main__.main(['check-data', '--help']))", 0),
        ("sys.exit(boundary.run(lambda: print('x' * 100_000)))", 130),
    ],
    ids=["at the end", "help", "amid the work"],
)
def test_a_reader_that_has_seen_enough_is_no_error(program: str, status: int) -> None:
    read, write = os.pipe()
    os.close(read)
    child = process(program, stdout=write)
    os.close(write)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (status, b"")


def test_output_that_finds_no_room_is_told() -> None:
    with Path("/dev/full").open("wb") as full:
        child = process("sys.exit(__main__.main(['--version']))", stdout=full)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert err.decode() == (
        "error: standard output: cannot be written (No space left on device); free some space, then run the same "
        "command again.\n"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_letters_that_the_output_lacks_are_escaped(encoding: str) -> None:
    program = "import os\nsys.exit(boundary.run(lambda: print('Krähe 猫', os.fsdecode(b'k\\xe4se'))))"
    child = process(program, env=os.environ | {"PYTHONIOENCODING": encoding})
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, b"")
    assert out.decode(encoding) == {
        "ascii": "Kr\\xe4he \\u732b k\\udce4se\n",
        "utf-8": "Krähe 猫 k\\udce4se\n",
    }.get(encoding, "Krähe \\u732b k\\udce4se\n")


def test_names_in_sentences_neither_end_the_line_nor_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"k\xe4se\n\x1b[2J\r.jpg")
    assert cli.guard(fail(InputError(f"{name}: cannot be read."))) == 2
    assert capsys.readouterr().err == "error: k\\xe4se\\n\\x1b[2J\\r.jpg: cannot be read.\n"


def test_a_name_that_is_not_utf_8_is_named_by_a_real_process(tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"k\xe4se")
    words = ["eval-miou", "--pred", name, "--gt", name, "--classes", name]
    child = process("sys.exit(__main__.main(sys.argv[1:]))", *words)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, b"")
    assert err.startswith(f"error: {tmp_path}/k\\xe4se: ".encode())
    assert err.count(b"\n") == 1


def test_of_a_sentence_that_quotes_pages_the_file_and_the_mend_stay() -> None:
    said = str(InputError(f"a.csv: the label '{'x' * 100_000}' is not known; correct it."))
    assert len(said) == LONGEST
    assert said.startswith("a.csv: the label 'xxx")
    assert said.endswith("xxx' is not known; correct it.")


def refuse_in_a_process() -> None:
    raise InputError("a.png: is broken.", "mask unreadable")


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_bad_input_keeps_its_kind_across_processes() -> None:
    error = pickle.loads(pickle.dumps(InputError("a.png: is broken.", "mask unreadable")))
    assert (str(error), error.kind) == ("a.png: is broken.", "mask unreadable")
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool, pytest.raises(InputError) as caught:
        pool.submit(refuse_in_a_process).result()
    assert (str(caught.value), caught.value.kind) == ("a.png: is broken.", "mask unreadable")


def test_a_process_of_a_pool_that_is_killed_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
            pool.submit(kill_itself).result()

    assert cli.guard(work) == 2
    assert "a worker process was ended from outside" in capsys.readouterr().err


class Deadly(Dataset[int]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        kill_itself()
        return index


def test_a_worker_of_a_loader_that_is_killed_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.guard(lambda: list(DataLoader(Deadly(), num_workers=1))) == 2
    assert "a worker process was ended from outside" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gpu", "the devices are auto, cpu, cuda"),
        ("meta", "the devices are"),
        ("cpu:1", "the devices are"),
        ("", "the devices are"),
        ("cuda:-1", "the devices are"),
        ("cuda:99999999999999999999", "the devices are"),
        ("CUDA", "the devices are"),
    ],
)
def test_a_device_that_is_none_is_refused(name: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        distributed.pick_device(name)
    assert str(caught.value).startswith(f"device = {name}: cannot be used here ({reason}")


@pytest.mark.parametrize(
    ("count", "name", "reason"),
    [
        (0, "cuda", "no GPU"),
        (0, "cuda:0", "no GPU"),
        (1, "cuda:7", "one GPU, cuda:0"),
        (4, "cuda:7", "cuda:0 to cuda:3"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(
    count: int, name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(InputError, match=reason):
        distributed.pick_device(name)


def test_workers_need_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed.check_workers(2)
    monkeypatch.setattr(distributed.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    with pytest.raises(InputError, match=r"workers = 2: .*1.0 MiB of /dev/shm are free.*set workers=0"):
        distributed.check_workers(2)

    def none(**_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/psm_1")

    monkeypatch.setattr(distributed.shared_memory, "SharedMemory", none)
    with pytest.raises(InputError, match=r"workers = 2: .*set workers=0"):
        distributed.check_workers(2)
    distributed.check_workers(0)


def test_nothing_heavy_is_imported_before_the_boundary_stands() -> None:
    code = "import json, sys; import dsrg.boundary; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "yaml", "pydantic", "multiprocessing"} & set(json.loads(done.stdout))


def test_every_command_can_be_imported() -> None:
    for name in COMMANDS:
        assert callable(importlib.import_module(f"dsrg.commands.{name.replace('-', '_')}").main)
