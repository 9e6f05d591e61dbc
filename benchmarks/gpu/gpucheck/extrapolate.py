"""From measured milliseconds to the hours of the whole published protocol; Python's own library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["PROTOCOL", "TARGET_S", "Protocol", "bottleneck", "engine_estimates", "estimate", "estimates"]

TARGET_S = 15 * 60.0
CORES = 16


@dataclass(frozen=True)
class Protocol:
    """How much work one model has in the published protocol."""

    predictions: int
    encodes: int


PROTOCOL = Protocol(predictions=841_720, encodes=3_291)


def estimate(
    encode_ms: float, decode_ms: float, cpu_ms: float, *, workers: int = CORES, protocol: Protocol = PROTOCOL
) -> dict[str, float]:
    """Return the seconds of the whole protocol.

    Parameters
    ----------
    encode_ms : float
        An encoding.
    decode_ms : float
        A prediction at the best batch.
    cpu_ms : float
        Clicks, metrics and all else of a prediction, on one core.
    workers : int
        That share one GPU.

    >>> estimate(100.0, 1.0, 1.6, workers=16, protocol=Protocol(1000, 10))["overlapped_s"]
    2.0
    """
    encoding, decoding = protocol.encodes * encode_ms / 1000, protocol.predictions * decode_ms / 1000
    rest = protocol.predictions * cpu_ms / 1000
    return {
        "encoding_s": encoding,
        "decoding_s": decoding,
        "cpu_one_core_s": rest,
        "cpu_s": rest / workers,
        "one_worker_s": encoding + decoding + rest,
        "overlapped_s": max(encoding + decoding, rest / workers),
    }


def bottleneck(found: Mapping[str, float]) -> str:
    """Return which part takes longest when workers overlap."""
    parts = {"encoding": found["encoding_s"], "decoding": found["decoding_s"], "clicks and metrics": found["cpu_s"]}
    return max(parts, key=lambda name: parts[name])


def estimates(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row a model and precision, from the rows of the steps `throughput` and `engine`."""
    rows = {step["step"]: step["rows"] for step in steps}
    measured = [r for r in rows.get("throughput", []) if r["table"] == "encode and decode" and r.get("encode ms")]
    shares = [r["beside the model, ms a click"] for r in rows.get("engine", []) if r.get("workers") == 1]
    cpu_ms = max(shares) if shares else None
    found = []
    for row in measured:
        times = {k: v for k, v in row.items() if k.startswith("ms a click, batch ") and v is not None}
        if not times:
            continue
        best = min(times, key=lambda name: times[name])
        made = estimate(row["encode ms"], times[best], cpu_ms or 0.0)
        found.append(
            {
                "model": row["model"],
                "precision": row["precision"],
                "best batch": int(best.rsplit(" ", 1)[1]),
                "encoding, min": made["encoding_s"] / 60,
                "decoding, min": made["decoding_s"] / 60,
                f"clicks and metrics on {CORES} cores, min": made["cpu_s"] / 60 if cpu_ms is not None else None,
                "one worker, min": made["one_worker_s"] / 60,
                "overlapped, min": made["overlapped_s"] / 60,
                "within 15 min": made["overlapped_s"] <= TARGET_S,
                "bottleneck": bottleneck(made),
            }
        )
    return found


def engine_estimates(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row a run of the step `engine`: the whole protocol at the clicks a second that were measured."""
    rows = next((step["rows"] for step in steps if step["step"] == "engine"), [])
    found = []
    for row in rows:
        if not row.get("clicks/s"):
            continue
        minutes = PROTOCOL.predictions / row["clicks/s"] / 60
        model, rest = row["model, ms a click"], row["beside the model, ms a click"]
        found.append(
            {
                "model": row["model"],
                "workers": row["workers"],
                "clicks/s": row["clicks/s"],
                "whole protocol, min": minutes,
                "within 15 min": minutes <= TARGET_S / 60,
                "bottleneck": "the model" if model >= rest else "clicks and metrics",
            }
        )
    return found
