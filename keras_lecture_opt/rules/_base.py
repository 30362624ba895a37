"""What a rule is, beside its formula: its hyperparameters, its state, its configuration."""

from collections.abc import Sequence
from typing import Any, Unpack

import keras
import tensorflow as tf

from keras_lecture_opt._keras_private import index_of
from keras_lecture_opt.rules._compiled import CompiledUpdate
from keras_lecture_opt.rules._hyperparameters import (
    WITH_STATE,
    KerasArguments,
    LearningRate,
    arguments_of_rule,
    check_argument,
    is_of_some_rule,
    refuse_unknown,
    suggest,
)

__all__ = ["LectureOptimizer"]


class LectureOptimizer(CompiledUpdate):
    """Base class of the lecture's rules, and of your own.

    A rule states three facts as class attributes, implements `update_step`, and states its factor
    in `effective_learning_rate`, which the update itself uses:

    - `slot_names`: the names of its state, in the formula's order. Files hold the state by
      position: never change the order later.
    - `evidence`: `(slot, hyperparameter)`: the slot that is nonzero once a weight has received a
      gradient, and the hyperparameter by which that slot forgets; None as hyperparameter if it
      never forgets. None if there is no such slot.
    - `nearest_keras`: `(class, arguments)` of the nearest Keras optimizer, or None. Benchmarks
      compare the rule with it, and pictures give both one color.

    Args:
        learning_rate: eta of the slides; a number, a
            `keras.optimizers.schedules.LearningRateSchedule` or a callable without arguments.
            Keras keeps it in float32, even beside float64 weights: 0.1 is 0.10000000149.
        name: name of the optimizer, the first part of its variables' paths.
        hyperparameters: dict of the rule's own arguments; each becomes an attribute and an
            entry of `get_config()`.
        **kwargs: every other argument of `keras.optimizers.Optimizer`, such as `clipnorm`, and
            `jit_compile`: whether XLA compiles the update of all variables, which is faster
            (`docs/speed.md`). This happens in graphs (in `fit`, in a `tf.function`) if all
            variables of a replica are on one device, on a CPU from 200,000 weights on. Defaults to
            True.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument has a value that is not allowed, or is unknown.

    Example:

    >>> class SignDescent(keras_lecture_opt.LectureOptimizer):
    ...     def __init__(self, learning_rate=0.01, name="sign_descent", **kwargs):
    ...         super().__init__(learning_rate, name, **kwargs)
    ...
    ...     def update_step(self, gradient, variable, learning_rate):
    ...         eta = self.effective_learning_rate(variable, learning_rate)
    ...         self.assign_sub(variable, eta * tf.sign(tf.cast(gradient, eta.dtype)))
    ...
    ...     def effective_learning_rate(self, variable, learning_rate, t=None):
    ...         return tf.cast(learning_rate, variable.dtype)
    >>> w = keras.Variable([2.0, -3.0])
    >>> SignDescent(learning_rate=0.5).apply([[4.0, -0.1]], [w])
    >>> print(w.numpy())
    [ 1.5 -2.5]
    """

    slot_names: tuple[str, ...] = ()
    evidence: tuple[str, str | None] | None = None
    nearest_keras: tuple[type, dict[str, Any]] | None = None

    _hyperparameters: tuple[str, ...] | None = None  # until the constructor sets them

    def __init__(
        self,
        learning_rate: LearningRate,
        name: str,
        hyperparameters: dict[str, float] | None = None,
        **kwargs: Unpack[KerasArguments],
    ):
        rule, own = type(self).__name__, hyperparameters or {}
        refuse_unknown(rule, kwargs, arguments_of_rule(own))
        checked = {k: check_argument(rule, k, value) for k, value in kwargs.items()}
        learning_rate = check_argument(rule, "learning_rate", learning_rate)
        jit_compile = checked.pop("jit_compile", True)
        super().__init__(learning_rate=learning_rate, name=name, **checked)
        self.jit_compile = jit_compile
        self._hyperparameters = tuple(own)
        for argument, value in own.items():
            setattr(self, argument, value)

    def __setattr__(self, name, value):
        """Check an argument that is set later like one that is given to the constructor."""
        rule, known = type(self).__name__, arguments_of_rule(self._hyperparameters or ())
        if name in known and name != "name":
            value = check_argument(rule, name, value)
        elif self._is_misspelt(name, known):
            refuse_unknown(rule, [name], known)
        if name in WITH_STATE and value and vars(self).get("built") and not getattr(self, name):
            raise ValueError(f"{rule}: `{name}` must be set before `build`, which makes its state.")
        super().__setattr__(name, value)

    def _is_misspelt(self, name, known):
        """Whether nobody would read this attribute, and an argument is meant (`optimizer.lr`)."""
        if self._hyperparameters is None or name.startswith("_"):  # Keras sets its own
            return False
        if not type(self).__module__.startswith(f"{__package__}."):
            return False  # a rule of your own may call its attributes what it likes
        if hasattr(self, name) or name in self.slot_names:
            return False
        return is_of_some_rule(name) or suggest(name, known)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the rule's state for these model variables, all zeros, once."""
        if self.built:
            return
        super().build(variables)
        slots = self.add_optimizer_variables(variables, list(self.slot_names))
        for name, one_per_variable in zip(self.slot_names, slots, strict=True):
            setattr(self, name, one_per_variable)

    def add_variable(self, shape, initializer="zeros", dtype=None, **kwargs):
        """Create a variable of the optimizer; the rule's state is at least in float32.

        A bfloat16 has 8 significant bits: `0.999 v + 0.001 g^2` would stay `v` forever. Keras's
        averages and accumulators, which exist before `built` is true, keep the type Keras expects.
        """
        if self.built:
            dtype = at_least_float32(dtype or keras.config.floatx())
        return super().add_variable(shape, initializer, dtype, **kwargs)

    # AutoGraph leaves Keras's own optimizers alone, too. It would take a third of the first call.
    @tf.autograph.experimental.do_not_convert
    def apply(
        self, grads: Sequence[Any], trainable_variables: Sequence[keras.Variable] | None = None
    ) -> None:
        """Apply the gradients of one step.

        Sparse gradients are converted to dense ones: repeated rows are summed, then squared.

        Args:
            grads: list of gradients: tensors, `tf.IndexedSlices` or None.
            trainable_variables: list of the variables to update, one for each gradient. Optional
                once the optimizer is built.
        """
        super().apply(grads, trainable_variables)

    def slots(self, variable: keras.Variable) -> list[tf.Variable]:
        """Return the rule's state for one variable.

        Args:
            variable: a model variable that the optimizer was built with.

        Returns:
            List of `tf.Variable`, one for each of `slot_names`, each of the variable's shape.

        Raises:
            TypeError: this is not a variable.
            ValueError: the optimizer was not built with it.
        """
        i = index_of(self, variable)
        if i is None:
            raise ValueError(
                f"{self.name} has no state for {variable.name!r}: it has not been built with this "
                "variable. Call `build(model.trainable_variables)` or train a step first."
            )
        return [getattr(self, name)[i].value for name in self.slot_names]

    def effective_learning_rate(
        self, variable: keras.Variable, learning_rate: float | tf.Tensor, t: int | None = None
    ) -> tf.Tensor:
        """Return the factor by which the rule multiplies its direction, element by element.

        Each rule states its own; a class that overrides `update_step` must state it again, or has
        none.

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
        raise NotImplementedError(f"{type(self).__name__} does not state its factor.")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal, untrained optimizer, as a dict."""
        own = {argument: getattr(self, argument) for argument in self._hyperparameters or ()}
        return {**super().get_config(), "jit_compile": self.jit_compile, **own}


def compute_dtype(variable):
    """The type in which a variable is updated: its own, but at least float32."""
    return at_least_float32(variable.dtype)


def at_least_float32(dtype):
    dtype = tf.as_dtype(dtype)
    return tf.float32 if dtype.is_floating and dtype.size < 4 else dtype
