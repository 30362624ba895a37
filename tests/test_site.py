"""The site is complete; `make docs` builds it, strictly, and finds dead links."""

import inspect
import json
import re
from pathlib import Path

import pytest
import yaml
from common import RULES, imported

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.ipynb")]
WORKFLOW = ROOT / ".github" / "workflows" / "tests.yml"


def name(page):
    """The path of a page within the repository."""
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def rule_page():
    return imported(ROOT / "docs" / "rule_page.py")


def paths(nav):
    """The paths that a part of the navigation names."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [path for part in parts for path in paths(part)]


def test_every_page_is_in_the_navigation_once():
    shown = paths(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert len(shown) == len(set(shown)) > 20
    shown.remove("quick_start.md")  # which is a section of the README
    assert "\n## Quick start" in (ROOT / "README.md").read_text()
    assert all((ROOT / path).is_file() for path in shown)
    assert {*map(name, PAGES)} <= {*shown}


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=name)
def test_lists_are_read_alike_on_a_forge_and_in_the_site(page):
    """What is inside of an item is indented by 4 spaces; a list follows an empty line."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    item = r"(?:[-*]|\d+\.) "
    assert not re.findall(rf"^ {{1,3}}{item}.*", text, flags=re.MULTILINE)
    assert not re.findall(rf"^(?! |{item}).+\n{item}.*", text, flags=re.MULTILINE)


def test_page_of_a_rule(rule, rule_page):
    text = rule_page.text(rule)
    assert f"::: {rule.__module__}.{rule.__name__}\n" in text
    assert f"({rule.__name__}.png)" in text
    for method in (rule.update_step, rule.effective_learning_rate):
        *_, last = inspect.getsource(method).splitlines()
        assert last.strip() in text
    if rule.nearest_keras:
        assert f"Keras's `{rule.nearest_keras[0].__name__}" in text


def test_formulas_are_the_notebooks(rule_page):
    """The docstrings' formulas, in TeX, are those that the notebook has in TeX."""
    cells = json.loads((ROOT / "examples" / "lecture.ipynb").read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    blocks = re.findall(r"\$\$(.*?)\$\$", text, flags=re.DOTALL)
    lines = [line for rule in RULES for line in rule.__doc__.splitlines() if "<-" in line]

    def normal(formula):
        formula = re.sub(r"\\hat (\w)", r"\\hat{\1}", formula)
        return re.sub(r"\\,|\s", "", formula)

    expected = {normal(formula) for block in blocks for formula in re.split(r",\s*\\qquad", block)}
    assert len(expected) >= 12
    assert expected <= {normal(rule_page.tex(line)) for line in lines}


def test_workflow_runs_what_the_makefile_has():
    workflow = yaml.safe_load(WORKFLOW.read_text())
    [job] = workflow["jobs"].values()
    runs = job["strategy"]["matrix"]["include"]
    commands = [*(run["run"] for run in runs), *(step.get("run", "") for step in job["steps"])]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    asked = {name for command in commands for name in re.findall(r"^make ([a-z-]+)", command)}
    assert {"docs", "lint", "test-full", "test-oldest"} <= asked <= {*targets}
    assert {run["python"] for run in runs if run["run"] == "make test-full"} == {
        "3.11",
        "3.12",
        "3.13",
    }
