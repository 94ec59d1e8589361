"""From settings to rules: the one place that knows which setting decides what in the fold."""

from __future__ import annotations

import math

from pipeline.core.decoding.codec import CodecRules
from pipeline.core.detectors.catalogue import MIXTURE
from pipeline.core.detectors.configuration import Choice, DetectorRules
from pipeline.core.fingerprint import fingerprint
from pipeline.core.fold import FOLD_VERSION, FoldRules
from pipeline.core.outbox import AlertRules
from pipeline.core.spikes import SpikeRules
from pipeline.settings import Settings
from pipeline.settings.groups import Detectors
from pipeline.store.progress import Progress, Subscriber


def fold_rules(settings: Settings) -> FoldRules:
    """Return the fold's rules as the settings have them."""
    return FoldRules(
        codec=CodecRules(max_future_ms=settings.ingest.max_future_ms, gateways=frozenset(settings.ingest.gateways)),
        spikes=_spike_rules(settings),
        detectors=detector_rules(settings.detectors),
        watermark_delay_ms=settings.windows.watermark_delay_ms,
        allowed_lateness_ms=settings.windows.allowed_lateness_ms,
        cycle_gap_ms=settings.windows.cycle_gap_ms,
        silence_ms=settings.silence.after_ms,
        quarantine_unknown=settings.ingest.unknown_devices == "quarantine",
        predicts=settings.prognosis.enabled,
    )


def _spike_rules(settings: Settings) -> SpikeRules:
    """Return how spikes are found; not at all if nobody has asked for it and the mixture finds them everywhere."""
    spikes, detectors = settings.spikes, settings.detectors
    everywhere = MIXTURE.name in detectors.enabled and all(
        each.on for each in detectors.choices if each.detector == MIXTURE.name
    )
    threshold = math.inf if everywhere and not spikes.model_fields_set else spikes.threshold
    return SpikeRules(threshold, spikes.fading, spikes.warm_up)


def detector_rules(settings: Detectors) -> DetectorRules:
    """Return which detectors look at what; raises :class:`SettingsError` if there is no such detector or parameter."""
    choices = (
        Choice(each.detector, each.machine_types, each.sensors, each.on, each.threshold, each.parameters)
        for each in settings.choices
    )
    return DetectorRules(settings.enabled, settings.alarms_per_machine_day, tuple(choices))


def alert_rules(settings: Settings) -> AlertRules | None:
    """Return where anomalies are published; ``None``: nowhere."""
    return AlertRules(settings.alert_topic, settings.outbox.expiry_s * 1000) if settings.alert_topic else None


def progress(settings: Settings, worker: str) -> Progress:
    """Return in whose name, and by which rules, progress is made.

    Parameters
    ----------
    worker
        Name of who makes it, for people.
    """
    subscriber = Subscriber(settings.site.cluster, settings.group, worker)
    return Progress(subscriber, FOLD_VERSION, fingerprint(fold_rules(settings)))
