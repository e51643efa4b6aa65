"""The command line that every tool shares: --cfg FILE key=value …"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections.abc import Callable, Sequence

from dsrg import config, distributed
from dsrg.errors import InputError
from dsrg.run import Run


def main(
    description: str,
    call: Callable[..., object],
    arguments: Sequence[str] | None = None,
    parents: Sequence[argparse.ArgumentParser] = (),
) -> int:
    """Parse --cfg and the overrides, check the data, and call a stage.

    Args:
        description: What the tool does, for --help.
        call: Gets the run, and the options of `parents` as keyword arguments.
        arguments: The words of the command line; None for the process's own.
        parents: Parsers, made with add_help=False, of the options that this tool has besides.

    Returns:
        The exit status: 0; 2 after one sentence on stderr where the user can mend the input; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(description=description, parents=parents)
    parser.add_argument(
        "--cfg", required=True, metavar="FILE", help="configuration, such as configs/demo/resnet18.yaml"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as data.root=photos dsrg.lr=1e-3")
    options = vars(parser.parse_args(arguments))
    cfg, overrides = options.pop("cfg"), options.pop("overrides")

    def work() -> None:
        run = Run(config.load(cfg, overrides))
        run.start()
        call(run, **options)

    return guard(work)


def guard(work: Callable[[], object]) -> int:
    """Run `work`; turn the errors that users meet into one sentence and an exit status."""
    keep_freed_memory()
    try:
        work()
    except InputError as error:
        # From a worker of the data loader comes a whole traceback; the sentence is its end.
        sentence = str(error).rpartition(f"{InputError.__name__}: ")[2].strip()
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues from the last checkpoint", file=sys.stderr)
        return 130
    finally:
        distributed.stop()
    return 0


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks for the next iteration in place of giving them back to the system.

    By default each activation of some 100 KB and more is mapped anew at every iteration, and the page faults cost a
    third of the time of training MobileNetV2 on the CPU (231 against 146 ms a photograph at 257 px, one thread).
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library, musl for one
        return
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of <malloc.h>
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)
