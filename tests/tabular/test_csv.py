"""R10: CSV as others write it, good and bad: every row is a message, or a reject with its line and its reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError, SettingsError
from pipeline.tabular.csv_table import MAX_ROW
from pipeline.tabular.rows import CHUNK_ROWS
from tests.tabular.tables import HEAD, WIDE, read_csv

GOOD = "p1,2026-01-01T00:00:00Z,1.5,2"


def test_a_row_becomes_the_canonical_message_and_its_place_becomes_its_number(tmp_path: Path) -> None:
    found = read_csv(tmp_path, HEAD + GOOD + "\n", seq_base=7 << 32)

    assert found.messages == [
        {
            "type": "machine",
            "factory_id": "aurora",
            "machine_id": "p1",
            "machine_type": "press",
            "time": "2026-01-01T00:00:00.000Z",
            "seq": (7 << 32) + 2,
            "readings": {"temperature": 1.5, "pressure": 2.0},
        }
    ]
    assert (found.places, found.rejects, found.rows) == ([2], [], 1)


BAD: dict[str, tuple[str, str]] = {
    "too few fields": ("p1,2026-01-01T00:00:00Z,1.5", "wrong_field_count"),
    "too many fields": (GOOD + ",", "wrong_field_count"),
    "only spaces": ("  ", "wrong_field_count"),
    "no number": ("p1,2026-01-01T00:00:00Z,warm,2", "not_a_number"),
    "not a number": ("p1,2026-01-01T00:00:00Z,1,-inf", "not_a_number"),
    "no float holds it": ("p1,2026-01-01T00:00:00Z,1,1e400", "not_a_number"),
    "a number as Python writes it": ("p1,2026-01-01T00:00:00Z,1_0,2", "not_a_number"),
    "a decimal comma": ('p1,2026-01-01T00:00:00Z,"1,5",2', "not_a_number"),
    "too large": ("p1,2026-01-01T00:00:00Z,1,1e141", "value_out_of_range"),
    "no reading": ("p1,2026-01-01T00:00:00Z,,NA", "no_reading"),
    "no time": ("p1,,1,2", "time_unreadable"),
    "no time at all": ("p1,yesterday,1,2", "time_unreadable"),
    "no zone": ("p1,2026-01-01T00:00:00,1,2", "time_without_zone"),
    "too early": ("p1,1969-12-31T23:59:59Z,1,2", "time_out_of_range"),
    "too late": ("p1,2200-01-01T00:00:00Z,1,2", "time_out_of_range"),
    "in the future": ("p1,2026-11-21T23:00:01Z,1,2", "time_in_future"),
    "no machine": (",2026-01-01T00:00:00Z,1,2", "wrong_shape"),
    "a long name": ("p" * 129 + ",2026-01-01T00:00:00Z,1,2", "identifier_too_long"),
    "NUL in a name": ("p\0,2026-01-01T00:00:00Z,1,2", "nul_character"),
    "NUL in a number": ("p,2026-01-01T00:00:00Z,1\0,2", "not_a_number"),
    "bytes that are not UTF-8": ("p\udcff,2026-01-01T00:00:00Z,1,2", "undecodable"),
    "text behind a quote": ('"p"1,2026-01-01T00:00:00Z,1,2', "not_csv"),
    "a quote that is never closed": ('"p1,2026-01-01T00:00:00Z,1,2', "not_csv"),
    "a huge field": ("p" * 200_000 + ",2026-01-01T00:00:00Z,1,2", "not_csv"),
    "a huge row": (GOOD + "," + ",".join(["9" * 1000] * 1100), "too_long"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_refused_with_its_line_and_as_it_was_and_the_rows_beside_it_are_taken(
    tmp_path: Path, name: str
) -> None:
    row, reason = BAD[name]
    found = read_csv(tmp_path, f"{HEAD}{GOOD}\n{row}\n{GOOD}\n".encode(errors="surrogateescape"))

    assert found.places == [2, 4]
    ((place, why, detail, as_it_was),) = found.rejects
    assert (place, why) == (3, reason)
    assert as_it_was == row[: MAX_ROW + 1]
    assert detail.isprintable()
    assert len(detail) < 200


def test_all_bad_rows_together_are_refused_by_line_and_none_of_the_good_ones(tmp_path: Path) -> None:
    rows = [row for row, _ in BAD.values()]
    text = HEAD + "".join(f"{GOOD}\n{row}\n" for row in rows) * 200
    found = read_csv(tmp_path, text.encode(errors="surrogateescape"))

    assert found.rows == 2 * 200 * len(rows)
    assert found.places == list(range(2, 2 + found.rows, 2))
    assert found.reasons == [(3 + 2 * at, reason) for at, (_, reason) in enumerate(list(BAD.values()) * 200)]


def test_lines_are_physical_ones_also_behind_quoted_ends_of_lines_and_empty_lines(tmp_path: Path) -> None:
    text = HEAD.replace("machine", '"machine"') + f'"p\n1",2026-01-01T00:00:00Z,1,2\n\n\n{GOOD}\nbad\n{GOOD}'
    found = read_csv(tmp_path, text.replace("\n", "\r\n"))

    assert [each["machine_id"] for each in found.messages] == ["p\r\n1", "p1", "p1"]
    assert found.places == [2, 6, 8]
    assert [each[::3] for each in found.rejects] == [(7, "bad")]


@pytest.mark.parametrize(
    ("end", "encoding"), [("\n", "utf-8-sig"), ("\r\n", "cp1252"), ("\r", "utf-8"), ("\n", "utf-16")]
)
def test_ends_of_lines_marks_of_byte_order_and_encodings(tmp_path: Path, end: str, encoding: str) -> None:
    given = WIDE | {"file": {"encoding": encoding if encoding != "utf-8-sig" else "utf-8"}}
    text = (HEAD + GOOD.replace("p1", "Ölpumpe") + "\n" + GOOD + "\n").replace("\n", end)
    found = read_csv(tmp_path, text.encode(encoding), given)

    assert [each["machine_id"] for each in found.messages] == ["Ölpumpe", "p1"]
    assert found.places == [2, 3]


def test_a_mark_of_the_byte_order_is_no_part_of_a_name_whatever_the_mapping_says_of_the_file(tmp_path: Path) -> None:
    assert "file" not in WIDE

    assert [each["machine_id"] for each in read_csv(tmp_path, (HEAD + GOOD).encode("utf-8-sig"), WIDE).messages] == [
        "p1"
    ]


def test_the_dialect_is_the_mapping_s(tmp_path: Path) -> None:
    given = WIDE | {
        "machine_id": {"column": 1, "prefix": "press-"},
        "time": {"column": 2, "format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"},
        "readings": {"temperature": {"column": 3, "scale": 1.8, "offset": 32}, "pressure": 4},
        "file": {"delimiter": ";", "quote": "'", "decimal": ",", "header": False, "no_reading": ["-999"]},
    }
    found = read_csv(tmp_path, "'7;8';01.07.2026 12:00;100,5;-999,0\n7;01.01.2026 12:00;0;-1,5e2\n", given)

    assert [each["machine_id"] for each in found.messages] == ["press-7;8", "press-7"]
    assert [each["time"] for each in found.messages] == ["2026-07-01T10:00:00.000Z", "2026-01-01T11:00:00.000Z"]
    assert [each["readings"] for each in found.messages] == [
        {"temperature": 100.5 * 1.8 + 32},
        {"temperature": 32.0, "pressure": -150.0},
    ]


def test_a_device_s_own_number_is_kept_and_one_that_is_missing_is_made(tmp_path: Path) -> None:
    given = WIDE | {"seq": {"column": "n"}}
    text = "n," + HEAD + f"9007199254740993,{GOOD}\n,{GOOD}\n1.5,{GOOD}\n-1,{GOOD}\n{2**70},{GOOD}\n"
    found = read_csv(tmp_path, text, given, seq_base=100)

    assert [each["seq"] for each in found.messages] == [9007199254740993, 103]
    assert found.reasons == [(4, "not_a_number"), (5, "wrong_shape"), (6, "undecodable")]


def test_a_file_that_ends_in_the_middle_of_anything_loses_no_row_before_it(tmp_path: Path) -> None:
    whole = (HEAD + f'{GOOD}\n"p""2",2026-01-01T00:00:00Z,3,"4"\n').encode()
    for end in range(len(HEAD), len(whole) + 1):
        found = read_csv(tmp_path, whole[:end])
        lines = whole[len(HEAD) : end].splitlines()

        assert found.rows == len(found.messages) + len(found.rejects) == len(lines)


@pytest.mark.parametrize("text", [b"", b"\n\r\n\n"])
def test_a_file_without_a_header_is_refused_and_one_without_rows_is_not(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(SettingsError, match=r"table.csv has no header; .*header = false"):
        read_csv(tmp_path, text)
    numbered = WIDE | {"file": {"header": False}, "machine_id": "p", "time": {"column": 1}, "readings": {"t": 2}}
    with pytest.raises(SettingsError, match=r"time.column: .*table.csv has no column 1; it has 0"):
        read_csv(tmp_path, text, numbered)
    assert read_csv(tmp_path, HEAD).rows == 0


def test_bytes_that_are_none_of_the_encoding_at_all_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"table.csv cannot be read as utf-16 behind line 0; correct file.encoding"):
        read_csv(tmp_path, HEAD.encode("utf-16") + b"\x00\xd8" * 3, WIDE | {"file": {"encoding": "utf-16"}})


def test_a_huge_line_and_a_huge_file_are_read_in_bounded_memory(tmp_path: Path) -> None:
    rows = 40 * CHUNK_ROWS
    with (tmp_path / "table.csv").open("w") as file:
        file.write(HEAD)
        for _ in range(rows):
            file.write(GOOD + "\n")
        for _ in range(300):
            file.write("9" * 1_000_000)
        file.write("\n" + GOOD + "\n")
    code = (
        "import resource, sys; from pathlib import Path; from tests.tabular.tables import *;"
        "m = Mapping.model_validate(WIDE); t = open_table(Path(sys.argv[1]), m);"
        "js = judge(t, m, CodecRules(), 0, NOW_MS); next(js);"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak();"
        "n = sum(j.rows for j in js); print(n, peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "table.csv")],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    left, grown_kb = map(int, done.stdout.split())

    assert left == rows + 2 - CHUNK_ROWS
    assert grown_kb < 60_000
