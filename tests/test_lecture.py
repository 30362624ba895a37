"""What the slides claim on surfaces, each against numbers; and the pictures that show it."""

import pathlib
import re

import numpy as np
import pytest
from common import imported, is_whole
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, ImageChops, ImageColor
from test_landscapes import referenced

from keras_lecture_opt import (
    AdaGrad,
    Adam,
    Momentum,
    Nesterov,
    RMSProp,
    SimplifiedAdam,
    SteepestDescent,
    plots,
)
from keras_lecture_opt.landscapes import Surface, beale, descend, quadratic, saddle
from keras_lecture_opt.rules import RULES

ROOT = pathlib.Path(__file__).parents[1]
# What the pictures must show, however many rules there are.
LECTURE = (SteepestDescent, Momentum, Nesterov, AdaGrad, RMSProp, SimplifiedAdam, Adam)
WIDE = Surface("wide bowl", quadratic.function, ((-1e9, 1e9), (-1e9, 1e9)), quadratic.start)


def steps_to(loss, descent):
    """From which on it stays below."""
    assert descent.losses[-1] < loss
    return np.flatnonzero(descent.losses >= loss)[-1] + 1


@pytest.mark.parametrize("eta", [1.01 / 50, 1.5 / 50, 1.99 / 50])
def test_steepest_descent_zigzags_while_it_creeps(eta):
    w1, w2 = descend(quadratic, SteepestDescent(eta), steps=50).path.T
    assert np.all(np.sign(w2[1:]) == -np.sign(w2[:-1]))
    assert np.all(np.diff(np.abs(w2)) < 0)
    assert np.all(w1 < 0)
    assert np.all(np.diff(w1) > 0)
    assert np.all(np.diff(w1) < 0.08)  # of a way of 1


def test_steepest_descent_does_not_zigzag_below():
    w2 = descend(quadratic, SteepestDescent(0.99 / 50), steps=50).path[:, 1]
    assert np.all(w2 < 0)


def test_steepest_descent_diverges_above():
    descent = descend(WIDE, SteepestDescent(2.01 / 50), steps=50)
    assert np.all(np.diff(np.abs(descent.path[:, 1])) > 0)
    assert "left the domain" in descend(quadratic, SteepestDescent(2.1 / 50), steps=50).stopped


@pytest.mark.parametrize("mu", [0.5, 0.9])
def test_momentum_needs_fewer_steps(mu):
    steepest = descend(quadratic, SteepestDescent(0.01), steps=500)
    momentum = descend(quadratic, Momentum(0.01, momentum=mu), steps=500)
    assert steps_to(1e-3, momentum) < 0.6 * steps_to(1e-3, steepest)


def test_large_momentum_overshoots():
    steepest = descend(quadratic, SteepestDescent(0.01), steps=500)
    assert steepest.path.max() <= 0
    for mu, least in ((0.9, 0.25), (0.99, 0.85)):
        assert np.all(
            descend(WIDE, Momentum(0.01, momentum=mu), steps=500).path.max(axis=0) > least
        )


def test_without_momentum_it_is_steepest_descent():
    momentum = descend(quadratic, Momentum(0.03, momentum=0.0), steps=100)
    steepest = descend(quadratic, SteepestDescent(0.03), steps=100)
    np.testing.assert_allclose(momentum.path, steepest.path, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("mu", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("velocity", [(0.2, 0.1), (-0.1, 0.2)])
def test_nesterov_runs_less_far_past_the_optimum(mu, velocity):
    momentum, nesterov = (
        descend(WIDE, rule(0.01, momentum=mu), (0, 0), steps=1000, velocity=velocity)
        for rule in (Momentum, Nesterov)
    )
    farthest = np.abs(momentum.path).max(axis=0)
    assert np.all(np.abs(nesterov.path).max(axis=0) < farthest)
    assert np.all(farthest > np.abs(velocity) * mu)  # both do run past it


def test_adagrads_first_step_is_the_diagonal():
    for eta in (0.01, 0.25):
        path = descend(quadratic, AdaGrad(eta), steps=1).path
        np.testing.assert_allclose(path[1] - path[0], [eta, eta], atol=1e-6)


def test_adagrad_stops_and_rmsprop_does_not():
    adagrad, rmsprop = (descend(quadratic, r(0.01), steps=400) for r in (AdaGrad, RMSProp))
    assert np.all(np.diff(adagrad.rates, axis=0) < 0)
    travelled = [np.linalg.norm(d.path[-1] - d.path[0]) for d in (adagrad, rmsprop)]
    assert travelled[0] < travelled[1] / 2
    # While the gradients fall, on the way down, RMSProp's rates first fall, too; then they rise.
    falling = np.all(np.diff(np.abs(rmsprop.gradients), axis=0) < 0, axis=1)
    down = rmsprop.rates[: np.argmin(falling)]
    assert np.all(down[-1] > 100 * down.min(axis=0))
    assert np.all(down[0] > down.min(axis=0))


@pytest.mark.parametrize("eta", [0.01, 0.1])
def test_adams_first_step_is_eta_and_the_simplified_ones_more(eta):
    for rule, length in ((Adam, eta), (SimplifiedAdam, eta * 0.1 / np.sqrt(0.001))):
        path = descend(quadratic, rule(eta), steps=1).path
        np.testing.assert_allclose(path[1] - path[0], [length, length], rtol=1e-6)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """What `make lecture-figures` writes but the film, and which of the pictures are cut."""
    folder, cut = tmp_path_factory.mktemp("figures"), []
    save = Figure.savefig

    def look_and_save(figure, file, **options):
        if not is_whole(figure):
            cut.append(file.name)
        save(figure, file, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", look_and_save)
        imported(ROOT / "docs" / "figures" / "lecture_figures.py").draw_all(folder)
    return folder, cut


@pytest.fixture(scope="module")
def figures(drawn):
    return drawn[0]


@pytest.mark.full
def test_no_picture_is_cut(drawn):
    _, cut = drawn
    assert not cut
    long = plt.figure()
    long.suptitle("a title that is much too long for the picture " * 9)
    close = plt.figure()
    close.text(0.1, 0.5, "one text")
    close.text(0.12, 0.5, "another one")
    assert not is_whole(long)
    assert not is_whole(close)
    plt.close("all")


@pytest.mark.full
def test_correction_tables_are_numpys(figures):
    page = (figures / "README.md").read_text()
    [(_, *shown), *ends] = rows(page, "Why does Adam need bias correction?")
    m, v, factors = 0, 0, []
    for _ in range(1000):  # a constant gradient of 1, for which Adam's step is eta
        m, v = 0.9 * m + 0.1, 0.999 * v + 0.001
        factors.append(m / np.sqrt(v))
    assert shown == [f"{factors[t - 1]:.2f}" for t in (1, 12, 100, 1000)]
    assert np.argmax(factors) + 1 == 12
    for name, eta, steps, _ in ends[-3:]:
        eta = {"0.3": 0.3, "0.0949": 0.3 * np.sqrt(0.001) / 0.1}[eta]
        rule = {"SimplifiedAdam": SimplifiedAdam, "Adam": Adam}[name]
        with np.errstate(over="ignore", invalid="ignore"):  # after it has left
            path = referenced(rule, beale, 1000, learning_rate=float(np.float32(eta)))[0]
        left = np.abs(path).max(axis=1) > 4.5
        assert steps == (f"{np.argmax(left)}, then it leaves" if left.any() else "1000")


def test_film_of_the_saddle():
    file = ROOT / "docs" / "figures" / "saddle.gif"
    assert file.stat().st_size < 1e6
    with Image.open(file) as film:
        assert film.n_frames > 50
        film.seek(film.n_frames - 1)
        pixels = {color: n for n, color in film.convert("RGB").getcolors(10**6)}
    near = [
        sum(n for c, n in pixels.items() if np.abs(np.subtract(c, rgb)).max() < 24)
        for rgb in (ImageColor.getrgb(plots.color(rule)) for rule in LECTURE)
    ]
    assert min(near) > 100


def rows(page, below):
    """The cells of the table in a section of docs/figures/README.md."""
    section = page.split(f"## {below}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


@pytest.mark.full
def test_the_shown_page_is_what_is_drawn(figures):
    shown = ROOT / "docs" / "figures"
    assert (figures / "README.md").read_text() == (shown / "README.md").read_text()
    drawn = {picture.name for picture in figures.glob("*.png")}
    assert drawn == {p.name for p in shown.glob("*.png") if not p.name.startswith("tensorboard")}
    assert all(f"]({name})" in (shown / "README.md").read_text() for name in drawn)


@pytest.mark.full
def test_saddle_table_is_numpys(figures):
    table = rows((figures / "README.md").read_text(), "All seven from the saddle")
    assert [name for name, _ in table] == [rule.__name__ for rule in RULES]
    eta = float(np.float32(0.01))  # as Keras keeps it
    for rule, (_, shown) in zip(LECTURE, table, strict=False):  # rules added later follow
        with np.errstate(over="ignore", invalid="ignore"):  # after it has left
            path, _, states = referenced(rule, saddle, 4000, learning_rate=eta)
            w1 = path[1:, 0]
            if rule is Nesterov:  # NumPy's path is that of the look-ahead
                w1 = w1 - 0.9 * states[:, 0, 0]
        assert int(shown) == 1 + np.argmax(w1 < -1.5)


@pytest.mark.full
def test_zigzag_table_is_numpys(figures):
    page = (figures / "README.md").read_text()
    table = rows(page, "Steepest descent zigzags, and what momentum does to that")
    for (_, *shown), mu in zip(table, (0, 0.5, 0.9, 0.99), strict=True):
        for steps, eta in zip(shown, (0.036, 0.01), strict=True):
            eta = float(np.float32(eta))
            w1, w2 = referenced(Momentum, quadratic, 3000, learning_rate=eta, momentum=mu)[0].T
            assert int(steps) == np.flatnonzero(w1**2 + 25 * w2**2 >= 1e-3)[-1] + 1


@pytest.mark.full
def test_pictures_show_their_rules(figures):
    rules = {
        "zigzag": {Momentum},
        "lookahead": {Momentum, Nesterov},
        "adagrad": {AdaGrad, RMSProp},
        "saddle": {*LECTURE},
        "bias_correction": {SimplifiedAdam, Adam},
        "bias_correction_beale": {SimplifiedAdam, Adam},
    }
    pictures = list(figures.glob("*.png"))
    assert len(pictures) == 10
    for picture in pictures:
        with Image.open(picture) as shown:
            assert shown.width > 500
            assert shown.height > 300
            pixels = {color: n for n, color in shown.convert("RGB").getcolors(10**6)}
        drawn = {
            rule for rule in LECTURE if pixels.get(ImageColor.getrgb(plots.color(rule)), 0) > 20
        }
        # Text and axes are black, too.
        expected = rules[re.sub("_(paths|losses|rates)$", "", picture.stem)]
        assert drawn - {SteepestDescent} == expected - {SteepestDescent}


@pytest.mark.full
def test_committed_pictures_are_those_drawn(figures):
    for drawn in figures.glob("*.png"):
        with Image.open(drawn) as new, Image.open(ROOT / "docs" / "figures" / drawn.name) as old:
            if new.info["Software"] != old.info["Software"]:
                pytest.skip("another version of matplotlib draws a little differently")
            difference = np.asarray(ImageChops.difference(new.convert("RGB"), old.convert("RGB")))
        assert np.mean(difference.max(axis=-1) > 30) < 1e-3, drawn.name


def test_reference_runs_are_those_of_the_lecture():
    runs = {run.name for run in (ROOT / "tb_logs" / "reference").iterdir()}
    assert runs == {rule.__name__ for rule in LECTURE}
