"""What the seven rules share, so that a rule's own file holds little but its formula."""

import contextvars
import warnings

import keras
import tensorflow as tf

from keras_lecture_opt._arguments import ALLOWED, checked

# While a cluster is being traced: its optimizer, the learning rate, and a 1 that XLA does not
# know to be 1.
_CLUSTER_INPUTS = contextvars.ContextVar("_CLUSTER_INPUTS", default=None)


class LectureOptimizer(keras.optimizers.Optimizer):
    """Base of the seven rules: a Keras optimizer that checks what it is given.

    A rule names its state in `slot_names` and implements `update_step`; if its learning rate
    differs from weight to weight it also implements `effective_learning_rate`.

    Args:
        learning_rate: eta of the slides; a number, a
            `keras.optimizers.schedules.LearningRateSchedule` or a callable without arguments.
            Keras keeps it in float32, even beside float64 weights: 0.1 is 0.10000000149.
        name: name of the optimizer, the first part of its variables' paths.
        hyperparameters: dict of the rule's own arguments; each becomes an attribute and an
            entry of `get_config()`.
        jit_compile: whether XLA compiles the update of all variables into one cluster, which
            takes about half the time. That happens in graphs (in `fit`, in a `tf.function`),
            outside a distribution strategy, if all variables are on one device.
        **kwargs: every other argument of `keras.optimizers.Optimizer`: `weight_decay`,
            `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`,
            `ema_overwrite_frequency`, `loss_scale_factor`, `gradient_accumulation_steps`.

    Raises:
        TypeError: an argument is not a number.
        ValueError: an argument is a number that is not allowed, or is unknown.
    """

    slot_names = ()  # the state of each variable, in the slide's order: a file format

    def __init__(self, learning_rate, name, hyperparameters=None, jit_compile=True, **kwargs):
        rule = type(self).__name__
        # Schedules are callable, too; and so is a schedule's class, by mistake.
        if isinstance(learning_rate, type) or not callable(learning_rate):
            # Keras takes no integer here.
            learning_rate = float(checked(rule, "learning_rate", learning_rate))
        for argument in kwargs.keys() & ALLOWED.keys():
            if kwargs[argument] is not None:
                kwargs[argument] = checked(rule, argument, kwargs[argument])
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        if not isinstance(jit_compile, bool):
            raise TypeError(f"{rule}: `jit_compile` must be True or False, not {jit_compile!r}.")
        self.jit_compile = jit_compile
        self._hyperparameters = tuple(hyperparameters or ())
        for argument in self._hyperparameters:
            setattr(self, argument, checked(rule, argument, hyperparameters[argument]))

    def build(self, variables):
        """Creates the rule's state, all zeros, once.

        Args:
            variables: list of the model variables that the optimizer will update.
        """
        if self.built:
            return
        super().build(variables)
        if self.slot_names:
            slots = self.add_optimizer_variables(variables, list(self.slot_names))
            for name, one_per_variable in zip(self.slot_names, slots, strict=True):
                setattr(self, name, one_per_variable)

    def add_variable(self, shape, initializer="zeros", dtype=None, **kwargs):
        """Keras's, with the rule's state in float32 where the weights are in half precision.

        A bfloat16 has 8 significant bits: `0.999 v + 0.001 g^2` would be `v`, for ever.
        Keras's averages and accumulators, created before `built`, keep the type Keras expects.
        """
        if self.built:
            dtype = precision(dtype or keras.config.floatx())
        return super().add_variable(shape, initializer, dtype, **kwargs)

    def apply(self, grads, trainable_variables=None):
        """Keras's, in one XLA cluster where that is possible.

        Sparse gradients are made dense: repeated rows are summed, then squared.

        Args:
            grads: list of gradients: tensors, `tf.IndexedSlices` or None.
            trainable_variables: list of the variables to update, one for each gradient; may be
                left out once the optimizer is built.
        """
        grads = [dense(g) if isinstance(g, tf.IndexedSlices) else g for g in grads]
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
        # Eager calls are left alone: they may change the optimizer between two steps, and
        # TensorFlow keeps each executable, 2 MB for each optimizer, until the process ends.
        if self.jit_compile and not tf.executing_eagerly() and not tf.distribute.has_strategy():
            self._apply_in_graph(super().apply, grads, trainable_variables)
        else:
            super().apply(grads, trainable_variables)

    def _apply_in_graph(self, apply, grads, trainable_variables):
        """Calls Keras's `apply` in one XLA cluster, or as it is where that is not possible."""
        if trainable_variables and not self.built:
            with tf.init_scope():
                self.build(trainable_variables)
        # Private; Keras has no public list of the variables that an optimizer was built with.
        variables = trainable_variables or self._trainable_variables
        devices = {native(v).device for v in [*variables, *self.variables]}
        given = [tf.convert_to_tensor(g) for g in grads if g is not None]
        # Outside, because a schedule may use operations that XLA cannot compile.
        inputs = [tf.convert_to_tensor(self.learning_rate), tf.constant(1.0)]

        # Made anew in every trace: the optimizer keeps nothing that it could not copy or free.
        @tf.function(jit_compile=True, autograph=False)
        def cluster(learning_rate, one, *given):
            given = iter(given)
            token = _CLUSTER_INPUTS.set((self, learning_rate, one))
            try:
                apply([g if g is None else next(given) for g in grads], trainable_variables)
            finally:
                _CLUSTER_INPUTS.reset(token)
            return one  # TensorFlow's forward mode cannot call a function without a result

        if len(devices) > 1:
            apply(grads, trainable_variables)
        elif obstacle := self._obstacle(cluster, variables, [*inputs, *given]):
            apply(grads, trainable_variables)
            warnings.warn(
                f"{self.name}: XLA cannot compile this update, so it runs without. "
                f"`jit_compile=False` says so from the start. The reason: {obstacle}",
                stacklevel=2,
            )
        else:
            with tf.device(devices.pop()):
                cluster(*inputs, *given)

    def _obstacle(self, cluster, variables, inputs):
        """Returns the error that XLA raises when it compiles the cluster, or None."""
        ours = type(self).__module__.startswith(f"{__package__}.")
        if ours and all(v.constraint is None for v in variables):
            return None  # all Keras's and our operations compile
        try:
            with tf.init_scope():
                specs = map(tf.TensorSpec.from_tensor, inputs)
                cluster.experimental_get_compiler_ir(*specs)(stage="hlo")
        except Exception as error:  # whatever it is, the update may work without XLA
            return error

    @keras.optimizers.Optimizer.learning_rate.getter
    def learning_rate(self):
        """The rate of the step that comes next."""
        inputs = _CLUSTER_INPUTS.get()
        return inputs[1] if inputs and inputs[0] is self else super().learning_rate

    def assign_add(self, variable, value):
        """Keras's. XLA's CPU compiler takes twice as long for a sum without a scalar in it."""
        if inputs := _CLUSTER_INPUTS.get():
            value = tf.cast(value, variable.dtype) * tf.cast(inputs[2], variable.dtype)
        super().assign_add(variable, value)

    def slots(self, variable):
        """The rule's state for one variable.

        Args:
            variable: a model variable that the optimizer was built with.

        Returns:
            List of `tf.Variable`, one for each of `slot_names`, each of the variable's shape.

        Raises:
            ValueError: the optimizer was not built with this variable.
        """
        try:
            # The one private method of Keras that a rule needs: Keras offers no public way from
            # a variable to its state, and its guide to custom optimizers uses this one.
            i = self._get_variable_index(variable)
        except KeyError:
            raise ValueError(
                f"{self.name} has no state for {variable.name!r}: it has not been built with this "
                "variable. Call `build(model.trainable_variables)` or train a step first."
            ) from None
        return [getattr(self, name)[i].value for name in self.slot_names]

    def effective_learning_rate(self, variable, learning_rate, t=None):
        """The factor by which the rule multiplies its direction, element by element.

        The update itself uses it. Here: eta, the same for every element.

        Args:
            variable: a model variable that the optimizer was built with.
            learning_rate: eta of the step that the state is the result of, a scalar. After a
                step that is `optimizer.learning_rate`; but a schedule is then at the next step.
            t: number of that step, 1 for the first, where the rule counts steps. Defaults to
                `optimizer.iterations`, which is right after a step.

        Returns:
            A float tensor that broadcasts to the variable's shape, in units of weight per unit
            of the direction it multiplies.
        """
        return tf.cast(learning_rate, precision(variable.dtype))

    def get_config(self):
        """Returns the arguments that make an equal, untrained optimizer, as a dict."""
        own = {argument: getattr(self, argument) for argument in self._hyperparameters}
        return {**super().get_config(), "jit_compile": self.jit_compile, **own}


def precision(dtype):
    """The type in which variables of type `dtype` are updated: float32 at least."""
    dtype = tf.as_dtype(dtype)
    return tf.float32 if dtype.is_floating and dtype.size < 4 else dtype


def dense(gradient):
    """The sum of the rows of a sparse gradient, its shape known where it can be."""
    shape = tf.get_static_value(gradient.dense_shape)
    return tf.ensure_shape(tf.convert_to_tensor(gradient), shape)


def native(variable):
    """The `tf.Variable` behind a Keras variable."""
    return variable.value if isinstance(variable, keras.Variable) else variable
