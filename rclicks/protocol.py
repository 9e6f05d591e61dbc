"""The protocol: all evaluation rules that change numbers. It has a name and a hash.

``default`` corrects the known flaws of published evaluation code; ``compat`` reproduces them. Every difference is one
field of the class and one line of docs/differences.md.

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
    """Rules for running and scoring a trajectory.

    Attributes
    ----------
    name : {"default", "compat"}
        Name of the protocol.
    clicks : int
        Budget: the largest number of interactions in a trajectory.
    stop_iou : float or None
        IoU at which a trajectory stops, after at least `min_clicks` interactions. None uses the complete budget.
    min_clicks : int
        Smallest number of interactions before `stop_iou` can stop a trajectory.
    boundary_ratio : float
        Width of the band of boundary IoU, as a fraction of the image diagonal.
    perfect_mask : {"stop", "click-origin"}
        Behaviour of the base rule if no error pixel is left: the trajectory stops, or (published) the user makes a
        negative click at (0, 0).
    empty_union : {"one", "nan"}
        IoU if neither the prediction nor the reference mask has a pixel: 1, or (published) 0/0.
    nof : {"never-reached", "equals-budget"}
        Trajectories that count as failures: those that never reach the IoU, or (published) all whose NoC equals the
        budget, even if the last click reached the IoU.
    mask_prompt : {"keep", "published"}
        SAM family: the previous logits are always passed on. Published code drops them as long as there is at most one
        click of each sign.
    zoom_after_empty : {"whole", "published"}
        Zoom-in of RITM: after an empty prediction, the next prediction is made on the whole image. Published code
        resizes this prediction to the previous region of interest.
    mass_slices : {"half-open", "published"}
        Click groups: slices of the probability mass that share no mass. Published slices share the pixels at their
        limits and are computed from sums in single precision.
    draws : {"keyed", "published"}
        Sampled clicks: random numbers depend on the names of the trajectory. Published code uses the same sequence for
        each image, group and model.
    map_border : {"outside", "inside"}
        Distance-transform click model: the area beyond the image counts as outside of the error, as in the base rule,
        or (published) it is ignored.
    distances : {"mm", "voxels"}
        Users of volumes: unit of the distance from a voxel to the outside of the error. Published challenge code
        (MedSegFM) ignores the spacing.
    nsd_tolerance : float
        Tolerance of the normalised surface distance, in mm.
    nsd_gate : float
        Dice coefficient up to which tables of volumes count a normalised surface distance as 0. Published challenge
        code (MedSegFM): 0.2.
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
        """Check the values.

        Raises
        ------
        ProtocolError
            If a value is not allowed.
        """
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
        """Return the protocol `name`, with the rules in `changes` replaced.

        Raises
        ------
        ProtocolError
            If the name or a rule is unknown, or a value is not allowed.
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
        """First 12 hexadecimal digits of the SHA-256 of the rules."""
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
