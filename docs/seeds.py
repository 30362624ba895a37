"""What `comparison.differences` says of optimizers whose truth is known: false alarms and power.

    python docs/seeds.py

simulates studies, writes seeds.csv, and puts its tables into seeds.md. It takes half an hour.
"""

import csv
import itertools
import os
import pathlib
import re
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

from keras_lecture_opt import comparison
from keras_lecture_opt.comparison._report import markdown_table

HERE = pathlib.Path(__file__).parent
STUDIES = 2000
SPREAD = 0.13  # of the logarithm of a result: that of the committed figure's last epoch
FACTOR = 1.2  # the true difference in the studies of power
# Optimizers and seeds of the studies of equal optimizers, and of those of power.
EQUAL = [(2, 3), (3, 3), (8, 2), (8, 3), (14, 3), (8, 4), (8, 5), (8, 10)]
DIFFERENT = [(2, 5), (8, 3), (8, 5), (8, 10), (8, 20)]
SCENARIOS = {
    "equal spreads": {},
    "spreads from 1 to 10": {"spreads": "any"},
    "one spreads 10 times as much": {"spreads": "one"},
    "t(2) noise": {"heavy": True},
    "seeds correlated, 0.5": {"correlation": 0.5},
    "seeds correlated, 0.9": {"correlation": 0.9},
    "spreads from 1 to 10, correlated, 0.9": {"spreads": "any", "correlation": 0.9},
    "10% of the runs diverge": {"diverge": 0.1},
    "20% of the runs diverge": {"diverge": 0.2},
}
CORRELATIONS = (0, 0.5, 0.9)


def study(
    rng, optimizers, seeds, spreads="equal", heavy=False, correlation=0.0, diverge=0.0, factor=1.0
):
    """Return results of equal optimizers, but for the first, which is better by the factor.

    `correlation` is how much of a run's result its seed decides for all optimizers alike.
    """
    draw = (lambda size: rng.standard_t(2, size)) if heavy else rng.standard_normal
    of_seed, of_run = draw((1, seeds)), draw((optimizers, seeds))
    logs = np.sqrt(correlation) * of_seed + np.sqrt(1 - correlation) * of_run
    if spreads == "any":
        logs *= 10 ** rng.uniform(size=(optimizers, 1))
    elif spreads == "one":
        logs[0] *= 10
    logs[0] -= np.log(factor) / SPREAD
    losses = np.exp(SPREAD * logs)
    losses[rng.uniform(size=losses.shape) < diverge] = np.inf
    return {f"optimizer {i}": row for i, row in enumerate(losses)}


def false_alarms(optimizers, seeds, scenario):
    """Return in how many studies of equal optimizers any difference carries."""
    rng = np.random.default_rng(zlib.crc32(f"{scenario}, {optimizers}, {seeds}".encode()))
    studies = (study(rng, optimizers, seeds, **SCENARIOS[scenario]) for _ in range(STUDIES))
    return sum(any(d.carries for d in comparison.differences(values)) for values in studies)


def power(optimizers, seeds, correlation):
    """Return how many of the true differences carry, of those between the first and the others."""
    rng = np.random.default_rng(zlib.crc32(f"{correlation}, {optimizers}, {seeds}".encode()))
    found = 0.0
    for _ in range(STUDIES):
        values = study(rng, optimizers, seeds, correlation=correlation, factor=FACTOR)
        true = comparison.differences(values)[: optimizers - 1]
        found += np.mean([d.carries and d.better == "optimizer 0" for d in true])
    return found


def simulate():
    """Yield the rows of seeds.csv."""
    cases = [
        *(("false alarms", *sizes, s) for s, sizes in itertools.product(SCENARIOS, EQUAL)),
        *(("power", *sizes, c) for c, sizes in itertools.product(CORRELATIONS, DIFFERENT)),
    ]
    for kind, optimizers, seeds, scenario in cases:
        function = false_alarms if kind == "false alarms" else power
        share = function(optimizers, seeds, scenario) / STUDIES
        row = {"kind": kind, "optimizers": optimizers, "seeds": seeds, "scenario": scenario}
        print(row, f"{share:.1%}", flush=True)
        yield {**row, "studies": STUDIES, "share": round(share, 5)}


def table(rows, kind, head):
    """Return the shares of one kind: a row for each scenario, a column for each size of a study."""
    rows = [row for row in rows if row["kind"] == kind]
    sizes = list(dict.fromkeys((row["optimizers"], row["seeds"]) for row in rows))
    lines = {}
    for row in rows:
        lines.setdefault(row["scenario"], [row["scenario"]]).append(f"{float(row['share']):.1%}")
    columns = [f"{optimizers} x {seeds}" for optimizers, seeds in sizes]
    return markdown_table([head, *columns], lines.values())


def page(rows, text):
    """Return the text of seeds.md with these results."""
    for kind, head in (("false alarms", "equal optimizers"), ("power", "correlation of the seeds")):
        new = f"<!-- {kind} -->\n\n{table(rows, kind, head)}\n<!-- end -->"
        text = re.sub(f"<!-- {kind} -->.*?<!-- end -->", lambda _, new=new: new, text, flags=re.S)
    return text


def main():
    rows = [*simulate()]
    with (HERE / "seeds.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (HERE / "seeds.md").write_text(page(rows, (HERE / "seeds.md").read_text()))


if __name__ == "__main__":
    main()
