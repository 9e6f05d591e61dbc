"""Volumes with label maps: your own folder, nnU-Net's raw layout, tasks of the decathlon, and small public data sets.

All data sets have the options of `load`. Arrays are (z, y, x); samples contain the spacing and the affine of the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from rclicks.cards import DatasetCard
from rclicks.data.labelled import Case, LabelledVolumes, ObjectRules, Reading, list_volumes, pair_cases
from rclicks.errors import DataError, ProtocolError

CARDS = (
    DatasetCard(
        name="volumes",
        summary="your own volumes: a folder of images and a folder of label maps of the same names",
        folder="volume_folder",
        layout="images/<case>.<nii.gz|nii|nrrd|mha> (or a folder of DICOM slices) and labels/<case>.<...>",
        dims=3,
        source="your own",
        get="Put your images and label maps into these folders, or pass root=YOUR_FOLDER.",
    ),
    DatasetCard(
        name="nnunet",
        summary="one data set in nnU-Net's raw layout",
        folder="nnUNet_raw",
        layout="imagesTr/<case>_0000.<suffix>, labelsTr/<case>.<suffix> and dataset.json (option part: Tr or Ts)",
        dims=3,
        source="Isensee et al. 2021",
        citation="Isensee et al.: nnU-Net, Nature Methods 2021",
        get="Pass root=nnUNet_raw/DatasetXXX_Name.",
    ),
    DatasetCard(
        name="msd",
        summary="one task of the Medical Segmentation Decathlon as distributed",
        folder="msd",
        layout="imagesTr/<case>.nii.gz, labelsTr/<case>.nii.gz and dataset.json",
        dims=3,
        source="Antonelli et al. 2022",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al.: The medical segmentation decathlon, Nature Communications 2022",
        get="Pass root=TaskXX_Name of the Medical Segmentation Decathlon.",
    ),
    DatasetCard(
        name="hippocampus",
        summary="MR around the hippocampus at 1 mm: anterior part 1, posterior part 2",
        folder="volumes/hippocampus",
        layout="images/<case>.nii.gz and labels/<case>.nii.gz",
        dims=3,
        source="Medical Segmentation Decathlon, task 4",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al.: The medical segmentation decathlon, Nature Communications 2022",
        get="Take Task04_Hippocampus of the Medical Segmentation Decathlon and name its folders images and labels.",
    ),
    DatasetCard(
        name="spleen_ct",
        summary="a crop of abdominal CT with the spleen, 5 mm slices",
        folder="volumes/spleen_ct",
        layout="<case>_image.nii.gz and <case>_label.nii.gz",
        dims=3,
        source="Medical Segmentation Decathlon, task 9",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al.: The medical segmentation decathlon, Nature Communications 2022",
        get="Take Task09_Spleen of the Medical Segmentation Decathlon and rename its files.",
    ),
    DatasetCard(
        name="totalsegmentator_ct",
        summary="a CT crop at 3 mm with 41 structures; the labels are predictions of a model",
        folder="volumes/totalsegmentator",
        layout="<case>_image.nii.gz and <case>_label.nii.gz",
        dims=3,
        source="wasserth/TotalSegmentator (test data)",
        licence="Apache-2.0 (repository)",
        citation="Wasserthal et al.: TotalSegmentator, Radiology: Artificial Intelligence 2023",
        get="Take tests/reference_files of wasserth/TotalSegmentator and rename them.",
    ),
    DatasetCard(
        name="pyradiomics",
        summary="brain and breast MR with a lesion, and a prostate phantom, in NRRD",
        folder="volumes/pyradiomics",
        layout="<case>_image.nrrd and <case>_label.nrrd",
        samples=4,
        dims=3,
        source="AIM-Harvard/pyradiomics (test data)",
        licence="BSD-3-Clause (repository)",
        citation="van Griethuysen et al.: Computational radiomics system, Cancer Research 2017",
        get="Take data/ of AIM-Harvard/pyradiomics.",
    ),
    DatasetCard(
        name="spinal_cord",
        summary="MR of the spinal cord, some at 1 mm and some very anisotropic: cord or its grey matter",
        folder="volumes/spinal_cord",
        layout="<case>_image.nii.gz and <case>_label.nii.gz",
        samples=5,
        dims=3,
        source="spinalcordtoolbox/sct_testing_data, ivadomed/data-testing",
        licence="MIT (repository)",
        citation="De Leener et al.: SCT: Spinal Cord Toolbox, NeuroImage 2017",
        get="Take the anatomical images and manual masks of the two repositories.",
    ),
    DatasetCard(
        name="prostate_mr_trus",
        summary="heavily smoothed MR and ultrasound of 14 prostates",
        folder="volumes/prostate_deepreg",
        layout="<case>_image.nii.gz and <case>_label.nii.gz",
        samples=28,
        objects=28,
        dims=3,
        source="DeepRegNet/DeepReg (test data)",
        licence="Apache-2.0 (repository)",
        citation="Fu et al.: DeepReg, JOSS 2020",
        get="Take data/test/nifti/paired of DeepRegNet/DeepReg, and the first channel of its labels.",
    ),
)

TWO_FOLDERS = {"volumes", "hippocampus"}


def load(
    card: DatasetCard,
    root: Path,
    *,
    images: str = "images",
    labels_in: str = "labels",
    part: str = "Tr",
    labels: list[int] | int | None = None,
    split: Literal["labels", "components"] = "labels",
    min_voxels: int = 1,
    channel: int | None = None,
    spacing: list[float] | None = None,
    fill_nan: float | None = None,
    geometry: Literal["check", "image"] = "check",
    cases: str | None = None,
) -> LabelledVolumes:
    """Open a data set of volumes.

    Parameters
    ----------
    images, labels_in : str
        Folders of images and label maps below the root, for `volumes` only. If both are equal (for example "."), the
        files are <case>_image and <case>_label in this folder.
    part : {"Tr", "Ts"}
        Part of the data set, for `nnunet` only: imagesTr and labelsTr, or imagesTs and labelsTs.
    labels : int or list of int, optional
        Label values that are objects. The default is all values above 0.
    split : {"labels", "components"}
        Whether a label value is one object, or each of its 26-connected components is an object.
    min_voxels : int
        Smallest number of voxels of an object; smaller objects are left out.
    channel : int, optional
        Index of the modality or time step in a file. For `nnunet` it is the number in the file names, 0 by default.
    spacing : list of float, optional
        Voxel size (z, y, x) in mm, for files that do not contain it.
    fill_nan : float, optional
        Value that replaces voxels that are NaN or infinite. Without it such files are refused.
    geometry : {"check", "image"}
        Whether a label map must have the geometry of its image ("check"), or only its shape ("image").
    cases : str, optional
        Subset of the cases as FILE@SPLIT. FILE is a CSV file (below the root, beside it, or a path) with the columns
        ``case`` and ``split``; the cases of the split SPLIT are used. The default is all cases.

    Raises
    ------
    ProtocolError
        If an option has an unknown value.
    """
    ignored = _nnunet_ignore(root) if card.name == "nnunet" else None
    rules = ObjectRules(labels, ignored, split, min_voxels)
    file_channel = None if card.name == "nnunet" else channel
    reading = Reading(file_channel, None if spacing is None else tuple(spacing), fill_nan, geometry)
    find: Callable[[], list[Case]]
    if card.name == "nnunet":
        find = lambda: _nnunet(root, part, channel or 0)  # noqa: E731 - each layout lists its cases differently
    elif card.name == "msd":
        find = lambda: pair_cases(list_volumes(root / "imagesTr"), list_volumes(root / "labelsTr"))  # noqa: E731
    elif card.name in TWO_FOLDERS and images != labels_in:
        find = lambda: pair_cases(list_volumes(root / images), list_volumes(root / labels_in))  # noqa: E731
    else:
        folder = root if card.name not in TWO_FOLDERS else root / images
        find = lambda: pair_cases(list_volumes(folder), list_volumes(folder), "_image", "_label")  # noqa: E731
    if cases is None:
        return LabelledVolumes(card, root, find, rules, reading)
    chosen = _chosen(root, cases)
    return LabelledVolumes(card, root, lambda: [c for c in find() if c.id in chosen], rules, reading)


def _nnunet_ignore(root: Path) -> int | None:
    """Return the label of ignored voxels in dataset.json, or None."""
    if not (root / "dataset.json").is_file():
        return None  # listing the cases raises the error
    labels = _json(root / "dataset.json").get("labels")
    value = labels.get("ignore") if isinstance(labels, dict) else None
    return value if isinstance(value, int) else None


def _nnunet(root: Path, part: str, channel: int) -> list[Case]:
    if part not in {"Tr", "Ts"}:
        raise ProtocolError(f"data set nnunet: part is {part!r}; allowed: Tr, Ts")
    about = _json(root / "dataset.json")
    channels = about.get("channel_names") or about.get("modality") or {"0": "image"}
    if str(channel) not in {str(key) for key in channels}:
        names = ", ".join(f"{k} ({v})" for k, v in channels.items())
        raise ProtocolError(f"data set nnunet at {root} has no channel {channel}; there are {names}")
    images = list_volumes(root / f"images{part}")
    return pair_cases(images, list_volumes(root / f"labels{part}"), f"_{channel:04d}")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; nnU-Net's raw layout has imagesTr, labelsTr and dataset.json") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} contains a {type(found).__name__}; expected a JSON object")
    return found


def _chosen(root: Path, cases: str) -> set[str]:
    import csv

    name, sign, split = cases.rpartition("@")
    if not sign or not name:
        raise ProtocolError(f"cases is {cases!r}; expected FILE@SPLIT, such as manifest.csv@test")
    file = next((f for f in (root / name, root.parent / name, Path(name).expanduser()) if f.is_file()), None)
    if file is None:
        raise DataError(f"cases: the file {name} does not exist below {root}, beside it, or as a path of its own")
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        if not {"case", "split"} <= set(reader.fieldnames or ()):
            raise DataError(f"{file} has the columns {reader.fieldnames}; expected the columns `case` and `split`")
        found = {row["case"] for row in reader if row["split"] == split}
    if not found:
        raise DataError(f"{file} has no case of split {split!r}")
    return found
