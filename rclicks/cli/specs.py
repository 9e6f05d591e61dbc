"""Splitting of comma-separated names on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rclicks.specs import split_commas

__all__ = ["split_specs"]

_OPTION = re.compile(r"\s*\w+=")  # a part that starts like this is an option of the name before it


def split_specs(values: Sequence[str] | None) -> list[str] | None:
    """Split lists of names at commas, but do not separate a name from its options; None if there are no values.

    >>> split_specs(["a,b:x=1,y=[[2,3],[4,5]],c"])
    ['a', 'b:x=1,y=[[2,3],[4,5]]', 'c']
    >>> split_specs(None) is None
    True
    """
    if not values:
        return None
    names: list[str] = []
    for value in values:
        names.append("")  # an option belongs to a name of the same value only
        for part in split_commas(value):
            if _OPTION.match(part) and names[-1]:
                names[-1] += f",{part}"
            else:
                names.append(part)
    return [name.strip() for name in names if name.strip()]
