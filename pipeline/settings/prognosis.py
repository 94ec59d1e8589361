"""Settings of what is predicted of machines, and of how models are watched."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.groups import Group


class Prognosis(Group):
    """What is predicted of machines."""

    enabled: bool = Field(
        True,
        description="Whether operating cycles are kept as machines' lives, and models in force are asked about them",
    )


class Monitoring(Group):
    """When a live model is learned anew."""

    least_labels: int = Field(
        20,
        ge=1,
        le=10**9,
        description="Failures, or maintenance records with a class, below which figures are no reason",
    )
    least_inputs: int = Field(
        1000,
        ge=1,
        le=10**9,
        description="Predictions of a day below which the distribution of their inputs is no reason",
    )
    rmse_factor: float = Field(1.5, ge=1, le=1000, description="How many times the error at training is too much")
    coverage_drop: float = Field(0.1, ge=0, le=1, description="How far coverage may be below what intervals aim at")
    score_drop: float = Field(0.1, ge=0, le=1, description="How far F1, or accuracy, may be below that at training")
    psi: float = Field(
        0.25, gt=0, le=1000, description="Population stability index of an input above which it has drifted"
    )
