"""What a verdict is, and how a check is entered."""

from typing import NamedTuple

# In the order in which verdicts are told.
CERTAINTIES = ("certain", "likely", "symptom", "hint")


class Verdict(NamedTuple):
    """Something that is wrong with a training. `str(verdict)` is its text.

    Attributes:
        fault: what is wrong, always in the same words: "steps too large", "no learning", ….
        where: names of the variables or layers that show it; empty for the whole model.
        step: the number of the step at which it shows; 0 before training.
        value: the number that shows it.
        text: sentences: what is wrong, the number, where; a likely cause; one experiment.
        certainty: "certain": nothing else can be meant. "likely". "symptom": it follows from a
            cause that stands before it, or that no number tells. "hint": no fault by itself.
    """

    fault: str
    where: tuple[str, ...]
    step: int
    value: float
    text: str
    certainty: str = "likely"

    def __str__(self):
        return self.text


class Checks(list):
    """Generator functions that bear their fault's name, and yield where, step, value and text."""

    def enter(self, needs=lambda evidence: True, certainty="likely"):
        """Enter the decorated function: where `needs(evidence)` is true, the check is made."""

        def entered(function):
            self.append((function.__name__.replace("_", " "), needs, certainty, function))
            return function

        return entered

    def run(self, *cases):
        """Return the verdicts on each evidence, and the faults that were looked for."""
        verdicts, made = [], []
        for evidence in cases:
            for fault, needs, certainty, function in self:
                if needs(evidence):
                    made.append(fault)
                    verdicts += [Verdict(fault, *facts, certainty) for facts in function(evidence)]
        return verdicts, made


def in_order(verdicts):
    """Return verdicts, what is certain first, each once."""
    return sorted(dict.fromkeys(verdicts), key=lambda v: CERTAINTIES.index(v.certainty))


def and_others(names):
    others = len(names) - 1
    return f" (and {others} more)" if others > 0 else ""
