"""What the README and the docstrings show is what happens."""

import contextlib
import csv
import doctest
import importlib
import io
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import keras_lecture_opt

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_readmes_first_example_does_what_it_shows(mnist_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(mnist_dir))
    code, output = blocks("python")[0], blocks("text")[0]
    assert len([line for line in code.splitlines() if line]) == 6
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    accuracies = re.compile(r"(?<!val_)accuracy: (0\.\d+).*val_accuracy: (0\.\d+)")
    shown = accuracies.findall(output)
    # Keras's bar draws each epoch's line many times; the last has both accuracies.
    reached = accuracies.findall(printed.getvalue().replace("\b", "\n").replace("\r", "\n"))
    assert len(shown) == len(reached) == 2
    for here, there in zip(shown, reached, strict=True):
        assert [float(n) for n in here] == pytest.approx([float(n) for n in there], abs=0.015)


@pytest.mark.parametrize("code", blocks("python")[1:])
def test_readmes_other_examples_print_what_they_show(code):
    example = doctest.DocTestParser().get_doctest(code, {}, "README.md", "README.md", 0)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_readme_is_short_and_its_commands_and_files_exist():
    assert len(README.splitlines()) <= 120
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([a-z-]+)`?", README):
        assert f"\n{target}:" in makefile
    for path in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (ROOT / path).exists()


def test_readmes_table_is_the_code(rule):
    [row] = [line for line in README.splitlines() if line.startswith(f"| `{rule.__name__}` |")]
    config = rule().get_config()
    defaults = dict(re.findall(r"`(\w+)` ([\d.e-]+)", row))
    own = {name: config[name] for name in config if name in defaults}
    assert {k: float(v) for k, v in defaults.items()} == pytest.approx(own, rel=1e-6)
    assert "learning_rate" in own
    assert all(f"`{slot}`" in row for slot in rule.slot_names)


@pytest.mark.parametrize("folder", ["comparison", "batch_sizes"])
def test_tables_of_comparisons_are_their_results(folder):
    """The committed CSV tells what the committed pages, and the README, may say."""
    page = (ROOT / "docs" / folder / "README.md").read_text()
    ends = {}
    with (ROOT / "docs" / folder / "results.csv").open() as file:
        for row in csv.DictReader(file):
            if row["part"] == "comparison":
                assert row["diverged"] == "False"
                ends.setdefault((row["rule"], row["batch_size"], row["learning_rate"]), {})[
                    row["seed"]
                ] = row  # the last epoch's
    assert len(ends) == {"comparison": 8, "batch_sizes": 6}[folder]
    for (rule, batch_size, rate), last in ends.items():
        assert len(last) == 2
        shown = []
        for column, form, unit in (("cost", "{:.5f}", 1), ("test_accuracy", "{:.2f} %", 100)):
            values = [unit * float(row[column]) for row in last.values()]
            mean, low, high = map(form.format, (sum(values) / 2, min(values), max(values)))
            shown.append(f"{mean} [{low}, {high}]")
        rate = f"{float(rate):g}"
        assert f"| {rule} | {batch_size} | {rate} | 2 | {shown[0]} | {shown[1]} |" in page
        if folder == "comparison":
            assert f"| {rule} | {rate} | {shown[0]} | {shown[1]} |" in README


MODULES = [module.name for module in pkgutil.iter_modules(keras_lecture_opt.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write logs
    module = importlib.import_module(f"keras_lecture_opt.{name}")
    names = {"keras_lecture_opt": keras_lecture_opt}
    assert doctest.testmod(module, extraglobs=names).failed == 0


def test_every_rules_docstring_has_an_example(rule):
    assert ">>>" in rule.__doc__


def test_another_backend_is_refused_in_one_sentence():
    # Each of Keras's other backends needs a package of its own: this only says that it is there.
    pretend = "import keras; keras.backend.backend = lambda: 'jax'; import keras_lecture_opt"
    run = subprocess.run(
        [sys.executable, "-c", pretend], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        "ImportError: keras_lecture_opt runs on Keras's TensorFlow backend only, and this is "
        "'jax': set KERAS_BACKEND=tensorflow before Keras is imported."
    )


def test_version_is_stated_once():
    from importlib.metadata import version

    assert version("keras_lecture_opt") == keras_lecture_opt.__version__
    assert f"## {keras_lecture_opt.__version__}" in (ROOT / "CHANGELOG.md").read_text()
