"""``GET /metrics``: the figures of the store in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from orchestrator.store.figures import Figure, figures, stage_durations
from orchestrator.store.stage_durations import BUCKETS_S, Durations

PREFIX: Final = "orch_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def render(connection: Connection) -> bytes:
    """Everything, counted in this transaction."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once([*map(_metric, figures(connection)), _durations(stage_durations(connection)), _build()]))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def _metric(figure: Figure) -> Metric:
    family = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
    made = family(PREFIX + figure.name, figure.text, labels=figure.labels)
    for labels, value in sorted(figure.samples.items()):
        made.add_metric(labels, value)
    return made


def _durations(found: Durations) -> Metric:
    made = HistogramMetricFamily(
        f"{PREFIX}stage_duration_seconds", "How long tasks stayed in a stage", labels=("stage", "result")
    )
    bounds = [*(str(float(one)) for one in BUCKETS_S), "+Inf"]
    for labels, (counts, _, total) in sorted(found.samples.items()):
        upto = [float(sum(counts[: index + 1])) for index in range(len(counts))]
        made.add_metric(labels, list(zip(bounds, upto, strict=True)), total)
    return made


def _build() -> Metric:
    made = GaugeMetricFamily(f"{PREFIX}build_info", "This build", labels=("version",))
    made.add_metric((build_version(),), 1)
    return made


def build_version() -> str:
    """The installed version of this program."""
    try:
        return version("orchestrator")
    except PackageNotFoundError:
        return "unknown"
