"""The first batches of a training, from whatever `fit` takes, read without a trace."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from keras_lecture_opt._arguments import check_integer, check_number, must_be

MOST_BYTES = 2**30  # of batches in memory; a network of many steps then sees them again


def batches_of(x, y, batch_size, sample_weight, class_weight, number):
    """Return a list of at most so many batches, as `train_step` gets them.

    Arrays and a `PyDataset` are shuffled by a generator of their own, a `tf.data.Dataset` as its
    pipeline says.
    """
    if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)):
        for name, value in (("y", y), ("batch_size", batch_size), ("sample_weight", sample_weight)):
            if value is not None:
                raise TypeError(must_be(name, f"None beside a {type(x).__name__}", value))
        found = _copy(x).repeat() if isinstance(x, tf.data.Dataset) else _of_py_dataset(x)
    else:
        found = _of_arrays(x, y, sample_weight, batch_size)
    if class_weight is not None:
        allowed = "a dict from the numbers of classes to finite weights >= 0"
        if not isinstance(class_weight, dict):
            raise TypeError(must_be("class_weight", allowed, class_weight))
        for label, weight in class_weight.items():
            label = int(label) if label in (False, True) else label
            check_number("class_weight", label, allowed, lambda n: float(n).is_integer())
            check_number("class_weight", np.asarray(weight), allowed, lambda w: 0 <= w < np.inf)
    batches, size = [], 0
    for batch in itertools.islice(found, number):
        batch = _weighted(batch, class_weight)
        batches.append(keras.tree.map_structure(_as_tensor, batch))
        parts = [part for part in keras.tree.flatten(batches[-1]) if isinstance(part, tf.Tensor)]
        size += sum(part.shape.num_elements() * part.dtype.size for part in parts)
        if size > MOST_BYTES:
            break
    if not batches:
        raise ValueError(must_be("x", "data of at least one batch", x))
    return batches


def _of_arrays(x, y, sample_weight, batch_size):
    """Yield batches of arrays, shuffled anew in each epoch."""
    allowed = "arrays of equal lengths, a tf.data.Dataset or a keras.utils.PyDataset"
    if x is None or hasattr(x, "__next__"):  # a generator: what is read is gone
        raise TypeError(must_be("x", allowed, x))
    data = keras.tree.map_structure(_as_array, (x, y, sample_weight))
    lengths = {len(a) if a.ndim else 0 for a in keras.tree.flatten(data) if a is not None}
    if len(lengths) != 1 or 0 in lengths:
        found = f"arrays of {' and '.join(map(str, sorted(lengths)))} examples"
        raise ValueError(f"`x`, `y` and `sample_weight` must be {allowed}, not {found}.")
    (examples,) = lengths
    if any(a.dtype.kind in "OSU" for a in keras.tree.flatten(data[1]) if a is not None):
        raise TypeError(must_be("y", "numbers", y))
    data = keras.utils.pack_x_y_sample_weight(*data)
    arrays = keras.tree.flatten(data)
    batch_size = check_integer("batch_size", 32 if batch_size is None else batch_size, 1)
    batch_size = min(batch_size, examples)
    random = np.random.default_rng(0)
    while True:
        order = random.permutation(examples)
        for start in range(0, examples - batch_size + 1, batch_size):
            rows = np.sort(order[start : start + batch_size])
            yield keras.tree.pack_sequence_as(data, [_rows_of(array, rows) for array in arrays])


def _of_py_dataset(dataset):
    number, random = dataset.num_batches, np.random.default_rng(0)
    order = itertools.count() if number is None else itertools.cycle(random.permutation(number))
    return (dataset[int(i)] for i in order)


def _copy(dataset):
    """Return a dataset of the same elements, whose iterations do not change the order of the first.

    A dataset that shuffles draws a new order in each iteration, from a generator that all of its
    iterations share. The copy shuffles with the same seeds, without that generator.
    """
    graph = tf.raw_ops.DatasetToGraphV2(
        input_dataset=tf.data.experimental.to_variant(dataset),
        external_state_policy=1,  # as it is: lookup tables and variables stay shared
        strip_device_assignment=False,
    )
    graph = tf.compat.v1.GraphDef.FromString(graph.numpy())
    constants = {node.name: node.attr["value"].tensor for node in graph.node if node.op == "Const"}
    caches = {}  # in memory: what they hold, all iterations share
    for node in graph.node:
        if node.op == "ShuffleDatasetV3":
            node.op = "ShuffleDataset"
            del node.input[4:]
            node.attr["reshuffle_each_iteration"].b = False
        elif node.op == "RandomDatasetV2":
            node.op = "RandomDataset"
            del node.input[2:], node.attr["rerandomize_each_iteration"]
        elif node.op == "CacheDatasetV2" and constants[node.input[1]].string_val[:] == [b""]:
            caches[node.name] = node.input[0]
    for node in graph.node:
        for i, name in enumerate(node.input):
            while name in caches:
                name = caches[name]
            node.input[i] = name
    variant = tf.raw_ops.DatasetFromGraph(graph_def=graph.SerializeToString())
    return tf.data.experimental.from_variant(variant, dataset.element_spec)


def _weighted(batch, class_weight):
    """Return a batch with the weights of its classes, as `fit` computes them."""
    if class_weight is None:
        return batch
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    if sample_weight is not None or y is None or keras.tree.is_nested(y):
        allowed = "None beside sample weights, and where there is not one array of labels"
        raise ValueError(must_be("class_weight", allowed, class_weight))
    classes = np.asarray(y)
    classes = classes.argmax(axis=-1) if classes.ndim > 1 and classes.shape[-1] > 1 else classes
    weights = [class_weight.get(int(c), 1.0) for c in classes.reshape(-1)]
    return x, y, np.asarray(weights, keras.config.floatx())


def _rows_of(array, rows):
    """Return rows of an array, in the type that `fit` makes of it."""
    if array is None:
        return None
    some = array[rows]
    return some.astype(keras.config.floatx()) if some.dtype.kind == "f" else some


def _as_array(part):
    return None if part is None else np.asarray(part)


def _as_tensor(values):
    return tf.convert_to_tensor(values) if isinstance(values, np.ndarray) else values
