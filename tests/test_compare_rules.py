"""The study of the MNIST network, on a few images and a small network."""

import functools
import pathlib

import pytest
from common import imported
from digits import digits

from keras_lecture_opt import mnist

SCRIPT = pathlib.Path(__file__).parents[1] / "examples" / "compare_rules.py"


@pytest.fixture(scope="module")
def example():
    return imported(SCRIPT)


@pytest.fixture
def start(example, monkeypatch, tmp_path):
    monkeypatch.setattr(mnist, "load", lambda data_dir: (digits("train", 300), digits("t10k", 50)))
    monkeypatch.setattr(mnist, "mlp", functools.partial(mnist.mlp, hidden=(8,)))

    def run(*options):
        monkeypatch.setattr("sys.argv", ["compare_rules.py", "--folder", str(tmp_path), *options])
        return example.main()

    return run


@pytest.mark.full
def test_study_is_made_and_continued(start, tmp_path, capsys):
    search = ("AdaGrad", "--seeds", "1", "--train-examples", "200", "--rates", "0.1,0.001")
    start(*search, "keras.Lion", "--rungs", "1:2,2:1")
    out = capsys.readouterr().out
    assert "| AdaGrad | 0." in out
    assert "| keras.Lion | 0." in out
    page = (tmp_path / "page" / "README.md").read_text(encoding="utf-8")
    assert "up to epoch 1, then 1 rate up to epoch 2, each with 1 seed: 0." in page
    assert "`python compare_rules.py --folder " in page
    start("--rungs", "1:2,3:1", "keras.Lion", *search)  # it replaces its page
    assert "up to epoch 3" in (tmp_path / "page" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rungs", "3:10,20:11"], "`rungs` must be (epochs, trials) pairs"),
        (["--rungs", "3"], "must be EPOCHS:RATES,..., not '3'"),
        (["--rates", "nan"], "`learning_rates` must be different finite numbers > 0"),
        (["--seeds", "0"], "must be an integer >= 1"),
        (["adam"], "Did you mean Adam?"),
    ],
)
def test_wrong_options_are_refused(start, options, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        start(*options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
