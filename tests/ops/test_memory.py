"""Memory that is kept: reused, bounded, shared with nobody, safe across threads and forks.

In processes of their own: whose memory tensors are made in is decided once for a process.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

import ops


def run(body: str) -> str:
    program = "import os, threading, torch, ops\nops.use('native', devices=('cpu',))\n" + textwrap.dedent(
        body
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _native():
    ops.use("native", devices=("cpu",))


def test_a_block_is_reused_and_counted():
    run("""
        before = torch.ones(4 << 20)
        assert ops.memory_state() == (0, 0)
        assert ops.keep_memory() and ops.keep_memory()
        x = torch.ones(4 << 20)  # 16 MiB
        used, kept = ops.memory_state()
        assert used == 16 << 20 and kept == 0, (used, kept)
        place = x.data_ptr()
        assert place % (2 << 20) == 0
        del x, before
        assert ops.memory_state() == (0, 16 << 20)
        y = torch.empty((4 << 20) - 1000)
        assert y.data_ptr() == place
        small = torch.ones(1000)
        assert ops.memory_state() == (16 << 20, 0)
    """)


def test_what_is_kept_stays_near_the_peak():
    run("""
        ops.keep_memory()
        slack = 256 << 20
        for size in range(1, 400, 7):  # ever other sizes: nothing fits again
            x = torch.empty(size << 20, dtype=torch.uint8)
            del x
            used, kept = ops.memory_state()
            assert used + kept <= (size << 20) * 9 / 8 * 9 / 8 + slack + (4 << 20), (size, used, kept)
    """)


def test_values_survive_other_threads():
    run("""
        ops.keep_memory()
        wrong = []

        def work(value):
            for turn in range(60):
                x = torch.full((1 << 20,), float(value))
                y = x * 2
                del x
                z = torch.full((1 << 20,), -1.0)
                if not bool((y == 2 * value).all()):
                    wrong.append(value)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert not wrong
        assert ops.memory_state()[0] == 0
    """)


def test_a_child_of_a_fork_allocates_while_parents_threads_did():
    run("""
        torch.set_num_threads(1)
        ops.keep_memory()
        begun, stop = threading.Event(), threading.Event()

        def churn():
            while not stop.is_set():
                torch.empty(1 << 20)
                begun.set()

        # What is set up once, at the first use, is set up: a fork in the middle of that would hang the child
        # whoever allocates.
        torch.empty(1 << 20)[-1] = 1
        thread = threading.Thread(target=churn)
        thread.start()
        begun.wait()
        for _ in range(20):
            child = os.fork()
            if child == 0:
                x = torch.empty(1 << 20)
                x[-1] = 1
                del x
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        thread.join()
    """)


def test_too_much_is_an_error_that_python_sees():
    run("""
        ops.keep_memory()
        try:
            torch.empty(1 << 60, dtype=torch.uint8)
        except RuntimeError as error:
            assert "memory" in str(error), error
        else:
            raise AssertionError("an exbibyte")
        assert torch.ones(1 << 20).sum() == 1 << 20
    """)


def test_storages_that_grow_and_arrays_that_stay():
    run("""
        ops.keep_memory()
        x = torch.ones(1 << 20)
        x.resize_(3 << 20)
        assert x[: 1 << 20].sum() == 1 << 20
        array = torch.full((1 << 20,), 7.0).numpy()
        other = torch.zeros(1 << 20)
        assert array.min() == 7
    """)
