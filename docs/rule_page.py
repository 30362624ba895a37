"""The page of a rule in the site, made of what its class says: `make docs`."""

import inspect
import io
import pathlib
import re
import textwrap

from keras_lecture_opt import landscapes, plots

TABLE = pathlib.Path(__file__).with_name("rules.md")


def text(rule):
    """Return the page, in Markdown; mkdocstrings puts the docstring in."""
    name = rule.__name__
    methods = (rule.update_step, rule.effective_learning_rate)
    code = "\n".join(textwrap.dedent(inspect.getsource(method)) for method in methods)
    [row] = re.findall(rf"^\| \[?`{name}`.*", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    nearest = row.strip("| ").split(" | ")[-1]
    return f"""# {name}

![{name} on the bowl, and from the saddle]({name}.png){{ width=640 }}

*Left: 100 steps on the bowl, w₁² + 25 w₂². Right: from the saddle, w₁³ + w₂², until it leaves. η is
0.01, all else the default. [Move it in the explorer](../../docs/explorer.html#rules={name}), or
compare [all rules from the saddle](../../docs/figures/README.md#all-seven-from-the-saddle).*

::: {rule.__module__}.{name}
    options:
      filters: ["!^_", "!^(update_step|effective_learning_rate)$"]

## Code

```python
{code}```

## Nearest Keras class

Keras's {nearest}.
"""


def picture(rule):
    """Return the rule's picture, a PNG."""
    bowl = landscapes.descend(landscapes.quadratic, rule(learning_rate=0.01), steps=100)
    saddle = landscapes.descend(landscapes.saddle, rule(learning_rate=0.01), steps=5000)
    axes = plots.panels({"the bowl": bowl, "the saddle": saddle})
    file = io.BytesIO()
    axes[0].figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


LETTERS = {"beta_1": "β₁", "beta_2": "β₂", "epsilon": "ε", "eta": "η", "gamma": "γ", "mu": "μ"}
LETTERS |= {"theta": "θ", ">=": "≥"}
NESTED = r"\(((?:[^()]|\([^()]*\))*)\)"  # parentheses, which may hold others


def tex(formula):
    """Return a docstring's formula, such as `w <- w - eta / (sqrt(G) + epsilon) g`, in TeX."""
    formula = re.sub(r"\b(beta|epsilon|eta|gamma|mu|theta)(?=\b|_)", r"\\\1", formula)
    formula = re.sub(r"(\w)\^(?!\w)", r"\\hat{\1}", formula)  # m^, not g^2
    formula = re.sub(rf"([^\s(]+) / {NESTED}", r"\\frac{\1}{\2}", formula)
    formula = re.sub(rf"\bsqrt{NESTED}", r"\\sqrt{\1}", formula)
    formula = re.sub(r"(?<!\\)\b[a-z]{3,}\b", r"\\mathrm{\g<0>}", formula)
    return re.sub(r" *<-", r" \\leftarrow", formula)


def in_prose(text):
    """Return a docstring's prose with its formulas in TeX, and with Greek letters."""
    formula = rf"\b(?:sqrt{NESTED}|[mv] / {NESTED}|[mv]\^(?!\w))"
    text = re.sub(formula, lambda m: f"${tex(m[0])}$", text)
    parts = re.split(r"(\$[^$]*\$)", text)
    letter = re.compile(r"(?<!\w)(?:" + "|".join(LETTERS) + r")(?!\w)")
    parts[::2] = [letter.sub(lambda m: LETTERS[m[0]], part) for part in parts[::2]]
    return "".join(parts)
