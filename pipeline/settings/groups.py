"""The settings by group: what each means, its default, and what it may be. Times end in their unit."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
Prefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,100}$")]


class Group(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Site(Group):
    """Where this installation is."""

    cluster: Name = Field("local", description="Name of the broker's cluster; part of every key in the database")
    factory: Prefix = Field(
        "", description="Factory that workers serve; its topics and group carry its name. Empty: all"
    )


class Broker(Group):
    """The broker and the topics on it."""

    address: str = Field("127.0.0.1:9092", description="host:port of one or more brokers, separated by commas")
    group: Name = Field("pipeline", description="Consumer group")
    topics: tuple[Name, ...] = Field(("telemetry.machine",), description="Source topics", min_length=1)
    command_topic: Name = Field(
        "metadata.command",
        description="Topic that commands on metadata are sent to; to be read, it has to be a source topic",
    )
    alert_topic: Prefix = Field("", description="Topic that anomalies are published to; empty: none")
    topic_prefix: Prefix = Field("", description="Put before every topic, for example `test.`")
    partitions: int = Field(
        8, ge=1, le=10_000, description="Partitions of a topic that `pipeline topics --create` makes"
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How the connection is secured; Event Hubs: SASL_SSL"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("PLAIN", description="How to log in")
    sasl_username: str = Field("", description="User; Event Hubs: `$ConnectionString`")
    sasl_password: SecretStr = Field(SecretStr(""), description="Password; Event Hubs: the connection string")
    ca_file: str = Field("", description="PEM file of trusted authorities; empty: the system's")
    certificate_file: str = Field("", description="PEM file of the client's certificate")
    key_file: str = Field("", description="PEM file of the client's key")
    session_timeout_s: float = Field(
        30.0, ge=1, le=3600, description="Silence after which a worker loses its partitions, s"
    )
    heartbeat_interval_s: float = Field(3.0, gt=0, le=600, description="How often a worker speaks to the group, s")
    batch_records: int = Field(4000, ge=1, le=100_000, description="Most records of one fetch")
    instance_id: Prefix = Field("", description="Name for static membership; empty: dynamic")


class Postgres(Group):
    """The database."""

    dsn: SecretStr = Field(
        SecretStr("postgresql://pipeline@127.0.0.1:5432/pipeline"),
        description="Connection string of the workers' login",
    )
    admin_dsn: SecretStr = Field(
        SecretStr(""), description="Connection string for `pipeline migrate`; empty: the workers' one"
    )
    connect_timeout_s: float = Field(10.0, ge=2, le=600, description="Longest wait for a connection, s")
    lock_timeout_s: float = Field(1.0, gt=0, le=600, description="Longest wait for a lock, s")


class Flush(Group):
    """When what is stored."""

    min_interval_ms: float = Field(50.0, ge=0, le=60_000, description="Shortest time between two transactions, ms")
    max_records: int = Field(20_000, ge=1, le=1_000_000, description="Rows of one transaction, about")
    max_pending_records: int = Field(
        40_000, ge=1, le=10_000_000, description="Rows that wait for the database before fetching pauses"
    )
    windows_interval_s: float = Field(5.0, gt=0, le=3600, description="How often a partition's windows are merged, s")
    snapshot_interval_s: float = Field(30.0, gt=0, le=86_400, description="How often a partition's state is kept, s")
    snapshot_history_h: float = Field(
        24.0, ge=0, le=8760, description="How often a state is kept for replays that begin at it, h; 0: never"
    )
    offset_commit_interval_s: float = Field(
        5.0, ge=1, le=3600, description="How often marks are committed to the broker for lag tools, s"
    )


class Outbox(Group):
    """Messages of our own."""

    expiry_s: int = Field(
        0, ge=0, le=10**9, description="Age from the event on, beyond which an alert is not published, s; 0: never"
    )
    retention_s: int = Field(
        604_800, ge=60, le=10**9, description="How long messages stay in the outbox after they were published, s"
    )


class Archive(Group):
    """Where events are kept for good."""

    address: str = Field(
        "", description="A folder, or `s3://…`, `abfs://…`: where `pipeline archive` writes. Empty: nowhere"
    )

    @field_validator("address")
    @classmethod
    def _has_no_password(cls, address: str) -> str:
        # It is shown in full wherever the archive is named. Digits before a slash are a port
        if re.search(r"://[^/@]*:(?!\d+(?:/|$))[^@]*@", address):
            raise ValueError(
                "a password has no place in an address: leave it out, and give it to the driver, for example as"
                " FSSPEC_SFTP_PASSWORD in the environment"
            )
        return address


class Retention(Group):
    """How long the database keeps what, by `pipeline retain`."""

    event_days: int = Field(
        30, ge=0, le=36_500, description="Whole days of `event` kept before today, once archived; 0: for ever"
    )
    dead_letter_days: int = Field(90, ge=0, le=36_500, description="Days that a dead letter is kept; 0: for ever")
    anomaly_days: int = Field(400, ge=0, le=36_500, description="Days of `anomaly` kept, by event time; 0: for ever")
    reading_window_days: int = Field(
        400, ge=0, le=36_500, description="Days of `reading_window` kept, by event time; 0: for ever"
    )
    quality_days: int = Field(
        0, ge=0, le=36_500, description="Days of `quality_report` kept, by the period's end; 0: for ever"
    )
    maintenance_days: int = Field(
        0, ge=0, le=36_500, description="Days of `maintenance_record` kept, by event time; 0: for ever"
    )
    factory_window_days: int = Field(
        400, ge=0, le=36_500, description="Days of `factory_window` kept, by event time; 0: for ever"
    )
    operating_cycle_days: int = Field(
        400, ge=0, le=36_500, description="Days of `operating_cycle` kept, by the cycle's end; 0: for ever"
    )
    cycle_reading_days: int = Field(
        400, ge=0, le=36_500, description="Days of `cycle_reading` kept, by the last reading's event time; 0: for ever"
    )
    maintenance_requirement_days: int = Field(
        400, ge=0, le=36_500, description="Days of `maintenance_requirement` kept, by event time; 0: for ever"
    )
    maintenance_prediction_days: int = Field(
        400, ge=0, le=36_500, description="Days of `maintenance_prediction` kept, by event time; 0: for ever"
    )
    maintenance_aggregate_days: int = Field(
        400, ge=0, le=36_500, description="Days of `maintenance_aggregate` kept, by event time; 0: for ever"
    )
    snapshot_history_days: int = Field(
        30, ge=0, le=36_500, description="Days that a state is kept for replays that begin at it; 0: for ever"
    )


class Ingest(Group):
    """What is accepted."""

    max_future_ms: int = Field(
        3_600_000, ge=0, le=10**12, description="How far an event time may be ahead of the broker's time, ms"
    )
    gateways: tuple[str, ...] = Field((), description="Devices that may speak for any machine")
    unknown_devices: Literal["accept", "quarantine"] = Field(
        "accept",
        description="What becomes of telemetry from machines that nobody has added, in factories without a policy of their own",
    )


class Windows(Group):
    """Event time."""

    watermark_delay_ms: int = Field(
        10_000, ge=0, le=10**9, description="How long after a window's end its readings are still on time, ms"
    )
    allowed_lateness_ms: int = Field(
        7_200_000,
        ge=0,
        le=10**12,
        description="How much later they are merely late, ms; later yet they count as very late",
    )
    cycle_gap_ms: int = Field(
        30_000,
        ge=0,
        le=10**9,
        description="Longest time between two messages of one operating cycle, ms; 0: no operating cycles are kept",
    )


class Spikes(Group):
    """The plain spike and dip detector of every sensor; off where the mixture is everywhere and nothing is set here."""

    threshold: float = Field(4.5, gt=0, le=1000, description="Standard deviations that make an anomaly")
    fading: float = Field(0.03, gt=0, lt=1, description="Weight of the newest reading in the running mean and variance")
    warm_up: int = Field(30, ge=2, le=1_000_000, description="Readings learned before the first is scored")


class DetectorChoice(Group):
    """How one detector looks at some sensors of some types of machine."""

    detector: str = Field(description="Name of the detector, or import path of a River model")
    machine_types: tuple[str, ...] = Field(("*",), description="Types of machine; `*` and `?` stand for anything")
    sensors: tuple[str, ...] = Field(("*",), description="Sensors; `*` and `?` stand for anything")
    on: bool = Field(True, description="Whether it looks at them at all")
    threshold: float | None = Field(None, gt=0, description="Score that makes an anomaly; none: the budget decides")
    parameters: dict[str, int | float | bool | str] = Field({}, description="What differs from the detector's defaults")


class Detectors(Group):
    """Detectors beside that of spikes and dips."""

    enabled: tuple[str, ...] = Field(
        ("mixture", "change", "stuck", "novelty", "multivariate"),
        description="Detectors that are on where no choice says otherwise",
    )
    alarms_per_machine_day: float = Field(
        1.0,
        gt=0,
        le=10_000,
        description="False alarms that all but the mixture may raise together per machine and day",
    )
    choices: tuple[DetectorChoice, ...] = Field(
        (), description="How detectors look at certain sensors; the first one that fits counts"
    )


class Silence(Group):
    """Devices from which nothing comes."""

    after_ms: int = Field(
        45_000, ge=0, le=10**9, description="Event time without a message after which a machine is silent, ms; 0: never"
    )
    tick_s: float = Field(
        30.0,
        ge=0,
        le=86_400,
        description="Time without a record after which a partition's event time follows the clock, s; 0: never",
    )


class Oee(Group):
    """Effectiveness and yields."""

    refresh_interval_s: float = Field(
        60.0, gt=0, le=86_400, description="How often workers sum up effectiveness and yields where reports changed, s"
    )


class Health(Group):
    """What a worker tells about itself."""

    address: str = Field(
        "127.0.0.1:9108-9207",
        pattern=r"^$|^\S+:\d{1,5}(-\d{1,5})?$",
        description="host:port of `/livez`, `/readyz` and `/metrics`; of a range, the first free port. Empty: off",
    )


class Web(Group):
    """Models asked over HTTP."""

    address: str = Field(
        "127.0.0.1:9208",
        pattern=r"^\S+:\d{1,5}$",
        description="host:port that `pipeline web` answers on; port 0: any free one",
    )
    token: SecretStr = Field(
        SecretStr(""),
        description="What requests have to carry, at least 16 letters, digits and signs; empty: only this host is answered",
    )


class Watchdog(Group):
    """When a worker ends by itself."""

    no_progress_s: float = Field(
        120.0, ge=0, le=86_400, description="How long a worker may do nothing while records wait for it, s; 0: for ever"
    )


class Log(Group):
    """Logs, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written")
    format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else json")
