"""One fact in one place: private names of Keras, and what it takes to add a rule."""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_lecture_opt"


def private_names_of_keras():
    """Every private attribute and method of what this package inherits from or is given."""
    source = pathlib.Path(keras.__file__).parent / "src"
    files = [
        *source.glob("optimizers/**/*.py"),
        *source.glob("models/*.py"),
        source / "backend/common/variables.py",
        source / "backend/tensorflow/optimizer.py",
        source / "callbacks/callback.py",
        source / "layers/layer.py",
        source / "trainers/trainer.py",
    ]
    pattern = re.compile(r"(?:\bself\.|\bdef )(_(?!_)\w+)")
    return {name for file in files for name in pattern.findall(file.read_text())}


def touched(code):
    """The names in the code that may be attributes: read, written, defined or given as a string."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.ClassDef):
            names |= {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names


def test_private_names_of_keras_are_in_one_file():
    private = private_names_of_keras()
    assert {"_learning_rate", "_velocities", "_backend_update_step", "_model"} <= private
    for file in PACKAGE.rglob("*.py"):
        code = file.read_text()
        if file.name != "_keras_private.py":
            assert not re.search(r"(tensorflow\.python|tensorflow\.compiler)", code), file
            assert "keras.src" not in code, file
            assert not touched(code) & private, file
    assert touched((PACKAGE / "_keras_private.py").read_text()) & private
    assert "_learning_rate" in touched("getattr(optimizer, '_learning_rate')")
    assert "_clip_gradients" in touched("class A(B):\n    def _clip_gradients(self): pass")


def imported_parts(code):
    """The modules and packages of this package, of the first level, that a source file imports."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == PACKAGE.name:
            _, *inside = node.module.split(".")
            yield from inside[:1] or [alias.name for alias in node.names]


def test_each_part_imports_only_from_parts_above_it():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    listed = re.search(r"```text\n(.*?)```", page, re.S)[1]
    parts = [line.split()[0] for line in listed.splitlines()]
    files = {f: f.relative_to(PACKAGE).with_suffix("").parts[0] for f in PACKAGE.rglob("*.py")}
    assert {*parts} == {*files.values()} - {"__init__"}
    for file, part in files.items():
        if part == "__init__":
            continue
        above = {*parts[: parts.index(part) + 1]}
        assert {*imported_parts(file.read_text())} <= above, file


LION = '''
    """Lion: a step by the sign of an average."""

    from typing import Unpack

    import keras
    import tensorflow as tf

    from keras_lecture_opt.rules._base import LectureOptimizer, compute_dtype
    from keras_lecture_opt.rules._hyperparameters import KerasArguments, LearningRate


    @keras.saving.register_keras_serializable(package="keras_lecture_opt")
    class Lion(LectureOptimizer):
        """Step by the sign (Chen et al., 2023, Algorithm 2, without decay).

        For every weight w with gradient g, starting from m = 0::

            w <- w - eta sign(beta_1 m + (1 - beta_1) g)
            m <- beta_2 m + (1 - beta_2) g

        Args:
            learning_rate: eta; a number >= 0, a Keras schedule or a callable. Defaults to 0.001.
            beta_1: share of m in the step, in [0, 1). Defaults to 0.9.
            beta_2: memory of m, in [0, 1). Defaults to 0.99.
            name: name of the optimizer.
            **kwargs: arguments of `keras.optimizers.Optimizer`, such as `clipnorm`.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a number is not in its range, or an argument is unknown.

        Example:

        >>> w = keras.Variable([2.0])
        >>> Lion(learning_rate=0.25).apply([[4.0]], [w])
        >>> print(w.numpy())
        [1.75]
        """

        slot_names = ("momentum",)
        evidence = ("momentum", "beta_2")
        nearest_keras = (keras.optimizers.Lion, {})

        def __init__(
            self,
            learning_rate: LearningRate = 0.001,
            beta_1: float = 0.9,
            beta_2: float = 0.99,
            name: str = "lion",
            **kwargs: Unpack[KerasArguments],
        ):
            super().__init__(learning_rate, name, {"beta_1": beta_1, "beta_2": beta_2}, **kwargs)

        def update_step(self, gradient, variable, learning_rate):
            [m] = self.slots(variable)
            g = tf.cast(gradient, m.dtype)
            eta = self.effective_learning_rate(variable, learning_rate)

            self.assign_sub(variable, eta * tf.sign(self.beta_1 * m + (1 - self.beta_1) * g))
            self.assign(m, self.beta_2 * m + (1 - self.beta_2) * g)

        def effective_learning_rate(self, variable, learning_rate, t=None):
            """eta, the factor on the sign: see `LectureOptimizer`."""
            return tf.cast(learning_rate, compute_dtype(variable))
'''
REFERENCE = """
    def lion(w, gradients, learning_rate, beta_1, beta_2):
        m = np.zeros_like(w)
        for g in gradients:
            w = w - learning_rate * np.sign(beta_1 * m + (1 - beta_1) * g)
            m = beta_2 * m + (1 - beta_2) * g
            yield w, (m,)


    RULES["Lion"] = Rule(
        lion,
        {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.99},
        ("momentum",),
        lambda state, t, learning_rate, beta_1, beta_2: learning_rate,
        by_hand=(
            {"learning_rate": 0.5, "beta_1": 0.5, "beta_2": 0.75},
            [2.0, 2.0, -4.0],
            [(0.5, 0.5), (0.0, 0.875), (0.5, -0.34375)],
        ),
    )
"""
ROW = (
    "| [`Lion`](../keras_lecture_opt/rules/lion.py) | w ← w − η sign(β₁ m + (1 − β₁) g); "
    "m ← β₂ m + (1 − β₂) g | m `momentum` | `learning_rate` 0.001, "
    "`beta_1` 0.9, `beta_2` 0.99 | `Lion`: no difference |\n"
)


@pytest.mark.full
def test_a_rule_is_added_in_four_places(tmp_path, request):
    """A complete eighth rule in a copy of the repository, and the generic tests on it."""
    ignored = shutil.ignore_patterns(".venv*", ".git", "tb_logs", "__pycache__")
    copy = shutil.copytree(ROOT, tmp_path / "copy", ignore=ignored)
    rules = copy / "keras_lecture_opt" / "rules"
    # 1. its file
    (rules / "lion.py").write_text(textwrap.dedent(LION).lstrip())
    # 2. its line in RULES
    listed = (rules / "__init__.py").read_text()
    listed = listed.replace(
        "\n# In the", "from keras_lecture_opt.rules.lion import Lion\n\n# In the"
    )
    listed = re.sub(r"(RULES\b.*? = \(.*?)\n\)", r"\1\n    Lion,\n)", listed, count=1, flags=re.S)
    (rules / "__init__.py").write_text(listed)
    # 3. its reference
    with (copy / "tests" / "reference.py").open("a") as file:
        file.write(textwrap.dedent(REFERENCE))
    # 4. its row in the table of rules
    page = copy / "docs" / "rules.md"
    last = next(line for line in page.read_text().splitlines(True) if line.startswith("| [`Adam`]"))
    page.write_text(page.read_text().replace(last, last + ROW))

    generic = "Lion or private or rules_are_the_lectures or color_blind"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"),
            *("-m", request.config.option.markexpr),
            *("-k", f"({generic}) and not four_places and not kill", copy / "tests"),
            # As the one with "kill" it starts processes of its own, here for every rule.
            f"--ignore={copy / 'tests' / 'test_several_machines.py'}",
        ],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    passed = int(re.search(r"(\d+) passed", run.stdout)[1])
    assert passed > 70
