"""Tables of the released model's card: what designs have of what was asked for.

    python -m benchmarks.card --peptides results/released/peptides/peptides.parquet \
        [--model model.safetensors] [--tables likeness labels numbers concentrations codesign]

draws designs with several seeds and prints a table for each name:

- ``likeness``: k-mer distances, copies, Macrel's shares, even numbers of cysteines and the most
  amplified 5-mers of antimicrobial designs, without guidance and with weak guidance
- ``labels``: shares of designs that classifiers of other kinds call as requested
- ``numbers``: correlation of the requested with the computed descriptors
- ``concentrations``: difference between designs for low and for high concentrations, under a
  regressor of another kind
- ``codesign``: perplexity of designs given their own backbones, as drawn and with ideal bond
  angles, and without a backbone

Judges of labels and concentrations are trained on the same table: logistic regression on 1- to
3-mers, and gradient boosting on composition, length and descriptors. Macrel is used where it is
installed.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline

from benchmarks.sampling import Judge
from structdiff.api import generate
from structdiff.evaluation.judges import Macrel, find_macrel
from structdiff.evaluation.model_tasks import with_ideal_angles
from structdiff.evaluation.sequence_features import DIPEPTIDES, describe, feature_table
from structdiff.generation.scoring import perplexity, score
from structdiff.generation.tasks import Design
from structdiff.peptides.table import read_peptides
from structdiff.pretrained import PRETRAINED, TrainedModel, load_model
from structdiff.protein import descriptors

REQUESTS = {
    "antifungal": ["antifungal"],
    "antiviral": ["antiviral"],
    "antifungal + antiviral": ["antifungal", "antiviral"],
    "antimicrobial + not hemolytic": ["hemolytic"],
    "antimicrobial": ["hemolytic"],
    "not hemolytic": ["hemolytic"],
}
"""Requests, and the labels that must all be called for a design to count."""

RANGES = {
    "charge": (-2.1, 9.0),
    "hydrophobicity": (-0.80, 0.51),
    "hydrophobic_moment": (0.06, 0.78),
    "isoelectric_point": (3.9, 12.6),
    "molecular_weight": (1026, 5029),
}
"""Requested ranges: 90 % of the training peptides of the released model."""

UNGUIDED = {"guidance_scale": 1.0, "temperature": 1.05}
WEAKLY_GUIDED = {"guidance_scale": 1.4, "temperature": 1.1}

Probability = Callable[[list[str]], np.ndarray]


def points(sequences: list[str]) -> np.ndarray:
    """Return composition, length and descriptors of sequences, ``(sequences, 28)``."""
    return np.delete(feature_table(sequences, describe(sequences)), DIPEPTIDES, axis=1)


def summary(values: list[float]) -> str:
    """Return mean and standard deviation of the seeds' values as text."""
    spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{spread}"


class Card:
    """The tables of one model.

    Parameters
    ----------
    model
        The model that draws the designs.
    peptides
        ``peptides.parquet`` of its training.
    seeds
        Seeds of the designs.
    """

    def __init__(self, model: TrainedModel, peptides: Path, seeds: list[int]):
        self._model, self._path, self._seeds = model, peptides, seeds
        self._frame = read_peptides(peptides).frame

    def _draw(self, query: str, count: int, **sampling: Any) -> Iterator[list[Design]]:
        """Yield the designs of each seed."""
        for seed in self._seeds:
            yield generate(self._model, count, query, seed=seed, **sampling)

    def likeness(self) -> None:
        """Print how similar antimicrobial designs are to training peptides."""
        judge = Judge(self._path, "antimicrobial")
        real = _pieces(judge.parts["training"])

        def describe_set(sequences: list[str]) -> dict[str, float]:
            cysteines = np.array([sequence.count("C") for sequence in sequences])
            own = _pieces(sequences)
            values = {name: value for name, value in judge(sequences).items() if value is not None}
            if "macrel" in values:
                values["macrel_uplift"] = values["macrel"] - values["macrel_shuffled"]
            for least in (2, 4):
                even = cysteines[cysteines >= least] % 2 == 0
                values[f"even_cysteines_of_{least}"] = float(even.mean())
            values["most_amplified_of_training"] = _amplification(own, real, real)
            values["most_amplified_of_own"] = _amplification(own, real, own)
            return values

        sets = {
            name: [
                describe_set([design.sequence for design in designs])
                for designs in self._draw("antimicrobial", 1000, **sampling)
            ]
            for name, sampling in (("no guidance", UNGUIDED), ("weak guidance", WEAKLY_GUIDED))
        }
        for part, sequences in judge.parts.items():
            chosen = np.random.default_rng(0).permutation(len(sequences))[:1000]
            sets[part] = [describe_set([sequences[row] for row in chosen])]
        for part, rows in sets.items():
            for name in rows[0]:
                print(f"{part}: {name} {summary([row[name] for row in rows])}")

    def labels(self) -> None:
        """Print the shares of designs that have the requested labels, by other classifiers."""
        drawn = {
            query: [[x.sequence for x in designs] for designs in self._draw(query, 400)]
            for query in [*REQUESTS, "none"]
        }
        unasked = [sequence for sequences in drawn["none"] for sequence in sequences]
        for kind in ("logistic", "boosting"):
            calls, often = {}, {}
            for label in ("antifungal", "antiviral", "hemolytic"):
                probability, auroc, share = self._classifier(label, kind)
                print(f"{kind}, {label}: AUROC {auroc:.2f}")
                threshold = np.quantile(probability(unasked), 1 - share)
                for query, sets in drawn.items():
                    values = [probability(sequences) for sequences in sets]
                    calls[query, label] = [value > 0.5 for value in values]
                    often[query, label] = [value > threshold for value in values]
            for query, wanted in REQUESTS.items():
                for where in dict.fromkeys((query, "none")):
                    for rule, called in (("p > 0.5", calls), ("as they occur", often)):
                        both = zip(*(called[where, label] for label in wanted), strict=True)
                        shares = [float(np.logical_and.reduce(each).mean()) for each in both]
                        print(f"{kind}, {where}: {'+'.join(wanted)}, {rule}: {summary(shares)}")
        macrel = find_macrel()
        if not isinstance(macrel, Macrel):
            print(f"no Macrel: {macrel.reason}")
            return
        for query in ("antimicrobial + not hemolytic", "antimicrobial", "not hemolytic", "none"):
            for name, judge in (
                ("hemolytic", macrel.hemolysis),
                ("antimicrobial", macrel.scores),
            ):
                shares = [float((judge(sequences) > 0.5).mean()) for sequences in drawn[query]]
                print(f"Macrel, {query}: {name} {summary(shares)}")

    def _classifier(self, label: str, kind: str) -> tuple[Probability, float, float]:
        """Return a classifier of a label, its AUROC on a fifth of the table, and the label's share.

        ``kind`` is ``logistic`` or ``boosting``.
        """
        known = self._frame[self._frame[label].notna()]
        sequences, has = known["sequence"].tolist(), known[label].to_numpy(dtype=bool)
        training, held = train_test_split(
            np.arange(len(has)), test_size=0.2, random_state=0, stratify=has
        )
        features: Callable[[list[str]], Any] = points
        model: Any = HistGradientBoostingClassifier(random_state=0)
        if kind == "logistic":
            kmers = TfidfVectorizer(
                analyzer="char", ngram_range=(1, 3), lowercase=False, min_df=3, use_idf=False
            )
            model, features = make_pipeline(kmers, LogisticRegression(C=10, max_iter=1000)), list

        def probability(peptides: list[str]) -> np.ndarray:
            return model.predict_proba(features(peptides))[:, 1]

        model.fit(features([sequences[row] for row in training]), has[training])
        auroc = roc_auc_score(has[held], probability([sequences[row] for row in held]))
        return probability, float(auroc), float(has.mean())

    def numbers(self) -> None:
        """Print the correlation and the mean absolute error of requested descriptors."""
        for name, (low, high) in RANGES.items():
            found = []
            for designs in self._draw(f"antimicrobial + {name} {low}..{high}", 150, **UNGUIDED):
                asked = np.array([design.asked[name] for design in designs])
                have = np.array(descriptors.describe([x.sequence for x in designs])[name])
                found.append((spearmanr(asked, have)[0], np.abs(asked - have).mean()))
            correlation, error = (summary(list(column)) for column in zip(*found, strict=True))
            print(f"{name}: Spearman {correlation}, mean absolute error {error}")

    def concentrations(self) -> None:
        """Print how designs for low and for high concentrations differ, under a regressor."""
        known = self._frame[self._frame["ecoli_mic"].notna()]
        table, values = points(known["sequence"].tolist()), np.log10(known["ecoli_mic"].to_numpy())
        model = HistGradientBoostingRegressor(random_state=0)
        folds = KFold(5, shuffle=True, random_state=0)
        predicted = cross_val_predict(model, table, values, cv=folds)
        unit = predicted.std(ddof=1)
        print(
            f"{len(values):,} peptides, Spearman {spearmanr(predicted, values)[0]:.2f}, "
            f"standard deviation of the predictions {unit:.2f} log10 µM"
        )
        model.fit(table, values)
        for prefix in ("", "antimicrobial + "):
            low, high = (
                [
                    model.predict(points([design.sequence for design in designs])).mean()
                    for designs in self._draw(f"{prefix}ecoli_mic{bound}", 300)
                ]
                for bound in ("<8", ">128")
            )
            apart = [float(b - a) for a, b in zip(low, high, strict=True)]
            units = [value / unit for value in apart]
            print(f"{prefix}ecoli_mic: {summary(apart)} log10 µM, {summary(units)} sd")

    def codesign(self) -> None:
        """Print the perplexity of designs with and without their own backbones."""
        rows = []
        for designs in self._draw("antimicrobial", 200, **UNGUIDED):
            sequences = [design.sequence for design in designs]
            own = [cast(np.ndarray, design.backbone) for design in designs]
            ideal = [with_ideal_angles(backbone) for backbone in own]
            rows.append(
                {
                    name: perplexity(list(score(self._model, sequences, backbones)))
                    for name, backbones in (
                        ("their own backbones", own),
                        ("ideal bond angles", ideal),
                        ("no backbone", None),
                    )
                }
            )
        for name in rows[0]:
            print(f"{name}: perplexity {summary([row[name] for row in rows])}")


def _pieces(sequences: list[str]) -> pd.Series:
    """Return the frequencies of the 5-mers, the most frequent first."""
    pieces = Counter(text[i : i + 5] for text in sequences for i in range(len(text) - 4))
    counts = pd.Series(pieces).sort_values(ascending=False, kind="stable")
    return counts / counts.sum()


def _amplification(own: pd.Series, real: pd.Series, chosen: pd.Series) -> float:
    """Return the largest ratio own : real of the 12 most frequent 5-mers of ``chosen``.

    A 5-mer that no real peptide has counts as if one had it.
    """
    pieces = chosen.index[:12]
    return float(
        (own.reindex(pieces, fill_value=0) / real.reindex(pieces).fillna(real.min())).max()
    )


def main() -> None:
    """Draw and print the tables."""
    tables = [name for name in vars(Card) if not name.startswith("_")]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peptides", type=Path, required=True, help="peptides.parquet")
    parser.add_argument("--model", type=Path, default=PRETRAINED)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tables", nargs="+", choices=tables, default=tables)
    options = parser.parse_args()
    card = Card(load_model(options.model), options.peptides, options.seeds)
    for name in options.tables:
        print(f"\n# {name}", flush=True)
        getattr(card, name)()


if __name__ == "__main__":
    main()
