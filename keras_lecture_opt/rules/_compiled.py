"""All that is about XLA: it compiles the update of all variables."""

import math
import platform
import re
import warnings

import tensorflow as tf

from keras_lecture_opt._keras_private import UpdateHook

# What the lecture's formulas, Keras's moving averages and TensorFlow's own bookkeeping are made of.
# XLA compiles these. It is asked about anything else, which takes as long as tracing the update.
COMPILABLE = {
    *("Placeholder", "Const", "Identity", "NoOp", "StatefulPartitionedCall", "PartitionedCall"),
    *("ReadVariableOp", "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"),
    *("AddV2", "Sub", "Mul", "RealDiv", "Neg", "Pow", "Square", "Sqrt", "Cast", "NotEqual"),
}

# Random operations with a state: XLA draws other numbers, whatever the seed.
RANDOM = re.compile("^(?!Stateless).*(Random|TruncatedNormal|Multinomial)")

# TensorFlow compiles and runs several clusters at once. One for all 214 variables of ResNet-50 took
# a third longer to compile, and its steps a fifth longer, on two cores.
VARIABLES_PER_CLUSTER = 50

# On two cores, three clusters update the lecture's network in 0.9 to 1 of the time that one takes.
# Small networks gain nothing. A GPU runs one cluster after another.
CLUSTERS_ON_CPU = 3
WEIGHTS_PER_CLUSTER = 1 << 19

# On a CPU, a cluster takes 0.02 to 0.1 ms to start and 0.1 to 0.3 s to compile. Below so many
# weights that is more than it gains.
FEWEST_ON_CPU = 200_000


class CompiledUpdate(UpdateHook):
    """Updates all variables in XLA clusters, where XLA can compile them.

    Uncompiled, each elementwise operation reads and writes the whole variable again.
    """

    jit_compile = True

    def clip_all(self, gradients):
        """Clip, but for a `clipnorm` that `update_all` applies on the way."""
        return gradients if self._clips_in_cluster(gradients) else super().clip_all(gradients)

    def update_all(self, distribution, grads_and_vars, learning_rate):
        """Update all variables, in clusters of their own for each replica."""
        # A strategy's gradients have no shape. Without one, `clip_all` has decided by them.
        is_alone = not tf.distribute.has_strategy()
        if not self._compiles([g if is_alone else v for g, v in grads_and_vars]):
            super().update_all(distribution, grads_and_vars, learning_rate)
            return

        def update_replica(first, others, gradients, learning_rate):
            self._update_compiled([first, *others], gradients, learning_rate)

        # Keras calls `extended.update` for each variable. One call for all of them gives each
        # replica its own copies and gradients.
        gradients, (first, *others) = zip(*grads_and_vars, strict=True)
        rate = tf.ensure_shape(learning_rate, [])  # a schedule by tf.py_function hides its shape
        arguments = (others, list(gradients), rate)
        distribution.extended.update(first, update_replica, args=arguments, group=False)

    def _update_compiled(self, variables, gradients, learning_rate):
        inputs = [(g,) for g in gradients]
        if self._clips_in_cluster(gradients):
            # The norms are computed outside: on a CPU, XLA sums in one thread.
            inputs = [(g, clip_scale(g, self.clipnorm)) for g in gradients]
        order, size = range(len(variables)), VARIABLES_PER_CLUSTER
        if len(variables) > size:
            # XLA compiles what is alike in a cluster once: variables of one shape come together.
            order = sorted(order, key=lambda i: str(variables[i].shape))
        elif "CPU" in variables[0].device:
            weights = sum(v.shape.num_elements() for v in variables)
            clusters = min(CLUSTERS_ON_CPU, weights // WEIGHTS_PER_CLUSTER)
            size = math.ceil(len(variables) / max(1, clusters))
        for start in range(0, len(variables), size):
            # In their own order: a subclass that draws random numbers runs uncompiled.
            some = sorted(order[start : start + size])
            chosen = [inputs[i] for i in some]
            self._update_cluster([variables[i] for i in some], learning_rate, chosen)

    def _update_cluster(self, variables, learning_rate, inputs):
        def update(learning_rate, inputs):
            for (gradient, *scale), variable in zip(inputs, variables, strict=True):
                clipped = gradient * scale[0] if scale else gradient
                self.update_step(clipped, variable, learning_rate)

        self._run(update, learning_rate, inputs)

    def update_averages(self, variables):
        """Update the moving averages, in a cluster of their own."""
        update = super().update_averages
        if self._compiles(variables) and not tf.distribute.has_strategy():
            self._run(lambda: update(variables))
        else:
            update(variables)

    def _compiles(self, tensors):
        # Eager calls are left alone: the optimizer may change between two steps, and TensorFlow
        # keeps every executable, 2 MB for each optimizer, until the process ends.
        is_wanted = self.jit_compile and not tf.executing_eagerly()
        return is_wanted and xla_is_usable() and not are_few_on_cpu(tensors)

    def _clips_in_cluster(self, gradients):
        # Under a strategy Keras clips before it sums the gradients of the replicas.
        has_strategy = tf.distribute.has_strategy()
        return self.clipnorm and not has_strategy and self._compiles(gradients)

    def _run(self, function, *inputs):
        """Call the function, compiled into one XLA cluster where XLA can compile it."""

        # A new function in each trace: the optimizer keeps nothing that it could not copy or free.
        @tf.function(jit_compile=True, autograph=False)
        def cluster(*flat):
            function(*tf.nest.pack_sequence_as(inputs, flat))
            return tf.zeros([])  # TensorFlow's forward mode cannot call a function without a result

        flat = tf.nest.flatten(inputs)
        specs = [tf.TensorSpec.from_tensor(i) for i in flat]
        graph = cluster.get_concrete_function(*specs).graph
        devices = {v.device for v in graph.variables}
        if len(devices) != 1:  # a cluster runs on one; a rule may write no variable
            function(*inputs)
        elif error := xla_error(cluster, specs, graph, *devices):
            function(*inputs)
            warnings.warn(
                f"{self.name}: XLA cannot compile this update, so it runs uncompiled: {error} Pass "
                "`jit_compile=False` to select that from the start.",
                stacklevel=2,
            )
        else:
            with tf.device(devices.pop()):
                cluster(*flat)


def clip_scale(gradient, clipnorm):
    """The factor that reduces the norm of the gradient to `clipnorm`, or 1."""
    norm = tf.sqrt(2 * tf.nn.l2_loss(gradient))  # in one pass
    limit = tf.cast(clipnorm, gradient.dtype)
    return limit / tf.maximum(norm, limit)


def are_few_on_cpu(tensors):
    """Whether tensors have too few elements for a cluster, and there is no GPU."""
    shapes = [tf.TensorShape(tensor.shape) for tensor in tensors]
    if not all(shape.is_fully_defined() for shape in shapes):
        return False
    weights = sum(shape.num_elements() for shape in shapes)
    return weights < FEWEST_ON_CPU and not tf.config.list_logical_devices("GPU")


def xla_is_usable():
    """Whether XLA can be used at all. On a Mac's GPU it cannot: Keras, too, switches it off."""
    is_mac = platform.system() == "Darwin" and "arm" in platform.processor().lower()
    return not (is_mac and tf.config.list_physical_devices("GPU"))


def xla_error(cluster, specs, graph, device):
    """Return what XLA says when it cannot compile the cluster, or None."""
    definition = graph.as_graph_def()
    bodies = [definition.node, *(f.node_def for f in definition.library.function)]
    operations = {node.op for body in bodies for node in body}
    if operations <= COMPILABLE:
        return None
    if unseeded := [op for op in operations if RANDOM.search(op)]:
        return f"it would ignore the seed of {', '.join(unseeded)}."
    with tf.init_scope(), tf.device(device):
        if not all(v.is_initialized() for v in graph.variables):
            return None  # TensorFlow traces a second time, once the variables exist
        try:
            cluster.experimental_get_compiler_ir(*specs)(stage="hlo")
        except Exception as error:  # whatever it is, the update may work without XLA
            return str(error).partition("\n")[0]
