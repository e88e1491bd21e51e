"""Tasks done beside the thread that asks for them."""

from __future__ import annotations

import threading

import pytest

from bayesflex.sampling.parallel import Beside


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_tasks_return_what_they_return_and_pass_on_their_failure(n_threads):
    with Beside(n_threads) as beside:
        good, bad = beside.submit(lambda: 6 * 7), beside.submit(lambda: 1 // 0)
        assert good.result() == 42
        with pytest.raises(ZeroDivisionError):
            bad.result()


@pytest.mark.parametrize("n_threads", [1, 3])
def test_no_more_threads_are_used_than_there_may_be(n_threads):
    with Beside(n_threads) as beside:
        names = {task.result() for task in [beside.submit(threading.get_ident) for _ in range(20)]}
    assert len(names | {threading.get_ident()}) <= n_threads


def test_what_waits_is_not_begun_after_a_failure():
    begun, go = [], threading.Event()

    def wait() -> None:
        begun.append("first")
        go.wait(10.0)

    tasks = []

    def fail() -> None:
        with Beside(2) as beside:
            beside.submit(wait)
            tasks.append(beside.submit(lambda: begun.append("second")))
            tasks[0].add_done_callback(lambda _: go.set())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert tasks[0].cancelled()
    assert "second" not in begun
