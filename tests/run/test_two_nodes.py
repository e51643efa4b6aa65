"""Two nodes under torchrun, each with an agent of its own: one dies, comes back, and the training goes on."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import read_log
from two_nodes_program import ITERATIONS, LAST

from dsrg.files import disk

PROGRAM = Path(__file__).parents[1] / "two_nodes_program.py"
SECONDS = 240


def node(number: int, port: int, directory: Path) -> subprocess.Popen[bytes]:
    """The agent of a node; the first holds the rendezvous."""
    words = [
        *("--nnodes=2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-id=test", "--rdzv-backend=c10d"),
        f"--rdzv-endpoint=127.0.0.1:{port}",
        f"--rdzv-conf=is_host={number == 0},keep_alive_interval=1,keep_alive_max_attempt=3",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *words, str(PROGRAM), str(directory)],
        env=os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(PROGRAM.parents[1]),
            # Else the first agent tells its address in the first round alone, and one that comes anew waits for it.
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        },
        stdout=(directory / f"node-{number}.log").open("ab"),
        stderr=subprocess.STDOUT,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="kills with SIGKILL, and listens on 127.0.0.1")
def test_a_node_that_dies_and_comes_back_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [node(number, port, tmp_path) for number in (0, 1)]
    try:
        assert nodes[1].wait(SECONDS) != 0  # it was killed
        assert (tmp_path / "died").exists()
        nodes[1] = node(1, port, tmp_path)
        end = time.monotonic() + SECONDS
        codes = [one.wait(max(1, end - time.monotonic())) for one in nodes]
    finally:
        for one in nodes:
            one.kill()
    assert codes == [0, 0], (tmp_path / "node-0.log").read_text()[-3000:]
    assert [line["iteration"] for line in read_log(tmp_path / "toy")] == list(range(1, ITERATIONS + 1))
    for rank in (0, 1):
        assert disk.read_json(tmp_path / f"start-{rank}-0.json") == 0
        assert disk.read_json(tmp_path / f"start-{rank}-1.json") == LAST
        # The gradient is the mean of -1 and -2, and each iteration counts once.
        assert disk.read_json(tmp_path / f"end-{rank}.json") == pytest.approx(0.1 * 1.5 * ITERATIONS)
