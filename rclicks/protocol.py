"""The rules of play that change numbers: a named, hashed, printed object.

``default`` corrects the known flaws of the published evaluation; ``compat`` reproduces them. Every difference is
one field here and one line of docs/differences.md.

>>> Protocol.named("compat").perfect_mask
'click-origin'
>>> Protocol.named("default", clicks=5).clicks
5
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rclicks.errors import ProtocolError

__all__ = ["Protocol"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a trajectory is played and scored.

    Attributes
    ----------
    name : {"default", "compat"}
    clicks : int
        Budget of interactions a trajectory.
    stop_iou : float or None
        Stop as soon as IoU >= this after at least `min_clicks`; None plays the whole budget.
    min_clicks : int
    boundary_ratio : float
        Width of the boundary band of boundary IoU, as a fraction of the image diagonal.
    perfect_mask : {"stop", "click-origin"}
        What the base rule does if no error pixel is left to click. Published: a negative click at (0, 0).
    empty_union : {"one", "nan"}
        IoU if neither mask nor target has a pixel. Published: 0/0.
    nof : {"never-reached", "equals-budget"}
        Which objects count as failures. Published: every NoC equal to the budget, even if reached by the last click.
    mask_prompt : {"keep", "published"}
        SAM family: published code drops the previous logits whenever there is at most one click of each sign.
    zoom_after_empty : {"whole", "published"}
        RITM's zoom-in: if a prediction vanishes, the next one is made on the whole image. Published code squeezes that
        prediction into the old region of interest.
    mass_slices : {"half-open", "published"}
        Click groups: slices of the click map's mass that share no mass, or the published slices, which share their
        threshold pixels and come from sums in single precision.
    draws : {"keyed", "published"}
        Sampled clicks: random numbers keyed by names, or the published ones: the same sequence for each image, group
        and model.
    map_border : {"outside", "inside"}
        Distance-transform click model: what lies beyond the image counts as outside of the error, as in the base rule,
        or (published) does not count.
    distances : {"mm", "voxels"}
        Users of volumes: how far a voxel lies from the outside of the error. Published challenge code (MedSegFM) leaves
        the spacing out.
    nsd_tolerance : float
        Tolerance of the normalised surface distance in mm.
    nsd_gate : float
        Tables of volumes count a normalised surface distance as 0 where the Dice coefficient does not exceed this.
        Published challenge code (MedSegFM): 0.2.
    """

    name: Literal["default", "compat"] = "default"
    clicks: int = 20
    stop_iou: float | None = None
    min_clicks: int = 1
    boundary_ratio: float = 0.02
    perfect_mask: Literal["stop", "click-origin"] = "stop"
    empty_union: Literal["one", "nan"] = "one"
    nof: Literal["never-reached", "equals-budget"] = "never-reached"
    mask_prompt: Literal["keep", "published"] = "keep"
    zoom_after_empty: Literal["whole", "published"] = "whole"
    mass_slices: Literal["half-open", "published"] = "half-open"
    draws: Literal["keyed", "published"] = "keyed"
    map_border: Literal["outside", "inside"] = "outside"
    distances: Literal["mm", "voxels"] = "mm"
    nsd_tolerance: float = 2.0
    nsd_gate: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that no trajectory could be played with."""
        for key, hint in get_type_hints(type(self)).items():
            value, allowed = getattr(self, key), get_args(hint)
            if get_origin(hint) is Literal and value not in allowed:
                raise ProtocolError(f"protocol.{key} is {value!r}; allowed: {', '.join(allowed)}")
            if hint is int and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ProtocolError(f"protocol.{key} is {value!r}; expected a whole number, at least 1")
        for key in ("stop_iou", "boundary_ratio"):
            value = getattr(self, key)
            if not isinstance(value, (int, float)) and not (key == "stop_iou" and value is None):
                raise ProtocolError(f"protocol.{key} is {value!r}; expected a number")
        if self.stop_iou is not None and not 0 < self.stop_iou <= 1:
            raise ProtocolError(f"protocol.stop_iou is {self.stop_iou}; expected 0 < stop_iou <= 1, or none")
        tolerance = self.nsd_tolerance
        if not isinstance(tolerance, (int, float)) or isinstance(tolerance, bool) or not 0 <= tolerance < math.inf:
            raise ProtocolError(f"protocol.nsd_tolerance is {tolerance!r}; expected a number of mm, 0 or more")
        gate = self.nsd_gate
        if not isinstance(gate, (int, float)) or isinstance(gate, bool) or not 0 <= gate < 1:
            raise ProtocolError(f"protocol.nsd_gate is {gate!r}; expected a Dice coefficient, 0 or more and below 1")
        if not 0 < self.boundary_ratio < 1:
            raise ProtocolError(f"protocol.boundary_ratio is {self.boundary_ratio}; expected between 0 and 1")

    @classmethod
    def named(cls, name: str, **changes: Any) -> Protocol:
        """Return the protocol `name`, with single rules changed.

        Raises
        ------
        ProtocolError
            If the name or a rule is unknown.
        """
        if name not in _NAMED:
            raise ProtocolError(f"unknown protocol {name!r}; allowed: {', '.join(_NAMED)}")
        known = {f.name for f in fields(cls)} - {"name"}
        for key in changes:
            if key not in known:
                raise ProtocolError(f"unknown protocol rule {key!r}; allowed: {', '.join(sorted(known))}")
        return cls(**{**_NAMED[name], **changes})

    @property
    def hash(self) -> str:
        """First 12 hex digits of the SHA-256 of the rules."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


_NAMED: dict[str, dict[str, Any]] = {
    "default": {"name": "default"},
    "compat": {
        "name": "compat",
        "perfect_mask": "click-origin",
        "empty_union": "nan",
        "nof": "equals-budget",
        "mask_prompt": "published",
        "zoom_after_empty": "published",
        "mass_slices": "published",
        "draws": "published",
        "map_border": "inside",
        "distances": "voxels",
        "nsd_gate": 0.2,
    },
}
