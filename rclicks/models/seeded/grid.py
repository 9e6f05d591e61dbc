"""Graph that links every voxel of a working volume to its neighbours.

>>> links = Links.of((1, 1, 3), spacing=(5.0, 1.0, 2.0))
>>> list(zip(links.first.tolist(), links.second.tolist(), links.length.tolist()))
[(0, 1, 2.0), (1, 0, 2.0), (1, 2, 2.0), (2, 1, 2.0)]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rclicks.models.seeded.working_volume import Triple

__all__ = ["Links"]


@dataclass(frozen=True, eq=False)
class Links:
    """Links between neighbouring voxels as a sparse graph in compressed rows (CSR); every link is stored twice.

    Attributes
    ----------
    first : (m,) int32 array
        Flat index of the voxel where each link starts; ascending.
    second : (m,) int32 array
        Flat index of the voxel where each link ends; ascending for each start.
    starts : (n + 1,) int32 array
        Row pointers: the links of voxel i are ``starts[i]`` to ``starts[i + 1] - 1``.
    length : (m,) float32 array
        Distance between the centres of the two voxels in mm.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    starts: NDArray[np.int32]
    length: NDArray[np.float32]

    @classmethod
    def of(cls, shape: Triple, spacing: Sequence[float], neighbours: int = 6) -> Links:
        """Link every voxel of a (z, y, x) grid to its neighbours.

        Parameters
        ----------
        shape : three int
        spacing : three float
            Size of a voxel along each axis, in mm.
        neighbours : {6, 18, 26}
            6: voxels that share a face. 18: a face or an edge. 26: a face, an edge or a corner.
        """
        moves = [
            (z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)
        ]  # in ascending order of the flat index of the neighbour
        apart = {6: 1, 18: 2, 26: 3}[neighbours]
        moves = [m for m in moves if sum(map(abs, m)) <= apart]
        size = math.prod(shape)
        index = np.arange(size, dtype=np.int32).reshape(shape)
        target = np.full((*shape, len(moves)), -1, np.int32)
        for k, move in enumerate(moves):
            here = tuple(slice(max(0, -m), n - max(0, m)) for m, n in zip(move, shape, strict=True))
            there = tuple(slice(max(0, m), n - max(0, -m)) for m, n in zip(move, shape, strict=True))
            target[..., k][here] = index[there]
        rows = target.reshape(size, len(moves))
        valid = rows >= 0
        starts = np.concatenate([[0], np.cumsum(valid.sum(axis=1))]).astype(np.int32)
        lengths = [math.hypot(*(m * s for m, s in zip(move, spacing, strict=True))) for move in moves]
        row, column = np.nonzero(valid)
        return cls(row.astype(np.int32), rows[valid], starts, np.asarray(lengths, np.float32)[column])
