"""Predictions as rows of ``event`` and of ``maintenance_prediction``; see :mod:`pipeline.store.rows`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from pipeline.core.predictions import Prediction
from pipeline.core.prognosis.model_controls import LIVE
from pipeline.core.records import SourcePartition
from pipeline.store import copy_binary as copy
from pipeline.store.identity import event_ids, seed
from pipeline.store.progress import Subscriber
from pipeline.store.requirement_rows import PREDICTION

MAINTENANCE_PREDICTION = (
    "source_partition, source_offset, source_index, event_time, model_id, model_version, feature_version, value, lower,"
    " upper, hours_per_day, event_id, message_id, cluster, source_topic, worker, machine_id, factory_id, kind, stage, label,"
    " by_rules, inputs"
)


class PredictionRows:
    """What models said of messages of one partition, and its rows in two tables.

    Parameters
    ----------
    predictions
        At least one.
    """

    def __init__(self, subscriber: Subscriber, source: SourcePartition, predictions: Sequence[Prediction]) -> None:
        self._subscriber, self._source, self._said = subscriber, source, predictions
        self._n = len(predictions)
        offsets = self._numbers("offset")
        indexes = self._numbers("index").astype(np.int32)
        own = np.array([seed(subscriber.cluster, source, each.identity) for each in predictions], np.uint64)
        message = np.array([seed(subscriber.cluster, source)], np.uint64)
        self._id = copy.uuids(*event_ids(own, self._numbers("time_ms"), offsets, indexes))
        self._message_id = copy.uuids(*event_ids(message, self._numbers("message_ms"), offsets, indexes))
        self._time = copy.timestamps(self._numbers("time_ms"))
        self._place: list[copy.Column] = [
            copy.constant(copy.int4(source.partition), self._n),
            copy.fixed(offsets, ">i8"),
            copy.fixed(indexes, ">i4"),
        ]

    def _numbers(self, name: str) -> npt.NDArray[np.int64]:
        return np.array([getattr(each, name) for each in self._said], np.int64)

    def _texts(self, name: str) -> copy.Column:
        return copy.texts([getattr(each, name) for each in self._said])

    def events(self) -> bytes:
        """Return what live models said as rows of ``event``; what shadows say is told to nobody."""
        live = [each for each in self._said if each.model.stage == LIVE]
        if not live:
            return b""
        if len(live) < self._n:
            return PredictionRows(self._subscriber, self._source, live).events()
        return copy.rows(
            [
                self._id,
                copy.constant(PREDICTION.encode(), self._n),
                copy.constant(b"machine", self._n),
                self._message_id,
                self._time,
                copy.timestamps(self._numbers("ingest_ms")),
                copy.constant(self._source.topic.encode(), self._n),
                *self._place,
                self._texts("machine_id"),
                self._texts("factory_id"),
                copy.raw([orjson.dumps(_said(each)) for each in live]),
            ]
        )

    def rows(self) -> bytes:
        """Return rows of ``maintenance_prediction``."""
        said, models = self._said, [each.model for each in self._said]
        return copy.rows(
            [
                *self._place,
                self._time,
                copy.fixed(np.array([each.model_id for each in models], np.int64), ">i8"),
                copy.fixed(np.array([each.version for each in models], np.int64), ">i4"),
                copy.fixed(np.array([each.feature_version for each in models], np.int64), ">i4"),
                *(
                    copy.fixed(np.array([getattr(each, name) for each in said], np.float64), ">f8")
                    for name in ("value", "lower", "upper", "hours_per_day")
                ),
                self._id,
                self._message_id,
                copy.constant(self._subscriber.cluster.encode(), self._n),
                copy.constant(self._source.topic.encode(), self._n),
                copy.constant(self._subscriber.worker.encode(), self._n),
                self._texts("machine_id"),
                self._texts("factory_id"),
                copy.texts([each.kind for each in models]),
                copy.texts([each.stage for each in models]),
                self._texts("label"),
                self._texts("by_rules"),
                copy.float_arrays([each.inputs for each in said]),
            ]
        )


def _said(prediction: Prediction) -> dict[str, Any]:
    model = prediction.model
    return {
        "kind": model.kind,
        "label": prediction.label or None,
        "by_rules": prediction.by_rules or None,
        "value": prediction.value,
        "lower": prediction.lower,
        "upper": prediction.upper,
        "hours_per_day": prediction.hours_per_day,
        "model_id": model.model_id,
        "model_version": model.version,
        "feature_version": model.feature_version,
    }
