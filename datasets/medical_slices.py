"""2-D images from medical volumes and ultrasound frames, for models that segment slices.

A volume gives one sample: the slice along its last axis with the most labelled voxels, or the lowest one in a tie. Each
label of this slice is an object, in ascending order. Arrays are transposed so that rows are the second axis of the
file. The grey window of CT is -160 to 240 HU, that of MR the 0.5 to 99.5 percentiles of the slice, as for MedSAM (Ma et
al. 2024). Images stored in 0..255 are not changed. For whole volumes see the data set `volumes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import check_size, list_files, read_image, read_labels
from rclicks.data.volumes import check_alike, read_volume
from rclicks.errors import DataError
from rclicks.intensity import gray_to_rgb, percentile_window, to_uint8
from rclicks.sample import Sample, Target

CARDS = (
    DatasetCard(
        name="CAMUS_4ch",
        summary="48 apical four-chamber echocardiograms: left ventricle 1, myocardium 2, left atrium 3",
        folder="volumes/camus_4ch",
        layout="<patient>_4CH_<ED|ES>.nii.gz and <patient>_4CH_<ED|ES>_gt.nii.gz",
        samples=48,
        objects=144,
        source="CAMUS, Leclerc et al. 2019",
        licence="CC BY-NC-SA 4.0",
        citation="Leclerc et al.: Deep learning for segmentation using an open large-scale dataset in 2D "
        "echocardiography, TMI 2019",
        get="Register for CAMUS (CREATIS, Lyon) and put the four-chamber ED and ES frames into this folder.",
    ),
    DatasetCard(
        name="CAMUS_4ch_small",
        summary="300 apical four-chamber echocardiograms at 0.74 mm: left ventricle 1, myocardium 2, left atrium 3",
        folder="volumes/camus_4ch_small",
        layout="images/<patient>_4CH_<ED|ES>.png and labels/ of the same names",
        samples=300,
        objects=900,
        source="CAMUS, Leclerc et al. 2019",
        licence="CC BY-NC-SA 4.0",
        citation="Leclerc et al.: Deep learning for segmentation using an open large-scale dataset in 2D "
        "echocardiography, TMI 2019",
        get="Register for CAMUS (CREATIS, Lyon) and reduce its frames to 0.74 mm pixels by area averaging.",
    ),
    DatasetCard(
        name="echo_psax",
        summary="20 short-axis echocardiograms: left ventricle 1, its wall 2, right ventricle 3",
        folder="volumes/echo_psax",
        layout="images/<name>.png and labels/<name>.png",
        samples=20,
        objects=60,
        source="Cuellar et al. 2025",
        licence="LGPL-2.1 (repository)",
        citation="Cuellar et al., Journal of Medical Imaging 2025",
        get="Take Data/Val of SIUE-BiomedicalImagingResearchLab/SOTA-DL-EchoSegmentation and convert its polygons to "
        "label maps.",
    ),
    DatasetCard(
        name="spleen_ct_slice",
        summary="one slice of abdominal CT with the spleen",
        folder="volumes/spleen_ct",
        layout="<case>_image.nii.gz and <case>_label.nii.gz",
        source="Medical Segmentation Decathlon, task 9",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al.: The medical segmentation decathlon, Nature Communications 2022",
        get="Take Task09_Spleen of the Medical Segmentation Decathlon and rename its files.",
    ),
    DatasetCard(
        name="hippocampus_slice",
        summary="one slice from each MR of the hippocampus: anterior part 1, posterior part 2",
        folder="volumes/hippocampus",
        layout="images/<case>.nii.gz and labels/<case>.nii.gz",
        source="Medical Segmentation Decathlon, task 4",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al.: The medical segmentation decathlon, Nature Communications 2022",
        get="Take Task04_Hippocampus of the Medical Segmentation Decathlon and name its folders images and labels.",
    ),
    DatasetCard(
        name="prostate_slice",
        summary="one slice from each smoothed MR or ultrasound of the prostate",
        folder="volumes/prostate_deepreg",
        layout="<case>_image.nii.gz and <case>_label.nii.gz",
        samples=28,
        objects=28,
        source="DeepRegNet/DeepReg (test data)",
        licence="Apache-2.0 (repository)",
        citation="Fu et al.: DeepReg, JOSS 2020",
        get="Take data/test/nifti/paired of DeepRegNet/DeepReg, and the first channel of its labels.",
    ),
)

CT_WINDOW = (-160.0, 240.0)


@dataclass(frozen=True)
class Layout:
    """Places of images and labels, and grey window.

    Attributes
    ----------
    image : (str, str)
        Folder of the images and end of their file names.
    label : (str, str)
        Folder of the label maps and end of their file names.
    window : (float, float) or None
        Grey values of NIfTI files that become black and white; None for percentiles.
    spacing : float
        Pixel size in mm of files that do not contain it.
    """

    image: tuple[str, str]
    label: tuple[str, str]
    window: tuple[float, float] | None = None
    spacing: float = 1.0


_SIDE_BY_SIDE = (("", "_image.nii.gz"), ("", "_label.nii.gz"))
_AS_STORED = (0.0, 255.0)
_LAYOUTS = {
    "CAMUS_4ch": Layout(("", ".nii.gz"), ("", "_gt.nii.gz"), window=_AS_STORED),
    "CAMUS_4ch_small": Layout(("images", ".png"), ("labels", ".png"), spacing=0.74),
    "echo_psax": Layout(("images", ".png"), ("labels", ".png")),
    "spleen_ct_slice": Layout(*_SIDE_BY_SIDE, window=CT_WINDOW),
    "hippocampus_slice": Layout(("images", ".nii.gz"), ("labels", ".nii.gz")),
    "prostate_slice": Layout(*_SIDE_BY_SIDE, window=_AS_STORED),
}


class MedicalSlices(Dataset):
    """One 2-D sample from each case; every label is one target."""

    def __init__(self, card: DatasetCard, root: Path, layout: Layout) -> None:
        self.card, self.root, self.layout, self._base = card, root, layout, root

    @cached_property
    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        """Return image and label path by case, in byte order of the file names."""
        (folder, end), (label_folder, label_end) = self.layout.image, self.layout.label
        pairs = {}
        for path in list_files(self._base / folder):
            if path.name.endswith(end) and not (label_folder == folder and path.name.endswith(label_end)):
                case = path.name.removesuffix(end)
                pairs[case] = (path, self._base / label_folder / f"{case}{label_end}")
        if not pairs:
            raise DataError(f"{self._base} contains no case of {self.card.name}. Expected {self.card.layout}")
        return pairs

    @cached_property
    def ids(self) -> list[str]:
        """Case names."""
        return list(self._pairs)

    def files(self, index: int) -> tuple[Path, Path]:
        """Return the paths of the image and of the label map."""
        return self._pairs[self.ids[index]]

    def read(self, index: int) -> Sample:
        """Decode one case and return its slice with the most labelled voxels."""
        image_path, label_path = self.files(index)
        if image_path.suffix == ".png":
            image, labels = read_image(image_path), read_labels(label_path)
            spacing = (self.layout.spacing, self.layout.spacing)
            check_size(image, labels, image_path, label_path)
        else:
            values, stored = (read_volume(path, axes=(2, 3)) for path in (image_path, label_path))
            check_alike(values, stored, image_path, label_path, place=False)
            labels, at = fullest_slice(stored.values)
            image = self._shown(values.values if values.values.ndim == 2 else values.values[at])
            spacing = values.spacing[-2:]
        ids = [int(v) for v in np.unique(labels) if v > 0]
        targets = tuple(Target(str(v), (np.ascontiguousarray(labels == v),)) for v in ids)
        return Sample(self.card.name, self.ids[index], image, targets, spacing)

    def _shown(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        gray = to_uint8(values, *(self.layout.window or percentile_window(values)))
        return np.ascontiguousarray(gray_to_rgb(gray))


def fullest_slice(labels: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Return the slice along the first of three axes with the most labelled voxels, and its index.

    In a tie it is the lowest slice. An array with two axes is returned with the index 0.

    >>> fullest_slice(np.array([[[0], [0]], [[1], [0]], [[1], [1]]]))[1]
    2
    """
    if labels.ndim == 2:
        return labels, 0
    at = int(np.argmax((labels > 0).sum(axis=(1, 2))))
    return labels[at], at


def load(card: DatasetCard, root: Path) -> MedicalSlices:
    """Open one of the data sets; they have no options."""
    return MedicalSlices(card, root, _LAYOUTS[card.name])
