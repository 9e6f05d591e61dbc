"""Small helpers of the command line that import nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rclicks.specs import split_commas

__all__ = ["split_specs"]

_OPTION = re.compile(r"\s*\w+=")  # what follows a comma then belongs to the name before it


def split_specs(values: Sequence[str] | None) -> list[str] | None:
    """Split names at commas, but not the options of one name.

    >>> split_specs(["a,b:x=1,y=[[2,3],[4,5]],c"])
    ['a', 'b:x=1,y=[[2,3],[4,5]]', 'c']
    >>> split_specs(None) is None
    True
    """
    if not values:
        return None
    names: list[str] = []
    for value in values:
        names.append("")  # options never belong to a name of another value
        for part in split_commas(value):
            if _OPTION.match(part) and names[-1]:
                names[-1] += f",{part}"
            else:
                names.append(part)
    return [name.strip() for name in names if name.strip()]
