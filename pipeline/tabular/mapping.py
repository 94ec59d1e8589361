"""The mapping file: which columns of a table are which parts of a message."""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.core.checks import shown
from pipeline.core.errors import SettingsError

Column = Annotated[str, Field(min_length=1)] | Annotated[int, Field(ge=1)]
"""A column by its name, or by its number from 1 on."""

EPOCHS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Formats of a time that counts from the epoch, and their unit in ns."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Given(_Part):
    """A text of each row: the same for all, or that of a column with something before it."""

    constant: str | None = None
    column: Column | None = None
    prefix: str = ""

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Given:
        if (self.constant is None) == (self.column is None):
            raise ValueError('write a text, or { column = "…" }')
        return self


class Seq(_Part):
    """The device's own numbers."""

    column: Column


class Time(_Part):
    """When a row was."""

    column: Column
    format: Annotated[str, Field(min_length=1)] = "iso"
    zone: str = ""

    @field_validator("zone")
    @classmethod
    def _is_known(cls, zone: str) -> str:
        try:
            return ZoneInfo(zone).key if zone else ""
        except (OSError, ValueError, LookupError):
            raise ValueError(f"{zone!r} is no time zone; write one such as Europe/Oslo") from None

    @model_validator(mode="after")
    def _has_a_zone(self) -> Time:
        if self.format != "iso" and self.format not in EPOCHS:
            if "%" not in self.format:
                raise ValueError(
                    f"format is {self.format!r}; write iso, s, ms, us, ns or a pattern such as %d.%m.%Y %H:%M"
                )
            if "%z" not in self.format and not self.zone:
                raise ValueError(f"format {self.format!r} says no zone; add zone, for example UTC or Europe/Oslo")
        return self


class Reading(_Part):
    """Where a sensor's values are, and what they are in its unit: value · scale + offset."""

    column: Column | None = None
    tag: Annotated[str, Field(min_length=1)] | None = None
    scale: float = 1.0
    offset: float = 0.0


class Long(_Part):
    """A table with one reading a row: the columns of the sensor's name and of its value."""

    sensor: Column
    value: Column


class Layout(_Part):
    """How a table is written; all but ``no_reading`` is about CSV alone."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    quote: Annotated[str, Field(max_length=1)] = '"'
    encoding: Annotated[str, Field(validate_default=True)] = "utf-8"
    header: bool = True
    decimal: Literal[".", ","] = "."
    no_reading: tuple[str, ...] = ("", "NA", "NaN", "null")

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        try:
            name = codecs.lookup(encoding).name
            "".encode(name)
        except (LookupError, UnicodeError):
            raise ValueError(f"{encoding!r} is no encoding of text; write one such as utf-8 or cp1252") from None
        # A mark of the byte order, as spreadsheets write it, is no part of the first name
        return "utf-8-sig" if name == "utf-8" else name

    @field_validator("no_reading", mode="before")
    @classmethod
    def _is_a_list(cls, given: Any) -> Any:
        return tuple(given) if isinstance(given, list) else given

    @model_validator(mode="after")
    def _can_be_told_apart(self) -> Layout:
        if self.delimiter in {self.quote, "\n", "\r"}:
            raise ValueError("delimiter must differ from quote and be no line end")
        return self


def _text_or_column(given: Any) -> Any:
    return {"constant": given} if isinstance(given, str) else given


Text = Annotated[Given, BeforeValidator(_text_or_column)]


class Wanted(Protocol):
    """Which columns of a table are wanted, and how it is written."""

    @property
    def file(self) -> Layout:
        """How it is written."""

    def columns(self) -> dict[str, Column]:
        """Return the columns, by what names them to people."""


class Mapping(_Part):
    """What the columns of a table mean. With ``long`` every row is one reading, else one message.

    Parameters
    ----------
    readings
        By sensor. Without ``long``: the columns. With it: the names that the table has for sensors; empty: its names are ours.
    """

    factory_id: Text
    machine_id: Text
    machine_type: Text
    time: Time
    readings: dict[str, Reading] = Field(default_factory=dict)
    seq: Seq | None = None
    long: Long | None = None
    file: Layout = Layout()

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, given: Any) -> Any:
        """Take a bare name or number for the column or the tag of a reading."""
        readings = given.get("readings")
        if not isinstance(readings, dict):
            return given
        key = "tag" if "long" in given else "column"
        whole = {name: each if isinstance(each, dict) else {key: each} for name, each in readings.items()}
        return given | {"readings": whole}

    @model_validator(mode="after")
    def _is_complete(self) -> Mapping:
        if self.long is None and not self.readings:
            raise ValueError("readings is missing; name the column of each sensor, or write [long]")
        for sensor, each in self.readings.items():
            if not sensor:
                raise ValueError("readings has a sensor without a name; name it")
            if self.long is None and (each.column is None or each.tag is not None):
                raise ValueError(f"readings.{sensor} needs column, and no tag")
            if self.long is not None and (each.tag is None or each.column is not None):
                raise ValueError(f"readings.{sensor} needs tag, and no column, because of [long]")
        tags = [each.tag for each in self.readings.values()]
        if self.long is not None and len(set(tags)) < len(tags):
            raise ValueError("readings names a tag twice")
        return self

    def columns(self) -> dict[str, Column]:
        """Return the columns that are needed, by the keys of the mapping that name them."""
        found: dict[str, Column | None] = {
            "factory_id.column": self.factory_id.column,
            "machine_id.column": self.machine_id.column,
            "machine_type.column": self.machine_type.column,
            "time.column": self.time.column,
            "seq.column": self.seq.column if self.seq else None,
        }
        if self.long is not None:
            found |= {"long.sensor": self.long.sensor, "long.value": self.long.value}
        else:
            found |= {f"readings.{sensor}": each.column for sensor, each in self.readings.items()}
        return {key: column for key, column in found.items() if column is not None}


def load(path: Path) -> Mapping:
    """Return a mapping that was checked.

    Raises
    ------
    SettingsError
        If the file cannot be read, or a key is unknown, missing or wrong: one line that names the file and the key.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"the mapping {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"the mapping {path} is no TOML: {error}") from error
    try:
        return Mapping.model_validate(given)
    except ValidationError as error:
        raise SettingsError(f"{path}: {_complaint(error)}") from None


def positions(wanted: Wanted, names: Sequence[str], file: Path) -> dict[Column, int]:
    """Return at which place, from 0 on, a file has each column that is wanted.

    Raises
    ------
    SettingsError
        If it has one of them not at all, or a name twice.
    """
    found: dict[Column, int] = {}
    for key, column in wanted.columns().items():
        places = [at for at, name in enumerate(names) if name == column] if isinstance(column, str) else [column - 1]
        if len(places) > 1:
            raise SettingsError(
                f"{key}: {file} has {len(places)} columns named {shown(column)}; write the number of one, from 1 on"
            )
        if not places or places[0] >= len(names):
            there = ", ".join(map(shown, names[:20])) + (", …" if len(names) > 20 else "")
            raise SettingsError(f"{key}: {file} has no column {shown(column)}; it has {len(names)}: {there}")
        found[column] = places[0]
    return found


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    # A union adds the names of its types to the place
    key = ".".join(str(part) for part in first["loc"] if "[" not in str(part) and part not in {"str", "int"})
    if first["type"] == "extra_forbidden":
        return f"{key} is no key of a mapping; docs/import.md lists them all"
    if first["type"] == "missing":
        return f"{key} is missing"
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "model_type":
        said = "this is a group of keys"
    return f"{key}: {said[0].lower()}{said[1:]}" if key else said
