"""Train the lecture's network on MNIST on several machines, or in several processes on this one.

    python examples/fit_several_machines.py --local 2

On a cluster, start the same command without `--local` on each machine, with TF_CONFIG set and a
`--log-dir` that all machines share. Without both, it trains in one process.

A worker that dies ends the others. The same command goes on from the last complete epoch, and ends
with the weights of a run that never stopped; with `--local` this happens by itself.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras_lecture_opt  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import _programs
import keras
import tensorflow as tf

from keras_lecture_opt import _batches, mnist
from keras_lecture_opt._resolve import optimizer_class
from keras_lecture_opt.rules._hyperparameters import check_argument
from keras_lecture_opt.several_machines import Backup, DistributedModel, is_chief

TB_LOGS = pathlib.Path(__file__).resolve().parents[1] / "tb_logs"
ATTEMPTS = 5  # of `--local`, if workers are killed
SECONDS_TO_END = 30  # for the others, once a worker has died


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    positive = _programs.positive_integer
    parser.add_argument(
        "--local", type=positive, metavar="N", help="start N processes on this machine"
    )
    _programs.add_optimizer_option(parser)
    parser.add_argument("--learning-rate", type=float, metavar="X", help="default: the rule's")
    parser.add_argument(
        "--batch-size", type=positive, default=128, help="of all workers together; default: 128"
    )
    _programs.add_training_options(parser)
    _programs.add_mnist_options(parser)
    parser.add_argument(
        "--log-dir",
        type=_programs.folder,
        help="for TensorBoard and the backups; default: tb_logs/several_machines/DATE_TIME",
    )
    args = parser.parse_args(argv)

    try:
        workers = workers_of(os.environ.get("TF_CONFIG"))
        if args.local and workers:
            parser.error("--local starts processes of its own: unset TF_CONFIG")
        if workers and not args.log_dir:
            parser.error("--log-dir is required with TF_CONFIG: a folder that all machines share")
        workers = args.local or workers or 1
        if args.batch_size % workers:
            parser.error(f"--batch-size {args.batch_size} cannot be shared by {workers} workers")
        if args.train_examples and args.train_examples < args.batch_size:
            parser.error(f"--train-examples must be at least --batch-size, {args.batch_size}")
        if args.learning_rate is not None:
            check_argument(args.optimizer, "learning_rate", args.learning_rate)
        mnist.check_network(args.dropout, ())
        now = datetime.datetime.now().isoformat("_", "milliseconds").replace(":", "-")
        args.log_dir = args.log_dir or TB_LOGS / "several_machines" / now
        _programs.check_writable(args.log_dir)
    except (OSError, TypeError, ValueError) as error:  # before anything is loaded or trained
        parser.error(str(error))
    return args


def workers_of(config):
    """Return how many workers TF_CONFIG names, or None if it is not set."""
    if not config:
        return None
    try:
        cluster, task = (json.loads(config)[key] for key in ("cluster", "task"))
        if task["index"] < 0:
            raise IndexError
        if not all(isinstance(addresses, list) for addresses in cluster.values()):
            raise TypeError
        _ = cluster[task["type"]][task["index"]]
        return sum(map(len, cluster.values()))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise ValueError(
            'TF_CONFIG must be like {"cluster": {"worker": ["host:port", ...]}, "task": {"type": '
            f'"worker", "index": 0}}}}, not {config}'
        ) from None


def supervise(command, workers):
    """Run the command in so many processes; if one is killed, end them and start all again.

    Returns:
        The exit status: 0 if all processes have ended with 0.
    """
    for _ in range(ATTEMPTS):
        processes = []
        try:
            threads = str(max(1, os.cpu_count() // workers))
            for config in _programs.local_cluster(workers):
                env = {**os.environ, "TF_CONFIG": config, "TF_NUM_INTRAOP_THREADS": threads}
                # Ctrl-C reaches this process alone, which ends the others.
                processes.append(subprocess.Popen(command, env=env, start_new_session=True))
            statuses = wait_for(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        if not any(status < 0 for status in statuses):
            return max(statuses)
        ends = (f"worker {i}: {status}" for i, status in enumerate(statuses))
        print(f"A worker was killed. Exit statuses: {', '.join(ends)}.", flush=True)
    return 1


def wait_for(processes):
    """Wait until all processes have ended, or one has failed and the others do not end.

    Returns:
        Their exit statuses: negative for a signal.
    """
    deadline = math.inf
    while None in (statuses := [process.poll() for process in processes]):
        if deadline == math.inf and any(statuses):
            deadline = time.monotonic() + SECONDS_TO_END
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return [1 if status is None else status for status in statuses]


def batches_of(x, y, batch_size, seed, epochs):
    """Return the batches of these epochs. The order of each epoch depends on its number alone."""

    def shuffled(epoch):
        return _batches.order(len(x), seed, epoch).batch(batch_size, drop_remainder=True)

    options = tf.data.Options()
    # Each worker takes its share of each batch, whatever the data are read from.
    policy = tf.data.experimental.AutoShardPolicy.DATA
    options.experimental_distribute.auto_shard_policy = policy
    indices = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(shuffled)
    return _batches.gathered(indices, (x, y)).with_options(options)


def train(args):
    """Train on all workers that TF_CONFIG names; each of them calls this."""
    if "TF_CONFIG" in os.environ:  # a mistyped address waits here without end
        print(f"Waiting for all workers of {os.environ['TF_CONFIG']}", flush=True)
    # Without a timeout: with one, TensorFlow keeps a thread for each exchange until it is over.
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # TensorFlow would only note it, and train on
    keras.utils.set_random_seed(args.seed)
    tf.config.experimental.enable_op_determinism()
    (x, y), test = _programs.load_mnist(args)

    given = {} if args.learning_rate is None else {"learning_rate": args.learning_rate}
    with strategy.scope():
        network = mnist.mlp(dropout=args.dropout)
        optimizer = optimizer_class(args.optimizer)(**given)
    model = DistributedModel(network)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])

    backup = Backup(model, args.log_dir / "backups")
    monitor = keras_lecture_opt.EffectiveLearningRateMonitor(args.log_dir)
    callbacks = [backup, monitor]
    if is_chief(strategy):
        callbacks.append(keras.callbacks.TensorBoard(args.log_dir))
    epochs = range(backup.restore(), args.epochs)
    if epochs:
        model.fit(
            batches_of(x, y, args.batch_size, args.seed, epochs),
            steps_per_epoch=len(x) // args.batch_size,
            validation_data=test,
            validation_batch_size=args.batch_size,
            initial_epoch=epochs.start,
            epochs=epochs.stop,
            callbacks=callbacks,
            shuffle=False,  # they are shuffled already
            verbose=2 if is_chief(strategy) else 0,
        )
    _, accuracy = model.evaluate(*test, batch_size=args.batch_size, verbose=0)
    if is_chief(strategy):
        model.save(args.log_dir / "network.keras")
        print(f"Test accuracy: {accuracy:.2%} on {strategy.num_replicas_in_sync} device(s)")
        print(f"Wrote {_programs.shorten_path(args.log_dir)}")
        print(f"See it: {_programs.tensorboard_command(args.log_dir)}")


def main():
    args = parse()
    if not args.local:
        return train(args)
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C does, these end the workers, too
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    options = [
        f"--{name.replace('_', '-')}={value}"
        for name, value in vars(args).items()
        if name != "local" and value is not None
    ]
    return supervise([sys.executable, __file__, *options], args.local)


if __name__ == "__main__":
    _programs.run(main)
