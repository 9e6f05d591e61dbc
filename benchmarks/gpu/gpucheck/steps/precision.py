"""Step 4: the parity gate. NoC, IoU and clicks of every reduced precision against float32, over 20 pictures."""

from __future__ import annotations

from gpucheck.context import Step
from gpucheck.models import families, pictures, spec_of
from gpucheck.parity import LIMIT, parity
from gpucheck.playing import BASE, Case, play_model
from gpucheck.timing import free_memory
from rclicks.cards import ModelCard
from rclicks.engine.loading import load_model
from rclicks.errors import RclicksError
from rclicks.models.contract import Model
from rclicks.models.precision import allowed_precisions, set_precision
from rclicks.models.weights import SYNTHETIC
from rclicks.protocol import Protocol
from rclicks.registry import Registry
from rclicks.specs import parse

PICTURES = {"cuda": 20, "cpu": 2}
CLICKS = {"cuda": (20, 10), "cpu": (2, 2)}  # of real and of synthetic weights, which never reach the threshold
THRESHOLD = 0.8


def run(step: Step) -> None:
    """Play the smallest model of each family, those with real weights first, in every precision."""
    registry = Registry.discover()
    specs: list[tuple[bool, int, str, ModelCard]] = []
    for family, cards in families(registry).items():
        for card in cards:
            try:
                spec = spec_of(registry, card)
            except RclicksError as error:
                step.note(f"{family}: not run: {error}")
                break
            specs.append((spec.endswith(SYNTHETIC), card.parameters, spec, card))
            if not spec.endswith(SYNTHETIC) or card is cards[0]:
                break
    first = 0 if step.on_gpu else 1  # real weights, or small networks
    for _, _, spec, card in sorted(specs, key=lambda entry: entry[first:2]):
        if step.has_time(card.name, 8.0 if step.on_gpu else 5.0):
            with step.attempt(card.name):
                _measure(step, registry, spec, card)
        free_memory(step.device)
    step.note(
        f"NoC at IoU {THRESHOLD} under the base rule, with a budget of {CLICKS[step.device][0]} clicks. Flagged: NoC "
        f"changes by more than {LIMIT}. Undecided: it changes by less, but its 95 % interval is wider. Synthetic "
        "weights never reach the threshold, so that the gate cannot judge them; IoU and clicks show their drift alone."
    )


def _measure(step: Step, registry: Registry, spec: str, card: ModelCard) -> None:
    synthetic = spec.endswith(SYNTHETIC)
    protocol = Protocol.named("default", clicks=CLICKS[step.device][synthetic])
    model = load_model(registry, parse(spec), step.device, protocol)
    plain, exact = model.options, None
    for precision in allowed_precisions(model):
        if exact is not None and not step.has_time(f"{card.name} in {precision}", 3.0):
            return
        model.options = plain
        set_precision(model, precision)
        with step.attempt(f"{card.name} in {precision}"):
            rows = _play(step, model, spec, protocol.clicks)
            if exact is None:
                exact = rows
                continue
            both = {row["sample"] for row in rows} & {row["sample"] for row in exact}
            pairs = ([r for r in side if r["sample"] in both] for side in (exact, rows))
            found = parity(*pairs, threshold=THRESHOLD, budget=protocol.clicks)
            step.row(
                "precision",
                model=card.name,
                weights="synthetic" if synthetic else "real",
                precision=precision,
                pictures=len(both),
                **{
                    "NoC of float32": found.noc,
                    "change of NoC": found.noc_change,
                    "its 95 % interval": found.noc_interval,
                    "change of last IoU": found.iou_change,
                    "IoU's 95 % interval": found.iou_interval,
                    "equal clicks, %": 100 * found.equal_clicks,
                    "drift of clicks, px": found.drift,
                    "verdict": "drift only" if synthetic else found.verdict,
                },
            )


def _play(step: Step, model: Model, spec: str, clicks: int) -> list[dict]:
    rows: list[dict] = []
    for where in pictures(step, PICTURES[step.device]):
        if step.left() < 1.5:
            break
        case = Case(spec, *where, users=(BASE,), clicks=clicks, device=step.device)
        played = play_model(model, case)
        if played.failures:
            raise RuntimeError(f"{spec} on {where}: {played.failures[0].get('message')}")
        rows += played.rows
    return rows
