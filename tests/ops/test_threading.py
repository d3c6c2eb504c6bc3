"""Numba kernels share the processor politely."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numba
import pytest
import torch

from rilievo.ops.ray_weights import weights_from_alpha
from rilievo.ops.threading import threading_layer


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_openmp_is_never_chosen():
    assert threading_layer() in ("tbb", "workqueue")


def test_importing_the_package_wakes_up_no_compiler():
    assert (
        run("import sys, rilievo, rilievo.ops; print('numba' in sys.modules, 'torch' in sys.modules)") == "False False"
    )


def test_two_python_threads_may_enter_kernels_at_once():
    alpha, offsets = torch.full((20000,), 0.01), torch.arange(0, 20001, 100)
    expected, _ = weights_from_alpha(alpha, offsets)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: weights_from_alpha(alpha, offsets)[0], range(40)))
    assert all(torch.equal(r, expected) for r in results)


TWO_THREADS = """
import torch
from concurrent.futures import ThreadPoolExecutor
from rilievo.ops.ray_weights import weights_from_alpha
from rilievo.ops.threading import threading_layer
alpha, offsets = torch.full((20000,), 0.01), torch.arange(0, 20001, 100)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda _: weights_from_alpha(alpha, offsets), range(40)))
print(threading_layer())
"""


def test_the_work_queue_survives_two_python_threads_behind_its_lock():
    assert run(TWO_THREADS, NUMBA_THREADING_LAYER="workqueue") == "workqueue"


def test_kernels_run_where_no_machine_code_can_be_kept():
    """As with a read-only installation and a home that cannot be written: Numba then has no place for its files."""
    code = "from numba.core import caching\ncaching.CacheImpl._locator_classes = []\n" + TWO_THREADS
    assert run(code) in ("tbb", "workqueue")


def test_the_callers_own_number_of_numba_threads_is_left_alone():
    numba.set_num_threads(1)
    weights_from_alpha(torch.rand(10), torch.tensor([0, 10]))
    assert numba.get_num_threads() == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_use_as_many_threads_as_torch(threads, monkeypatch):
    used = []
    original = numba.set_num_threads
    monkeypatch.setattr(numba, "set_num_threads", lambda n: (used.append(n), original(n)))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        weights_from_alpha(torch.rand(10), torch.tensor([0, 10]))
    finally:
        torch.set_num_threads(before)
    assert used[0] == min(threads, numba.config.NUMBA_NUM_THREADS)
