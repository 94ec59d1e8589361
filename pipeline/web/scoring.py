"""Models asked over HTTP: the same ones that workers apply, by rows of features that somebody else has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
import orjson
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipeline.core import wrong_values
from pipeline.core.errors import PipelineError
from pipeline.core.prognosis import kinds
from pipeline.core.prognosis.artefacts import Model
from pipeline.core.prognosis.model import Answers, Rows
from pipeline.web.bodies import Answer, LiveModels, Question, Refusal, place
from pipeline.web.guard import Guard, refusal


class ModelRecord(NamedTuple):
    """A live model as the registry has it."""

    id: int
    kind: str
    machine_type: str
    version: int
    sha256: str
    feature_version: int


class Models(Protocol):
    """Where live models come from; asked from several threads at once."""

    def find(self, kind: str, machine_type: str) -> tuple[ModelRecord, Model] | None:
        """Return the live model of a kind and a machine type."""

    def live(self) -> list[tuple[ModelRecord, Model]]:
        """Return all live models, by kind and machine type."""


class Refused(Exception):
    """A request has no answer: status, one line, and the place that is meant."""

    def __init__(self, status: int, detail: str, where: str | None) -> None:
        super().__init__(detail)
        self.status, self.where = status, where


_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Refusal, "description": "The token is missing or another one"},
    403: {"model": Refusal, "description": "There is no token, and the client is on another host"},
    503: {"model": Refusal, "description": "The database does not answer, or too many ask at once; ask again"},
}
_OF_BODIES: dict[int | str, dict[str, Any]] = _REFUSALS | {
    404: {"model": Refusal, "description": "No such model is live"},
    408: {"model": Refusal, "description": "The body took too long"},
    413: {"model": Refusal, "description": "The body is too large"},
    422: {"model": Refusal, "description": "The body is not what is asked for; `where` is the place"},
}
_OF_THE_FRAMEWORK = {
    400: "no parser takes the body: send JSON in UTF-8, without numbers of thousands of digits and lists within lists",
    404: "there is no such path: `GET /openapi.json` has those there are",
    405: "the path takes another method: `GET /openapi.json` says which",
}
_TOKEN = Annotated[object, Depends(HTTPBearer(auto_error=False, description="`web.token`"))]


def create(models: Models, token: str = "") -> FastAPI:
    """Return the application.

    Parameters
    ----------
    models
        Which can be asked.
    token
        That requests have to carry; empty: only requests from this host are answered.
    """
    app = FastAPI(
        title="Predictions",
        version="1",
        description="Remaining life, type of failure and class of maintenance by the live models.",
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Guard, token=token)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(HTTPException, _not_there)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(PipelineError, _failed)

    @app.get("/livez", summary="Whether the program is alive")
    async def livez() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/v1/models", summary="The models that can be asked", response_model=LiveModels, responses=_REFUSALS)
    def live(_: _TOKEN) -> Response:
        return _json({"models": [record._asdict() | {"features": model.features} for record, model in models.live()]})

    # Not async: a model computes, and the database makes wait; threads do both beside the loop
    @app.post("/v1/predictions/{kind}", summary="Ask the live model", response_model=Answer, responses=_OF_BODIES)
    def predict(kind: str, asked: Question, _: _TOKEN) -> Response:
        found = models.find(kind, asked.machine_type)
        if found is None:
            said = f"no {kind} model of {asked.machine_type} is live; `GET /v1/models` has those that are"
            raise Refused(404, said, "machine_type")
        record, model = found
        answers = kinds.answer(model, matrix(asked.rows, model.features))
        said_of = {name: getattr(record, name) for name in ("id", "version", "sha256", "feature_version")}
        return _json({"model": said_of, "predictions": _predictions(answers)})

    return app


def matrix(rows: Sequence[dict[str, float]], features: Sequence[str]) -> Rows:
    """Return rows of features as a model takes them; shape (rows, features).

    Raises
    ------
    Refused
        If a row lacks a feature of the model, or has another one.

    Examples
    --------
    >>> matrix([{"b": 2, "a": 1.5}], ("a", "b"))
    array([[1.5, 2. ]])
    """
    wanted = {*features}
    for number, row in enumerate(rows):
        if row.keys() != wanted:
            missing = [each for each in features if each not in row]
            name = missing[0] if missing else next(each for each in row if each not in wanted)
            said = (
                "this feature is missing" if missing else f"the model has no such feature; it has {', '.join(features)}"
            )
            raise Refused(422, said, place(("rows", number, name)))
    return np.array([[row[each] for each in features] for row in rows], np.float64).reshape(len(rows), len(features))


def _predictions(answers: Answers) -> list[dict[str, Any] | None]:
    columns = (answers.labels, answers.values.tolist(), answers.lower.tolist(), answers.upper.tolist())
    return [
        {"label": label or None, "value": value, "lower": lower, "upper": upper} if math.isfinite(value) else None
        for label, value, lower, upper in zip(*columns, strict=True)
    ]


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def _not_understood(request: Request, error: Exception) -> Response:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    # The first step says that it is the body; what is sent is never repeated
    steps = first.get("loc", ())[1:]
    if first.get("type") == "json_invalid":
        where = f"{first['ctx']['error']} at character {steps[0]}"
        return refusal(422, f"the body is no JSON: {where}; send an object with machine_type and rows", "body")
    if not steps and not _is_json(request.headers.get("content-type", "")):
        return refusal(422, "send a body of JSON, with the header `Content-Type: application/json`", "body")
    return refusal(422, wrong_values.said(first), place(steps) or "body")


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _not_there(_: Request, error: Exception) -> Response:
    """Answer what the framework itself refuses: a path or method that is none, a body that no parser takes."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = _OF_THE_FRAMEWORK.get(status, str(getattr(error, "detail", error)))
    answer = refusal(status, detail, "body" if status == 400 else None)
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer


def _refused(_: Request, error: Exception) -> Response:
    return refusal(getattr(error, "status", 500), str(error), getattr(error, "where", None))


def _failed(_: Request, error: Exception) -> Response:
    retriable = isinstance(error, PipelineError) and error.retriable
    return refusal(503 if retriable else 500, " ".join(str(error).split()))
