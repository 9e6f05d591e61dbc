"""Read and write volumes with their geometry: NIfTI through nibabel; NRRD, MetaImage and DICOM through SimpleITK.

All arrays are in the order (z, y, x), which is the reversed order (i, j, k) of the file, and the spacing has the same
order. Volumes are not resampled or reoriented, and values are scaled only as the header says. The affine maps a voxel
to its position in the patient, so that predictions can be written with the geometry of the image.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from rclicks.errors import DataError, PluginError
from rclicks.sample import Affine

__all__ = ["SUFFIXES", "Placed", "Volume", "case_name", "check_alike", "read_volume", "write_labels"]

NIFTI = (".nii.gz", ".nii")
NRRD = (".nrrd", ".nhdr")
ITK = (*NRRD, ".mha", ".mhd")
SUFFIXES = (*NIFTI, *ITK)

_METRES = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Placed(Interface):
    """Object with a geometry, such as a `Volume` or a `rclicks.sample.Sample`."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size along each array axis in mm."""

    @property
    def affine(self) -> Affine | None:
        """Affine from voxels to mm, see `rclicks.sample.Sample`."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Content of a volume file.

    Attributes
    ----------
    values : (Z, Y, X) array
        Values in the type of the file and native byte order; read-only and memory-mapped if the file allows it.
    spacing : tuple of float
        Voxel size (z, y, x) in mm.
    affine : (4, 4) nested tuple of float
        Affine from (x, y, z, 1), the reversed array index, to mm in RAS+ space.
    """

    values: NDArray[Any]
    spacing: tuple[float, ...]
    affine: Affine


def case_name(path: Path) -> str:
    """Return the name of a file without the suffix of its format.

    >>> case_name(Path("images/case_1.0.nii.gz"))
    'case_1.0'
    """
    return next((path.name[: -len(s)] for s in SUFFIXES if path.name.lower().endswith(s)), path.name)


def read_volume(
    path: str | Path,
    *,
    axes: Sequence[int] = (3,),
    channel: int | None = None,
    spacing: Sequence[float] | None = None,
    fill_nan: float | None = None,
    labels: bool = False,
) -> Volume:
    """Read a volume file, or a folder with one DICOM series.

    Parameters
    ----------
    path : str or Path
        File with the suffix .nii, .nii.gz, .nrrd, .nhdr, .mha or .mhd, or a folder of DICOM slices.
    axes : sequence of int
        Allowed numbers of axes; trailing axes of length 1 do not count.
    channel : int or None
        Index along the last axis of a file that has one more axis (time, modality, colour).
    spacing : sequence of float or None
        Voxel size (z, y, x) in mm that replaces the size in the file.
    fill_nan : float or None
        Value that replaces voxels that are NaN or infinite.
    labels : bool
        Whether the file is a label map; then messages do not suggest options that only images have.

    Raises
    ------
    DataError
        If the file is missing, damaged or of an unknown format, if it has one more axis and `channel` is None, voxels
        that are NaN or infinite and `fill_nan` is None, or no voxel size and `spacing` is None.
    PluginError
        If the library for the format is not installed.
    """
    path = Path(path)
    name = path.name.lower()
    if path.is_dir():
        values, steps, affine = _read_dicom(path)
    elif not path.is_file():
        raise DataError(f"{path} is missing")
    elif name.endswith(NIFTI):
        values, steps, affine = _read_nifti(path)
    elif name.endswith(ITK):
        values, steps, affine = _read_itk(path)
    else:
        raise DataError(f"{path} is of no known format; expected {', '.join(SUFFIXES)} or a folder of DICOM slices")
    values = _choose(values, tuple(axes), channel, path, "" if labels else "; choose a channel with channel=0, 1, ...")
    given = tuple(float(s) for s in (spacing if spacing is not None else steps[: values.ndim][::-1]))
    if len(given) != values.ndim or not all(s > 0 and math.isfinite(s) for s in given):
        raise DataError(
            f"{path} has the voxel size {given} mm (last axis of the file first); expected {values.ndim} numbers above "
            "0. If you know the size, pass spacing=[z, y, x]"
        )
    if spacing is not None:
        ratio = [new / old if old > 0 else new for new, old in zip(given[::-1], _norms(affine), strict=False)]
        affine = affine @ np.diag([*ratio, *(1.0,) * (4 - len(ratio))])
    hint = "" if labels else ", or pass fill_nan=VALUE to fill them"
    return Volume(_finite(values, fill_nan, path, hint), given, _nested(affine))


def write_labels(path: Path, values: NDArray[np.generic], like: Placed) -> None:
    """Write a label map with the geometry of its image, in the smallest type that can represent its values.

    Parameters
    ----------
    path : Path
        File to write, with the suffix .nii.gz, .nii, .nrrd or .mha. It is created only when it is complete.
    values : (Z, Y, X) int or bool array
        Label map.
    like : Volume or Sample
        Image whose spacing and affine are used.

    Raises
    ------
    DataError
        If the suffix is not allowed, the array does not have three axes, or the file cannot be written.
    """
    if values.ndim != 3 or not (values.dtype == np.bool_ or np.issubdtype(values.dtype, np.integer)):
        raise DataError(f"{path}: expected a label map (Z, Y, X) of integers, got {values.dtype} {values.shape}")
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
    if suffix in (None, ".nhdr", ".mhd"):
        raise DataError(f"{path}: cannot write this format; expected .nii.gz, .nii, .nrrd or .mha")
    low, high = int(values.min(initial=0)), int(values.max(initial=1))
    small = values.astype(np.min_scalar_type(high) if low >= 0 else np.int32)
    affine = np.array(like.affine) if like.affine is not None else np.diag([*like.spacing[::-1], 1.0])
    hidden = path.with_name(f".tmp-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_nifti(hidden, small, affine) if suffix in NIFTI else _write_itk(hidden, small, affine)
        hidden.replace(path)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            hidden.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error}") from error


def check_alike(image: Volume, labels: Volume, image_path: Path, label_path: Path, *, place: bool = True) -> None:
    """Refuse a label map whose geometry differs from that of its image.

    Parameters
    ----------
    image, labels : Volume
        Image and label map.
    image_path, label_path : Path
        Paths of the files, for messages.
    place : bool
        Whether spacing and affine must agree (to 0.1 % of the voxel size); otherwise only the shapes must be equal.

    Raises
    ------
    DataError
        If shapes or affines differ; the message contains the difference.
    """
    if image.values.shape != labels.values.shape:
        raise DataError(
            f"{label_path} has the shape {labels.values.shape} (z, y, x), but its image {image_path} has "
            f"{image.values.shape}; they must be equal"
        )
    last = [n - 1 for n in image.values.shape[::-1]] + [0] * (3 - image.values.ndim)
    corners = np.c_[
        np.r_[np.zeros((1, 3)), np.diag(np.maximum(last, 1.0))], np.ones(4)
    ].T  # the first corner of the volume and its three neighbours
    apart = np.abs((np.array(image.affine) - np.array(labels.affine)) @ corners).max()
    if place and apart > max(0.001 * min(image.spacing), 1e-3):
        raise DataError(
            f"{label_path} lies elsewhere than its image {image_path}: the affines put a corner {apart:.3g} mm apart "
            f"(voxels of {image.spacing} and {labels.spacing} mm). If the geometry of the image is correct, pass "
            "geometry=image"
        )


def _choose(values: NDArray[Any], axes: tuple[int, ...], channel: int | None, path: Path, hint: str) -> NDArray[Any]:
    """Return an array in file order (x first) as (z, y, x), without trailing axes of length 1, with one channel."""
    while values.ndim > min(axes) and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == max(axes) + 1 and channel is not None:
        if not 0 <= channel < values.shape[-1]:
            raise DataError(
                f"{path} has {values.shape[-1]} channels; channel {channel} does not exist (the first one is 0)"
            )
        values = values[..., channel]
    if values.ndim not in axes:
        wanted = " or ".join(map(str, axes))
        hint = hint if values.ndim == max(axes) + 1 else ""
        raise DataError(f"{path} has the shape {values.shape} (x, y, ...); expected {wanted} axes{hint}")
    if values.size == 0:
        raise DataError(f"{path} has no voxels: its shape is {values.shape}")
    return values.T


def _finite(values: NDArray[Any], fill: float | None, path: Path, hint: str) -> NDArray[Any]:
    if np.issubdtype(values.dtype, np.complexfloating) or values.dtype.kind not in "biuf":
        raise DataError(f"{path} holds {values.dtype} values; expected real numbers")
    if values.dtype.kind != "f":
        return values
    bad = sum(int(np.count_nonzero(~np.isfinite(part))) for part in values)  # slice by slice, which saves memory
    if not bad:
        return values
    if fill is None:
        raise DataError(f"{path} has {bad} voxels that are NaN or infinite; correct the file{hint}")
    filled = np.array(values)
    filled[~np.isfinite(filled)] = fill
    return filled


def _read_nifti(path: Path) -> tuple[NDArray[Any], tuple[float, ...], NDArray[np.float64]]:
    """Return the values in file order, the voxel size (x, y, z) in mm and the affine."""
    nibabel = _library("nibabel", path)
    try:
        image = nibabel.load(path)
        header = image.header
        values = _nifti_values(image, nibabel.openers.ImageOpener, path)
        factor = _METRES[header.get_xyzt_units()[0]]
        with nibabel.openers.ImageOpener(path) as file:  # the loaded header has 1 where the file has no voxel size
            stored = type(header).from_fileobj(file, check=False)["pixdim"][1:4]
        steps = tuple(abs(float(s)) * factor for s in stored[: len(header.get_zooms())])
        affine = np.array(image.affine, np.float64)
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise DataError(f"{path} is no NIfTI file or is damaged: {error}") from error
    except (OSError, EOFError, zlib.error, ValueError, KeyError) as error:
        raise DataError(f"{path} is damaged or cannot be read: {error}") from error
    affine[:3] *= factor
    placed = bool(header["sform_code"] or header["qform_code"]) if "sform_code" in header else True
    if placed and len(steps) == 3 and all(s > 0 for s in steps) and not np.allclose(_norms(affine), steps, rtol=1e-3):
        raise DataError(
            f"{path} gives two voxel sizes (x, y, z): {steps} mm by pixdim, {tuple(_norms(affine).round(4))} mm by its "
            "affine; correct the header"
        )
    return values, steps, affine


def _nifti_values(image: Any, opener: Any, path: Path) -> NDArray[Any]:
    """Return the array of a NIfTI file in file order: memory-mapped if possible, else read plane by plane.

    Scaled values and values in double precision are converted to single precision, which needs half the memory; all
    computations use single precision.
    """
    proxy, stored = image.dataobj, image.get_data_dtype()
    if stored.kind not in "biuf":
        raise DataError(f"{path} holds {stored} values; expected real numbers")
    plain = (proxy.slope, proxy.inter) == (1, 0)
    kind = (
        np.dtype(np.float32) if not plain or (stored.itemsize > 4 and stored.kind == "f") else stored.newbyteorder("=")
    )
    if plain and kind == stored and not path.name.lower().endswith(".gz"):
        return np.asanyarray(proxy)
    shape = image.shape
    values = np.empty(shape, kind, order="F")
    planes = values.reshape((*shape[:2], -1), order="F")
    size = math.prod(shape[:2]) * stored.itemsize
    with opener(path) as file:
        file.seek(proxy.offset)
        for k in range(planes.shape[-1]):
            data = file.read(size)
            if len(data) < size:
                raise EOFError(f"it ends in plane {k + 1} of {planes.shape[-1]}")
            plane = np.frombuffer(data, stored).reshape(shape[:2], order="F")
            planes[..., k] = plane if plain else plane * float(proxy.slope) + float(proxy.inter)
    return values


def _read_itk(path: Path) -> tuple[NDArray[Any], tuple[float, ...], NDArray[np.float64]]:
    itk = _library("SimpleITK", path)
    try:
        image = itk.ReadImage(str(path), imageIO="NrrdImageIO" if path.name.lower().endswith(NRRD) else "MetaImageIO")
    except RuntimeError as error:
        raise DataError(f"{path} is damaged or cannot be read: {_last_line(error)}") from error
    steps, affine = _place_of(image)
    if not _says_spacing(path):
        steps = (0.0,) * len(steps)
    return _from_itk(itk, image), steps, affine


def _read_dicom(folder: Path) -> tuple[NDArray[Any], tuple[float, ...], NDArray[np.float64]]:
    itk = _library("SimpleITK", folder)
    series = itk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        found = f"{len(series)} DICOM series" if series else "no DICOM series"
        raise DataError(f"{folder} holds {found}; expected one: put each series into a separate folder")
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(itk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise DataError(f"the DICOM series in {folder} is damaged: {_last_line(error)}") from error
    steps, affine = _place_of(image)
    count = len(reader.GetFileNames())
    if image.GetDimension() > 2 and image.GetSize()[2] != count:
        raise DataError(f"{folder} holds multi-frame DICOM, which is not supported; convert it to NIfTI first")
    places = [_numbers(reader, i, "0020|0032") for i in range(count)]
    if any(len(place) != 3 for place in places):
        raise DataError(
            f"{folder}: a DICOM slice has no position (Image Position), so the slices cannot be put in order"
        )
    plane = steps[:2] if len(_numbers(reader, 0, "0028|0030")) == 2 else (0.0, 0.0)  # ITK would assume 1 mm
    thick = (_numbers(reader, 0, "0018|0050") or [0.0])[0] if count == 1 else steps[2]
    if count > 1:
        ways = np.diff(np.array(places), axis=0)
        gaps = np.linalg.norm(ways, axis=1)
        if gaps.max() > 1.01 * gaps.min():
            raise DataError(
                f"the DICOM slices in {folder} are {gaps.min():.3f} to {gaps.max():.3f} mm apart; a slice is missing, "
                "or the slices do not form a volume"
            )
        normal = np.array(image.GetDirection()).reshape(3, 3)[:, 2]
        if abs(float(ways[0] @ normal)) < 0.999 * gaps[0]:
            raise DataError(
                f"the DICOM slices in {folder} are stacked at an angle (tilted gantry), so they do not form a regular "
                "volume; resample the series first"
            )
    return _from_itk(itk, image), (*plane, thick), affine


def _numbers(reader: Any, index: int, tag: str) -> list[float]:
    """Return the numbers of a DICOM element of one slice; an empty list if the element is missing."""
    if not reader.HasMetaDataKey(index, tag):
        return []
    try:
        return [float(part) for part in reader.GetMetaData(index, tag).split("\\")]
    except ValueError:
        return []


def _from_itk(itk: Any, image: Any) -> NDArray[Any]:
    """Return the array in file order (x, y, z), with the components of a voxel as the last axis."""
    values = itk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        values = np.moveaxis(values, -1, 0)
    return values.T


def _place_of(image: Any) -> tuple[tuple[float, ...], NDArray[np.float64]]:
    """Return the voxel size (x, y, z) in mm and the RAS affine of a SimpleITK image, whose space is LPS."""
    axes = image.GetDimension()
    n = min(axes, 3)
    direction = np.array(image.GetDirection()).reshape(axes, axes)[:n, :n]
    steps = tuple(image.GetSpacing()[:3])
    affine = np.eye(4)
    affine[:n, :n] = direction * np.array(steps)
    affine[:n, 3] = image.GetOrigin()[:n]
    return steps, _RAS_OF_LPS @ affine


def _says_spacing(path: Path) -> bool:
    """Return whether the header of an NRRD or MetaImage file contains a voxel size; ITK assumes 1 mm without it."""
    with path.open("rb") as file:
        head = file.read(65536)
    ends = [b"\n\n", b"\r\n\r\n", b"ElementDataFile"]
    head = head[: min([at for at in map(head.find, ends) if at > 0], default=len(head))]
    keys = {line.partition(b":")[0].partition(b"=")[0].strip().lower() for line in head.splitlines()}
    return bool(keys & {b"spacings", b"space directions", b"elementspacing", b"elementsize"})


def _write_nifti(path: Path, values: NDArray[Any], affine: NDArray[np.float64]) -> None:
    nibabel = _library("nibabel", path)
    image = nibabel.Nifti1Image(values.T, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _write_itk(path: Path, values: NDArray[Any], affine: NDArray[np.float64]) -> None:
    itk = _library("SimpleITK", path)
    placed = _RAS_OF_LPS @ affine
    steps = _norms(placed)
    image = itk.GetImageFromArray(values)
    image.SetSpacing(steps.tolist())
    image.SetOrigin(placed[:3, 3].tolist())
    image.SetDirection((placed[:3, :3] / steps).ravel().tolist())
    itk.WriteImage(image, str(path), useCompression=True)


def _norms(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the voxel size (x, y, z) in mm of an affine."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def _nested(affine: NDArray[np.float64]) -> Affine:
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in affine)


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _library(name: str, path: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise PluginError(f"{path} needs {name}: pip install 'rclicks[volumes]'") from error
