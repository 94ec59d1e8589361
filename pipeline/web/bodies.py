"""What is asked and answered over HTTP, as it is checked and as `/openapi.json` describes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field

from pipeline.core.fields import MAX_VALUE

MOST_ROWS = 10_000
"""Rows of one request."""

# Strict: a text that looks like a number is a mistake of whoever sent it. Bounded as readings are that workers accept
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-MAX_VALUE, le=MAX_VALUE)]
Row = dict[str, Number]


class Question(BaseModel):
    """Rows that a model is asked about."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    machine_type: Annotated[str, Field(strict=True, min_length=1, max_length=128, description="Whose model is asked")]
    rows: Annotated[list[Row], FailFast()] = Field(
        min_length=1,
        max_length=MOST_ROWS,
        description="Features by name, all of those that the model has; `GET /v1/models` names them",
    )


class ModelSaid(BaseModel):
    """Which model answered."""

    id: int = Field(description="Its number in the registry")
    version: int = Field(description="Counted from 1 for each kind and machine type")
    sha256: str = Field(description="Of its artefact")
    feature_version: int = Field(description="Of the features that it takes")


class PredictionSaid(BaseModel):
    """What the model says of one row."""

    label: str | None = Field(description="The likeliest class; null where a number is predicted")
    value: float = Field(description="The number, or the class's probability")
    lower: float = Field(description="Lower end of the number's interval, or the probability again")
    upper: float = Field(description="Upper end of the number's interval, or the probability again")


class Answer(BaseModel):
    """What the model says of all rows, in their order; null: it has no answer to that one."""

    model: ModelSaid
    predictions: list[PredictionSaid | None]


class LiveModel(ModelSaid):
    """A model that can be asked."""

    kind: str = Field(description="What it predicts")
    machine_type: str = Field(description="Whose model it is")
    features: list[str] = Field(description="Features that each row has to have")


class LiveModels(BaseModel):
    """All models that can be asked."""

    models: list[LiveModel]


class Refusal(BaseModel):
    """Why there is no answer."""

    detail: str = Field(description="One line")
    where: str | None = Field(description="The place in the request that is meant, such as `rows[3].pressure`")


def place(steps: tuple[int | str, ...]) -> str:
    """Return a place in a request as people write it.

    Examples
    --------
    >>> place(("rows", 3, "pressure")), place(())
    ('rows[3].pressure', '')
    """
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")
