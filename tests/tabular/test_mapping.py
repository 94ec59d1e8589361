"""R10: a mapping that is wrong is one line that names the file and the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import SettingsError
from pipeline.tabular import mapping
from pipeline.tabular.mapping import Mapping
from tests.tabular.tables import HEAD, WIDE, read_csv

RIGHT = """
factory_id = "aurora"
machine_id = { column = "machine" }
machine_type = "press"
[time]
column = "time"
[readings]
temperature = "temperature"
"""

WRONG: dict[str, tuple[str, str]] = {
    "unknown key": ("machine = 1\n" + RIGHT, "machine is no key of a mapping"),
    "unknown key of a group": (RIGHT + "[file]\nseparator = ';'", "file.separator is no key of a mapping"),
    "unknown key of a reading": (RIGHT + "p = { colum = 'x' }", "readings.p.colum is no key of a mapping"),
    "missing key": (RIGHT.replace("machine_type", "#"), "machine_type is missing"),
    "missing group": (RIGHT.replace("[time]", "[file]").replace('column = "time"', ""), "time is missing"),
    "no readings": (RIGHT.partition("[readings]")[0], "readings is missing"),
    "no column": (RIGHT.replace('{ column = "machine" }', "{}"), "machine_id: write a text"),
    "text and column": (RIGHT.replace('"machine"', '"machine", constant = "x"'), "machine_id: write a text"),
    "a number as a constant": (RIGHT.replace('"press"', "7"), "machine_type: this is a group of keys"),
    "column 0": (RIGHT.replace('"temperature"', "0"), "readings.temperature.column"),
    "unknown zone": (RIGHT.replace('"time"', '"time"\nzone = "Mars/Base"'), "time.zone: 'Mars/Base' is no time zone"),
    "a path as a zone": (RIGHT.replace('"time"', '"time"\nzone = "../x"'), "time.zone: '../x' is no time zone"),
    "unknown format": (RIGHT.replace('"time"', '"time"\nformat = "unix"'), "time: format is 'unix'; write iso"),
    "a pattern without zone": (RIGHT.replace('"time"', '"time"\nformat = "%d"'), "time: format '%d' says no zone"),
    "scale as text": (RIGHT + "p = { column = 'x', scale = 'k' }", "readings.p.scale"),
    "scale that is no number": (RIGHT + "p = { column = 'x', scale = nan }", "readings.p.scale"),
    "a tag in a wide table": (RIGHT + "p = { tag = 'x' }", "readings.p needs column, and no tag"),
    "a column in a long table": (
        RIGHT + "p = { column = 'x' }\n[long]\nsensor = 's'\nvalue = 'v'",
        "readings.p needs tag, and no column",
    ),
    "a tag twice": (RIGHT + "p = 'temperature'\n[long]\nsensor = 's'\nvalue = 'v'", "readings names a tag twice"),
    "two delimiters": (RIGHT + "[file]\ndelimiter = '||'", "file.delimiter"),
    "delimiter and quote": (RIGHT + "[file]\ndelimiter = '\"'", "file: delimiter must differ from quote"),
    "unknown encoding": (RIGHT + "[file]\nencoding = 'martian'", "file.encoding: 'martian' is no encoding"),
    "an encoding of bytes": (RIGHT + "[file]\nencoding = 'base64'", "file.encoding: 'base64' is no encoding"),
    "decimal": (RIGHT + "[file]\ndecimal = ';'", "file.decimal"),
    "no TOML": ("factory_id = aurora", "is no TOML"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_by_its_key(tmp_path: Path, name: str) -> None:
    text, said = WRONG[name]
    path = tmp_path / "map.toml"
    path.write_text(text)

    with pytest.raises(SettingsError) as raised:
        mapping.load(path)

    assert said in str(raised.value)
    assert "map.toml" in str(raised.value)
    assert "\n" not in str(raised.value).strip()


def test_a_mapping_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere.toml cannot be read: No such file"):
        mapping.load(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"factory_id = '\xff'")
    with pytest.raises(SettingsError, match=r"latin.toml is no TOML"):
        mapping.load(tmp_path / "latin.toml")


def test_the_right_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(RIGHT)

    assert mapping.load(tmp_path / "map.toml").columns() == {
        "machine_id.column": "machine",
        "time.column": "time",
        "readings.temperature": "temperature",
    }


MISSING: list[tuple[dict[str, Any], str]] = [
    ({"readings": {"t": "heat"}}, r"readings.t: .*table.csv has no column 'heat'; it has 4: 'machine', 'time'"),
    ({"readings": {"t": 5}}, r"readings.t: .*table.csv has no column 5; it has 4"),
    ({"seq": {"column": "n"}}, r"seq.column: .*table.csv has no column 'n'"),
    ({"long": {"sensor": "tag", "value": "pressure"}, "readings": {}}, r"long.sensor: .*has no column 'tag'"),
]


@pytest.mark.parametrize(("change", "said"), MISSING)
def test_a_column_that_the_file_lacks_is_named_with_its_key(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_csv(tmp_path, HEAD, WIDE | change)


def test_a_name_that_two_columns_have_is_refused_and_their_numbers_tell_them_apart(tmp_path: Path) -> None:
    text = "machine,time,t,t\np1,2026-01-01T00:00:00Z,1,2\n"
    with pytest.raises(SettingsError, match=r"readings.a: .*table.csv has 2 columns named 't'; write the number"):
        read_csv(tmp_path, text, WIDE | {"readings": {"a": "t"}})

    (message,) = read_csv(tmp_path, text, WIDE | {"readings": {"a": 3, "b": 4}}).messages
    assert message["readings"] == {"a": 1.0, "b": 2.0}


def test_every_key_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs/import.md").read_text()

    def keys(model: Any, before: str = "") -> list[str]:
        return [f"{before}{name}" for name in model.model_fields]

    names = keys(Mapping) + keys(mapping.Time, "time.") + keys(mapping.Long, "long.") + keys(mapping.Layout, "file.")
    assert [name for name in names if f"`{name}`" not in text] == []
