"""Settings with which tests take less time. Each process that runs tests imports this first."""

import gc
import importlib.metadata
import os

# The environment of a process in which TensorFlow compiles as it does for users.
AS_FOR_USERS = dict(os.environ)


def hasten():
    gc.set_threshold(100_000)  # imports and traces make millions of objects, and few are garbage
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Most tests wait for XLA. It compiles a small update in a quarter of the time with its older
    # generator of kernels, in one module, without optimization. An unknown flag ends the process.
    if importlib.metadata.version("tensorflow").startswith("2.21."):
        os.environ.setdefault(
            "XLA_FLAGS",
            "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1 "
            "--xla_backend_optimization_level=0",
        )

    import tensorflow as tf

    from keras_lecture_opt._batches import UNTUNED

    # Optimizing a graph takes longer than running it a few times.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

    # On few cores an iterator that ends often waits for tf.data's tuner, for up to as long as it
    # has lived. Keras makes the batches of arrays from a range.
    tuned_range = tf.data.Dataset.range

    def untuned_range(*arguments, **options):
        return tuned_range(*arguments, **options).with_options(UNTUNED)

    tf.data.Dataset.range = staticmethod(untuned_range)


hasten()
