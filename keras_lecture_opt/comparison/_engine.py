"""Where runs are trained: in this process, or on an executor."""

import concurrent.futures
import contextlib
import functools
import math
import multiprocessing
import os
import pickle
import sys
import threading
import time
import uuid

import filelock
import tqdm

from keras_lecture_opt._arguments import check_integer, must_be
from keras_lecture_opt._interrupts import deaf_to_ctrl_c
from keras_lecture_opt.comparison import _models, _order, _run

FIRST = 3  # epochs, after which it says how long all will take


def check_executor(executor):
    """Raise an error if this is not an executor, or one in whose processes TensorFlow hangs."""
    if executor is not None and not isinstance(executor, concurrent.futures.Executor):
        raise TypeError(must_be("executor", "a concurrent.futures.Executor or None", executor))
    context = getattr(executor, "_mp_context", None)  # of a ProcessPoolExecutor
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "`executor` must not fork this process, as ProcessPoolExecutor does by default on "
            "Linux: TensorFlow hangs in forked processes. Use `comparison.process_pool()`, or "
            "give ProcessPoolExecutor `mp_context=multiprocessing.get_context('spawn')`."
        )


def process_pool(workers: int | None = None) -> concurrent.futures.ProcessPoolExecutor:
    """Return an executor of processes on this machine; Ctrl-C reaches only the parent.

    A script that uses it needs `if __name__ == "__main__":` around what it does.

    Args:
        workers: number of processes. Defaults to the number of cores.

    Returns:
        A `concurrent.futures.ProcessPoolExecutor`.
    """
    workers = (os.cpu_count() or 1) if workers is None else check_integer("workers", workers, 1)
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    pool = concurrent.futures.ProcessPoolExecutor(workers, spawn, initializer=_watch_parent)
    with deaf_to_ctrl_c():
        for _ in range(workers):
            pool.submit(int)
    return pool


def _watch_parent():
    """End this process when its parent ends, even by a kill."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)  # each finished epoch is saved

    threading.Thread(target=watch, daemon=True).start()


class Engine:
    """Trains runs in this process or on an executor, and shows how far they are.

    While it is in use, a file in the folder holds what the processes of the executor need. They
    stop when it disappears. It trains for `seconds`, from `begun`, a `time.monotonic()`, or from
    now.
    """

    def __init__(self, folder, workload, optimizers, executor, seconds=math.inf, begun=math.inf):
        self.workload, self.optimizers, self.executor = workload, optimizers, executor
        self.order = folder / "orders" / f"{uuid.uuid4()}.pickle"
        self.lock = _lock_of(self.order)
        self.seconds, self.begun = seconds, min(begun, time.monotonic())

    def __enter__(self):
        if self.executor is not None:
            order = _order.dumps(self.workload, self.optimizers)
            self.order.parent.mkdir(exist_ok=True)
            for left in self.order.parent.glob("*.pickle"):  # by parents that were killed
                _withdraw(left)
            self.lock.acquire()
            self.order.write_bytes(order)
        self.bar, self.entered = tqdm.tqdm(unit="epoch"), time.monotonic()
        return self

    def __exit__(self, *error):
        self.bar.close()
        _models.forget()
        if self.executor is not None:
            self.lock.release()
            _withdraw(self.order)

    def has_time(self):
        """Return whether its seconds are not over."""
        return time.monotonic() < self.begun + self.seconds

    def train(self, runs, epochs, later=0):
        """Train the runs up to an epoch, in their order; await those that another process trains.

        `later` is how many epochs will follow in later calls.
        """
        rows = {run: run.rows(epochs) for run in runs}
        waiting = [run for run in runs if not _run.ended(rows[run], epochs)]
        self.bar.total = self.bar.n + later + sum(epochs - len(rows[run]) for run in waiting)
        while waiting and self.has_time():
            locked = (self._here if self.executor is None else self._there)(waiting, epochs)
            if len(locked) == len(waiting):
                time.sleep(1)
            waiting = [run for run in locked if not _run.ended(run.rows(epochs), epochs)]

    def _here(self, runs, epochs):
        """Train in this process; return the runs that another process trains."""
        locked = []
        for run in runs:
            self.bar.set_description(_printable(f"up to epoch {epochs}: {run}"))
            if not self.has_time():
                break
            limits = (epochs, self.has_time, self._advance)
            if not _run.train(run, self.workload, self.optimizers[run.optimizer], *limits):
                locked.append(run)
            elif self.has_time():  # a run that diverged has taken fewer epochs
                self.bar.total -= epochs - len(run.rows(epochs))
        return locked

    def _there(self, runs, epochs):
        """Train on the executor; return the runs that another command trains."""
        self.bar.set_description(f"up to epoch {epochs}")
        before = sum(len(run.rows(epochs)) for run in runs) - self.bar.n
        futures = {self.executor.submit(_train, self.order, run, epochs): run for run in runs}
        try:
            waiting, locked = set(futures), []
            while waiting and self.has_time():
                rest = min(1, self.begun + self.seconds - time.monotonic())
                first = concurrent.futures.FIRST_COMPLETED
                done, waiting = concurrent.futures.wait(waiting, max(0, rest), first)
                locked += [futures[future] for future in done if not future.result()]
                self._advance(sum(len(run.rows(epochs)) for run in runs) - before - self.bar.n)
            if waiting:  # those in the middle of a step end soon; a slow one is not awaited
                self.order.unlink()
                for future in waiting:
                    future.cancel()
                concurrent.futures.wait(waiting, 2)
                return locked
            trained = [run for run in runs if run not in locked]
            if lost := [run.folder for run in trained if not _run.ended(run.rows(epochs), epochs)]:
                raise RuntimeError(
                    f"{len(lost)} runs are not where they should be, such as {lost[0]}. "
                    "All processes of the executor must see `folder` at this path."
                )
            return locked
        except concurrent.futures.BrokenExecutor as error:
            error.add_note("What is saved stays: the same call with a new executor continues.")
            raise
        finally:
            for future in futures:
                future.cancel()

    def _advance(self, epochs=1):
        """Show that more epochs are trained; after the first ones, say how long all will take."""
        before = self.bar.n
        self.bar.update(epochs)
        if before < FIRST <= self.bar.n < self.bar.total:
            now = time.monotonic()
            # With tracing, validation, saving, and the processes of the executor.
            left = (now - self.entered) / self.bar.n * (self.bar.total - self.bar.n)
            is_late = now - self.begun + left > self.seconds
            stop = f"; it stops after {duration(self.seconds)}" * is_late
            say(f"About {duration(left)} left, as the first {self.bar.n} epochs tell{stop}.")


def say(text):
    """Write a line beside a progress bar."""
    tqdm.tqdm.write(_printable(text), sys.stderr)


def duration(seconds):
    """Return a time as a text, such as "12 minutes"."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"


def _printable(text):
    """Return what the terminal can show of a text."""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _lock_of(order):
    return filelock.FileLock(f"{order}.lock")


def _withdraw(order):
    """Delete an order if its process has ended."""
    lock = _lock_of(order)
    with contextlib.suppress(filelock.Timeout, OSError):
        with lock.acquire(timeout=0):
            order.unlink(missing_ok=True)
        os.unlink(lock.lock_file)


@functools.lru_cache(1)
def _load(order):
    """Return workload and optimizers, the same ones for all runs of this process."""
    return pickle.loads(order.read_bytes())


def _train(order, run, epochs):
    """Train a run in a process of an executor."""
    if not order.exists():  # nobody waits for it now
        return True
    workload, optimizers = _load(order)
    return _run.train(run, workload, optimizers[run.optimizer], epochs, wanted=order.exists)
