"""What the pages and the docstrings show is what happens."""

import contextlib
import csv
import doctest
import importlib
import inspect
import io
import math
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from common import eager_models, imported
from digits import digits
from matplotlib import pyplot as plt

import keras_lecture_opt
from keras_lecture_opt import mnist

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def blocks(page, language):
    return [code for name, code in FENCE.findall(page.read_text()) if name == language]


def rows(page):
    """The cells of each row of a table, by the code in its first cell, which may be a link."""
    lines = re.findall(r"^\| \[?`(\w+)`[^|]* \| (.*) \|$", page.read_text(), flags=re.MULTILINE)
    return {first: [cell.strip() for cell in rest.split(" | ")] for first, rest in lines}


@pytest.fixture
def in_new_folder(tmp_path, monkeypatch):
    """An example may write logs and pictures. The images are MNIST's, without the data set."""
    monkeypatch.chdir(tmp_path)
    images = (digits("train", 60_000), digits("t10k", 10_000))
    monkeypatch.setattr(mnist, "load", lambda data_dir=None: images)
    yield
    plt.close("all")


@pytest.mark.full
def test_readmes_first_example_does_what_it_shows(in_new_folder):
    code, output = blocks(PAGES[0], "python")[0], blocks(PAGES[0], "text")[0]
    assert len([line for line in code.splitlines() if line]) == 6
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    accuracies = re.compile(r"(?<!val_)accuracy: (0\.\d+).*val_accuracy: (0\.\d+)")
    shown = accuracies.findall(output)
    # Keras's bar draws its line many times; the last has both accuracies.
    reached = accuracies.findall(printed.getvalue().replace("\b", "\n").replace("\r", "\n"))
    assert len(shown) == len(reached) == 1
    for here, there in zip(shown, reached, strict=True):
        assert [float(n) for n in here] == pytest.approx([float(n) for n in there], abs=0.015)
    last = [text.strip().splitlines()[-1] for text in (output, printed.getvalue())]
    shown, reached = (re.fullmatch(r"(\d+\.\d)(%.*)", line).groups() for line in last)
    assert shown[1] == reached[1]
    assert float(shown[0]) == pytest.approx(float(reached[0]), abs=1.5)


OTHERS = [
    pytest.param(
        code,
        id=f"{page.stem}-{i}",
        # The comparison in the docstring is enough.
        marks=pytest.mark.full if "comparison.compare(" in code else (),
    )
    for page in PAGES
    for i, code in enumerate(blocks(page, "python"))
    if (page.stem, i) not in (("README", 0), ("README", 1))
]


@pytest.mark.parametrize("code", OTHERS)
def test_other_examples_print_what_they_show(code, in_new_folder):
    """Each works on its own."""
    if ">>>" not in code:
        exec(code, {})
        return
    example = doctest.DocTestParser().get_doctest(code, {}, "example", "example", 0)
    report, runner = io.StringIO(), doctest.DocTestRunner()
    with eager_models() if "comparison.compare(" in code else contextlib.nullcontext():
        assert runner.run(example, out=report.write).failed == 0, report.getvalue()


@pytest.mark.full
def test_readmes_verdict_is_the_librarys(in_new_folder, capsys):
    exec(blocks(PAGES[0], "python")[1], {})
    shown = blocks(PAGES[0], "text")[1]
    for text in (shown, capsys.readouterr().out):
        assert re.search(r"changed output/kernel by \d+% of its size", text)
        assert "the learning rate is too high. Try a tenth of the learning rate." in text


def words(text):
    """Count the words that a visitor reads: no code, tables, pictures or targets of links."""
    text = re.sub(r"<!--.*?-->", "", FENCE.sub("", text), flags=re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    lines = [x for x in text.splitlines() if not x.startswith(("|", "    "))]
    return len([word for word in " ".join(lines).split() if re.search(r"\w", word)])


def test_words_are_counted():
    assert words("One [two three](four.md).\n\n![five](six.png)\n| 7 | 8 |\n") == 3
    assert words("One.\n\n```python\ntwo\n```\nThree\n\n    four = 5\n") == 2
    assert words("`code in a line` counts — a dash does not") == 9


def test_readme_is_short():
    assert words(PAGES[0].read_text()) <= 450


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_commands_exist(page):
    text = page.read_text()
    prose = FENCE.sub("", text)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    for target in targets:
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            path = target.partition("#")[0]
            assert (page.parent / path).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    in_code = [*re.findall(r"`([^`\n]+)`", prose), *(code for _, code in FENCE.findall(text))]
    for target in re.findall(r"\bmake ([a-z][a-z-]*)", "\n".join(in_code)):
        assert f"\n{target}:" in makefile, target
    for program in re.findall(r"\b((?:examples|docs|benchmarks)/[\w/]+\.(?:py|ipynb))", text):
        assert (ROOT / program).exists(), program


def test_pages_are_there():
    names = {page.stem for page in PAGES}
    assert {"README", "rules", "monitor", "landscapes", "speed", "limits", "scale"} <= names


LECTURE = ["SteepestDescent", "Momentum", "Nesterov", "AdaGrad", "RMSProp"]
LECTURE += ["SimplifiedAdam", "Adam"]


def test_readmes_table_has_the_lectures_rules():
    """A rule that is added later needs no row there."""
    table = rows(PAGES[0])
    for name in LECTURE:
        [update] = table[name]
        assert "←" in update


def test_table_of_rules_is_the_code(rule):
    cells = rows(ROOT / "docs" / "rules.md")[rule.__name__]
    shown = dict(re.findall(r"`(\w+)` ([\d.e-]+)", " ".join(cells)))
    parameters = inspect.signature(rule).parameters.values()
    defaults = {
        p.name: p.default for p in parameters if isinstance(p.default, float) and p.name != "name"
    }
    assert {name: float(value) for name, value in shown.items()} == defaults
    assert "learning_rate" in shown
    [state] = [cell for cell in cells if cell == "none" or set(slots(cell)) & {*rule.slot_names}]
    assert tuple(slots(state)) == rule.slot_names
    if rule.nearest_keras:
        cls, arguments = rule.nearest_keras
        call = ", ".join(f"{name}={value}" for name, value in arguments.items())
        assert (
            f"`{cls.__name__}({call})`" in cells[-1] if call else f"`{cls.__name__}`" in cells[-1]
        )


def slots(cell):
    return re.findall(r"`(\w+)`", cell)


def test_rules_page_has_the_costs_of_the_study():
    """At the default rate and at the searched one: geometric means of the seeds."""
    with (ROOT / "docs" / "comparison" / "results.csv").open() as file:
        results = [*csv.DictReader(file)]
    page = (ROOT / "docs" / "rules.md").read_text()
    for name in LECTURE:
        parameters = inspect.signature(getattr(keras_lecture_opt, name)).parameters
        default = parameters["learning_rate"].default

        def cost(epoch, is_meant, name=name):
            losses = [
                float(row["loss"])
                for row in results
                if (row["optimizer"], row["epoch"]) == (name, str(epoch)) and is_meant(row)
            ]
            assert len(losses) == 2
            return (losses[0] * losses[1]) ** 0.5

        costs = [
            f"{cost(3, lambda row, rate=default: float(row['learning_rate']) == rate):.3f}",
            *(f"{cost(epoch, lambda row: row['chosen'] == 'True'):.4f}" for epoch in (20, 200)),
        ]
        assert f"| {name} | {' | '.join(costs)} |" in page


@pytest.mark.parametrize(
    ("place", "others"),
    [
        ("batch_sizes/32", []),
        ("batch_sizes/64", []),
        ("batch_sizes/128", []),
        ("comparison", ["keras.Adadelta"]),
    ],
)
def test_page_of_a_study_is_its_results(place, others, tmp_path):
    """The rates are chosen again from the committed CSV, rung by rung."""
    folder = ROOT / "docs" / place
    page, results = (folder / "README.md").read_text(), {}
    with (folder / "results.csv").open() as file:
        for row in csv.DictReader(file):
            of_rung = results.setdefault(row["optimizer"], {}).setdefault(row["rung"], {})
            loss = math.inf if row["diverged"] == "True" else float(row["loss"])
            of_rung.setdefault(row["learning_rate"], {})[row["seed"]] = loss  # the last epoch's
            of_rung[row["learning_rate"]]["chosen"] = row["chosen"] == "True"
    assert [*results] == LECTURE + others
    for optimizer, rungs in results.items():
        best = [*rungs["1"]]
        assert len(best) == 10
        for trained in rungs.values():
            assert {*trained} == {*best[: len(trained)]}
            means = {rate: (runs["0"] + runs["1"]) / 2 for rate, runs in trained.items()}
            best = sorted(trained, key=means.get)
        chosen = best[0]
        assert [rate for rate in best if trained[rate]["chosen"]] == [chosen]
        assert chosen not in (min(rungs["1"], key=float), max(rungs["1"], key=float))
        mean = (trained[chosen]["0"] * trained[chosen]["1"]) ** 0.5
        assert f"| {optimizer} | {float(chosen):g} | {mean:.4g} | " in page
    # The whole page but the pictures.
    loaded = keras_lecture_opt.comparison.load(folder)
    assert (loaded.report(tmp_path) / "README.md").read_text() == page


def test_overview_of_mini_batches_is_made_of_their_results():
    overview = imported(ROOT / "docs" / "batch_sizes" / "overview.py")
    results = {size: overview.last_losses(size) for size in (32, 64, 128)}
    assert overview.page(results) == (overview.HERE / "README.md").read_text()


# False alarms and power of blocks, as they were measured before `differences` was written: the
# power of three, five and ten seeds of eight optimizers at correlations of 0, 0.5 and 0.9.
BLOCKS = {3: (0.026, 0.085, 0.79), 5: (0.09, 0.29, 0.99), 10: (0.42, 0.81, 1.0)}


def test_page_of_seeds_is_its_simulation_and_keeps_what_it_says(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    seeds = imported(ROOT / "docs" / "seeds.py")
    with (seeds.HERE / "seeds.csv").open() as file:
        table = [*csv.DictReader(file)]
    text = (seeds.HERE / "seeds.md").read_text()
    assert seeds.page(table, text) == text
    assert "<!-- power --><!-- end -->" not in text
    shares = {
        (row["kind"], int(row["optimizers"]), int(row["seeds"]), row["scenario"]): float(
            row["share"]
        )
        for row in table
    }
    error = 2 * (0.05 * 0.95 / seeds.STUDIES) ** 0.5
    for (kind, optimizers, count, _), share in shares.items():
        if kind == "false alarms" and count > 2:
            assert share <= (0.05 + error if optimizers <= 8 else 0.065)
        if kind == "visible":  # the report says 80%
            assert 0.75 < share < 0.88
    noisy = [
        shares["beside noise", 8, n, "one other spreads 10 times as much"] for n in (5, 10, 20)
    ]
    assert noisy == sorted(noisy)
    assert noisy[1] > 0.5
    for count, expected in BLOCKS.items():
        for correlation, least in zip(("0", "0.5", "0.9"), expected, strict=True):
            assert shares["power", 8, count, correlation] >= least - error
    lead = re.search(r"\*\*(.*?)\*\*", text, re.DOTALL)[1]
    said = [f"{shares['power', 8, count, '0']:.0%}" for count in (3, 5, 10, 20)]
    assert f"{', '.join(said[:3])} and {said[3]}" in " ".join(lead.split())
    two = max(v for (kind, _, n, _), v in shares.items() if kind == "false alarms" and n == 2)
    assert f"up to {two:.0%}" in lead
    for correlation in ("0", "0.5", "0.9"):
        growing = [shares["power", 8, count, correlation] for count in (3, 5, 10, 20)]
        assert growing == sorted(growing)


def test_pages_of_schedules_say_what_their_study_found():
    study = imported(ROOT / "docs" / "schedules" / "study.py")
    text = study.PAGE.read_text()
    assert study.page(study.all_curves(), text) == text
    losses = {}  # from the files alone
    for folder in ("comparison", "schedules"):
        with (ROOT / "docs" / folder / "results.csv").open() as file:
            for row in csv.DictReader(file):
                if row.get("chosen", "True") == "True" and 56 <= int(row["epoch"]) <= 60:
                    key = row["optimizer"], row.get("schedule", "constant"), row["learning_rate"]
                    seeds = losses.setdefault(key, {})
                    seeds.setdefault(row["seed"], []).append(float(row["loss"]))
    first = {key: np.mean(seeds["0"]) for key, seeds in losses.items() if "0" in seeds}
    ends = {}  # of the rates that all seeds have, which the first one has chosen
    for (name, schedule, rate), seeds in losses.items():
        if len(seeds) > 1:
            ends[name, schedule] = [np.mean(values) for values in seeds.values()]
            others = [v for (n, s, _), v in first.items() if (n, s) == (name, schedule)]
            assert first[name, schedule, rate] == min(others)
    means = {key: np.exp(np.mean(np.log(values))) for key, values in ends.items()}
    cosine, constant = (
        sorted((m, name) for (name, s), m in means.items() if s == schedule)
        for schedule in ("cosine", "constant")
    )
    assert len(cosine) == len(constant) == 8
    assert all(len(values) == study.SEEDS for values in ends.values())
    assert sum(schedule == "cosine" for _, schedule, _ in first) == 3 * 8  # rates
    assert [name for _, name in cosine[:3]] == ["Adam", "SimplifiedAdam", "keras.Adadelta"]
    assert [name for _, name in constant[:2]] == ["keras.Adadelta", "AdaGrad"]
    assert constant[-1][1] == "RMSProp"
    names = {name for name, _ in means}
    assert [n for n in names if means[n, "cosine"] > means[n, "constant"]] == ["AdaGrad"]

    pairs = keras_lecture_opt.comparison.differences({" ".join(k): v for k, v in ends.items()})
    found = {}
    for pair in pairs:
        low, high = pair.interval
        found[pair.first, pair.second] = (pair.ratio, low, high), pair.carries
        found[pair.second, pair.first] = (1 / pair.ratio, 1 / high, 1 / low), pair.carries
    assert not found["SimplifiedAdam cosine", "Adam cosine"][1]
    notebook = (ROOT / "examples" / "lecture.ipynb").read_text()
    rules, readme = (ROOT / "docs" / "rules.md").read_text(), (ROOT / "README.md").read_text()
    for key, pages in {
        ("Adam cosine", "Adam constant"): (rules, notebook),
        ("AdaGrad cosine", "AdaGrad constant"): (rules, text),
        ("keras.Adadelta cosine", "Adam cosine"): (rules, text, readme, notebook),
        ("SteepestDescent cosine", "Adam cosine"): (notebook,),
        ("AdaGrad cosine", "Adam cosine"): (rules,),
    }.items():
        (ratio, low, high), carries = found[key]
        assert carries
        assert all(f"{ratio:.3g} [{low:.3g}, {high:.3g}]" in page for page in pages), key


def test_page_of_learning_rates_is_its_study_and_keeps_what_it_says(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    study = imported(ROOT / "docs" / "learning_rate.py")
    grid, found = study.rows_of(study.GRID), study.rows_of(study.FOUND)
    text = study.PAGE.read_text()
    assert study.page(grid, found, study.rows_of(study.COMPARED), text) == text
    pairs = len(study.NETWORKS) * len(study.OPTIMIZERS) * len(study.SEEDS)
    assert len(found) == pairs * len(study.WAYS)
    excesses = study.excesses(grid, found)
    ours = np.array([row["way"] == "found" for row in found])
    worst = np.max(excesses[ours], axis=1)
    assert np.mean(worst <= study.NEAR) >= 0.95
    assert np.all(worst < 1)  # none ends above the first loss: none diverges
    assert all(int(row["steps"]) <= 500 for row in found)
    assert np.mean(np.nanmax(excesses[~ours], axis=1) <= study.NEAR) < 0.8

    fresh = imported(ROOT / "docs" / "learning_rate_fresh.py")
    rows = study.rows_of(fresh.RESULTS)
    assert fresh.page(rows, text) == text
    assert len(rows) == len(fresh.NETWORKS) * len(fresh.OPTIMIZERS)
    excesses = np.array([float(row["excess"]) for row in rows])
    kept = f"{np.sum(excesses <= fresh.NEAR)} of {len(rows)} pairs were within 5%.**"
    assert f"**On five networks that were not used for that, {kept}" in text
    assert np.all(excesses < 1)


MODULES = [
    module.name
    for module in pkgutil.walk_packages(
        keras_lecture_opt.__path__, f"{keras_lecture_opt.__name__}."
    )
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write logs
    module = importlib.import_module(name)
    names = {"keras_lecture_opt": keras_lecture_opt}
    with eager_models() if name.endswith("._compare") else contextlib.nullcontext():
        assert doctest.testmod(module, extraglobs=names).failed == 0
    plt.close("all")


def test_examples_of_sub_packages_are_among_them():
    assert {
        "keras_lecture_opt.rules.adam",
        "keras_lecture_opt.monitor._callback",
        "keras_lecture_opt.rates",
    } <= {*MODULES}


def test_every_rules_docstring_has_an_example(rule):
    assert ">>>" in rule.__doc__


def test_each_error_has_its_own_description(rule):
    for documented in (rule, mnist.load, mnist.mlp, keras_lecture_opt.EffectiveLearningRateMonitor):
        errors = documented.__doc__.partition("Raises:")[2].partition("Example:")[0]
        assert {"TypeError", "ValueError"} <= {*re.findall(r"^ +(\w+Error): ", errors, flags=re.M)}
