"""Models asked over HTTP (R33): the answers of the model itself, or one line about what is wrong, and where."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any

import httpx
import hypothesis.strategies as st
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings

from pipeline.core.errors import DatabaseUnavailable, ModelRefused, PipelineError
from pipeline.core.prognosis import kinds
from pipeline.core.prognosis.artefacts import Model
from pipeline.core.prognosis.maintenance_class import MaintenanceClassModel
from pipeline.core.prognosis.model import Answers
from pipeline.core.prognosis.remaining_life import RemainingLife
from pipeline.core.prognosis.remaining_life_learner import RemainingLifeLearner
from pipeline.core.prognosis.tree_growth import grow, prune
from pipeline.web import guard, scoring
from pipeline.web.bodies import MOST_ROWS
from pipeline.web.scoring import ModelRecord

TOKEN = "sixteen-and-more-signs"
ROWS = np.array([[pressure, temperature] for pressure in range(100) for temperature in (40.0, 80.0)])
CLASSES = MaintenanceClassModel(
    ("pressure", "temperature"),
    prune(grow(ROWS, np.where(ROWS[:, 0] >= 60, np.where(ROWS[:, 1] > 50, 5, 2), 0), 6), 3.5),
)
GOOD = {"pressure": 70, "temperature": 80.5}


def life() -> RemainingLife:
    """Remaining life by one feature, from lives that all wear alike."""
    learner = RemainingLifeLearner(["wear.fast"], horizon=50.0)
    left = np.arange(60.0)[::-1]
    for each in range(20):
        rows = (100.0 - left + each % 3).reshape(-1, 1)
        learner.see(rows)
        learner.learn(rows, left)
    return learner.model()


LIFE = life()


class Fixed:
    """Live models that never change; asking for an error raises it."""

    def __init__(self, *models: tuple[ModelRecord, Model]) -> None:
        self.models = list(models)

    def find(self, kind: str, machine_type: str) -> tuple[ModelRecord, Model] | None:
        errors: dict[str, PipelineError] = {
            "away": DatabaseUnavailable("the database does\nnot answer"), "damaged": ModelRefused("it is damaged"),
        }  # fmt: skip
        if machine_type in errors:
            raise errors[machine_type]
        return next((each for each in self.models if each[0][1:3] == (kind, machine_type)), None)

    def live(self) -> list[tuple[ModelRecord, Model]]:
        return self.models


MODELS = Fixed(
    (ModelRecord(7, "maintenance_class", "press", 3, "ab" * 32, 1), CLASSES),
    (ModelRecord(9, "remaining_life", "press", 1, "cd" * 32, 1), LIFE),
)


@cache
def app_with(token: str) -> FastAPI:
    return scoring.create(MODELS, token)


def send(
    method: str, path: str, *, token: str = "", client: str = "127.0.0.1", app_token: str = "", **more: Any
) -> httpx.Response:
    async def sent() -> httpx.Response:
        transport = httpx.ASGITransport(app_with(app_token), client=(client, 1), raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(transport=transport, base_url="http://web", headers=headers) as http:
            return await http.request(method, path, **more)

    return asyncio.run(sent())


def ask(rows: Any, kind: str = "maintenance_class", **body: Any) -> httpx.Response:
    return send("POST", f"/v1/predictions/{kind}", json={"machine_type": "press", "rows": rows} | body)


def refused(answer: httpx.Response) -> tuple[int, str | None]:
    said = answer.json()
    assert set(said) == {"detail", "where"}
    assert "\n" not in said["detail"]
    return answer.status_code, said["where"]


def test_the_answers_are_those_of_the_model_with_its_identity() -> None:
    rows = [GOOD, {"temperature": -3, "pressure": 59.4}, {"pressure": 1e100, "temperature": 40}]
    answer = ask(rows)

    by_model = CLASSES.predict(np.array([[row["pressure"], row["temperature"]] for row in rows]))
    assert answer.status_code == 200
    assert answer.json() == {
        "model": {"id": 7, "version": 3, "sha256": "ab" * 32, "feature_version": 1},
        "predictions": [
            {"label": str(label), "value": chance, "lower": chance, "upper": chance}
            for label, chance in zip(by_model.classes.tolist(), by_model.chances.tolist(), strict=True)
        ],
    }
    assert [each["label"] for each in answer.json()["predictions"]] == ["5", "0", "2"]


def test_a_number_comes_with_its_interval_and_has_no_label() -> None:
    told = ask([{"wear.fast": 90.0}, {"wear.fast": 60}], kind="remaining_life").json()["predictions"]

    by_model = LIFE.predict(np.array([[90.0], [60.0]]))
    assert told == [
        {"label": None, "value": value, "lower": lower, "upper": upper}
        for value, lower, upper in zip(*(each.tolist() for each in by_model), strict=True)
    ]


def test_a_row_that_a_model_has_no_answer_to_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.array([np.nan, 0.5])
    monkeypatch.setattr(kinds, "answer", lambda model, rows: Answers(["", "2"], values, values, values))

    answer = ask([GOOD, GOOD])

    assert answer.json()["predictions"] == [None, {"label": "2", "value": 0.5, "lower": 0.5, "upper": 0.5}]


@pytest.mark.parametrize("size", [1e140, -1e140, 5e-324])
def test_the_largest_numbers_are_answered_by_finite_ones_or_not_at_all(size: float) -> None:
    for kind, row in (("remaining_life", {"wear.fast": size}), ("maintenance_class", dict.fromkeys(GOOD, size))):
        answer = ask([row], kind=kind)
        assert answer.status_code == 200
        for each in answer.json()["predictions"]:
            assert each is None or None not in (each["value"], each["lower"], each["upper"])


def test_as_many_rows_as_are_allowed_are_answered_in_their_order() -> None:
    answer = ask([{"pressure": n % 100, "temperature": 40} for n in range(MOST_ROWS)])

    told = [each["label"] for each in answer.json()["predictions"]]
    assert told == ["2" if n % 100 >= 60 else "0" for n in range(MOST_ROWS)]


@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "-Infinity", "1e141", "-1e141", "1e999", "9" * 400, '"70"', "null", "true", "[]", "{}"],
)
def test_what_is_no_number_within_bounds_is_refused_with_its_place(number: str) -> None:
    good = '{"pressure": 1, "temperature": 2}'
    body = f'{{"machine_type": "press", "rows": [{good}, {good}, {good}, {{"pressure": {number}, "temperature": 2}}]}}'

    answer = send(
        "POST", "/v1/predictions/maintenance_class", content=body, headers={"Content-Type": "application/json"}
    )

    assert refused(answer) == (422, "rows[3].pressure")


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ([GOOD, {"pressure": 1}], "rows[1].temperature"),
        ([GOOD, {}], "rows[1].pressure"),
        ([GOOD | {"humidity": 1}], "rows[0].humidity"),
        ([GOOD, 5], "rows[1]"),
        ([GOOD, None], "rows[1]"),
        ([], "rows"),
        ([GOOD] * (MOST_ROWS + 1), "rows"),
        ("rows", "rows"),
        (None, "rows"),
        ([GOOD, {"\ud800": 1}], "rows[1].pressure"),
        ([GOOD | {"\ud800": 1}], "rows[0].?"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_their_place(rows: Any, where: str) -> None:
    body = json.dumps({"machine_type": "press", "rows": rows})

    answer = send(
        "POST", "/v1/predictions/maintenance_class", content=body, headers={"Content-Type": "application/json"}
    )

    assert refused(answer) == (422, where)


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ('{"machine_type": "press", "rows": [', 422, "body"),
        ("", 422, "body"),
        ("[]", 422, "body"),
        ("\xff", 400, "body"),
        ('{"rows": [{"a": 1}]}', 422, "machine_type"),
        ('{"machine_type": 5, "rows": [{"a": 1}]}', 422, "machine_type"),
        ('{"machine_type": "", "rows": [{"a": 1}]}', 422, "machine_type"),
        ('{"machine_type": "press", "rows": [{"a": 1}], "more": 1}', 422, "more"),
        ('{"machine_type": "lathe", "rows": [{"a": 1}]}', 404, "machine_type"),
        ('{"machine_type": "away", "rows": [{"a": 1}]}', 503, None),
        ('{"machine_type": "damaged", "rows": [{"a": 1}]}', 500, None),
    ],
)
def test_bodies_that_are_no_question_are_refused(body: str, status: int, where: str | None) -> None:
    answer = send(
        "POST", "/v1/predictions/maintenance_class", content=body.encode("latin-1"),
        headers={"Content-Type": "application/json"},
    )  # fmt: skip

    assert refused(answer) == (status, where)


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        ('{"machine_type": "press", "rows": [{"pressure": NaN, "temperature": 1}]}', "application/json", "finite number"),
        ('{"machine_type": "press", "rows": [{"pressure": 1e141, "temperature": 1}]}', "application/json", "most 1e+140"),
        ('{"machine_type": "press", "rows": [{"pressure": null, "temperature": 1}]}', "application/json", "no text, true"),
        ('{"machine_type": "press", "rows": []}', "application/json", "give at least 1 of them"),
        ('{"machine_type": "press"}', "application/json", "it is missing"),
        ('{"machine_type": "%s", "rows": [{}]}' % ("x" * 129), "application/json", "write at most 128 characters"),
        ('{"machine_type": "press", "rows": [{"a": 1}], "more": 1}', "application/json", "there is no such field"),
        ("[]", "application/json; charset=utf-8", "write an object of names and values"),
        ("{,", "application/json", "the body is no JSON: "),
        ("\xff", "application/json", "send JSON in UTF-8"),
        ('{"machine_type": "press", "rows": []}', "text/plain", "`Content-Type: application/json`"),
        ('{"machine_type": "press", "rows": []}', "", "`Content-Type: application/json`"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_to_send(body: str, content_type: str, said: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = send("POST", "/v1/predictions/maintenance_class", content=body.encode("latin-1"), headers=headers)

    assert refused(answer)[0] in (400, 422)
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("body", ["[" * 100_000, '{"rows":' + "9" * 5000 + "}"])
def test_what_no_parser_takes_is_a_clients_error(body: str) -> None:
    answer = send(
        "POST", "/v1/predictions/maintenance_class", content=body, headers={"Content-Type": "application/json"}
    )

    assert refused(answer)[0] in (400, 422)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*GOOD, "x"]), inner, max_size=3),
    max_leaves=12,
)


@given(JSON)
@settings(max_examples=60)
def test_whatever_rows_are_sent_is_answered_or_refused(rows: Any) -> None:
    body = json.dumps({"machine_type": "press", "rows": rows})

    answer = send(
        "POST", "/v1/predictions/maintenance_class", content=body, headers={"Content-Type": "application/json"}
    )

    if answer.status_code == 200:
        assert len(answer.json()["predictions"]) == len(rows)
        assert all(abs(value) <= 1e140 for row in rows for value in row.values())
    else:
        assert refused(answer)[0] == 422


def test_an_unknown_kind_a_wrong_path_and_a_wrong_method_have_no_answer() -> None:
    assert refused(ask([GOOD], kind="fortune")) == (404, "machine_type")
    assert refused(send("GET", "/v1/nothing")) == (404, None)
    wrong = send("GET", "/v1/predictions/maintenance_class")
    assert refused(wrong) == (405, None)
    assert wrong.headers["Allow"] == "POST"


def test_models_are_listed_with_their_features() -> None:
    found = send("GET", "/v1/models").json()["models"]

    assert found == [
        {"id": 7, "kind": "maintenance_class", "machine_type": "press", "version": 3, "sha256": "ab" * 32,
         "feature_version": 1, "features": ["pressure", "temperature"]},
        {"id": 9, "kind": "remaining_life", "machine_type": "press", "version": 1, "sha256": "cd" * 32,
         "feature_version": 1, "features": ["wear.fast"]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer \xff"],
)
@pytest.mark.parametrize("client", ["127.0.0.1", "192.0.2.7"])
def test_where_there_is_a_token_nothing_is_answered_without_it(header: str | None, client: str) -> None:
    headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/predictions/maintenance_class"), ("GET", "/nothing")):
        answer = send(method, path, app_token=TOKEN, client=client, headers=headers)

        assert refused(answer) == (401, "Authorization")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_two_tokens_are_none() -> None:
    both = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")]

    assert send("GET", "/v1/models", app_token=TOKEN, headers=both).status_code == 401


def test_with_the_token_every_host_is_answered() -> None:
    assert send("GET", "/v1/models", token=TOKEN, app_token=TOKEN, client="192.0.2.7").status_code == 200


@pytest.mark.parametrize(("client", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403), ("not", 403)])
def test_without_a_token_only_this_host_is_answered(client: str, status: int) -> None:
    assert send("GET", "/v1/models", client=client).status_code == status
    assert send("GET", "/livez", client=client).json() == {"ok": True}


def test_a_body_that_is_too_large_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_BYTES", 1_000)
    taken = 0

    async def parts() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 100
            yield b" " * 100

    assert refused(ask([GOOD] * 100)) == (413, "body")
    assert refused(send("POST", "/v1/predictions/x", content=parts())) == (413, "body")
    assert taken < 2_000
    assert ask([GOOD]).status_code == 200


def test_a_body_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_S", 0.02)
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.sleep(60)

    async def note(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/models", "method": "POST", "headers": [], "client": ("127.0.0.1", 1)}
    asyncio.run(guard.Guard(scoring.create(MODELS), "")(scope, never, note))

    assert sent[0]["status"] == 408


def test_of_too_many_at_once_the_others_are_told_so_and_those_after_them_are_answered() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> Any:
        begun.set()
        await go.wait()
        yield json.dumps({"machine_type": "press", "rows": [GOOD]}).encode()

    async def asked() -> tuple[list[int], httpx.Response, int]:
        transport = httpx.ASGITransport(scoring.create(MODELS))
        json_type = {"Content-Type": "application/json"}
        async with httpx.AsyncClient(transport=transport, base_url="http://web", headers=json_type) as http:
            path = "/v1/predictions/maintenance_class"
            waiting = [asyncio.create_task(http.post(path, content=slow())) for _ in range(guard.MOST_AT_ONCE)]
            await begun.wait()
            while True:
                surplus = await http.get("/v1/models")
                if surplus.status_code == 503:
                    break
            assert (await http.get("/livez")).status_code == 200
            go.set()
            answered = [answer.status_code for answer in await asyncio.gather(*waiting)]
            return answered, surplus, (await http.get("/v1/models")).status_code

    answered, surplus, after = asyncio.run(asked())

    assert answered == [200] * guard.MOST_AT_ONCE
    assert refused(surplus) == (503, None)
    assert after == 200


def test_a_client_that_goes_away_is_not_answered() -> None:
    sent: list[Any] = []

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def note(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/v1/models", "method": "POST", "headers": [], "client": ("127.0.0.1", 1)}
    asyncio.run(guard.Guard(scoring.create(MODELS), "")(scope, gone, note))

    assert sent == []


def test_the_description_has_what_is_answered_and_refused() -> None:
    described = send("GET", "/openapi.json", app_token=TOKEN, client="192.0.2.7").json()

    asked = described["paths"]["/v1/predictions/{kind}"]["post"]
    assert {"200", "401", "403", "404", "408", "413", "422", "503"} <= asked["responses"].keys()
    assert asked["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Question"}
    schemas = described["components"]["schemas"]
    assert {"Answer", "Question", "Refusal"} <= schemas.keys()
    assert schemas["Question"]["properties"]["rows"]["maxItems"] == MOST_ROWS
    assert asked["security"]


def test_a_tree_is_asked_by_many_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are shared: what one question does is no other's business."""
    monkeypatch.setattr(guard, "MOST_AT_ONCE", 1_000)

    async def many(count: int) -> list[httpx.Response]:
        transport = httpx.ASGITransport(scoring.create(MODELS))
        async with httpx.AsyncClient(transport=transport, base_url="http://web") as http:
            bodies = [
                {"machine_type": "press", "rows": [{"pressure": n, "temperature": 80}] * 50} for n in range(count)
            ]
            posts = [http.post("/v1/predictions/maintenance_class", json=body) for body in bodies]
            return list(await asyncio.gather(*posts))

    answers = asyncio.run(many(80))

    told = [{each["label"] for each in answer.json()["predictions"]} for answer in answers]
    assert told == [{"5" if n >= 60 else "0"} for n in range(80)]
