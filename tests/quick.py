"""Settings with which tests take less time. Each process that runs tests imports this first."""

import gc
import importlib.metadata
import os

gc.set_threshold(100_000)  # imports and traces make millions of objects, and few are garbage
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if importlib.metadata.version("tensorflow").startswith("2.21."):  # an unknown flag ends the process
    # Most tests wait for XLA. It compiles a small update in a quarter of the time with its older
    # generator of kernels, in one module, without optimization.
    flags = "use_fusion_emitters=false", "parallel_codegen_split_count=1"
    flags = " ".join(f"--xla_cpu_{flag}" for flag in flags) + " --xla_backend_optimization_level=0"
    os.environ.setdefault("XLA_FLAGS", flags)

import tensorflow as tf  # noqa: E402

# Keras makes the batches of arrays from a range. Without tf.data's tuner no iterator waits for it
# when it ends, on few cores for as long as it has lived (see `keras_lecture_opt/_batches.py`).
untuned = tf.data.Options()
untuned.autotune.enabled = False
tuned_range = tf.data.Dataset.range


def untuned_range(*arguments, **options):
    return tuned_range(*arguments, **options).with_options(untuned)


tf.data.Dataset.range = staticmethod(untuned_range)
