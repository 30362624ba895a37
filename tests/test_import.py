"""What an import needs, prints and offers."""

import ast
import os
import pathlib
import runpy

import keras
import pytest

import keras_lecture_opt

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = pathlib.Path(keras_lecture_opt.__file__).parent


def test_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="'keras_lecture_opt' has no attribute 'adam'"):
        _ = keras_lecture_opt.adam


def test_quiet_start_hides_stderr_only_where_it_is_asked_to(monkeypatch, capfd):
    from keras_lecture_opt._quiet import quiet_start

    for level, shown in (("3", ""), ("0", "hidden"), (None, "hidden")):
        if level is None:
            monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
        else:
            monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
        with quiet_start():
            os.write(2, b"hidden")
        assert capfd.readouterr().err == shown
        os.write(2, b"after")
        assert capfd.readouterr().err == "after"


def test_another_backend_is_refused_in_one_sentence(monkeypatch):
    # Each of Keras's other backends needs a package of its own: this only says that it is there.
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError) as refused:
        runpy.run_path(str(PACKAGE / "__init__.py"))
    assert str(refused.value) == (
        "keras_lecture_opt runs on Keras's TensorFlow backend only, and this is "
        "'jax': set KERAS_BACKEND=tensorflow before Keras is imported."
    )


def test_version_is_stated_once():
    from importlib.metadata import version

    assert version("keras_lecture_opt") == keras_lecture_opt.__version__
    assert f"## {keras_lecture_opt.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {keras_lecture_opt.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def imported_names(nodes):
    """All modules and names that some nodes of a source file import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (alias.name for alias in node.names)


def test_an_extra_is_imported_only_where_it_is_used_or_missed():
    """In a function; or, for the explorer, in a `try` that names the extra."""
    extras = {"bokeh", "distributed", "imageio_ffmpeg"}
    for file in PACKAGE.glob("**/*.py"):
        names = imported_names(ast.parse(file.read_text()).body)
        assert not extras & {name.partition(".")[0] for name in names}, file


def test_programs_do_not_import_one_another():
    folders = ("examples", "docs", "benchmarks")
    files = [file for folder in folders for file in ROOT.glob(f"{folder}/**/*.py")]
    programs = [file for file in files if "__main__" in file.read_text()]  # not the site's hooks
    names = {program.stem for program in programs}
    assert {"fit_mnist", "compare_rules", "lecture_figures", "screenshots", "bench"} <= names
    for program in programs:
        assert not names & {*imported_names(ast.walk(ast.parse(program.read_text())))}, program
