"""Workers: the same results in the same order, and nothing of them is left."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from structdiff.system.errors import UserError
from structdiff.system.workers import in_order

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")


def square(number: int) -> tuple[int, int]:
    """Return the process and the square; the first items take the longest."""
    time.sleep(0.02 * max(0, 5 - number))
    return os.getpid(), number**2


@pytest.mark.parametrize("workers", [1, 2, 5, 40])
def test_results_are_in_order_whatever_the_number_of_workers(workers):
    results = list(in_order(square, range(20), workers))
    assert [result for _, result in results] == [number**2 for number in range(20)]
    processes = {process for process, _ in results}
    assert (processes == {os.getpid()}) == (workers == 1)
    assert len(processes) <= workers
    assert not multiprocessing.active_children()


def test_one_item_and_none_stay_in_the_process():
    assert list(in_order(square, [3], 8)) == [(os.getpid(), 9)]
    assert list(in_order(square, [], 8)) == []


def test_an_error_of_a_worker_is_raised_as_it_is():
    def fail(number: int) -> int:
        if number == 3:
            raise UserError(f"peptide {number}: cannot be folded")
        return number

    results = in_order(fail, range(8), 2)
    assert [next(results) for _ in range(2)] == [0, 1]
    with pytest.raises(UserError, match="peptide 3: cannot be folded"):
        list(results)
    assert not multiprocessing.active_children()


class NeedsTwo(Exception):
    """Its pickle cannot be read again."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


@pytest.mark.parametrize("kind", ["error", "class", "result"])
def test_an_error_that_cannot_be_sent_keeps_its_reason(kind):
    """It was told as a lack of memory, or as a fault of its own class."""

    class Local(Exception):
        pass

    def fail(number: int):
        if kind == "result":
            return lambda: number
        raise NeedsTwo("cause", number) if kind == "error" else Local(f"cause and {number}")

    with pytest.raises(Exception, match=r"cause and 0|[Cc]an't") as caught:
        list(in_order(fail, range(4), 2))
    assert not isinstance(caught.value, UserError)


def test_a_killed_worker_is_told():
    def die(number: int) -> int:
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(UserError, match=r"exit status -9.*memory is short"):
        list(in_order(die, range(8), 2))
    assert not multiprocessing.active_children()


def test_workers_end_where_no_more_results_are_wanted():
    results = in_order(square, range(100), 3)
    next(results)
    assert len(multiprocessing.active_children()) == 3
    results.close()
    assert not multiprocessing.active_children()


SCRIPT = """
import os, signal, sys, time
from structdiff.system.workers import in_order

def work(number):
    os.write(1, f"worker {os.getpid()}\\n".encode())  # at once: lines of two do not mix
    time.sleep(1000)

def interrupt(*_):
    raise KeyboardInterrupt

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, interrupt)
try:
    list(in_order(work, range(4), 2))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_workers_too(number):
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        workers = [psutil.Process(int(process.stdout.readline().split()[1])) for _ in range(2)]
        if number == signal.SIGKILL:
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)  # as a terminal does
        try:
            output, errors = process.communicate(timeout=300)
        finally:
            process.kill()
    assert (output == "interrupted\n") == (number != signal.SIGKILL)
    assert errors == ""
    gone, left = psutil.wait_procs(workers, timeout=300)
    assert len(gone) == 2
    assert not left
