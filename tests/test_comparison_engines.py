"""Wherever runs are trained, the numbers are those of this process: to the last bit."""

import concurrent.futures
import contextlib
import json
import os
import signal
import threading

import distributed
import keras
import numpy as np
import pytest
import studies

from keras_lecture_opt import Adam, comparison
from keras_lecture_opt.comparison import _compare, _engine, _order, _run, _search

ARGUMENTS = ({"signed": studies.Signed}, [0.001, 0.01], [(1, 2), (12, 1)])
SEEDS = [1]


@pytest.fixture(scope="module")
def workload():
    return studies.workload()


@pytest.fixture(scope="module")
def expected(workload, tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    return studies.numbers(comparison.compare(workload, *ARGUMENTS, folder, SEEDS))


@pytest.mark.full
def test_commands_share_the_work(workload, expected, tmp_path, monkeypatch):
    """Two calls in one folder, at the same time: what one trains, the other skips."""
    train_epoch, trained = _run.train_epoch, []

    def counted(*arguments):
        trained.append(threading.get_ident())
        return train_epoch(*arguments)

    monkeypatch.setattr(_run, "train_epoch", counted)
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        calls = [
            threads.submit(comparison.compare, workload, *ARGUMENTS, tmp_path, SEEDS)
            for _ in range(2)
        ]
        results = [studies.numbers(call.result()) for call in calls]
    assert results == [expected, expected]
    assert len(trained) == sum(map(len, expected.values()))
    assert len(set(trained)) == 2  # both had something to do


@pytest.mark.full
def test_threads_are_an_executor(workload, expected, tmp_path):
    """Keras keeps much of its state per thread: the dtype policy, the global generator."""
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        study = comparison.compare(workload, *ARGUMENTS, tmp_path, SEEDS, executor=threads)
    assert studies.numbers(study) == expected
    assert not list((tmp_path / "orders").iterdir())


@pytest.mark.full
def test_dask_redoes_what_a_killed_worker_left(workload, expected, tmp_path):
    """A real cluster of two processes; one is killed in the middle of a run."""
    killed, ended = [], threading.Event()

    def kill(client):
        """Kill the worker that is in the middle of the second rung."""
        pids = client.run(os.getpid)
        while not killed and not ended.wait(0.01):
            saved = [_run.read(s, only="rows") for s in tmp_path.glob("runs/*/state.npz")]
            if any(1 < len(json.loads(str(state["rows"]))) < 9 for state in saved):
                [worker] = [w for w, tasks in client.processing().items() if tasks]
                os.kill(pids[worker], signal.SIGKILL)
                killed.append(worker)

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        watcher = threading.Thread(target=kill, args=(client,))
        watcher.start()
        executor = client.get_executor()
        study = comparison.compare(workload, *ARGUMENTS, tmp_path, SEEDS, executor=executor)
        ended.set()
        watcher.join()
    assert killed
    assert studies.numbers(study) == expected


@pytest.mark.full
def test_search_in_processes_that_stop_in_time(tmp_path):
    """Stopped by the clock, wherever that is, and continued here: the same numbers."""
    x = np.arange(24.0).reshape(8, 3) / 24
    workload = comparison.Workload(studies.small, (x, x.sum(axis=1)), "mse")
    search = {"learning_rate": (0.001, 0.1), "beta_1": [0.5, 0.9]}
    protocol = {"search": search, "trials": 2, "rungs": [(1, 2), (30, 1)], "seeds": 1}
    only = (workload, {"Adam": Adam})
    with comparison.process_pool(1) as pool, contextlib.suppress(TimeoutError):
        comparison.compare(*only, **protocol, folder=tmp_path / "a", executor=pool, seconds=12)
    resumed = comparison.compare(*only, **protocol, folder=tmp_path / "a")
    whole = comparison.compare(*only, **protocol, folder=tmp_path / "b")
    assert studies.numbers(resumed) == studies.numbers(whole)


def test_workers_stop_when_nobody_waits(workload, tmp_path):
    """After Ctrl-C, or when another run has failed, a worker ends after its step."""
    tried = _search.grid([0.01], ARGUMENTS[0])
    [run] = _compare._make_runs(tmp_path, workload, ARGUMENTS[0], tried, [0]).values()
    with _engine.Engine(tmp_path, workload, ARGUMENTS[0], threading) as engine:
        order = engine.order
        args = (run, workload, studies.Signed, 5)
        _run.train(*args, wanted=order.exists, progress=order.unlink)
        assert len(run.rows(5)) == 1
    assert _engine._train(order, run, 5) is True
    assert len(run.rows(5)) == 1


def test_orders_of_killed_parents_disappear(workload, tmp_path):
    (tmp_path / "orders").mkdir()
    left = tmp_path / "orders" / "left.pickle"
    left.write_bytes(b"")
    with _engine.Engine(tmp_path, workload, ARGUMENTS[0], threading) as engine:
        assert not left.exists()
        with _engine.Engine(tmp_path, workload, ARGUMENTS[0], threading):
            assert engine.order.exists()  # its process lives


def test_processes_that_do_not_see_the_folder_are_an_error(workload, tmp_path, monkeypatch):
    """They find no order, and do nothing; a relative folder they look for at the same place."""

    class Elsewhere(concurrent.futures.Executor):
        def submit(self, function, order, run, epochs):
            assert order.is_absolute()
            future = concurrent.futures.Future()
            future.set_result(function(order.with_name("unseen"), run, epochs))
            return future

    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="2 runs are not where they should be, such as /"):
        comparison.compare(workload, *ARGUMENTS, "runs", SEEDS, executor=Elsewhere())


def test_failure_of_one_run_ends_the_comparison(workload, tmp_path, monkeypatch):
    def fail(*arguments):
        raise np.linalg.LinAlgError("of the test")

    monkeypatch.setattr(_run, "train_epoch", fail)
    with (
        concurrent.futures.ThreadPoolExecutor(1) as threads,
        pytest.raises(np.linalg.LinAlgError, match="of the test"),
    ):
        comparison.compare(workload, *ARGUMENTS, tmp_path, SEEDS, executor=threads)
    assert not list((tmp_path / "orders").iterdir())


def test_pool_starts_clean_processes_that_ignore_ctrl_c():
    """What they get knows the classes of a script, here of this function."""

    class Weighted(keras.losses.Loss):
        def __init__(self, weight):
            super().__init__()
            self.weight = weight

        def call(self, y_true, y_pred):
            return self.weight * (y_true - y_pred) ** 2

    class Count(keras.metrics.Mean):
        def __init__(self, weight=1.0, name="count", dtype=None):
            super().__init__(name)
            self.weight = weight

        def update_state(self, y_true, y_pred, sample_weight=None):
            return super().update_state(self.weight)

    class Named(Count):
        def get_config(self):
            return {"weight": self.weight, "name": self.name}

    def orders(metric):
        made = comparison.Workload(
            lambda: keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]),
            data=(np.ones((4, 1)), np.ones(4)),
            loss=Weighted(3.0),
            metrics=[metric],
        )
        return _order.dumps(made, {"signed": studies.Signed})

    before = signal.getsignal(signal.SIGINT)
    with comparison.process_pool(1) as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
        assert pool.submit(os.getpid).result() != os.getpid()
        assert pool.submit(studies.ordered, orders(Named(5.0))).result() == (12.0, 5.0)
        with pytest.raises(TypeError, match=r"`metrics` cannot be copied.*weight.*`get_config`"):
            orders(Count(5.0))
        with pytest.raises(concurrent.futures.BrokenExecutor):
            pool.submit(os.abort).result()
    assert signal.getsignal(signal.SIGINT) == before
    with pytest.raises(ValueError, match="`workers` must be"):
        comparison.process_pool(0)
