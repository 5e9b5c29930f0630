"""Counters in the Prometheus text format. Labels come from closed sets: never from what a caller sent."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PREFIX: Final = "magistrate_"

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """What the porch counts; everything else is read when asked for."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Labels]] = Counter()
        self._seconds: dict[str, list[float]] = {}

    def count(self, name: str, **labels: str) -> None:
        """One more of this."""
        self._counts[name, tuple(sorted(labels.items()))] += 1

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One answered request; `route` is a template, never a path."""
        self.count("requests_total", route=route, method=method, status=str(status))
        took = self._seconds.setdefault(route, [0.0] * (len(BUCKETS) + 2))
        took[bisect_left(BUCKETS, seconds)] += 1
        took[-1] += seconds

    def text(self, gauges: Mapping[str, float]) -> str:
        """All of it, in the text format."""
        lines: list[str] = []
        for name in sorted({name for name, _ in self._counts}):
            lines.append(f"# TYPE {PREFIX}{name} counter")
            mine = sorted((labels, n) for (which, labels), n in self._counts.items() if which == name)
            lines += [f"{PREFIX}{name}{_labels(labels)} {n}" for labels, n in mine]
        for name, value in sorted(gauges.items()):
            lines += [f"# TYPE {PREFIX}{name} gauge", f"{PREFIX}{name} {value:g}"]
        lines += self._histogram()
        return "\n".join(lines) + "\n"

    def _histogram(self) -> Iterable[str]:
        name = f"{PREFIX}request_seconds"
        yield f"# TYPE {name} histogram"
        for route, took in sorted(self._seconds.items()):
            total = 0.0
            for bound, n in zip((*map(str, BUCKETS), "+Inf"), took, strict=False):
                total += n
                yield f"{name}_bucket{_labels((('route', route), ('le', bound)))} {total:g}"
            yield f"{name}_sum{_labels((('route', route),))} {took[-1]:.6f}"
            yield f"{name}_count{_labels((('route', route),))} {total:g}"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}" if labels else ""
