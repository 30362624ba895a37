"""Pictures of descents: what they show, read from matplotlib's own objects, and films."""

import base64
import gc
import io
import re
import sys

import keras
import matplotlib as mpl
import numpy as np
import pytest
from common import RULES, is_whole
from matplotlib import animation
from matplotlib import pyplot as plt
from monitored import fit, network
from own_rules import OwnRule
from PIL import Image, ImageColor

from keras_lecture_opt import (
    AdaGrad,
    Adam,
    EffectiveLearningRateMonitor,
    Momentum,
    Nesterov,
    SimplifiedAdam,
    SteepestDescent,
    plots,
)
from keras_lecture_opt.landscapes import Surface, beale, descend, quadratic, saddle
from keras_lecture_opt.monitor import _pictures
from keras_lecture_opt.monitor._history import History, Row
from keras_lecture_opt.plots import _style, _surface

LAYERS = ["dense", "dense_1"]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def descents():
    """One of each rule."""
    return [descend(quadratic, rule(0.01), steps=20) for rule in RULES]


@pytest.fixture(scope="module")
def short():
    """Few steps: each is a frame, which takes a quarter of a second to draw."""
    return [descend(quadratic, rule(0.01), steps=4) for rule in (SteepestDescent, Momentum)]


def lines(ax, label):
    return [line for line in ax.lines if line.get_label() == label]


def is_marker(line, marker, of):
    return line.get_marker() == marker and line.get_color() == of.get_color()


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_paths_are_the_paths_each_in_its_color(descents):
    ax = plots.paths(descents)
    assert legend(ax) == [rule.__name__ for rule in RULES]
    for descent in descents:
        [line] = lines(ax, descent.rule)
        [ring] = [x for x in ax.lines if is_marker(x, "o", line) and x.get_mfc() == "#FFFFFF"]
        dots, disk = [x for x in ax.lines if is_marker(x, "o", line) and x.get_mfc() != "#FFFFFF"]
        np.testing.assert_array_equal(ring.get_xydata(), descent.path[:1])
        np.testing.assert_array_equal(dots.get_xydata(), descent.path)
        np.testing.assert_array_equal(disk.get_xydata(), descent.path[-1:])
        assert dots.get_markersize() > line.get_linewidth()  # dots are seen on wide lines, too
        assert line.get_zorder() < disk.get_zorder()
        np.testing.assert_array_equal(line.get_xydata(), descent.path)
        assert line.get_color() == plots.color(descent.optimizer)
    assert len({plots.color(rule) for rule in RULES}) == len(RULES)
    assert ax.get_title() == "$w_1^2 + 25 w_2^2$\nfrom (−1, −1), η 0.01"
    assert (*ax.get_xlim(), *ax.get_ylim()) == (-2, 2, -1.5, 1.5)
    [star] = [line for line in ax.lines if line.get_marker() == "*"]
    np.testing.assert_array_equal(star.get_xydata(), [(0, 0)])
    assert star.get_zorder() > max(x.get_zorder() for x in ax.lines if x is not star)
    assert star.get_mfc() == "none"


def test_coinciding_paths_differ_in_width():
    same = [descend(quadratic, rule(0.01), steps=9) for rule in (SteepestDescent, Momentum)]
    widths = [lines(plots.paths(same), d.rule)[0].get_linewidth() for d in same]
    assert widths[0] > widths[1]


def test_valleys_are_dark_and_where_they_are():
    tilted = Surface("tilted", lambda w1, w2: w1 + 0 * w2, ((-1, 1), (-1, 1)), (0, 0))
    ax = plots.paths(descend(tilted, SteepestDescent(0.0), steps=1))
    ax.figure.canvas.draw()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())[::-1, :, 0].astype(int)

    def grey(w1, w2):
        x, y = ax.transData.transform((w1, w2)).round().astype(int)
        return np.median(pixels[y - 2 : y + 3, x - 2 : x + 3])

    assert 150 < grey(-0.9, 0.7) < grey(-0.3, 0.7) < grey(0.3, -0.7) < grey(0.9, -0.7)
    assert grey(-0.9, 0.7) == grey(-0.9, -0.7)


def test_surface_that_is_finite_nowhere_is_drawn_without_contours():
    huge = Surface("huge", quadratic.function, ((-1e300, 1e300),) * 2, (1, 1))
    assert not plots.paths(descend(huge, Adam(), steps=3)).collections


def test_colors_can_be_told_apart_by_the_color_blind():
    """Machado et al. (2009), full severity: what a person without a kind of cone sees."""
    blind = {
        "protan": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deutan": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
    }
    colors = np.array([mpl.colors.to_rgb(plots.color(rule)) for rule in RULES])
    for matrix in blind.values():
        seen = np.clip(colors @ np.transpose(matrix), 0, 1)
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        assert distances[np.triu_indices(len(seen), 1)].min() > 0.1


def test_keras_class_has_the_color_of_its_rule_and_others_one_of_their_own(rule):
    if rule.nearest_keras and not rule.nearest_keras[1]:  # the class itself, not with arguments
        nearest = rule.nearest_keras[0]
        assert plots.color(nearest) == plots.color(nearest()) in map(plots.color, RULES)
    assert plots.color(rule) == plots.color(rule()) == plots.color(type("Below", (rule,), {}))
    assert plots.color(keras.optimizers.LossScaleOptimizer(rule())) == plots.color(rule)


@pytest.mark.parametrize("other", [5, "Adam", int, None])
def test_what_is_no_optimizer_has_no_color(other):
    with pytest.raises(TypeError, match=r"`optimizer` must be a keras\.optimizers\.Optimizer"):
        plots.color(other)


def test_rule_of_a_user_has_a_color_and_rates():
    assert plots.color(OwnRule) == plots.color(OwnRule())
    assert plots.color(OwnRule) in _style.OTHERS
    descent = descend(quadratic, OwnRule(0.01), steps=3)
    assert legend(plots.paths(descent)) == ["OwnRule"]
    assert plots.losses(descent).lines[0].get_color() == plots.color(OwnRule)
    np.testing.assert_allclose(plots.rates(descent)[0].lines[0].get_ydata(), 0.01)
    assert plots.panels(descent)[0].get_title() == "OwnRule"


def test_several_of_one_rule_differ_in_line_and_label():
    descents = [descend(quadratic, Momentum(0.01, momentum=mu), steps=3) for mu in (0, 0.5, 0.5)]
    descents += [descend(quadratic, Momentum(0.02, momentum=0.5), steps=3)]
    ax = plots.losses(descents)
    assert legend(ax) == [
        "Momentum, η 0.01, μ 0",
        "Momentum, η 0.01, μ 0.5",
        "Momentum, η 0.01, μ 0.5 #2",
        "Momentum, η 0.02, μ 0.5",
    ]
    assert ax.lines[0].get_color() == plots.color(Momentum)
    brightness = [sum(ImageColor.getrgb(line.get_color())) for line in ax.lines]
    assert min(np.abs(np.diff(brightness))) > 50
    assert len({line.get_marker() for line in ax.lines}) == 4


def test_labels_of_ones_own_and_other_optimizers():
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    ftrl = descend(quadratic, keras.optimizers.Ftrl(0.01), steps=3)
    assert legend(plots.losses({"mine": ftrl})) == ["mine"]
    again = descend(quadratic, keras.optimizers.Ftrl(decay), steps=3)
    ax = plots.losses([ftrl, again])
    assert legend(ax) == ["Ftrl, η 0.01", "Ftrl, η(t)"]
    assert ax.lines[0].get_color() in _style.OTHERS
    sgd = descend(quadratic, keras.optimizers.SGD(0.01), steps=3)
    assert plots.losses(sgd).lines[0].get_color() == plots.color(SteepestDescent)


def test_title_says_what_is_shared_and_labels_what_differs():
    def shown(*descents):
        ax = plots.paths(descents)
        return ax.get_title().partition("\n")[2], legend(ax)

    def run(rule, **options):
        return descend(quadratic, rule, steps=1, **options)

    rules = SteepestDescent(0.02), Adam(0.001), Momentum(0.02)
    assert shown(*map(run, rules)) == (
        "from (−1, −1)",
        ["SteepestDescent, η 0.02", "Adam, η 0.001", "Momentum, η 0.02"],
    )
    assert shown(run(Adam(0.1)), run(Adam(0.1), start=(0, 0.5))) == (
        "η 0.1",
        ["Adam, from (−1, −1)", "Adam, from (0, 0.5)"],
    )
    moving = {"velocity": (0.25, -0.5)}
    assert shown(run(Momentum(0.01), **moving), run(Nesterov(0.01), **moving)) == (
        "from (−1, −1), v (0.25, −0.5), η 0.01",
        ["Momentum", "Nesterov"],
    )
    assert shown(run(Momentum(0.01), **moving), run(Nesterov(0.01)), run(Adam(0.01))) == (
        "from (−1, −1), η 0.01",
        ["Momentum, v (0.25, −0.5)", "Nesterov", "Adam"],
    )


@pytest.fixture(scope="module")
def hot():
    return [descend(saddle, rule(0.5), steps=200) for rule in RULES]


def test_nothing_is_cut_or_covers_another_text(hot):
    """Many lines, long labels, every reason to stop."""
    many = [descend(beale, Adam(eta), (2, 1), 3) for eta in np.geomspace(1e-4, 0.3, 9)]
    own = {f"a label of one's own that is long, number {i}": d for i, d in enumerate(hot)}
    pictures = [plots.paths(own), plots.paths(many), plots.losses(many), *plots.panels(own)[:1]]
    pictures += [plots.panels(hot[:1])[0], plots.rates(hot)[0], plots.animate(own)._func(0)[0].axes]
    for i, ax in enumerate(pictures):
        assert is_whole(ax.figure), i


@pytest.mark.full
@pytest.mark.parametrize("draw", [plots.paths, plots.losses, plots.panels, plots.rates])
def test_nothing_is_cut_on_a_large_slide(draw, hot):
    [ax, *_] = np.ravel(draw(hot, figsize=(16, 9), dpi=120))
    assert ax.figure.canvas.get_width_height() == (1920, 1080)
    assert is_whole(ax.figure)


def test_size_and_resolution_of_every_picture(short, tmp_path):
    for draw in (plots.paths, plots.losses, plots.panels, plots.rates):
        [ax, *_] = np.ravel(draw(short, figsize=(9.6, 5.4), dpi=50))
        ax.figure.savefig(tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as picture:
            assert picture.size == (480, 270)
        for wrong in (0, (1, 2, 3), (0, 1), (np.inf, 1)):
            with pytest.raises(ValueError, match="`figsize` must be a width and a height in in"):
                draw(short, figsize=wrong)
        with pytest.raises(TypeError, match=r"`figsize` must be .*not 'wide'"):
            draw(short, figsize="wide")
        for wrong in (0, -1, np.inf):
            with pytest.raises(ValueError, match=f"`dpi` must be a finite number > 0, not {wrong}"):
                draw(short, dpi=wrong)
        with pytest.raises(TypeError, match="`dpi` must be a finite number > 0, not '80'"):
            draw(short, dpi="80")
    ax = plt.figure().add_subplot()
    for size in ({"figsize": (1, 1)}, {"dpi": 80}):
        with pytest.raises(ValueError, match="`figsize` and `dpi` must be left out with `ax`"):
            plots.paths(short, ax, **size)


def test_labels_need_not_be_text():
    descent = descend(quadratic, Momentum(), steps=2)
    assert legend(plots.paths({0.9: descent})) == ["0.9"]
    assert plots.panels({0.9: descent})[0].get_title() == "0.9"


def test_each_hyperparameter_has_its_symbol():
    pairs = [
        (keras.optimizers.RMSprop, "rho", "γ"),
        (Adam, "beta_1", "β₁"),
        (Adam, "beta_2", "β₂"),
        (Adam, "epsilon", "ε"),
    ]
    for make, name, symbol in pairs:
        descents = [descend(quadratic, make(**{name: x}), steps=1) for x in (0.5, 0.25)]
        rule = make.__name__
        assert legend(plots.losses(descents)) == [f"{rule}, {symbol} 0.5", f"{rule}, {symbol} 0.25"]


def test_a_path_that_ended_early_says_so():
    descent = descend(quadratic, SteepestDescent(0.05), steps=50)
    end = f"SteepestDescent\n{descent.stopped}"
    ax = plots.paths(descent)
    assert legend(ax) == [end]
    [cross] = [line for line in ax.lines if line.get_marker() == "X"]
    inside, outside = descent.path[-2:]
    share = (np.sign(outside[1]) * 1.5 - inside[1]) / (outside[1] - inside[1])
    np.testing.assert_allclose(cross.get_xydata(), [inside + share * (outside - inside)])
    assert plots.panels(descent)[0].get_title() == end


def test_panels_are_one_each(descents):
    axes = plots.panels(descents)
    assert [ax.get_title() for ax in axes] == [rule.__name__ for rule in RULES]
    for ax, descent in zip(axes, descents, strict=True):
        assert any(np.array_equal(line.get_xydata(), descent.path) for line in ax.lines)


def test_losses_on_a_log_axis_if_they_can(descents):
    ax = plots.losses(descents)
    assert ax.get_yscale() == "log"
    for line, descent in zip(ax.lines, descents, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), descent.losses)
    at_minimum = descend(quadratic, SteepestDescent(), start=(0, 0), steps=9)
    assert plots.losses([*descents, at_minimum]).get_yscale() == "log"
    assert plots.losses(at_minimum).get_yscale() == "linear"
    falls = descend(saddle, Adam(0.1), steps=50)
    assert falls.losses.min() < 0
    assert plots.losses(falls).get_yscale() == "linear"


def test_rates_of_both_weights(descents):
    axes = plots.rates(descents)
    assert [ax.get_title() for ax in axes] == ["$w_1$", "$w_2$"]
    for i, ax in enumerate(axes):
        for line, descent in zip(ax.lines, descents, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), range(1, 21))
            np.testing.assert_array_equal(line.get_ydata(), descent.rates[:, i])


def test_pictures_are_drawn_in_the_users_axes(descents):
    _, ((first, second), (third, fourth)) = plt.subplots(2, 2)
    assert plots.paths(descents, first) is first
    assert plots.losses(descents, second) is second
    plots.rates(descents, (third, fourth))
    assert len(third.lines) == len(fourth.lines) == len(RULES)
    assert plt.get_fignums() == [1]
    for ax in (first, second, fourth):  # nothing on the neighbours
        assert ax.get_legend()._get_loc() == 0  # "best", inside


def test_style_is_ours_on_our_figures_and_the_users_on_theirs(descents):
    with plt.style.context(["dark_background", {"font.size": 7, "savefig.dpi": 300}]):
        ours = plots.losses(descents)
        _, users = plt.subplots()
        plots.losses(descents, ax=users)
    assert ours.get_facecolor() == (1, 1, 1, 1)
    assert ours.xaxis.label.get_size() == 14
    assert users.get_facecolor() == (0, 0, 0, 1)
    assert users.get_legend().get_texts()[0].get_size() < 8


def test_users_settings_are_left_alone(descents):
    before = dict(mpl.rcParams)
    plots.paths(descents)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("suffix", [".gif", ".mp4", ".html"])
def test_films(suffix, short, tmp_path, capfd):
    file = tmp_path / f"film{suffix}"
    plots.animate(short, file, fps=2, figsize=(9.6, 5.4), dpi=50)
    assert "100%" in capfd.readouterr().err  # the progress bar
    content = file.read_bytes()
    if suffix == ".gif":
        with Image.open(file) as film:
            assert film.size == (480, 270)
            assert film.n_frames == 5
            assert film.info["duration"] == 500  # ms
            first = np.asarray(film.convert("RGB"), int)
            film.seek(4)
            assert film.info["duration"] == 1500  # a second more to look at the end
            moved = np.abs(np.asarray(film.convert("RGB"), int) - first).max(axis=-1) > 100
            assert 100 < moved.sum() < moved.size / 4
    elif suffix == ".html":
        page = content.decode()
        assert "//" not in re.sub('src="data:[^"]*"', "", page)  # it loads nothing
        [coded] = re.findall('<video [^>]*src="data:video/mp4;base64,([^"]*)"', page)
        content = base64.b64decode(coded)
    if suffix != ".gif":
        assert content[4:8] == b"ftyp"
        assert b"moov" in content
    assert plt.get_fignums() == []  # a notebook would show the last frame, too


def test_long_films_have_100_frames_and_stay_at_the_end():
    film = plots.animate(descend(quadratic, Adam(), steps=1000), fps=10)
    *frames, last = np.split(list(film.new_frame_seq()), range(1, 101))
    assert len(frames) == 100
    assert (frames[0], frames[-1]) == (0, 1000)
    assert list(last) == [1000] * 10
    del film
    gc.collect()  # matplotlib would warn of films that nobody looked at


def test_a_film_of_very_different_paces_shows_the_race():
    fast, slow = (descend(saddle, rule(0.01), steps=5000) for rule in (SimplifiedAdam, AdaGrad))
    for spacing, least, most in (("linear", 2, 3), ("log", 20, 27)):
        film = plots.animate([fast, slow], spacing=spacing)
        frames = np.array(list(film.new_frame_seq()))
        assert np.all(np.diff(frames) >= 0)
        assert (frames[0], frames[-1]) == (0, slow.steps)
        assert least <= np.sum(frames <= fast.steps) <= most
        del film
    with pytest.raises(ValueError, match="`spacing` must be 'linear' or 'log', not 'even'"):
        plots.animate(fast, spacing="even")


def test_frames_show_the_paths_so_far_and_how_they_end():
    left = descend(quadratic, SteepestDescent(0.045), steps=50)
    adam = descend(quadratic, Adam(0.01), steps=left.steps + 1)
    film = plots.animate([left, adam])
    frame = film._func
    *trails, head_of_left, head_of_adam = frame(1)
    ax = head_of_left.axes
    for trail, descent in zip(trails, (left, adam), strict=True):
        np.testing.assert_array_equal(trail.get_xydata(), descent.path[:2])
        rings = [line for line in ax.lines if line.get_mfc() == "#FFFFFF"]
        assert trail.get_color() in [ring.get_color() for ring in rings]
        assert all(np.array_equal(ring.get_xydata(), descent.path[:1]) for ring in rings)
    np.testing.assert_array_equal(head_of_adam.get_xydata(), adam.path[1:2])
    assert head_of_left.get_marker() == head_of_adam.get_marker() == "o"
    assert head_of_adam.get_color() == plots.color(Adam)
    names = ["SteepestDescent, η 0.045", "Adam, η 0.01"]
    running = [f"{names[0]}\nrunning", names[1]]
    assert legend(ax) == running
    frame(left.steps - 1)
    assert (head_of_left.get_marker(), legend(ax)) == ("o", running)
    place = ax.get_position().bounds
    frame(left.steps)
    np.testing.assert_array_equal(trails[1].get_xydata(), adam.path[:-1])
    np.testing.assert_array_equal(head_of_left.get_xydata(), [_surface.end(left)])
    assert (head_of_left.get_marker(), head_of_adam.get_marker()) == ("X", "o")
    assert not head_of_left.get_clip_on()  # the cross is whole
    assert legend(ax) == [f"{names[0]}\n{left.stopped}", names[1]]
    assert ax.get_title() == f"$w_1^2 + 25 w_2^2$\nfrom (−1, −1)\nstep {left.steps}"
    ax.figure.draw_without_rendering()
    assert ax.get_position().bounds == place
    frame(0)  # a player may go back
    assert (head_of_left.get_marker(), legend(ax)) == ("o", running)


def test_interrupted_film_leaves_the_old_one(short, tmp_path, monkeypatch):
    file = tmp_path / "film.gif"
    file.write_text("old")

    def update(bar):
        bar.n += 1
        if bar.n == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("tqdm.tqdm.update", update)
    with pytest.raises(KeyboardInterrupt):
        plots.animate(short[0], file)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("film.gif", "old")]


def test_film_without_a_file_is_a_player(short):
    player = plots.animate(short[0], fps=1)._repr_html_()
    assert player.startswith('<video width="720" height="432" controls autoplay muted loop>')
    assert 'src="data:video/mp4;base64,' in player


def test_only_films_need_an_encoder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    descent = descend(quadratic, Adam(), steps=1)
    plots.animate(descent, tmp_path / "film.gif", fps=1)
    for file in (None, tmp_path / "film.mp4"):
        with pytest.raises(ImportError, match=r"`animate` needs the extra 'plot', pip install"):
            plots.animate(descent, file)
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]


def test_wrong_files_are_refused_before_anything_is_drawn(descents, tmp_path, monkeypatch):
    monkeypatch.setattr(animation.Animation, "save", None)
    with pytest.raises(
        ValueError, match=r"`file` must end in \.gif, \.mp4 or \.html, not 'film.avi'"
    ):
        plots.animate(descents, tmp_path / "film.avi")
    (tmp_path / "folder.gif").mkdir()
    long = tmp_path / f"{'a' * 300}.gif"
    nowhere = tmp_path / "nowhere" / "film.gif"
    for wrong in (nowhere, tmp_path / "folder.gif", "/proc/film.gif", long):
        with pytest.raises(OSError, match=f"`file`: {wrong} cannot be written: "):
            plots.animate(descents, wrong)
    for fps in (0, -1, np.nan, np.inf, 101):
        with pytest.raises(ValueError, match=f"`fps` must be a number from 1 to 100, not {fps!r}"):
            plots.animate(descents, fps=fps)
    for fps in (True, "20", None):
        with pytest.raises(TypeError, match=f"`fps` must be a number from 1 to 100, not {fps!r}"):
            plots.animate(descents, fps=fps)
    for file in (b"film.gif", 3):
        with pytest.raises(TypeError, match=f"`file` must be a string or a .*Path, not {file!r}"):
            plots.animate(descents, file)


@pytest.mark.parametrize("draw", [plots.paths, plots.panels, plots.losses, plots.rates])
@pytest.mark.parametrize("wrong", [None, [], {}, 3, "Adam", [quadratic]])
def test_what_is_no_descent_is_refused(draw, wrong):
    with pytest.raises(TypeError, match="`descents` must be one or more Descents, not "):
        draw(wrong)
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    "draw", [plots.paths, plots.panels, plots.losses, plots.rates, plots.animate]
)
def test_label_that_a_legend_leaves_out_is_refused(draw, descents):
    for label in ("_old", ""):
        message = f'`descents` must be a dict from different .* begin with "_", not {label!r}'
        with pytest.raises(ValueError, match=message):
            draw({"new": descents[0], label: descents[1]})
    with pytest.raises(ValueError, match=r"`descents` must be a dict from different .*'0\.1'"):
        draw({0.1: descents[0], "0.1": descents[1]})
    with pytest.raises(ValueError, match=r"`descents` must be .*can be drawn, not '\$x_\{\$'"):
        draw({"$x_{$": descents[0]})
    assert plt.get_fignums() == []


@pytest.mark.parametrize("draw", [plots.paths, plots.losses, plots.rates])
def test_axes_of_the_wrong_kind_are_refused(draw, descents):
    fig = plt.figure()
    plain = fig.subplots()
    polar, solid = (fig.add_subplot(projection=projection) for projection in ("polar", "3d"))
    drawn = [len(ax.lines) for ax in fig.axes]
    if draw is plots.rates:
        wrong = [3, fig, plain, [plain], [plain] * 3, (plain, polar), (plain, None)]
        message = "`ax` must be two matplotlib Axes, neither polar nor 3D, not "
    else:
        wrong = [3, fig, polar, solid, [plain], "ax"]
        message = "`ax` must be a matplotlib Axes, neither polar nor 3D, not "
    for ax in wrong:
        with pytest.raises(TypeError, match=message):
            draw(descents, ax)
    assert [len(ax.lines) for ax in fig.axes] == drawn
    assert plt.get_fignums() == [fig.number]


def test_two_axes_as_subplots_returns_them(descents):
    pair = plt.figure().subplots(1, 2)
    assert plots.rates(descents, pair) is pair


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    plots.animate(descend(quadratic, Adam(), steps=1), "~/film.gif", fps=1)
    assert [path.name for path in tmp_path.iterdir()] == ["film.gif"]


def test_two_surfaces_in_one_picture_are_refused(descents):
    mixed = [descents[0], descend(saddle, Adam(), steps=2)]
    for draw in (plots.paths, plots.animate):
        with pytest.raises(ValueError, match="must be on one surface, not on quadratic, saddle"):
            draw(mixed)
    assert plt.get_fignums() == []
    assert [ax.get_title() for ax in plots.panels(mixed)] == [
        f"$w_1^2 + 25 w_2^2$\n{descents[0].rule}, η 0.01,\nfrom (−1, −1)",
        "$w_1^3 + w_2^2$\nAdam, η 0.001,\nfrom (−0.01, −1)",
    ]


def test_unknown_rates_are_refused():
    class Own(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)

    descent = descend(quadratic, Own(0.01), steps=2)
    with pytest.raises(ValueError, match="the effective learning rate of Own is not known"):
        plots.rates([descent])
    ftrl = keras.optimizers.Ftrl(0.1, l1_regularization_strength=0.1)
    with pytest.raises(ValueError, match="Ftrl: Ftrl with these arguments has no effective"):
        plots.rates(descend(quadratic, ftrl, steps=2))
    assert plt.get_fignums() == []


def test_training_is_drawn_for_each_run():
    monitors = {}
    for rule in (SteepestDescent, Adam):
        monitors[rule.__name__] = [EffectiveLearningRateMonitor(update_freq=4) for _ in range(2)]
        for seed, monitor in enumerate(monitors[rule.__name__]):
            keras.utils.set_random_seed(seed)
            fit(network(rule(), run_eagerly=True), monitor, epochs=1)
    figure = plots.training(monitors)
    *maps, curves = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    assert [ax.get_title() for ax in maps] == legend(curves) == ["SteepestDescent", "Adam"]
    for ax, [first, _] in zip(maps, monitors.values(), strict=True):
        assert [t.get_text() for t in ax.get_yticklabels()] == ["dense", "dense_1"]
        rows = first.history.select("step_to_weight", "dense_1/kernel")
        [mesh] = ax.collections
        np.testing.assert_allclose(mesh.get_array()[1], [row.value for row in rows])
    steps, adam = curves.lines[1].get_xdata(), curves.lines[1].get_ydata()
    assert list(steps) == [1, 2, 4, 5]
    of_seeds = [
        [m.history.select("step_to_weight", f"{layer}/kernel")[2].value for layer in LAYERS]
        for m in monitors["Adam"]
    ]
    assert adam[2] == pytest.approx(np.median([np.median(one) for one in of_seeds]))
    assert len(curves.collections) == 2  # the bands
    assert is_whole(figure)
    assert is_whole(plots.training(monitors, figsize=(16, 9), dpi=120))

    one = plots.training(monitors["Adam"][0], "effective_lr")
    assert one.axes[0].get_title() == "Median effective learning rate"
    with pytest.raises(ValueError, match="`quantity` must be one of 'step_to_weight'"):
        plots.training(monitors, "loss")
    with pytest.raises(ValueError, match="The monitor has not measured 'execution_to_weight'"):
        plots.training(monitors["Adam"][0], "execution_to_weight")
    for wrong in ([], {}, {"a": []}, {"a": 3}):
        with pytest.raises(TypeError, match="`runs` must be a monitor, or a dict from labels"):
            plots.training(wrong)
    with pytest.raises(ValueError, match="`runs` must be a dict from different labels that are"):
        plots.training({"": monitors["Adam"]})


@pytest.mark.parametrize(("count", "name"), [(1, "dense"), (5, "W" * 40), (300, "block_11/query")])
def test_picture_of_all_layers_has_twice_the_pixels_of_a_card(count, name):
    """matplotlib warns, and so fails, where names leave no room."""
    history = History(
        Row(step, 0, f"{name}_{i}/kernel", "step_to_weight", 1e-3)
        for step in (1, 10, 100)
        for i in range(count)
    )
    with plt.rc_context({"font.size": 30, "xtick.labelsize": 30}):  # the user's own
        png, *size = _pictures.picture(history, "step_to_weight")
    assert size == [2 * 350, 2 * 215]
    assert Image.open(io.BytesIO(png)).size == (700, 430)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("conv5_block3_3_conv", "conv5_block3_3_conv"),
        ("my_own_layer_with_a_long_name_12", "my_own_la…ng_name_12"),
        ("transformer_block_11/multi_head_attention/query", "tr…_11/mu…ion/query"),
        ("/".join("abcdefghijklmnop"), "m/n/o/p"),
    ],
)
def test_long_names_of_layers_are_shortened(name, label):
    assert _pictures.shorten(name) == label
