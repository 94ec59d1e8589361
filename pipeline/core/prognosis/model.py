"""What models say, and which are in force."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.predictions import ModelReference
from pipeline.core.prognosis.artefacts import Model

Rows = npt.NDArray[np.float64]


class Answers(NamedTuple):
    """What a model says of n rows of features.

    Parameters
    ----------
    labels
        The likeliest class of each, in words; empty texts where a number is predicted.
    values, lower, upper
        The number and its interval, or the class's probability three times; shape (n,). NaN: the model has no answer.
    """

    labels: Sequence[str]
    values: Rows
    lower: Rows
    upper: Rows


class InForce(NamedTuple):
    """A model that a partition applies to the machines of one type.

    Parameters
    ----------
    artefact
        What it was read from; goes into snapshots.
    """

    reference: ModelReference
    machine_type: str
    model: Model
    artefact: bytes


def plain(each: InForce) -> list[Any]:
    """Return a model in force as plain values."""
    return [*each.reference, each.machine_type, each.artefact]
