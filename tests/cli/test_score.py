"""`pipeline score` (R33): a user's own file, row by row, as a worker would score it."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import scoring
from pipeline.cli import main
from pipeline.cli.scoring import COMPILING
from pipeline.core.decoding.codec_rules import CodecRules
from pipeline.core.fold import Marks, fold
from pipeline.core.records import Record, RecordBatch, SourcePartition
from pipeline.core.state import PartitionState
from pipeline.rules import fold_rules
from pipeline.scoring import ScoreOptions
from pipeline.settings import load
from pipeline.tabular.judging import judge, open_table
from pipeline.tabular.mapping import Mapping
from tests.datasets import dataset

HERE = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

Score = Callable[..., tuple[int, str, str]]

QUICK = "{ warm_up = 20, calm = 2, refractory_ms = 0 }"
CONFIG = f"""
[detectors]
enabled = []
alarms_per_machine_day = 100.0
[[detectors.choices]]
detector = "change"
threshold = 4.0
parameters = {QUICK}
[[detectors.choices]]
detector = "stuck"
sensors = ["pressure"]
threshold = 2.0
parameters = {QUICK}
[[detectors.choices]]
detector = "multivariate"
machine_types = ["press"]
threshold = 3.0
parameters = {QUICK}
[[detectors.choices]]
detector = "novelty"
sensors = ["temperature", "humidity"]
threshold = 0.1
parameters = {QUICK}
[spikes]
threshold = 3.0
"""
MIXED = (
    CONFIG
    + """
[[detectors.choices]]
detector = "mixture"
sensors = ["t*"]
"""
)

BUDGET = "".join(
    ["[detectors]\nalarms_per_machine_day = 5000.0\n"]
    + [
        f'[[detectors.choices]]\ndetector = "{name}"\n'
        "parameters = { warm_up = 20, calm = 2, refractory_ms = 0, block = 10, enough = 10 }\n"
        for name in ("change", "stuck", "multivariate")
    ]
)
"""Thresholds that all detectors of the machine have to do with."""


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Score:
    """Return a function that runs the command in this process, in an empty folder, without settings of its own."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("PIPELINE_")]:
        monkeypatch.delenv(name)

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pipeline", "score", *words])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capfd.readouterr()
        # Whichever test comes first compiles
        return int(end.value.code or 0), out, err.replace(f"{COMPILING}\n", "")

    return command


def rows_of(path: str | Path, delimiter: str = ",") -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def series(rows: int = 240, step: int = 180) -> list[tuple[str, float]]:
    """A sensor that steps up once, a reading a minute."""
    begin = np.datetime64("2026-11-21T22:00:00")
    return [(f"{begin + np.timedelta64(n, 'm')}", 55.0 + n * 7 % 5 + (20.0 if n >= step else 0.0)) for n in range(rows)]


def write_series(path: Path, rows: int = 240) -> None:
    path.write_text("timestamp,value\n" + "".join(f"{at},{value}\n" for at, value in series(rows)))


ONE = ("--time=timestamp", "--value=value", "--out=out.csv")


def test_every_row_is_there_in_its_order_with_a_score_and_the_step_is_found(score: Score, tmp_path: Path) -> None:
    write_series(tmp_path / "in.csv")

    code, out, err = score("in.csv", *ONE, "--detector=change")

    written = rows_of("out.csv")
    odd = [number for number, row in enumerate(written) if row["is_anomaly"] == "1"]
    assert (code, out, err) == (0, f"240 rows, {len(odd)} anomalies by change\n", "")
    assert [(row["timestamp"], float(row["value"])) for row in written] == series()
    at = odd[0]
    assert 180 <= at < 200
    assert odd == list(range(at, odd[-1] + 1)), "the step is one episode"
    assert max(float(row["score"]) for row in written[:180]) < float(written[at]["score"])


def plant(rows: int = 400) -> str:
    """Three sensors: a step, one that sticks, one that is missing at times; and rows that no worker would be sent."""
    random = np.random.default_rng(8)
    lines = ["when;temperature;pressure;humidity;remark"]
    for n in range(rows):
        common = random.normal()
        values = [50 + common + 0.2 * random.normal() + (9 if n > 250 else 0), 7500 + 10 * common + random.normal()]
        cells = [f"{values[0]:.6f}", "7500" if n > 300 else f"{values[1]:.6f}", f"{random.normal():.6f}"]
        cells[2] = "" if n % 7 == 0 or n < 5 else cells[2]
        if n % 50 == 33:
            cells = {0: ["", "NA", ""], 1: ["broken", "7501", "1"], 2: ["50", "1e300", "1"], 3: ["inf", "1", "1"]}[
                n // 50 % 4
            ]
        at = "soon" if n == 77 else f"2026-11-21T22:{n // 60:02}:{n % 60:02}Z"
        lines.append(";".join([at, *cells, f'"row {n}; and more"']))
    return "\r\n".join(lines) + "\r\n"


SENSORS = ("temperature", "pressure", "humidity")


def found_by_a_worker(file: Path, config: str, detector: str) -> set[int]:
    """Rows in which a worker's fold finds something, of messages that an import makes."""
    mapping = Mapping.model_validate(
        {
            "factory_id": "f", "machine_id": "m", "machine_type": "press", "time": {"column": "when"},
            "readings": {name: name for name in SENSORS}, "file": {"delimiter": ";"},
        }
    )  # fmt: skip
    with closing(open_table(file, mapping)) as table:
        judged = list(judge(table, mapping, CodecRules(), 1 << 32, 1_790_000_000_000 * 2))
    places = [place for each in judged for place in each.places]
    times_ms = [at for each in judged for at in each.times_ms]
    bodies = [body for each in judged for body in each.bodies]
    records = [Record(n, at, body) for n, (at, body) in enumerate(zip(times_ms, bodies, strict=True))]
    batch = RecordBatch(SourcePartition("t", 0), "", 0, len(records), records)
    effects = fold(PartitionState(), batch, fold_rules(load(file=config)), Marks())
    assert len(effects.events.offsets) == len(records)
    return {places[each.offset] - 2 for each in effects.anomalies if each.detector[0] == detector}


@pytest.mark.parametrize(
    ("detector", "config"),
    [(each, CONFIG) for each in ("change", "stuck", "novelty", "multivariate", "spike")]
    + [("mixture", MIXED), ("novelty", MIXED), ("change", BUDGET), ("multivariate", BUDGET)],
)
def test_anomalies_begin_where_a_worker_finds_them_with_the_same_configuration(
    score: Score, tmp_path: Path, detector: str, config: str
) -> None:
    (tmp_path / "in.csv").write_bytes(plant().encode())
    (tmp_path / "config.toml").write_text(config)

    code, *_ = score(
        "in.csv", "--time=when", "--value=temperature,pressure", "--value=humidity", "--out=out.csv",
        f"--detector={detector}", "--config=config.toml", "--machine-type=press",
    )  # fmt: skip

    found = {n for n, row in enumerate(rows_of("out.csv", ";")) if row["is_anomaly"] == "1"}
    expected = found_by_a_worker(tmp_path / "in.csv", "config.toml", {"spike": "ew-gaussian"}.get(detector, detector))
    assert code == 0
    assert expected
    # A worker tells of an episode once, when it begins
    assert expected <= found
    assert min(found) == min(expected)
    assert detector not in {"spike", "mixture"} or found == expected


def test_spikes_are_found_also_where_a_worker_leaves_them_to_the_mixture(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(plant().encode())
    (tmp_path / "config.toml").write_text("[spikes]\nthreshold = 3.0\n")

    columns = ("--time=when", "--value=temperature", "--out=out.csv")
    said = score("in.csv", *columns, "--detector=spike", "--config=config.toml", "--json")[1]

    assert json.loads(said)["anomalies"] > 0


def test_what_an_import_would_refuse_has_no_score_and_is_counted(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(plant().encode())

    code, out, _ = score("in.csv", "--time=when", f"--value={','.join(SENSORS)}", "--out=out.csv", "--json")

    said, written = json.loads(out), rows_of("out.csv", ";")
    assert code == 0
    assert (said["rows"], said["no_value"], said["no_number"], said["no_time"]) == (400, 2, 6, 1)
    unscored = [n for n, row in enumerate(written) if row["score"] == ""]
    assert unscored == [33, 77, *range(83, 400, 50)]
    assert {written[n]["is_anomaly"] for n in unscored} == {"0"}
    assert all(math.isfinite(float(row["score"])) for n, row in enumerate(written) if n not in unscored)


BYTES = (
    b'\xef\xbb\xbf"time";"t";note\r\n'
    b'2026-11-21 22:00:00;1,5;"two\r\nlines; ""q"" "\r\n'
    b"2026-11-21 22:01;  2,5 ;caf\xe9 \xc3\xa9\r\n"
)


def test_rows_are_passed_through_byte_for_byte(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(BYTES)

    code, out, _ = score("in.csv", "--time=time", "--value=t", "--out=out.csv")

    assert (code, out.startswith("2 rows, 0 anomalies")) == (0, True)
    assert (tmp_path / "out.csv").read_bytes() == (
        b'\xef\xbb\xbf"time";"t";note;score;is_anomaly\r\n'
        b'2026-11-21 22:00:00;1,5;"two\r\nlines; ""q"" ";0.0;0\r\n2026-11-21 22:01;  2,5 ;caf\xe9 \xc3\xa9;0.0;0\r\n'
    )


def test_rows_that_cannot_be_taken_apart_keep_their_places(score: Score, tmp_path: Path) -> None:
    rows = ["time,t,note", "2026-11-21 22:00,1,a", "2026-11-21 22:01", "2026-11-21 22:02,1,b,c", "2026-11-21 22:03,2,d"]
    (tmp_path / "in.csv").write_text("\n".join(rows))

    code, out, _ = score("in.csv", "--time=time", "--value=t", "--out=out.csv")
    score("in.csv", "--time=time", "--value=t", "--out=out.parquet")

    assert code == 0
    assert "2 with other fields than the header" in out
    assert Path("out.csv").read_text().splitlines()[1:] == [
        f"{rows[1]},0.0,0", f"{rows[2]},,,,0", f"{rows[3]},,0", f"{rows[4]},0.0,0"
    ]  # fmt: skip
    assert pq.read_table("out.parquet").to_pydict() == {
        "time": ["2026-11-21 22:00", rows[2], rows[3], "2026-11-21 22:03"],
        "t": ["1", None, None, "2"],
        "note": ["a", None, None, "d"],
        "score": [0.0, None, None, 0.0],
        "is_anomaly": [0, 0, 0, 0],
    }


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (lambda at: at.astype(str).replace("T", " "), []),
        (lambda at: f"{at}+01:00", []),
        (lambda at: str(at.astype("datetime64[s]").astype(int)), []),
        (lambda at: f"{at.astype('datetime64[s]').astype(int)}.25", []),
        (lambda at: str(at.astype("datetime64[ms]").astype(int)), []),
        (lambda at: str(at.astype("datetime64[ns]").astype(int)), []),
        (lambda at: at.item().strftime("%d.%m.%Y %H.%M"), ["--time-format=%d.%m.%Y %H.%M", "--zone=Europe/Oslo"]),
    ],
    ids=["no zone", "zone", "s", "parts of s", "ms", "ns", "pattern"],
)
def test_times_are_read_in_any_form(score: Score, tmp_path: Path, cell, options: list[str]) -> None:
    write_series(tmp_path / "plain.csv")
    lines = [f"{cell(np.datetime64(at))},{value}" for at, value in series()]
    (tmp_path / "in.csv").write_text("\n".join(["timestamp,value", *lines]))

    assert score("plain.csv", *ONE[:2], "--out=plain-out.csv")[0] == 0
    code, out, _ = score("in.csv", *ONE, *options)

    assert (code, "without" in out) == (0, False)
    assert [row["score"] for row in rows_of("out.csv")] == [row["score"] for row in rows_of("plain-out.csv")]


def test_every_pair_of_formats_gives_the_same_scores(score: Score, tmp_path: Path) -> None:
    write_series(tmp_path / "in.csv")
    times = pa.array([np.datetime64(at, "us").item() for at, _ in series()], pa.timestamp("us", "UTC"))
    columns = {
        "timestamp": times,
        "value": [value for _, value in series()],
        "tag": pa.array(["x"] * 240).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    scores = {}
    for source in ("in.csv", "in.parquet"):
        for target in ("out.csv", "out.parquet"):
            code, _, err = score(source, *ONE[:2], f"--out={target}")
            assert (code, err) == (0, "")
            rows = rows_of(target) if target == "out.csv" else pq.read_table(target).to_pylist()
            scores[source, target] = [(float(row["score"]), int(row["is_anomaly"])) for row in rows]

    first, *others = scores.values()
    assert len(first) == 240
    assert all(each == first for each in others)
    written = pq.read_table("out.parquet")
    assert written.drop_columns(["score", "is_anomaly"]).equals(pq.read_table("in.parquet"))
    assert pq.read_metadata("out.parquet").num_row_groups == 1


def test_what_parquet_holds_and_csv_cannot_is_said(score: Score, tmp_path: Path) -> None:
    pq.write_table(pa.table({"t": [1, 2], "v": [1.0, None], "nested": [[1], [2]]}), tmp_path / "in.parquet")

    code, _, err = score("in.parquet", "--time=t", "--value=v", "--out=out.csv")

    assert (code, err.count("\n")) == (78, 1)
    assert "the other format may" in err
    assert names(tmp_path) == ["in.parquet"]
    assert score("in.parquet", "--time=t", "--value=v", "--out=out.parquet")[0] == 0
    assert pq.read_table("out.parquet")["score"].to_pylist() == [0.0, None]


def test_columns_can_be_named_by_number_and_have_commas_in_their_names(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('t,"a, b",x,x\n0,1,2,3\n1,1,2,3\n')

    assert score("in.csv", "--time=1", "--value=a, b", "--value=4", "--out=out.csv")[0] == 0
    code, _, err = score("in.csv", "--time=t", "--value=x", "--out=out.csv")

    assert code == 78
    assert "2 columns named 'x'; write the number of one" in err


def test_times_that_repeat_or_run_back_are_counted_and_scored(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("t,v\n" + "".join(f"{min(n, 200 - n)},{n % 5}\n" for n in range(200)) + "7,1\n")

    code, out, _ = score("in.csv", "--time=t", "--value=v", "--out=out.csv")

    assert code == 0
    assert "99 older than the row before" in out
    assert all(math.isfinite(float(row["score"])) for row in rows_of("out.csv"))


def test_by_default_the_number_of_columns_decides(score: Score, tmp_path: Path) -> None:
    header = ",".join(["t", *(f"c{n}" for n in range(9))])
    (tmp_path / "in.csv").write_text(f"{header}\n{','.join('0' * 10)}\n")

    out = score("in.csv", "--time=t", f"--value={header[2:]}", "--out=out.csv")[1]

    assert "by novelty" in score("in.csv", "--time=t", "--value=c3", "--out=out.csv")[1]
    assert "by multivariate" in out
    assert "every score is 0" in out
    assert "the last 1 columns were not looked at" in out


@pytest.mark.parametrize("text", ["timestamp,value\n", "timestamp,value", "timestamp,value\n2026-11-21 22:00,5"])
def test_few_rows_or_none_are_a_file_too(score: Score, tmp_path: Path, text: str) -> None:
    (tmp_path / "in.csv").write_text(text)

    for out in ("out.csv", "out.parquet"):
        assert score("in.csv", *ONE[:2], f"--out={out}")[0] == 0

    rows = text.count("\n") if text.endswith("5") else 0
    assert len(rows_of("out.csv")) == rows
    assert pq.read_table("out.parquet").num_rows == rows
    assert Path("out.csv").read_text().startswith("timestamp,value,score,is_anomaly\n")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["absent.csv"], 78, "absent.csv cannot be read: No such file"),
        (["folder"], 78, "folder cannot be read: Is a directory"),
        (["empty.csv"], 78, "empty.csv is empty"),
        (["utf16.csv"], 78, "save it as UTF-8"),
        (["nul.csv"], 78, "nul.csv is neither CSV in UTF-8 nor Parquet"),
        (["noise.csv"], 78, "noise.csv is neither CSV in UTF-8 nor Parquet"),
        (["long.csv"], 78, "it has 1: '" + 39 * "n" + "…\n"),
        (["torn.parquet"], 78, "torn.parquet cannot be read as Parquet"),
        (["scored.csv"], 78, "has a column 'score'"),
        (["in.csv", "--time=when"], 78, "--time: in.csv has no column 'when'; it has 2: 'timestamp', 'value'"),
        (["in.csv", "--value=value,valu"], 78, "--value valu: in.csv has no column 'valu'"),
        (["in.csv", "--time=value", "--time-format=iso"], 78, "write --time-format"),
        (["in.csv", "--time-format=soon"], 78, "--time-format or --zone is wrong: format is 'soon'"),
        (["in.csv", "--zone=Mars"], 78, "'Mars' is no time zone"),
        (["in.csv", "--detector=oracle"], 2, "'oracle'; there are auto, spike, change"),
        (["in.csv", "--out=in.csv"], 78, "in.csv is the file that is to be scored"),
        (["in.csv", "--out=linked.csv"], 78, "linked.csv is the file that is to be scored"),
        (["in.csv", "--out=out.xlsx"], 78, "ends with neither of .csv, .parquet"),
        (["in.csv", "--out=folder.csv"], 78, "folder.csv is a folder"),
        (["in.csv", "--out=/proc/none/out.csv"], 78, "/proc/none/out.csv cannot be written"),
        (["in.csv", "--out=absent/out.parquet"], 78, "cannot be written: No such file"),
        (["in.csv", "--config=absent.toml"], 78, "--config names absent.toml, which is not there"),
        (["in.csv", "--config=off.toml", "--detector=change"], 78, "off.toml switches the detector 'change' off"),
        (["in.csv", "--config=odd.toml"], 78, "no parameter 'fadign'"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_is_wrong_is_one_line_and_nothing_is_left(
    score: Score, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    write_series(tmp_path / "in.csv", rows=5)
    (tmp_path / "linked.csv").symlink_to("in.csv")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "empty.csv").write_text("\n")
    (tmp_path / "utf16.csv").write_text("t,v\n1,2\n", encoding="utf-16")
    (tmp_path / "nul.csv").write_bytes(b"PK\x03\x04\0\0,t\n")
    (tmp_path / "noise.csv").write_bytes(bytes(range(1, 256)))
    (tmp_path / "long.csv").write_text(500 * "n" + "\n")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "scored.csv").write_text("timestamp,value,score\n2026-11-21 22:00,1,2\n")
    (tmp_path / "off.toml").write_text('[[detectors.choices]]\ndetector = "change"\non = false\n')
    (tmp_path / "odd.toml").write_text('[[detectors.choices]]\ndetector = "change"\nparameters = { fadign = 1 }\n')
    before = names(tmp_path)
    given = {word.partition("=")[0] for word in words}

    ended, out, err = score(*words, *(each for each in ONE if each.partition("=")[0] not in given))

    assert (ended, out, err.count("\n")) == (code, "", 1), err
    assert said in err
    assert names(tmp_path) == before


def test_whoever_watches_sees_how_far_it_is(score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    write_series(tmp_path / "in.csv")

    err = score("in.csv", *ONE)[2]

    assert "in.csv" in err
    assert "240 rows" in err


def test_whoever_interrupts_it_finds_what_was_there_before(tmp_path: Path) -> None:
    write_series(tmp_path / "in.csv")
    out = tmp_path / "out.csv"
    out.write_text("of yesterday")

    def interrupt(*_: int) -> None:
        assert len(names(tmp_path)) == 3
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scoring.run(ScoreOptions(tmp_path / "in.csv", "timestamp", ("value",), out), interrupt)

    assert out.read_text() == "of yesterday"
    assert names(tmp_path) == ["in.csv", "out.csv"]


def test_a_signal_ends_it_with_130_and_without_a_trace(tmp_path: Path) -> None:
    with (tmp_path / "in.csv").open("w") as file:
        file.write("timestamp,value\n")
        file.writelines(f"{n},{n % 7}\n" for n in range(1_000_000))
    words = ["score", "in.csv", *ONE]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=HERE
    )
    ends = time.monotonic() + 60
    while process.poll() is None and len(names(tmp_path)) == 1 and time.monotonic() < ends:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)

    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 130
    assert names(tmp_path) == ["in.csv"]


def test_a_row_without_an_end_is_refused_with_its_line(score: Score, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("timestamp,value\n1,1\n2," + "x" * 1_100_000 + "\n3,1\n")

    code, _, err = score("in.csv", *ONE)

    assert (code, err.count("\n")) == (1, 1)
    assert "in.csv, line 3: " in err
    assert names(tmp_path) == ["in.csv"]


@pytest.mark.parametrize("name", ["realKnownCause", "artificialWithAnomaly"])
def test_files_of_the_anomaly_benchmark_are_scored_row_by_row(score: Score, name: str) -> None:
    file = sorted(dataset("nab").joinpath(name).glob("*.csv"))[0]

    code, *_ = score(str(file), *ONE)

    lines = file.read_text().splitlines()
    written = Path("out.csv").read_text().splitlines()
    assert code == 0
    assert written[0] == f"{lines[0]},score,is_anomaly"
    assert [line.rsplit(",", 2)[0] for line in written] == lines
    assert {line.rsplit(",", 1)[1] for line in written[1:]} <= {"0", "1"}
    assert any(float(line.rsplit(",", 2)[1]) > 0 for line in written[1:])


def test_a_file_of_the_pump_is_scored_row_by_row(score: Score) -> None:
    file = dataset("skab") / "valve1" / "0.csv"
    Path("quick.toml").write_text('[[detectors.choices]]\ndetector = "multivariate"\nparameters = { warm_up = 400 }\n')
    lines = file.read_bytes().split(b"\r\n")
    columns = lines[0].decode().split(";")[1:9]

    code, out, _ = score(
        str(file), "--time=datetime", f"--value={','.join(columns)}", "--out=out.csv", "--config=quick.toml"
    )

    written = Path("out.csv").read_bytes().split(b"\r\n")
    assert (code, "by multivariate" in out) == (0, True)
    assert [b";".join(line.split(b";")[:-2]) for line in written] == lines
    assert written[0].endswith(b";changepoint;score;is_anomaly")
    assert sum(float(line.split(b";")[-2]) > 5 for line in written[1:-1]) > 100
