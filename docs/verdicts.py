"""Plant faults in trainings, count which of them `diagnose` finds, and do what it says.

    python docs/verdicts.py

Trains eleven small networks (`docs/verdict_networks.py`), healthy ones and ones with a planted
fault, two at a time, with fixed seeds. Where a fault did harm, the script follows the sentence of
the first verdict and trains again. Writes docs/verdicts.csv, a row for each case, and the tables
into docs/verdicts.md. Cases that are in the CSV already are not repeated: delete it to start again.
"""

import argparse
import dataclasses
import multiprocessing
import os
import pathlib
import random
import re
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras_lecture_opt as klo  # first: it keeps TensorFlow's start-up lines off the terminal

# isort: split
import keras
import tensorflow as tf

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent / "examples")]
import _programs
from _pages import append_rows, rows_of, with_tables
from verdict_networks import (
    FIRST,
    NETWORKS,
    SECOND,
    Plan,
    images,
    is_harmed,
    train,
)

from keras_lecture_opt.comparison._tables import markdown_table
from keras_lecture_opt.rules import _compiled

CSV, PAGE = HERE / "verdicts.csv", HERE / "verdicts.md"
PROBE = 500  # examples for `diagnose(x, y)`
SEEDS = (1, 2)
COLUMNS = (
    *("kind", "case", "network", "rule", "seed", "loss", "score", "harmed"),
    *("before", "verdicts", "verdicts_with_xy", "tried", "cured"),
)
KEY = COLUMNS[:5]

IMAGES = ("mlp", "cnn", "cnn with BatchNormalization")
RECURRENT = ("LSTM", "SimpleRNN")
CLASSES = (*IMAGES, "transformer", *RECURRENT)
TABULAR = ("regression", "binary head", "several labels")
SIGMOIDS = ("binary head", "several labels", "autoencoder")
NEW = tuple(name for name in NETWORKS if name != "fine-tuning")  # trained from the start
PLAIN = ("mlp", "cnn", *TABULAR)  # with ReLUs alone
LARGE, SMALL = "steps too large", "steps too small"
HEALTHY, CLIPPED = "a good learning rate", "gradients clipped to a norm of 1e-4"
WITHOUT_ADAM = (CLIPPED,)  # whose steps have the same size all the same

# Title: what is planted, in which networks, and the verdicts that name that cause.
FAULTS = {
    "learning rate 100 times too high": (Plan(rate=100), tuple(NETWORKS), {LARGE}),
    "learning rate 1000 times too low": (Plan(rate=1e-3), NEW, {SMALL}),
    "10 steps only": (Plan(steps=10), NEW, {"too few steps"}),
    CLIPPED: (Plan(clipnorm=1e-4), ("mlp", "LSTM", "regression", "binary head"), {SMALL}),
    "decay of 3% a step": (Plan(decay=0.03), NEW, {"decay too strong"}),
    "penalty 1 Σw²": (Plan(penalty=1.0), NEW, {"decay too strong"}),
    "first kernel starts 30 times too large": (
        Plan(start=((FIRST, 30.0),)),
        (*PLAIN, "autoencoder", *RECURRENT),
        {"bad start", "layer lags", LARGE},
    ),
    "second kernel starts 30 times too large": (
        Plan(start=((SECOND, 30.0),)),
        (*PLAIN, "autoencoder", "cnn with BatchNormalization"),
        {"bad start", "layer lags", LARGE},
    ),
    "second kernel starts with zeros": (
        Plan(start=((SECOND, 0.0),)),
        (*PLAIN, "autoencoder"),
        {"no gradient", "dead units"},
    ),
    "first layer dead (biases of −100)": (
        Plan(first_bias=-100.0),
        (*PLAIN, "autoencoder"),
        {"no gradient", "dead units"},
    ),
    "first layer frozen": (Plan(frozen=(FIRST,)), (*PLAIN, *RECURRENT), {"frozen"}),
    "all but the output frozen": (Plan(frozen=(FIRST, SECOND)), PLAIN, {"frozen"}),
    "gradients stopped before the output": (Plan(cut=True), NEW, {"no gradient"}),
    "six layers of sigmoids": (
        Plan(activation="sigmoid", depth=6),
        PLAIN,
        {"layer lags", "no gradient"},
    ),
    "softmax in the hidden layers": (
        Plan(activation="softmax"),
        ("mlp", "regression", "binary head"),
        {"softmax inside"},
    ),
    "dropout of 95%": (Plan(dropout=0.95), ("mlp", "cnn", "LSTM"), {"dropout too strong"}),
    "unstable recurrent layer": (
        Plan(activation="relu", recurrent_start=4.0),
        ("SimpleRNN",),
        {LARGE, "bad start"},
    ),
    "inputs from 0 to 255": (
        Plan(inputs="255"),
        ("mlp", "cnn", "autoencoder"),
        {"inputs not scaled", "bad start"},
    ),
    "inputs divided by 255 twice": (
        Plan(inputs="1/255"),
        ("mlp", "cnn", "autoencoder"),
        {"inputs not scaled"},
    ),
    "columns of very different scales": (
        Plan(inputs="columns"),
        TABULAR,
        {"inputs not scaled", "bad start"},
    ),
    "inputs far from 0": (
        Plan(inputs="far"),
        (*TABULAR, *RECURRENT),
        {"inputs not scaled", "bad start"},
    ),
    "one input is NaN": (
        Plan(nan=True),
        ("mlp", "LSTM", "regression", "autoencoder", "binary head"),
        {"inputs not finite", "not finite"},
    ),
    "labels shuffled": (Plan(shuffled=True), NEW, {"no learning"}),
    "targets around 5000": (Plan(targets="large"), ("regression",), {"targets not scaled"}),
    "labels outside the range": (
        Plan(targets="far", last="sigmoid"),
        ("regression",),
        {"labels do not fit"},
    ),
    "labels −1 and 1": (
        Plan(targets="-1"),
        ("binary head", "several labels"),
        {"labels do not fit", "negative loss"},
    ),
    "softmax applied twice": (
        Plan(twice=True),
        CLASSES,
        {"probabilities squashed", "softmax applied twice"},
    ),
    "`from_logits=True` after a softmax or sigmoid": (
        Plan(from_logits=True, passed_on=True),  # else Keras leaves out the activation
        (*CLASSES, *SIGMOIDS),
        {"loss takes logits or not", "probabilities squashed"},
    ),
    "`from_logits` forgotten": (
        Plan(last="linear"),
        (*CLASSES, *SIGMOIDS),
        {"loss takes logits or not"},
    ),
    "softmax over one unit": (
        Plan(softmax_unit=True),
        ("binary head", "regression", "fine-tuning"),
        {"softmax over one unit"},
    ),
    "ReLU at the end": (
        Plan(last="relu"),
        (*CLASSES, *SIGMOIDS, "regression"),
        {"loss takes logits or not", "labels do not fit"},
    ),
    "tanh at the end": (
        Plan(last="tanh"),
        (*CLASSES, *SIGMOIDS, "regression"),
        {"loss takes logits or not", "labels do not fit"},
    ),
    "softmax and squared error for several labels": (
        Plan(last="softmax", loss="mean_squared_error"),
        ("several labels",),
        {"softmax with another loss"},
    ),
    "softmax and binary cross-entropy for several labels": (
        Plan(last="softmax"),
        ("several labels",),
        {"softmax with another loss"},
    ),
}
# Title: what differs from a good training, and the networks.
CONTROLS = {
    "dropout of one half": (Plan(dropout=0.5), ("mlp", "cnn", "LSTM", "binary head")),
    "BatchNormalization": (Plan(normalization=True), ("mlp", *TABULAR)),
    "learning rate decays to 0": (Plan(decays_to_0=True), ("mlp", "transformer", "regression")),
    "learning rate warms up and decays": (Plan(warms_up=True), ("cnn", "transformer", "LSTM")),
    "batches of 32": (Plan(batch=32), ("mlp", "cnn", "several labels")),
    "gradients clipped to a norm of 1": (Plan(clipnorm=1.0), ("mlp", *RECURRENT)),
    "usual decay": (Plan(decay=1e-5), ("mlp", "cnn", "transformer", "regression")),
    "penalty 1e-4 Σw²": (Plan(penalty=1e-4), ("mlp", "cnn", "regression", "binary head")),
    "penalty 0 Σw²": (Plan(penalty=0.0), ("mlp", "binary head")),
    "label smoothing": (Plan(smoothing=0.1), ("mlp", "transformer")),
    "soft labels": (Plan(soft=True), ("mlp", "cnn")),
    "class_weight": (Plan(class_weight=True), ("mlp", "binary head")),
    "kernels start within ±0.05": (Plan(uniform=True), ("mlp", "cnn", "regression")),
    "He's initial weights": (Plan(initializer="he_normal"), ("mlp", "cnn", "autoencoder")),
    "few units": (Plan(width=0.25), ("mlp", "regression", "binary head")),
    "tanh": (Plan(activation="tanh"), ("mlp", "cnn", "regression", "several labels")),
    "inputs standardized": (Plan(standardized=True), ("mlp", "cnn")),
    "learning rate 3 times higher": (Plan(rate=3.0), ("mlp", "cnn", "LSTM", "regression")),
    "learning rate 3 times lower": (Plan(rate=1 / 3), ("mlp", "LSTM", "regression", "binary head")),
    "1500 steps": (Plan(steps=1500), ("mlp", "regression")),
    "body frozen": (Plan(frozen=(FIRST, SECOND), rate=100.0), ("fine-tuning",)),
}


# The advice. Each function takes the plan and what its pattern found in the sentence, and returns
# words and what changes in the plan.

FACTORS = {"a tenth": 0.1, "a hundredth": 0.01, "a thousandth": 0.001, "ten times": 10.0}


def factor_of(words):
    return FACTORS.get(words) or float(words.removesuffix(" times"))


def learning_rate(plan, found):
    words = found[1]
    of = "" if words.endswith("times") else " of"
    return f"{words}{of} the rate", {"rate": plan.rate * factor_of(words)}


def weaken_decay(plan, found):
    factor = factor_of(found[1])
    penalty = plan.penalty and plan.penalty * factor
    return f"{found[1]} of the decay", {"decay": plan.decay * factor, "penalty": penalty}


def clip(plan, found):
    return "clipnorm=1", {"clipnorm": 1.0}


def clip_nothing(plan, found):
    return "no clipping", {"clipnorm": None}


def standardize(plan, found):
    return "standardized inputs", {"standardized": True}


def standardize_targets(plan, found):
    return "standardized targets", {"targets": ""}


def remove_rows(plan, found):
    return "rows with NaN removed", {"nan": False}


def unfreeze(plan, found):
    return "trainable = True", {"frozen": ()}


def initialize(plan, found):
    return "default initializers", {"start": (), "recurrent_start": 1.0, "first_bias": 0.0}


def pass_gradients(plan, found):
    return "no stop_gradient", {"cut": False}


def normalize(plan, found):
    return "BatchNormalization", {"normalization": True}


def rectify(plan, found):
    return "relu", {"activation": "relu"}


def train_longer(plan, found):
    return "ten times as long", {"steps": 10 * plan.steps}


def divide_once(plan, found):
    return "inputs divided once", {"inputs": ""}


def weaken_dropout(plan, found):
    return "dropout of 0.2", {"dropout": 0.2}


def join(plan, found):
    return "labels with their inputs", {"shuffled": False}


def end_rightly(plan, found):
    changes = {"last": None, "loss": "", "softmax_unit": False, "twice": False}
    return "right activation and loss", {**changes, "from_logits": False}


def take_logits(plan, found):
    return "from_logits=True", {"from_logits": True}


def label_rightly(plan, found):
    return "labels 0 and 1", {"targets": ""}


# What a sentence says to do, as a pattern, and who does it. Several patterns may have one function.
ADVICE = {
    r"(a tenth|a hundredth|a thousandth|ten times|\d+ times)(?: of)? the learning rate": (
        learning_rate
    ),
    r"(a tenth|a hundredth|a thousandth) of it": weaken_decay,
    r"`clipnorm=1`": clip,
    r"without clipping": clip_nothing,
    r"(?i)inputs of (?:mean 0|standard deviation 1)|standardize each column": standardize,
    r"targets of mean 0|scale the labels": standardize_targets,
    r"NaN in the data|replace these rows": remove_rows,
    r"`layer.trainable = True`": unfreeze,
    r"initializers?'s? defaults?": initialize,
    r"what stops the gradient": pass_gradients,
    r"normalization layer": normalize,
    r"(?:Try|Use) `relu`": rectify,
    r"(?i)train ten times as long": train_longer,
    r"Divide them once": divide_once,
    r"Try 0.2": weaken_dropout,
    r"one of the two is shuffled": join,
    r"Use `from_logits=True`": take_logits,
    r"Leave out (?:`from_logits|one of the two|the second)|second softmax": end_rightly,
    r"(?i)use (?:`softmax`|`sigmoid`|no activation|binary|categorical)": end_rightly,
    r"(?i)use 0 and 1|takes 0 and 1": label_rightly,
}
BEGINS = r"Try |Train |Divide |Leave out |Look |Standardize |Remove |[Uu]se [^.]*"


def follow(verdict, plan):
    """Return words and plan of what a verdict's sentence says to do, in its order.

    Each keeps what those before it changed. There is none if the sentence names an experiment that
    is to find the cause.
    """
    begin = re.search(BEGINS, verdict.text)
    text = verdict.text[begin.start() :] if begin else ""
    found = [
        (match.start(), change, match)
        for pattern, change in ADVICE.items()
        if (match := re.search(pattern, text))
    ]
    trainings = []
    for _, change, match in sorted(found, key=lambda what: what[0]):
        words, changes = change(plan, match)
        plan = dataclasses.replace(plan, **changes)
        trainings.append((words, plan))
    return trainings


# The study.


def plan_of(case):
    return {HEALTHY: Plan(), **{c: plan for c, (plan, *_) in (FAULTS | CONTROLS).items()}}[case]


def all_jobs():
    """Return kind, case, network, rule and seed of each case.

    Two rules train each network in turn; those that have few cases train with both.
    """
    both, jobs = ("Momentum", "Adam"), []
    for i, name in enumerate(NETWORKS):
        others = [rule for rule in NETWORKS[name].rates if rule not in both]
        jobs += [("healthy", HEALTHY, name, rule, seed) for rule in both for seed in SEEDS]
        jobs += [("healthy", HEALTHY, name, rule, 1) for rule in others[i % 2 :: 2]]
    for kind, cases in (("healthy", CONTROLS), ("fault", FAULTS)):
        for case, (_, names, *_) in cases.items():
            rules = ("Momentum", "keras.SGD") if case in WITHOUT_ADAM else both
            jobs += [
                (kind, case, name, rule, 1)
                for i, name in enumerate(names)
                for rule in (rules if len(names) < 5 else rules[i % 2 :][:1])
            ]
    return jobs


def written(verdicts):
    return ", ".join(f"{v.fault} ({v.certainty})" for v in verdicts)


def counted(text):
    """Return the faults of verdicts as they are in the CSV, without hints."""
    pairs = [word.removesuffix(")").split(" (") for word in text.split(", ") if word]
    return [fault for fault, certainty in pairs if certainty != "hint"]


def judge(job):
    """Train one case, follow the first verdict if there is harm, and return the row."""
    kind, case, name, rule, seed = job
    plan = plan_of(case)
    before = []

    def look(model, x, y):
        before.extend(klo.check(model, x[:PROBE], y[:PROBE]))

    monitor, _, x, y, (loss, score) = train(name, rule, seed, plan, look)
    alone, verdicts = monitor.diagnose(), monitor.diagnose(x[:PROBE], y[:PROBE])
    keras.backend.clear_session()
    harmed = is_harmed(name, loss, score)
    said = [v for v in verdicts if v.certainty != "hint"]
    tried, cured = "", ""
    if kind == "fault" and harmed and said:
        tried, cured = try_advice(job, plan, follow(said[0], plan))
    return {
        **dict(zip(COLUMNS, job, strict=False)),
        "loss": f"{loss:.4g}",
        "score": f"{score:.4f}",
        "harmed": int(harmed),
        "before": written(before),
        "verdicts": written(alone),
        "verdicts_with_xy": written(verdicts),
        "tried": tried,
        "cured": cured,
    }


def try_advice(job, plan, trainings):
    """Train again, at most twice, and return what was tried, and whether the harm is gone."""
    _, _, name, rule, seed = job
    tried, cured = [], 0
    for words, changed in trainings:
        if changed == plan:  # the training has it already
            tried.append(f"{words} (nothing to change)")
            continue
        if sum("(nothing" not in words for words in tried) == 2:
            break
        *_, after = train(name, rule, seed, changed)
        keras.backend.clear_session()
        tried.append(words)
        plan, cured = changed, int(not is_harmed(name, *after))
        if cured:
            break
    return ", then ".join(tried), cured if tried else ""


def read_rows():
    rows = {tuple(row[c] for c in KEY): row for row in rows_of(CSV)}
    jobs = [tuple(map(str, job)) for job in all_jobs()]
    return [rows[job] for job in jobs if job in rows]


def share(some, of):
    return f"{some} ({some / of:.0%})" if of else "0"


def tables(rows):
    """Return the tables of faults, of healthy trainings and of verdicts, in Markdown."""
    return "\n".join((table_of_faults(rows), table_of_healthy(rows), table_of_verdicts(rows)))


def table_of_faults(rows):
    lines, columns = [], ["planted fault", "trainings", "did harm", "of these found", "cause first"]
    for case, (_, _, causes) in FAULTS.items():
        of = [row for row in rows if row["case"] == case]
        harmed = [row for row in of if row["harmed"] == "1"]
        said = [counted(row["verdicts_with_xy"]) for row in harmed]
        lines.append(
            [
                case,
                len(of),
                len(harmed),
                sum(map(bool, said)),
                sum(faults[0] in causes for faults in said if faults),
                sum(bool(row["tried"]) for row in harmed),
                sum(row["cured"] == "1" for row in harmed),
            ]
        )
    totals = [sum(line[i] for line in lines) for i in range(1, 7)]
    lines.append(["**all**", *(f"**{total}**" for total in totals)])
    return markdown_table([*columns, "advice tried", "cured"], lines)


def table_of_healthy(rows):
    lines = []
    healthy = [row for row in rows if row["kind"] == "healthy"]
    cases = [(name, HEALTHY, name) for name in NETWORKS]
    cases += [(case, case, None) for case in CONTROLS]
    for title, case, name in cases:
        of = [row for row in healthy if row["case"] == case and name in (None, row["network"])]
        learned = [row for row in of if row["harmed"] == "0"]
        said = [fault for row in learned for fault in counted(row["verdicts_with_xy"])]
        alarms = sum(bool(counted(row["verdicts_with_xy"])) for row in learned)
        shown = ", ".join(f"{fault} {said.count(fault)}" for fault in dict.fromkeys(said))
        lines.append([title, len(of), len(learned), alarms, shown])
    totals = [sum(line[i] for line in lines) for i in range(1, 4)]
    lines.append(["**all**", *(f"**{total}**" for total in totals), ""])
    head = ["healthy training", "trainings", "learned", "of these alarms", "verdicts"]
    return markdown_table(head, lines)


def table_of_verdicts(rows):
    harmed = [row for row in rows if row["kind"] == "fault" and row["harmed"] == "1"]
    said = [(counted(row["verdicts_with_xy"]), row) for row in harmed]
    faults = dict.fromkeys(fault for found, _ in said for fault in found)
    lines = []
    for fault in sorted(faults):
        first = [row for found, row in said if found[:1] == [fault]]
        tried = [row for row in first if row["tried"]]
        cured = sum(row["cured"] == "1" for row in tried)
        lines.append([fault, sum(fault in found for found, _ in said), len(first), len(tried)])
        lines[-1].append(share(cured, len(tried)) if tried else "")
    first, tried = (sum(line[i] for line in lines) for i in (2, 3))
    cured = sum(row["cured"] == "1" for row in harmed)
    lines.append(["**all**", "", f"**{first}**", f"**{tried}**", f"**{share(cured, tried)}**"])
    return markdown_table(["verdict", "said", "said first", "advice tried", "cured"], lines)


def write_page(rows):
    """Put the tables between the markers of the page."""
    text = PAGE.read_text(encoding="utf-8")
    text = with_tables(text, {"written by docs/verdicts.py": tables(rows)})
    PAGE.write_text(text, encoding="utf-8")


def start_process():
    """Take one core: there are two processes. XLA would compile for longer than it trains."""
    _compiled.xla_is_usable = lambda: False
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="WORD", help="cases whose row has this word")
    args = parser.parse_args()
    images()  # built once, before there are two processes
    done = {tuple(row[c] for c in KEY) for row in read_rows()}
    jobs = [job for job in all_jobs() if tuple(map(str, job)) not in done]
    jobs = [job for job in jobs if not args.only or args.only in " · ".join(map(str, job))]
    random.Random(0).shuffle(jobs)  # the first of them show what the tables will be
    context = multiprocessing.get_context("spawn")
    for i in range(0, len(jobs), 100):  # new processes now and then: TensorFlow keeps much
        with ProcessPoolExecutor(2, context, start_process) as pool:
            futures = {pool.submit(judge, job): job for job in jobs[i : i + 100]}
            for future in as_completed(futures):
                if error := future.exception():
                    print(*futures[future], repr(error), sep=" · ", file=sys.stderr, flush=True)
                    continue
                append_rows(CSV, COLUMNS, [future.result()])
                print(*future.result().values(), sep=" · ", flush=True)
    write_page(read_rows())


if __name__ == "__main__":
    _programs.run(main)
