# SPDX-License-Identifier: Apache-2.0
"""One figure of the benchmark: its runs, the bound it has to keep, and the peers it was measured
beside."""
import dataclasses
import statistics
from collections.abc import Sequence


class NotMeasured(Exception):
    """This machine lacks what a row needs; the text says what."""


@dataclasses.dataclass
class Result:
    """`runs` holds the figure of every run; its value is their median. Without a bound it is only
    reported. A result without runs was not measured, for the reason in `missing`."""

    name: str
    unit: str
    runs: list[float]
    at_least: float | None = None
    at_most: float | None = None
    peers: dict[str, float] = dataclasses.field(default_factory=dict)
    missing: str = ""

    @property
    def value(self) -> float | None:
        return statistics.median(self.runs) if self.runs else None

    @property
    def held(self) -> bool:
        """Whether the bound was kept; a bound that was not measured was not."""
        if self.value is None:
            return False
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.at_most is None or self.value <= self.at_most

    @property
    def bound(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else "reported"

    def as_json(self) -> dict:
        told: dict = {"name": self.name, "value": self.value, "unit": self.unit}
        if self.at_least is not None:
            told["at_least"] = self.at_least
        if self.at_most is not None:
            told["at_most"] = self.at_most
        told["peers"] = self.peers
        told["runs"] = self.runs
        if self.missing:
            told["missing"] = self.missing
        return told


class Peers:
    """Figures beside the subject's, run by run; their medians."""

    def __init__(self) -> None:
        self._runs: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        self._runs.setdefault(name, []).append(value)

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(runs) for name, runs in self._runs.items()}


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(share * 1000) // 1000) - 1)]
