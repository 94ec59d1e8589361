"""Tables of the tests' own making, and what an import makes of them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from pipeline.core.decoding.codec_rules import CodecRules
from pipeline.tabular.judging import judge, open_table
from pipeline.tabular.mapping import Mapping
from pipeline.tabular.rows import Reject

NOW_MS = 1_795_298_400_000  # 2026-11-21T22:00:00Z
HEAD = "machine,time,temperature,pressure\n"
WIDE: dict[str, Any] = {
    "factory_id": "aurora",
    "machine_id": {"column": "machine"},
    "machine_type": "press",
    "time": {"column": "time"},
    "readings": {"temperature": "temperature", "pressure": "pressure"},
}


class Found(NamedTuple):
    """What a table gave."""

    messages: list[dict[str, Any]]
    places: list[int]
    rejects: list[Reject]
    rows: int

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(each.place, each.reason) for each in self.rejects]


def read(path: Path, given: dict[str, Any], rules: CodecRules | None = None, seq_base: int = 0) -> Found:
    """Return everything that is made of a file."""
    mapping = Mapping.model_validate(given)
    with closing(open_table(path, mapping)) as table:
        stretches = list(judge(table, mapping, rules or CodecRules(), seq_base, NOW_MS))
        assert table.done == table.total
    return Found(
        [orjson.loads(body) for each in stretches for body in each.bodies],
        [place for each in stretches for place in each.places],
        sorted(reject for each in stretches for reject in each.rejects),
        sum(each.rows for each in stretches),
    )


def read_csv(folder: Path, text: str | bytes, given: dict[str, Any] = WIDE, **more: Any) -> Found:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, given, **more)
