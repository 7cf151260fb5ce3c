"""Verdict on a set of designs: which of the rules in `RULES` it breaks.

``judge(metrics)`` takes the metrics of the designs and of their controls and returns a `Verdict`.
Its ``word`` is ``ok``, ``too few to judge`` or the faults: invalid, collapsed, memorising,
random-like, unlike real, broken geometry.

Each rule compares a metric of the designs with a limit. The limit is the looser one of two values:
a fixed bound, and the value of held-out real peptides with a margin, because a property that real
peptides also have is not a fault.

Random-like designs are recognised by the order of the residues
(`structdiff.evaluation.sequence_metrics`), not by k-mer distances. Real peptides of families that
are not in the training set have 2-mer and 3-mer distances as large as random peptides of the same
composition, so a rule on k-mers would call real peptides random-like.
"""

import math
from dataclasses import dataclass

from structdiff.evaluation.value import Unavailable, Value

__all__ = ["RULES", "TOO_FEW", "Finding", "Rule", "Verdict", "judge"]

TOO_FEW = "too few to judge"


@dataclass(frozen=True)
class Rule:
    """A rule of the verdict: a metric, its limit, and the fault of designs that break the rule.

    Attributes
    ----------
    fault
        Name of the fault of designs that break the rule.
    metric
        Key of the metric.
    sense
        "≥" if the designs' value must be at least the limit, "≤" if it must be at most the limit.
    bound
        The fixed bound from which the limit is computed, in the unit of the metric.
    margin
        How much worse the designs' value may be than the value of held-out real peptides, in the
        unit of the metric.
    words
        Sentence about the designs with the placeholder ``{value}``.
    percent
        Whether the sentence gives the value in per cent.
    fewest
        Smallest number of valid designs for which the rule is judged.
    chance
        Mean and standard deviation of the metric for single random peptides. The designs' value
        must then be better than this mean by at least two standard errors, whatever the value of
        held-out peptides. None for a rule without this condition.
    """

    fault: str
    metric: str
    sense: str
    bound: float
    margin: float
    words: str
    percent: bool = True
    fewest: int = 20
    chance: tuple[float, float] | None = None

    def limit(self, held_out: Value, count: int) -> float:
        """Return the limit of the rule for ``count`` valid designs, in the unit of the metric.

        ``held_out`` is the metric's value for the held-out real peptides.
        """
        sign = 1.0 if self.sense == "≤" else -1.0
        limit = self.bound
        if not isinstance(held_out, Unavailable):
            limit = sign * max(sign * self.bound, sign * held_out + self.margin)
        if self.chance is not None:
            mean, deviation = self.chance
            better = mean - sign * 2 * deviation / math.sqrt(max(count, 1))
            limit = sign * min(sign * limit, sign * better)
        return limit

    def show(self, value: float) -> str:
        """Return a value of the rule's metric as text, as a percentage if ``percent`` is set."""
        return f"{100 * value:.3g} %" if self.percent else f"{value:.3g}"


RULES = (
    Rule("invalid", "validity", "≥", 0.99, 0.0, "{value} of the designs are valid", fewest=0),
    Rule("collapsed", "uniqueness", "≥", 0.95, 0.02, "{value} of the designs differ"),
    Rule("collapsed", "top_residue_share", "≤", 0.40, 0.10, "one amino acid makes up {value}"),
    Rule(
        "collapsed", "low_complexity", "≤", 0.10, 0.10,
        "{value} of the designs are more than half one amino acid",
    ),
    Rule(
        "collapsed", "near_duplicates", "≤", 0.20, 0.20,
        "{value} of the designs have a near-copy among the others",
    ),
    Rule(
        "memorising", "copies", "≤", 0.05, 0.05,
        "{value} of the designs are copies of training peptides, or nearly",
    ),
    Rule(
        "random-like", "order", "≥", 0.55, 0.05,
        "the residues are in a likelier order than in {value} of their shuffles (50 % is chance)",
        fewest=50, chance=(0.5, 0.29),
    ),
    Rule(
        "unlike real", "js1", "≤", 0.12, 0.05,
        "the composition is {value} from that of real peptides (Jensen–Shannon distance)",
        percent=False,
    ),
    Rule("broken geometry", "ca_step_valid", "≥", 0.95, 0.02, "{value} of Cα–Cα steps are valid"),
    Rule("broken geometry", "cn_valid", "≥", 0.95, 0.02, "{value} of C–N bonds are valid"),
    Rule("broken geometry", "clashes", "≤", 0.02, 0.01, "{value} of the chains clash"),
    Rule("broken geometry", "right_handed", "≥", 0.98, 0.01, "{value} of helices are right-handed"),
    Rule(
        "broken geometry", "positive_phi", "≤", 0.10, 0.05,
        "{value} of the residues other than glycine have positive φ",
    ),
)  # fmt: skip
"""All rules, in the order in which a verdict names the faults."""


@dataclass(frozen=True)
class Finding:
    """The result of one rule.

    Attributes
    ----------
    rule
        The rule.
    value
        The metric's value for the designs, or the reason why there is none.
    limit
        The limit of the rule; None if the rule could not be judged.
    passed
        Whether the value is within the limit; None if the rule could not be judged.
    """

    rule: Rule
    value: Value
    limit: float | None
    passed: bool | None

    def sentence(self) -> str:
        """Return the value and the limit as a sentence, or why the rule was not judged."""
        if isinstance(self.value, Unavailable):
            return f"not judged: {self.value.reason}"
        words = self.rule.words.format(value=self.rule.show(self.value))
        if self.limit is None:
            return f"{words}; not judged: fewer than {self.rule.fewest} designs"
        wanted = "at least" if self.rule.sense == "≥" else "at most"
        return f"{words}; {wanted} {self.rule.show(self.limit)} wanted"


@dataclass(frozen=True)
class Verdict:
    """The verdict on a set of designs.

    Attributes
    ----------
    faults
        Names of the faults, each once, in the order of `RULES`; empty if there are none.
    findings
        The result of each rule, in the order of `RULES`.
    """

    faults: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def word(self) -> str:
        """The faults joined by commas, or `TOO_FEW` or ``ok`` if there are none.

        It is `TOO_FEW` if a rule on sequences was not judged because there are too few designs.
        """
        if self.faults:
            return ", ".join(self.faults)
        sequence_rules = [f for f in self.findings if f.rule.fault != "broken geometry"]
        few = any(f.limit is None and not isinstance(f.value, Unavailable) for f in sequence_rules)
        return TOO_FEW if few else "ok"

    def sentence(self) -> str:
        """Return ``word``, a sentence for each broken rule, and how many rules were not judged."""
        broken = [finding.sentence() for finding in self.findings if finding.passed is False]
        text = f"{self.word}: {'; '.join(broken)}" if broken else self.word
        unjudged = [finding.rule.fault for finding in self.findings if finding.passed is None]
        if not unjudged:
            return text
        faults = ", ".join(dict.fromkeys(unjudged))
        return f"{text}; {len(unjudged)} of {len(self.findings)} rules were not judged ({faults})"


def judge(metrics: dict[str, dict[str, Value]]) -> Verdict:
    """Judge a set of designs by all rules.

    Parameters
    ----------
    metrics
        Value of each metric for each set, by the key of the metric, then by the key of the set:
        ``generated`` (the designs), ``held_out``, … A rule whose metric is missing is not judged.
    """
    none = Unavailable("was not measured")
    count = metrics.get("count", {}).get("generated", 0.0)
    count = 0 if isinstance(count, Unavailable) else int(count)
    findings, faults = [], []
    for rule in RULES:
        row = metrics.get(rule.metric, {})
        value = row.get("generated", none)
        limit = passed = None
        if rule.fault == "random-like" and "collapsed" in faults:
            value = Unavailable("shuffles of collapsed designs are equal to the designs")
        if not isinstance(value, Unavailable) and count >= rule.fewest:
            limit = rule.limit(row.get("held_out", none), count)
            passed = value >= limit if rule.sense == "≥" else value <= limit
        if passed is False and rule.fault not in faults:
            faults.append(rule.fault)
        findings.append(Finding(rule, value, limit, passed))
    return Verdict(tuple(faults), tuple(findings))
