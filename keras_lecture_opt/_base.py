"""What the seven rules share, so that a rule's own file holds little but its formula."""

import keras
import tensorflow as tf

from keras_lecture_opt._arguments import ALLOWED, checked


class LectureOptimizer(keras.optimizers.Optimizer):
    """Base of the seven rules: a Keras optimizer that checks what it is given.

    A rule names its state in `slot_names` and implements `update_step`; if its learning rate
    differs from weight to weight it also implements `effective_learning_rate`.

    Args:
        learning_rate: eta of the slides; a number, a
            `keras.optimizers.schedules.LearningRateSchedule` or a callable without arguments.
        name: name of the optimizer, the first part of its variables' paths.
        hyperparameters: dict of the rule's own arguments; each becomes an attribute and an
            entry of `get_config()`.
        **kwargs: every other argument of `keras.optimizers.Optimizer`: `weight_decay`,
            `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`,
            `ema_overwrite_frequency`, `loss_scale_factor`, `gradient_accumulation_steps`.

    Raises:
        TypeError: an argument is not a number.
        ValueError: an argument is a number that is not allowed, or is unknown.
    """

    slot_names = ()  # the state of each variable, in the slide's order: a file format

    def __init__(self, learning_rate, name, hyperparameters=None, **kwargs):
        rule = type(self).__name__
        # Schedules are callable, too; and so is a schedule's class, by mistake.
        if isinstance(learning_rate, type) or not callable(learning_rate):
            # Keras takes no integer here.
            learning_rate = float(checked(rule, "learning_rate", learning_rate))
        for argument in kwargs.keys() & ALLOWED.keys():
            if kwargs[argument] is not None:
                kwargs[argument] = checked(rule, argument, kwargs[argument])
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
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
            dtype = precision(dtype)
        return super().add_variable(shape, initializer, dtype, **kwargs)

    def apply(self, grads, trainable_variables=None):
        """Keras's, with sparse gradients made dense: repeated rows are summed, then squared.

        Args:
            grads: list of gradients: tensors, `tf.IndexedSlices` or None.
            trainable_variables: list of the variables to update, one for each gradient; may be
                left out once the optimizer is built.
        """
        grads = [tf.convert_to_tensor(g) if isinstance(g, tf.IndexedSlices) else g for g in grads]
        super().apply(grads, trainable_variables)

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

    def gradient_and_step(self, gradient, variable):
        """What a formula needs beside its state: g, and t for the step that is being taken.

        Returns:
            The gradient in the precision of the state, and the number of the step (1 for the
            first) as a float64 scalar: in float32, `1 - 0.999**1` is wrong by 5e-5.
        """
        g = tf.cast(gradient, precision(variable.dtype))
        t = tf.cast(self.iterations, tf.float64) + 1
        return g, t

    def effective_learning_rate(self, variable, learning_rate, t):
        """The factor by which the rule multiplies its direction, element by element.

        The update itself uses it. Here: eta, the same for every element.

        Args:
            variable: a model variable that the optimizer was built with.
            learning_rate: eta of the step that the state is the result of, a scalar. After a
                step that is `optimizer.learning_rate`; but a schedule is then at the next step.
            t: number of that step, 1 for the first: after a step, `optimizer.iterations`.

        Returns:
            A float tensor that broadcasts to the variable's shape, in units of weight per unit
            of the direction it multiplies.
        """
        return tf.cast(learning_rate, precision(variable.dtype))

    def get_config(self):
        """Returns the arguments that make an equal, untrained optimizer, as a dict."""
        own = {argument: getattr(self, argument) for argument in self._hyperparameters}
        return {**super().get_config(), **own}


def precision(dtype):
    """The type in which variables of type `dtype` are updated: float32 at least."""
    dtype = tf.as_dtype(dtype)
    return tf.float32 if dtype.is_floating and dtype.size < 4 else dtype
