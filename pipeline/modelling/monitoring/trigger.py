"""Whether a model is to be learned anew: it does worse than when it was measured, or what goes into it has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.prognosis.features import MACHINE_FEATURES
from pipeline.store.model_drift import Drift
from pipeline.store.model_quality import Quality


@dataclass(frozen=True, slots=True)
class Limits:
    """How much worse is too much; see the settings of the group ``monitoring``.

    Parameters
    ----------
    least_labels
        Failures, or maintenance records with a class, below which figures say too little.
    least_inputs
        Inputs of a day, below which their distribution says too little.
    rmse_factor
        Of the error at training.
    coverage_drop, score_drop
        Differences of shares, of accuracy and of F1.
    psi
        Population stability index.
    """

    least_labels: int
    least_inputs: int
    rmse_factor: float
    coverage_drop: float
    score_drop: float
    psi: float


def reasons(
    quality: Quality | None, drift: Iterable[Drift], metrics: Mapping[str, Any], coverage: float | None, limits: Limits
) -> list[str]:
    """Return why a model is to be learned anew, in words; nothing: it is not.

    What was not measured at training, by machines that taught nothing or else by lives before they were learned, is no
    reason. Ages of machines are none either: they change by themselves; and an index that chance alone may come to, of few
    machines, is none.

    Parameters
    ----------
    quality
        Of the last while; ``None``: nothing is known.
    metrics
        Of the version: ``test``, or else ``prequential``.
    coverage
        Share of truths that the intervals are meant to have inside; ``None``: there are none.

    Examples
    --------
    >>> limits = Limits(20, 1000, 1.5, 0.1, 0.1, 0.25)
    >>> from datetime import date
    >>> day = date(2026, 11, 1)
    >>> heat, age = (Drift(1, name, day, psi, 0.1, 2000, 900) for name, psi in (("heat.last", 0.5), ("age", 3.0)))
    >>> reasons(None, [heat, age], {}, None, limits)
    ['inputs: psi of heat.last 0.500 > 0.250']
    """
    found = (
        list(_worse(quality, metrics, coverage, limits)) if quality and quality.labels >= limits.least_labels else []
    )
    drifted = [
        each
        for each in drift
        if each.psi > max(limits.psi, each.by_chance)
        and each.inputs >= limits.least_inputs
        and each.feature not in MACHINE_FEATURES
    ]
    if drifted:
        worst = max(drifted, key=lambda each: each.psi)
        more = f", and {len(drifted) - 1} more" if len(drifted) > 1 else ""
        found.append(f"inputs: psi of {worst.feature} {worst.psi:.3f} > {max(limits.psi, worst.by_chance):.3f}{more}")
    return found


def _worse(quality: Quality, metrics: Mapping[str, Any], coverage: float | None, limits: Limits) -> Iterator[str]:
    rmse = _measured(metrics, "rmse")
    if quality.rmse is not None and rmse is not None and quality.rmse > limits.rmse_factor * rmse:
        yield f"rmse {quality.rmse:.3f} > {limits.rmse_factor:g} * {rmse:.3f}"
    if quality.coverage is not None and coverage is not None and quality.coverage < coverage - limits.coverage_drop:
        yield f"coverage {quality.coverage:.3f} < {coverage:g} - {limits.coverage_drop:g}"
    # Accuracy of a type of failure is that of saying none
    name, score = ("f1", quality.f1) if quality.kind == "failure_type" else ("accuracy", quality.accuracy)
    was = _measured(metrics, name)
    if score is not None and was is not None and score < was - limits.score_drop:
        yield f"{name} {score:.3f} < {was:.3f} - {limits.score_drop:g}"


def _measured(metrics: Mapping[str, Any], name: str) -> float | None:
    """Return a figure as it was at training; F1 is the mean over the modes that came up."""
    for measured in (metrics.get("test"), metrics.get("prequential")):
        if not isinstance(measured, Mapping):
            continue
        if name == "f1" and isinstance(measured.get("modes"), Mapping):
            scores = [each["f1"] for each in measured["modes"].values() if each.get("rows")]
            if scores:
                return float(sum(scores) / len(scores))
        elif isinstance(measured.get(name), int | float):
            return float(measured[name])
    return None
