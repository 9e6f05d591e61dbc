"""Small helpers of the command line that import nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["split_specs"]

# A comma ends a name unless it stands in a [list] or a key=value follows, which belongs to the name before it.
_BETWEEN_NAMES = re.compile(r",(?![^\[\]]*\])(?!\s*\w+=)")


def split_specs(values: Sequence[str] | None) -> list[str] | None:
    """Split names at commas, but not the options of one name.

    >>> split_specs(["a,b:x=1,y=[2,3],c"])
    ['a', 'b:x=1,y=[2,3]', 'c']
    >>> split_specs(None) is None
    True
    """
    if not values:
        return None
    return [part.strip() for value in values for part in _BETWEEN_NAMES.split(value) if part.strip()]
