"""On a GPU nothing falls back to the CPU: asked of TensorFlow's list of kernels, without a GPU."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels  # the list has no public name

from keras_lecture_opt.rates import factor_after_step

pytestmark = pytest.mark.usefixtures("compiled_updates")

SHAPES = [(300, 200), (200,)]
SMALL = 8192  # bytes that an operation may read or write in the memory of the CPU
# The arguments and constants of a graph are put where they are needed. The histogram gets its
# range and its number of bins from the CPU.
PLACED = {"Placeholder", "Const", "Identity", "IdentityN", "NoOp", "StatefulPartitionedCall"}


def kernels_of(operation, devices):
    """The kernels for these kinds of devices that take the types of the operation."""
    for kernel in kernels.get_registered_kernels_for_op(operation.type).kernel:
        types = {c.name: list(c.allowed_values.list.type) for c in kernel.constraint}
        if kernel.device_type in devices and all(
            tf.as_dtype(operation.get_attr(name)).as_datatype_enum in allowed
            for name, allowed in types.items()
        ):
            yield kernel


def on_the_cpu(operation):
    """How many bytes the operation reads and writes in the memory of the CPU, on a GPU machine."""
    if operation.device.endswith("CPU:0"):
        found, tensors = [None], [*operation.inputs, *operation.outputs]
    else:
        found, tensors = list(kernels_of(operation, ("GPU", "DEFAULT"))), []
    assert found, f"{operation.type} has no kernel for a GPU"
    if found[0] is not None:
        arguments = [*operation.op_def.input_arg, *operation.op_def.output_arg]
        values = [*operation.inputs, *operation.outputs]
        if len(arguments) == len(values):
            names = set(found[0].host_memory_arg)
            tensors = [v for a, v in zip(arguments, values, strict=True) if a.name in names]
        elif found[0].host_memory_arg:  # of lists
            tensors = values
    return sum(t.shape.num_elements() * t.dtype.size for t in tensors)


def assert_on_a_gpu(graph):
    """Return the bytes of the graph in the memory of the CPU; none of them may be a variable's."""
    operations = [op for op in graph.get_operations() if op.type not in PLACED]
    moved = {op.name: on_the_cpu(op) for op in operations}
    assert max(moved.values()) <= SMALL, max(moved, key=moved.get)
    return sum(moved.values())


def step_of(optimizer):
    variables = [keras.Variable(np.ones(shape, "float32")) for shape in SHAPES]
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(*gradients):
        optimizer.apply(list(gradients), variables)

    return step.get_concrete_function(*[tf.TensorSpec(shape) for shape in SHAPES])


@pytest.mark.alike
@pytest.mark.parametrize("settings", [{}, {"clipnorm": 1.0, "use_ema": True}])
def test_training_step(rule, settings):
    assert_on_a_gpu(step_of(rule(jit_compile=False, **settings)).graph)


def test_compiled_training_step(rule):
    step = step_of(rule(clipnorm=1.0, use_ema=True))
    assert_on_a_gpu(step.graph)
    clusters = [
        function
        for function in step.graph.as_graph_def().library.function
        if function.attr["_XlaMustCompile"].b
    ]
    assert clusters
    for node in (node for cluster in clusters for node in cluster.node_def):
        types = {k.device_type for k in kernels.get_registered_kernels_for_op(node.op).kernel}
        assert "XLA_GPU_JIT" in types, node.op


def test_rates_of_the_monitor(rule):
    variable, optimizer = keras.Variable(np.ones(SHAPES[0], "float32")), rule()
    optimizer.build([variable])

    @tf.function(autograph=False)
    def event(learning_rate, mask):
        rate = factor_after_step(optimizer, variable, learning_rate)
        return rate, mask | (tf.convert_to_tensor(variable) != 0)

    mask = tf.TensorSpec(SHAPES[0], tf.bool)
    assert_on_a_gpu(event.get_concrete_function(tf.TensorSpec([]), mask).graph)


def test_a_fall_back_is_seen():
    numbers = tf.TensorSpec([1, 300, 200, 1], tf.int32)
    for fallen in (
        tf.reduce_sum,  # of int32: its kernel "for a GPU" reads the memory of the CPU
        lambda x: tf.image.resize(tf.cast(x, "float32"), [9, 9], "area"),
    ):
        graph = tf.function(fallen, autograph=False).get_concrete_function(numbers).graph
        with pytest.raises(AssertionError):
            assert_on_a_gpu(graph)
    with tf.Graph().as_default() as graph, tf.device("CPU:0"):
        tf.square(tf.ones([300, 200]))
    with pytest.raises(AssertionError):
        assert_on_a_gpu(graph)
