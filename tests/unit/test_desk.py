"""A desk: each task is done once, whoever does it, and nobody waits for a helper that is not there."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numba import njit

from bayesflex.desk import Desk, lay_out, put_back, take, wait_for_all, wait_for_task
from bayesflex.team import Team

N_TASKS = 7


@njit(nogil=True)
def do_tasks(desk, done, by, who):
    while True:
        task = take(desk)
        if task < 0:
            return
        done[task] += 1
        by[who] += 1
        put_back(desk)


@njit(nogil=True)
def help_at(desk, done, by, who):
    while wait_for_task(desk):
        do_tasks(desk, done, by, who)


@njit(nogil=True)
def work(desk, done, by, rounds):
    """Lay out all tasks again and again; return how often not all of them were done once more at the end."""
    wrong = 0
    for number in range(rounds):
        lay_out(desk)
        do_tasks(desk, done, by, 0)
        wait_for_all(desk)
        for task in range(done.shape[0]):
            wrong += done[task] != number + 1
    return wrong


def worked(desk, n_helpers_at_most, rounds):
    """Work at a desk; return how often something was wrong, and how many tasks each thread has done."""
    done, by, numbers = np.zeros(N_TASKS, np.int64), np.zeros(1 + n_helpers_at_most, np.int64), iter(range(1, 100))
    with desk.at_work(lambda: help_at(desk.array, done, by, next(numbers))):
        return work(desk.array, done, by, rounds), by


def test_each_task_is_done_once_by_one_thread():
    desk = Desk(N_TASKS)
    wrong, by = worked(desk, 0, 100)
    assert wrong == 0
    assert by.sum() == 100 * N_TASKS


@pytest.mark.parametrize("n_threads", [2, 4])
def test_each_task_is_done_once_whoever_helps(n_threads):
    rounds, shared, begin = 20_000, 0, time.monotonic()
    with Team(n_threads) as team:
        # A helper comes when the machine lets it.
        while shared < 1000:
            assert time.monotonic() - begin < 60.0
            wrong, by = worked(Desk(N_TASKS, team), n_threads - 1, rounds)
            assert wrong == 0
            assert by.sum() == rounds * N_TASKS
            shared += by[1:].sum()


def test_helpers_leave_where_nobody_is_at_work_and_where_the_desk_is_closed():
    with Team(2) as team:
        desk = Desk(N_TASKS, team)
        begin = time.monotonic()
        worked(desk, 1, 10)
        while not team.lend(lambda: None):
            assert time.monotonic() - begin < 30.0
            time.sleep(0.001)
    with Team(2) as team:
        desk = Desk(N_TASKS, team)
        with desk.at_work(lambda: help_at(desk.array, np.zeros(N_TASKS), np.zeros(2), 1)):
            desk.close()
        # The end of the team waits for its helpers: a desk that is closed keeps none of them.


def test_nobody_helps_where_all_threads_work_on_their_own():
    with Team(2) as team, team.working(), team.working():
        assert team.share == 0
        wrong, by = worked(Desk(N_TASKS, team), 1, 100)
    assert wrong == 0
    assert by[1] == 0


def test_nobody_helps_once_the_team_is_gone():
    with Team(2) as team:
        desk = Desk(N_TASKS, team)
    wrong, by = worked(desk, 1, 100)
    assert wrong == 0
    assert by[1] == 0
    done = []
    team.run([lambda number=number: done.append(number) for number in range(3)])
    assert done == [0, 1, 2]


def test_threads_are_shared_among_those_that_work():
    with Team(5) as team:
        with team.working():
            assert team.share == 4
            with team.working():
                # Three are left for two: the first who asks gets two of them.
                assert team.share == 2
            assert team.share == 4
        let_go = threading.Event()
        assert [team.lend(let_go.wait) for _ in range(5)] == [True] * 4 + [False]
        let_go.set()


def test_a_task_that_fails_gives_its_thread_back():
    def fails():
        raise ValueError("as told")

    with Team(2) as team:
        for _ in range(3):
            begin = time.monotonic()
            while not team.lend(fails):
                assert time.monotonic() - begin < 30.0
                time.sleep(0.001)
