"""What all programs of this repository have in common: options, output, what they share."""

import io
import os
import pathlib
import runpy
import shlex
import sys

import _programs
import pytest
import tensorflow as tf

from keras_lecture_opt.comparison._tables import markdown_table

ROOT = pathlib.Path(__file__).parents[1]
PROGRAMS = [
    *sorted(ROOT.glob("examples/[!_]*.py")),
    *(path for path in sorted(ROOT.glob("docs/**/*.py")) if "__main__" in path.read_text()),
    *sorted(ROOT.glob("benchmarks/*.py")),
]


def state_of_files():
    """When each file that a program may write was last changed."""
    return {
        path: path.stat().st_mtime_ns
        for folder in ("benchmarks", "docs", "examples", "tb_logs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix != ".pyc" and path.name != "__pycache__"
    }


@pytest.fixture
def start(monkeypatch, tmp_path):
    """A function that runs a program as a user does, in this process; returns the exit code."""
    logger = tf.get_logger()
    level = logger.level

    def run(program, *options):
        monkeypatch.setattr(sys, "argv", [str(program), *options])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(program), run_name="__main__")
        return stopped.value.code

    monkeypatch.chdir(tmp_path)
    yield run
    logger.setLevel(level)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_help_and_unknown_options_write_nothing(program, start, capsys):
    before = state_of_files()
    assert start(program, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: {program.name}")
    summary = program.read_text().partition('"""')[2].partition("\n")[0]
    assert " ".join(summary.split()) in " ".join(shown.split())

    assert start(program, "--no-such-option") == 2
    error = capsys.readouterr().err
    assert "unrecognized arguments: --no-such-option" in error
    assert "Traceback" not in error
    assert state_of_files() == before


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bench", ["updates"], "there is no part 'updates', only update,"),
        ("screenshots", ["folder"], "unrecognized arguments: folder"),
        ("verdicts", ["mlp"], "unrecognized arguments: mlp"),
        ("lecture_figures", ["a", "b"], "unrecognized arguments: b"),
        ("fit_mnist", ["Adam"], "unrecognized arguments: Adam"),
        ("fit_mnist", ["--log-dir", "gs://bucket/run"], "a local file system, not 'gs://bucket"),
        ("fit_mnist", ["--data-dir", ""], "`folder` must be a path, not empty"),
        ("compare_rules", ["adam"], "There is no optimizer 'adam'. Did you mean Adam?"),
        ("compare_in_tensorboard", ["keras.lion"], "Did you mean keras.Lion?"),
    ],
)
def test_argument_that_is_not_understood_is_refused(name, options, message, start, capsys):
    [program] = [p for p in PROGRAMS if p.stem == name]
    before = state_of_files()
    assert start(program, *options) == 2
    assert message in capsys.readouterr().err
    assert state_of_files() == before


def test_terminal_that_is_not_utf_8(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program.py"])
    streams = {name: io.TextIOWrapper(io.BytesIO(), "ascii") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)

    def main():
        print("η 0.01")
        print("γ", file=sys.stderr)
        return 3

    with pytest.raises(SystemExit) as stopped:
        _programs.run(main)
    assert stopped.value.code == 3
    for stream in streams.values():
        stream.flush()
    assert streams["stdout"].buffer.getvalue() == b"? 0.01\n"
    assert streams["stderr"].buffer.getvalue() == b"?\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "Stopped."),
        (OSError("the disk is full"), "program.py: error: the disk is full"),
        (
            tf.errors.ResourceExhaustedError(None, None, "the disk is full"),
            "program.py: error: the disk is full",
        ),
    ],
)
def test_what_a_user_causes_ends_without_a_traceback(error, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/program.py"])
    for name in ("stdout", "stderr"):  # whose error handler it changes
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "utf-8"))

    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        _programs.run(main, interrupted="Stopped.")
    assert stopped.value.code == message


def test_printed_command_can_be_pasted_into_a_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "my runs", pathlib.Path("/data/$HOME; 'x'")):
        command = shlex.split(_programs.tensorboard_command(folder))
        assert command[1] == "--logdir"
        assert (tmp_path / command[2]) == folder
        assert os.access(command[0], os.X_OK)


def test_home_folder_is_expanded_in_options(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _programs.folder("~/runs") == tmp_path / "runs"


def test_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        _programs.check_writable(tmp_path / "file" / "run")
    _programs.check_writable(tmp_path / "new" / "run")
    assert (tmp_path / "new" / "run").is_dir()


def test_table_in_markdown():
    assert markdown_table(["a", "b"], [[1, "x"], [2, "y"]]) == (
        "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 | y |\n"
    )
