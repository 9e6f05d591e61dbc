"""Cases of the CVPR 2025 challenge on interactive biomedical segmentation (MedSegFM), one .npz file for each case.

A file contains ``imgs`` (Z, Y, X) in 0..255, ``gts`` (Z, Y, X) with integers, and ``spacing`` with three numbers. Its
``boxes`` are pickled objects and are not read. The user `medsegfm` places its own box by the published rule.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import list_files
from rclicks.data.labelled import ObjectRules, sample_of, whole_labels
from rclicks.data.volumes import Volume
from rclicks.errors import DataError, ProtocolError
from rclicks.sample import Sample

CARDS = (
    DatasetCard(
        name="medsegfm",
        summary="cases of the CVPR 2025 interactive biomedical segmentation challenge, one .npz file for each case",
        folder="medsegfm",
        layout="<case>.npz with imgs (Z, Y, X), gts (Z, Y, X) and spacing; or the gts in gts/<case>.npz",
        dims=3,
        source="JunMa11/CVPR-MedSegFMCompetition",
        licence="that of each source data set",
        citation="Ma et al.: CVPR 2025 foundation models for interactive 3D biomedical image segmentation",
        get="Take the challenge's validation images and ground truth; pass root=FOLDER.",
    ),
)


class MedSegFM(Dataset):
    """One file for each case; every value of ``gts`` above 0 is an object."""

    def __init__(self, card: DatasetCard, root: Path, truth: str, order: str, rules: ObjectRules) -> None:
        self.card, self.root, self._truth, self._order, self._rules = card, root, truth, order, rules
        self._files = list_files(root, (".npz",))
        if not self._files:
            raise DataError(f"{root} contains no .npz file. Expected {card.layout}")

    @property
    def ids(self) -> list[str]:
        """File names without the suffix."""
        return [f.stem for f in self._files]

    def files(self, index: int) -> tuple[Path, ...]:
        """Return the path of the case's file, and that of the separate file with its reference masks if it exists."""
        apart = self._files[index].parent / self._truth / self._files[index].name
        return (self._files[index], apart) if apart.is_file() else (self._files[index],)

    def read(self, index: int) -> Sample:
        """Decode one case."""
        path, *apart = self.files(index)
        image, spacing = _arrays(path, "imgs", "spacing")
        (truth,) = _arrays(apart[0] if apart else path, "gts")
        if image.ndim != 3 or image.shape != truth.shape:
            raise DataError(
                f"{path}: imgs has the shape {image.shape} and gts {truth.shape}; expected equal shapes (Z, Y, X)"
            )
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise DataError(f"{path} has voxels that are NaN or infinite")
        steps = np.asarray(spacing, np.float64).ravel()
        if steps.size != 3 or not (np.isfinite(steps).all() and (steps > 0).all()):
            raise DataError(f"{path}: spacing is {steps.tolist()}, expected three numbers above 0")
        z, y, x = (float(s) for s in (steps if self._order == "zyx" else steps[::-1]))
        affine = ((-x, 0.0, 0.0, 0.0), (0.0, -y, 0.0, 0.0), (0.0, 0.0, z, 0.0), (0.0, 0.0, 0.0, 1.0))
        labels = whole_labels(truth, path)
        return sample_of(self.card.name, path.stem, Volume(image, (z, y, x), affine), labels, self._rules)


def _arrays(path: Path, *names: str) -> list[NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if missing := [n for n in names if n not in file.files]:
                raise DataError(f"{path} has no {', '.join(missing)}; it holds {', '.join(file.files)}")
            return [file[n] for n in names]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged, is no .npz file, or contains pickled objects instead of arrays") from error


def load(
    card: DatasetCard,
    root: Path,
    *,
    truth: str = "gts",
    spacing_order: Literal["zyx", "xyz"] = "zyx",
    labels: list[int] | int | None = None,
    min_voxels: int = 1,
) -> MedSegFM:
    """Open a folder of challenge files.

    Parameters
    ----------
    truth : str
        Name of the folder below the root with the reference masks, if they are not in the file of the case.
    spacing_order : {"zyx", "xyz"}
        Order of the numbers in ``spacing``. The evaluation of the challenge uses them in the order of the array's axes
        ("zyx").
    labels, min_voxels
        As for the data set `volumes`.

    Raises
    ------
    DataError
        If the folder contains no .npz file.
    ProtocolError
        If an option has an unknown value.
    """
    if spacing_order not in {"zyx", "xyz"}:
        raise ProtocolError(f"data set medsegfm: spacing_order is {spacing_order!r}; allowed: zyx, xyz")
    return MedSegFM(card, root, truth, spacing_order, ObjectRules(labels, min_voxels=min_voxels))
