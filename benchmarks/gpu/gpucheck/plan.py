"""The steps in order of value, and how the minutes are shared out; Python's own library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["STEPS", "StepPlan", "box", "chosen"]


@dataclass(frozen=True)
class StepPlan:
    """One step.

    Attributes
    ----------
    name : str
        Its module in `gpucheck.steps`.
    share : float
        Of the whole time, relative to the other steps'.
    needs : tuple of str
        Import names without which it cannot begin.
    about : str
        One line for the report.
    cpu_share : float
        As `share`, in the CPU form; 0 for steps that have nothing to do there.
    """

    name: str
    share: float
    needs: tuple[str, ...]
    about: str
    cpu_share: float = 0.0

    def weight(self, on_gpu: bool) -> float:
        """Return its share of the time on one kind of device."""
        return self.share if on_gpu else self.cpu_share


STEPS = (
    StepPlan("tests", 6, ("torch", "pytest"), "Tests marked `gpu`"),
    StepPlan("records", 20, ("torch",), "Records of the CPU against records of the GPU", 20),
    StepPlan("throughput", 26, ("torch",), "Milliseconds of encoding and decoding, and peak memory", 14),
    StepPlan("engine", 18, ("torch",), "Clicks a second of the whole engine", 14),
    StepPlan("precision", 13, ("torch",), "What reduced precision changes", 16),
    StepPlan("memory", 13, ("torch",), "Memory that runs out, shared devices, killed workers", 20),
    StepPlan("volume", 6, ("torch", "nnInteractive"), "nnInteractive on a volume", 14),
    StepPlan("training", 10, ("torch",), "Training in mixed precision", 14),
    StepPlan("compiled", 10, ("torch",), "CUDA graphs and torch.compile"),
)


def chosen(names: Sequence[str]) -> list[StepPlan]:
    """Return the steps of these names in their usual order; all if none is named.

    Raises
    ------
    ValueError
        If there is no such step.
    """
    known = {step.name for step in STEPS}
    if unknown := sorted(set(names) - known):
        raise ValueError(f"no step {', '.join(unknown)}; there are {', '.join(s.name for s in STEPS)}")
    return [step for step in STEPS if not names or step.name in names]


def box(step: StepPlan, rest: Sequence[StepPlan], seconds: float, on_gpu: bool = True) -> float:
    """Return the seconds that `step` may take of `seconds` that are left for it and the steps `rest` after it.

    What a step leaves over goes to those after it.

    >>> a, b = StepPlan("a", 1, (), ""), StepPlan("b", 3, (), "")
    >>> box(a, [b], 100.0), box(b, [], 90.0)
    (25.0, 90.0)
    """
    own = step.weight(on_gpu)
    total = own + sum(other.weight(on_gpu) for other in rest)
    return max(0.0, seconds) * own / total if own else 0.0
