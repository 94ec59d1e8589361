"""From settings to rules: the one place that knows which setting decides what in the fold."""

from __future__ import annotations

from pipeline.core.codec import CodecRules
from pipeline.core.fingerprint import fingerprint
from pipeline.core.fold import FOLD_VERSION, FoldRules
from pipeline.core.outbox import AlertRules
from pipeline.core.spikes import SpikeRules
from pipeline.settings import Settings
from pipeline.store.progress import Progress, Subscriber


def fold_rules(settings: Settings) -> FoldRules:
    """Return the fold's rules as the settings have them."""
    return FoldRules(
        codec=CodecRules(max_future_ms=settings.ingest.max_future_ms, gateways=frozenset(settings.ingest.gateways)),
        spikes=SpikeRules(settings.spikes.threshold, settings.spikes.fading, settings.spikes.warm_up),
        watermark_delay_ms=settings.windows.watermark_delay_ms,
        allowed_lateness_ms=settings.windows.allowed_lateness_ms,
        cycle_gap_ms=settings.windows.cycle_gap_ms,
        silence_ms=settings.silence.after_ms,
        quarantine_unknown=settings.ingest.unknown_devices == "quarantine",
    )


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
