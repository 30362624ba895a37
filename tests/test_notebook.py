"""The notebook of the lecture: every slide is there, and what it says is what it computes."""

import copy
import json
import pathlib
import re

import nbformat
import numpy as np
import pytest
from common import imported

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "lecture.ipynb"
LECTURE = (
    "SteepestDescent",
    "Momentum",
    "Nesterov",
    "AdaGrad",
    "RMSProp",
    "SimplifiedAdam",
    "Adam",
)


def texts(cell):
    """What a cell has printed and returned, as text."""
    shown = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return "\n".join(shown)


def kinds(cell):
    """The kinds of data that a cell shows."""
    return {kind for output in cell.outputs for kind in output.get("data", {})}


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)


# The titles in the text of the slides, in their order.
SLIDES = (
    "Deep Learning II: Momentum & Adaptive Step Size",
    "Goals for the Lecture",
    "Background: Mini-batch gradient descent",
    "Mini-batch gradient descent",
    "An example",
    "Weight Update Methods",
    *["Steepest Descent"] * 3,
    *["Trick 7: Momentum"] * 2,
    "Nesterov Accelerated Gradient",
    "An example",
    "Nesterov Accelerated Gradient",
    "Trick 8: Adaptive Learning Rate",
    *["AdaGrad (Adaptive Gradient)"] * 3,
    "RMSProp (Root Mean Square Propagation)",
    "Another example (saddle point)",
    *["Adam (Adaptive Moment Estimation)"] * 3,
)
WITHOUT_A_CELL = (1, 2)  # the title and the goals
WITHOUT_A_PICTURE = (1, 2, 4, 6, 7, 8, 15, 16)
# Cells that train the network: another machine rounds otherwise.
TRAINING = ("noise", "nesterov-network-cell", "network-accuracy", "adam-accuracy")
TIMED = "matrices-cell"  # how fast the machine is depends on what else runs there


def slides_of(notebook):
    """The text and the cells of code of each slide, by its number, in the notebook's order."""
    slides, number = {}, None
    for cell in notebook.cells:
        if cell.id == "list-of-slides":
            break
        if cell.cell_type == "code":
            slides[number][1].append(cell)
            continue
        for part in re.split('(?=<a id="slide-)', cell.source):
            if begun := re.match(r'<a id="slide-(\d+)"></a>\*\*Slide \1\.\*\* ', part):
                number = int(begun[1])
                assert number not in slides
                slides[number] = [], []
            if number:
                slides[number][0].append(part)
    return {
        number: (" ".join(" ".join(text).split()), cells)
        for number, (text, cells) in slides.items()
    }


def test_notebook_lists_each_slide_and_its_cells(notebook):
    [listed] = [cell.source for cell in notebook.cells if cell.id == "list-of-slides"]
    rows = re.findall(r"^\| \[(\d+)\]\(#slide-(\d+)\) \| (.*) \| .+ \|$", listed, re.MULTILINE)
    numbers = [*range(1, len(SLIDES) + 1)]
    assert [title for *_, title in rows] == [*SLIDES]
    assert [int(shown) for shown, *_ in rows] == [int(link) for _, link, _ in rows] == numbers
    slides = slides_of(notebook)
    assert [*slides] == numbers
    for number, (_, cells) in slides.items():
        assert any(cell.outputs for cell in cells) == (number not in WITHOUT_A_CELL)
        pictured = any("image/png" in kinds(cell) for cell in cells)
        assert pictured == (number not in WITHOUT_A_PICTURE), number
    # The rule of slide 7 is code.
    assert {number for number, *_ in CLAIMS} == {*numbers} - {*WITHOUT_A_CELL, 7}


# What the notebook says below a slide, and Python that is true there if that is so, or that returns
# what belongs in the braces.
CLAIMS = [
    (3, "Common sizes of a mini-batch are 32, 64 and 128.", "[*noise] == [32, 64, 128]"),
    (
        3,
        "its gradient is the average of their gradients",
        "np.allclose(np.mean(of_each, 0), gradient(x[:32], y[:32]), atol=1e-6)"
        " and np.abs(np.mean(of_each, 0)).max() > 1e-3",
    ),
    (
        3,
        "With four times as many examples a step has only half the noise",
        "0.4 < noise[128] / noise[32] < 0.6 and noise[128] < noise[64] < noise[32]",
    ),
    (3, "one step would take the work of {} mini-batches of 32", "len(x) // 32"),
    (
        4,
        "With the examples as the columns of a matrix",
        "Z.shape == (784, 128) and np.allclose(at_once(), one_by_one(), atol=1e-5)",
    ),
    (
        5,
        "Smaller mini-batches mean more steps for the same work",
        "[len(losses) for losses in by_size.values()] == [200, 100, 50]",
    ),
    (
        5,
        r"at an equal $\eta$ the loss falls faster",
        "(lambda a, b, c: a < b < c)(*(np.mean(r[-len(r) // 5 :]) for r in by_size.values()))",
    ),
    (6, "six methods, and Adam in two versions", "len(RULES) >= 7"),
    (8, "the gradient $(2 w_1, 50 w_2)$", "zigzag.gradients[0].tolist() == [-2, -50]"),
    (
        9,
        "oscillates along the steep direction and moves very slowly along the flat one",
        "np.all(zigzag.path[1:, 1] * zigzag.path[:-1, 1] < 0)"
        " and 0 < np.diff(zigzag.path[:, 0]).max() < 0.08",
    ),
    (
        9,
        "The curvature along $w_2$ is {}.",
        "50 if three[0.01].stability[0].round(6) == 0.25 else None",
    ),
    (
        9,
        "Below 1/2 there is no zigzag, but the path creeps. Above 1 it diverges",
        "three[0.01].stability[0] < 1 / 2 and np.all(three[0.01].path[:, 1] < 0)"
        " and three[0.01].path[-1, 0] < -0.2 and 1 / 2 < three[0.036].stability[0] < 1"
        " and three[0.041].stability[0] > 1 and three[0.041].stopped is not None",
    ),
    (
        10,
        "$v$ is a moving average of the gradients",
        "np.allclose(-0.01 * weights @ rolling.gradients, velocity, rtol=1e-5)",
    ),
    (
        10,
        "{}, {} or {} times the step of steepest descent",
        "[round(float(-(d.path[-1] - d.path[-2])[0] / 0.01)) for d in [*on_plane.values()][1:]]",
    ),
    (
        10,
        r"That is at $\eta / (1 - \mu)$",
        "[round(1 / (1 - mu)) for mu in mus] == [1, 2, 10, 100]",
    ),
    (
        11,
        r"If $\mu$ is large, it overshoots the target",
        "on_bowl[0].path.max() <= 0"
        " and min(on_bowl[mu].path[:, 0].max() for mu in (0.9, 0.99)) > 0.2",
    ),
    (
        11,
        r"a $\mu$ of 0.5 or 0.9 needs about half the steps",
        "all(0.4 < steps_to(0.001, on_bowl[mu]) / steps_to(0.001, on_bowl[0]) < 0.6"
        " for mu in (0.5, 0.9))",
    ),
    (
        11,
        "with 0.99 the overshooting takes much longer",
        "steps_to(0.001, on_bowl[0.99]) > 3 * steps_to(0.001, on_bowl[0])",
    ),
    (
        11,
        "With 0.9, momentum is more than ten times as fast.",
        "steps_to(0.001, in_valley[0]) > 10 * steps_to(0.001, in_valley[0.9])",
    ),
    (
        11,
        "is still faster than steepest descent",
        "steps_to(0.001, in_valley[0.99]) < steps_to(0.001, in_valley[0])"
        " and np.sum(np.diff(np.sign(in_valley[0.99].path[:, 0])) != 0) > 10",
    ),
    (
        11,
        r"On the lecture's network, too, both large $\mu$ are faster",
        "max(second_pass[f'Momentum, η 0.01, μ {mu}'] for mu in (0.9, 0.99))"
        " < second_pass['steepest descent, η 0.01'] / 2",
    ),
    (
        11,
        r"But steepest descent with ten times the $\eta$ keeps up",
        "second_pass['steepest descent, η 0.1'] < 1.1 * second_pass['Momentum, η 0.01, μ 0.9']",
    ),
    (
        11,
        r"As $\mu$ gets smaller, momentum behaves more like steepest descent.",
        "[*distance.values()] == sorted(distance.values(), reverse=True) and distance[0] < 1e-6",
    ),
    (
        12,
        "The gradient pushes momentum on. Nesterov's gradient is from the other side of the valley",
        "two_steps[0].gradients[0, 1] < 0 < two_steps[1].gradients[0, 1]"
        " and two_steps[0].path[0, 1] < 0 < two_steps[1].lookahead[0, 1]",
    ),
    (
        13,
        "Momentum has no gradient there, and runs past the optimum.",
        "np.all(optimal[0].gradients[0] == 0) and np.all(np.abs(optimal[0].path).max(0) > 0.15)",
    ),
    (
        13,
        "Nesterov looks ahead and is pulled back sooner.",
        "np.all(np.abs(optimal[1].path).max(0) < np.abs(optimal[0].path).max(0))",
    ),
    (
        14,
        r"about half the steps with a $\mu$ of 0.9, and a fifth with 0.99",
        "(lambda a, b, c, d: 0.4 < b / a < 0.6 and 0.15 < d / c < 0.25)"
        "(*(steps_to(0.001, d) for d in four))",
    ),
    (
        14,
        r"its loss is lower than that of momentum. With a $\mu$ of 0.9 the difference is small.",
        "all(a < second_pass['Nesterov' + of] / second_pass['Momentum' + of] < b"
        " for of, a, b in ((', η 0.01, μ 0.9', 0.9, 1), (', η 0.01, μ 0.99', 0, 1)))",
    ),
    (
        14,
        "With 0.036 on the bowl momentum converges and Nesterov diverges.",
        "steep[0].stability[0] < 1 < steep[1].stability[0] and steep[1].stopped is not None"
        " and steep[0].stopped is None",
    ),
    (
        15,
        r"with one learning rate for each weight",
        "np.allclose(eta / np.abs(zigzag.gradients[0]) * zigzag.gradients[0], [-0.01, -0.01])",
    ),
    (
        16,
        r"A common $\eta$ is 0.01, and $\epsilon$ is $10^{-7}$.",
        "round(float(AdaGrad().learning_rate), 6) == 0.01 and AdaGrad().epsilon == 1e-7",
    ),
    (
        16,
        "After the first step on the bowl they differ by a factor of {}",
        "round(float(adagrad.rates[0, 0] / adagrad.rates[0, 1]))",
    ),
    (
        17,
        "AdaGrad follows the diagonal",
        "np.allclose(adagrad.path[1] - adagrad.path[0], 0.01, atol=1e-6)"
        " and np.allclose(adagrad.path[:, 0], adagrad.path[:, 1], atol=1e-4)",
    ),
    (
        18,
        "After {} steps the path is not even halfway to the minimum.",
        "adagrad.steps if np.all(adagrad.path[-1] < -0.5) else None",
    ),
    (18, "the learning rates fall in every step", "np.all(np.diff(adagrad.rates, axis=0) < 0)"),
    (
        18,
        "after 5,000 steps it is still {:.2f} away from the minimum",
        "float(np.abs(descend(quadratic, AdaGrad(0.01), steps=5000).path[-1]).max())",
    ),
    (
        19,
        r"The defaults are $\gamma$ = 0.9, $\eta$ = 0.001 and $\epsilon$ = $10^{-7}$.",
        "(RMSProp().rho, round(float(RMSProp().learning_rate), 6), RMSProp().epsilon)"
        " == (0.9, 0.001, 1e-7)",
    ),
    (19, r"With the same $\eta$, RMSProp reaches the minimum.", "rmsprop.losses[-1] < 0.001"),
    (
        19,
        "Its learning rates rise again when the gradients get small.",
        "np.all(rmsprop.rates.argmin(axis=0) < 100) and np.all(rmsprop.rates.max(axis=0)"
        " > 100 * rmsprop.rates.min(axis=0))",
    ),
    (
        19,
        "at the end the stability is 1, and the path jumps back and forth over the minimum, "
        r"$\eta$ far in each step",
        "np.allclose(rmsprop.stability[-3:], 1, atol=0.002)"
        " and np.allclose(np.abs(np.diff(rmsprop.path, axis=0))[-3:], 0.01, atol=1e-4)"
        " and np.all(rmsprop.path[-1] * rmsprop.path[-2] < 0)",
    ),
    (
        20,
        "the gradient is $(0.0003, -2)$",
        "five[0].gradients[0].round(6).tolist() == [0.0003, -2]",
    ),
    (
        20,
        "the gradient along $w_2$ is {:,} times as large",
        "round(float(abs(five[0].gradients[0, 1] / five[0].gradients[0, 0])))",
    ),
    (
        20,
        "more than three quarters of their steps are within 0.1 of it",
        "all(at_saddle(d) > 0.75 * d.steps for d in five[:3])",
    ),
    (
        20,
        "Momentum and Nesterov wait about a tenth as long",
        "all(0.09 < at_saddle(d) / at_saddle(five[0]) < 0.12 for d in five[1:3])",
    ),
    (20, "never come near the saddle", "[at_saddle(descent) for descent in five[3:]] == [0, 0]"),
    (
        20,
        "AdaGrad needs {} times as many, because its rates fall",
        "round(five[3].steps / five[4].steps)",
    ),
    (
        21,
        r"Along $w_1$ the gradient keeps its sign, and $m$ follows it.",
        "np.all(jumping.gradients[:, 0] < 0) and np.all(np.array(averages)[:, 1, 0] < 0)",
    ),
    (
        21,
        r"Along $w_2$ it alternates, and $m$ is nearly 0, but $\sqrt v$ is not",
        "np.all(jumping.gradients[1:, 1] * jumping.gradients[:-1, 1] < 0)"
        " and np.abs(averages[-1][1][1]) < averages[-1][2][1] / 4"
        " and np.abs(averages[-1][1][1]) < 0.1 * np.abs(averages[-1][0][1])",
    ),
    (
        21,
        r"The defaults are $\beta_1$ = 0.9, $\beta_2$ = 0.999, $\eta$ = 0.001, and $\epsilon$ is "
        r"$10^{-8}$.",
        "(lambda a: (a.beta_1, a.beta_2, round(float(a.learning_rate), 6), a.epsilon)"
        " == (0.9, 0.999, 0.001, 1e-8))(SimplifiedAdam())",
    ),
    (
        21,
        r"$m$ is the velocity of momentum times $-(1 - \beta_1) / \eta$",
        "np.allclose(first_moment, -0.1 / 0.01 * velocity, rtol=1e-5)",
    ),
    (
        21,
        "its learning rates hardly rise near the minimum",
        "np.all(simplified.rates[-1] < 2 * simplified.rates.min(axis=0))",
    ),
    (
        21,
        "Where RMSProp passes the minimum and then keeps jumping over it, Adam comes to rest",
        "simplified.losses[-1] < 1e-12 < 1e-4 < rmsprop.losses[-1]",
    ),
    (21, r"RMSProp's loss falls to $10^{{{}}}$ once", "round(np.log10(rmsprop.losses.min()))"),
    (
        22,
        "{} times in the first step, and up to {} times in step {}",
        "[f'{factor[0]:.2f}', f'{factor.max():.2f}', int(t[factor.argmax()])]",
    ),
    (
        22,
        "they throw the simplified Adam out of the domain",
        "'left the domain' in on_beale[0].stopped",
    ),
    (
        22,
        r"The complete Adam reaches the minimum with the same $\eta$, and so does the simplified "
        "Adam with a third of it",
        "all(np.linalg.norm(d.path[-1] - [3, 0.5]) < 0.5 and d.losses[-1] < 0.05"
        " for d in on_beale[1:])",
    ),
    (
        22,
        "The simplified one wins",
        "min(seven, key=lambda descent: descent.steps) is seven[5] and all(at_saddle(d) == 0"
        " for d in seven[5:])",
    ),
    (
        23,
        "two hidden layers of 1000 ReLUs each, 10 softmax outputs",
        "layers == [(1000, 'relu'), (1000, 'relu'), (10, 'softmax')]"
        " and network.input_shape[1:] == (28, 28)",
    ),
    (
        23,
        "the four adaptive rules train well with their defaults, and the others lag behind",
        "max(np.mean(losses[50:]) for _, losses in [*trained.values()][3:])"
        " < min(np.mean(losses[50:]) for _, losses in [*trained.values()][:3])",
    ),
    (
        23,
        r"AdaGrad's first steps are too long. Its $\eta$ is ten times that of the other three.",
        "max(trained['AdaGrad'][1]) > 5 and round(float(AdaGrad().learning_rate), 6)"
        " == 10 * round(float(Adam().learning_rate), 6)",
    ),
    (23, "With all 60,000 images", "len(x_train) == 60_000 and full > max(accuracies.values())"),
    (
        23,
        "at the end of 200 epochs Adam is not the lowest: AdaGrad, steepest descent, momentum and "
        "Nesterov are below it. So is Keras's Adadelta. RMSProp is the highest.",
        "sorted(ends, key=ends.get)[5:] == ['Adam', 'SimplifiedAdam', 'RMSProp']"
        " and {len(run) for name in ends for run in study.runs(name)} == {200}",
    ),
    (
        23,
        "The simplified Adam leads up to epoch 20, and Adam is second from epoch 8 to 20.",
        "(lambda c: all(min(c, key=lambda name: c[name][e]) == 'SimplifiedAdam' for e in range(20))"
        " and all(sorted(c, key=lambda name: c[name][e])[1] == 'Adam' for e in range(7, 20)))"
        "({name: np.exp(np.mean([[np.log(row['loss']) for row in run] for run in study.runs(name)],"
        " axis=0)) for name in ends})",
    ),
]


@pytest.mark.full
def test_notebook_shows_what_it_computes_and_computes_what_it_says(notebook, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # it trains: compiled code must be quick
    assert NOTEBOOK.stat().st_size < 2e6
    executed = copy.deepcopy(notebook)
    for cell in executed.cells:
        if cell.cell_type == "code":
            cell.outputs = []
        if cell.id == "film":  # each frame takes a quarter of a second
            whole, cell.source = cell.source, cell.source.replace("(seven,", "(seven[5], fps=1,")
            assert len(cell.source) == len(whole) + 10
    asked = ", ".join(f"({expression})" for *_, expression in CLAIMS)
    ask = f"import json\n\nprint(json.dumps([{asked}], default=lambda value: value.item()))"
    executed.cells.append(nbformat.v4.new_code_cell(ask))
    imported(ROOT / "docs" / "execute_notebook.py").execute(executed)
    answers = json.loads(texts(executed.cells.pop()))
    check_claims(slides_of(notebook), answers)
    assert executed.metadata == notebook.metadata

    number = re.compile(r"-?\d+(?:\.\d*)?(?:e-?\d+)?")
    for new, old in zip(executed.cells, notebook.cells, strict=True):
        if new.cell_type == "code":
            assert kinds(new) == kinds(old)
            now, before = texts(new), texts(old)
            assert number.sub("0", now).split() == number.sub("0", before).split()
            if new.id == TIMED:
                continue
            tolerance = 0.1 if new.id in TRAINING else 1e-6
            np.testing.assert_allclose(
                [*map(float, number.findall(now))], [*map(float, number.findall(before))], tolerance
            )


def check_claims(slides, answers):
    for (slide, sentence, expression), answer in zip(CLAIMS, answers, strict=True):
        assert answer not in (None, False), expression
        if answer is not True:
            sentence = sentence.format(*(answer if isinstance(answer, list) else [answer]))
        assert sentence in slides[slide][0], sentence


def test_every_rule_and_picture_of_the_notebook_is_shown(notebook):
    shown = {cell.source: kinds(cell) for cell in notebook.cells if cell.cell_type == "code"}
    for source, kind in shown.items():
        if re.search(r"(plots\.(paths|panels|losses|rates)|curves|compare)\(.*\n?$", source):
            assert "image/png" in kind, source
        if re.search(r"^(source|plots\.animate|explorer\.show)\(", source, re.MULTILINE):
            assert "text/html" in kind, source
    for rule in LECTURE:
        assert any(f"source({rule}.update_step" in source for source in shown)
    assert [*shown][-1].endswith("explorer.show()")
    film = next(cell for cell in notebook.cells if cell.id == "film")
    assert "autoplay muted" in film.outputs[0].data["text/html"]
