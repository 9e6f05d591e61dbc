"""Files of volumes: geometry, formats, and an answer for each kind of bad input."""

import gzip
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as itk

from rclicks.data.volumes import Volume, case_name, check_alike, read_volume, write_labels
from rclicks.errors import DataError
from support import SHARED, needs_shared

VALUES = np.arange(2 * 3 * 4).reshape(4, 3, 2).astype(np.int16)  # (x, y, z) in the file
# A rotated, anisotropic and flipped place: columns are x, y, z steps of 0.5, 2 and 3 mm.
AFFINE = np.array([[0, -2, 0, 10], [-0.5, 0, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1]], float)


def nifti(path: Path, values: np.ndarray = VALUES, affine: np.ndarray = AFFINE, **header: object) -> Path:
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def test_array_order_spacing_and_affine_of_nifti(tmp_path: Path) -> None:
    found = read_volume(nifti(tmp_path / "a.nii.gz"))
    assert found.values.dtype == np.int16
    assert np.array_equal(found.values, VALUES.T)
    assert found.spacing == (3.0, 2.0, 0.5)
    assert np.array_equal(found.affine, AFFINE)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_itk_and_nibabel_agree_on_where_a_voxel_is(tmp_path: Path, suffix: str) -> None:
    image = itk.ReadImage(str(nifti(tmp_path / "a.nii.gz")))
    itk.WriteImage(image, str(tmp_path / f"b{suffix}"))
    found = read_volume(tmp_path / f"b{suffix}")
    assert np.array_equal(found.values, VALUES.T)
    assert found.spacing == pytest.approx((3.0, 2.0, 0.5))
    assert np.allclose(found.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz", ".nii"])
def test_labels_go_back_into_the_images_own_space(tmp_path: Path, suffix: str) -> None:
    image = read_volume(nifti(tmp_path / "a.nii.gz"))
    labels = (image.values % 5).astype(np.int64)
    write_labels(tmp_path / "out" / f"labels{suffix}", labels, image)
    back = read_volume(tmp_path / "out" / f"labels{suffix}")
    assert np.array_equal(back.values, labels)
    assert back.values.dtype == np.uint8
    check_alike(image, back, Path("image"), Path("labels"))
    assert [p.name for p in (tmp_path / "out").iterdir()] == [f"labels{suffix}"]


def test_uncompressed_files_stay_on_disk(tmp_path: Path) -> None:
    found = read_volume(nifti(tmp_path / "a.nii", np.zeros((40, 30, 20), np.int16)))
    base = found.values
    while isinstance(base.base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_scaled_values_and_units(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    image.header.set_slope_inter(0.5, -10)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii.gz")
    found = read_volume(tmp_path / "a.nii.gz")
    assert found.values.dtype == np.float32
    assert np.allclose(found.values, VALUES.T * 0.5 - 10)
    assert found.spacing == pytest.approx((0.003, 0.002, 0.0005))
    assert np.allclose(found.affine[0][3], 0.01)


def test_axes_of_length_one_and_channels(tmp_path: Path) -> None:
    assert read_volume(nifti(tmp_path / "a.nii", VALUES[..., None])).values.shape == (2, 3, 4)
    four = nifti(tmp_path / "b.nii", np.stack([VALUES, -VALUES], axis=-1))
    with pytest.raises(DataError, match=r"b\.nii has the shape \(4, 3, 2, 2\).*channel=0"):
        read_volume(four)
    assert np.array_equal(read_volume(four, channel=1).values, -VALUES.T)
    with pytest.raises(DataError, match="2 channels; channel 2 does not exist"):
        read_volume(four, channel=2)
    with pytest.raises(DataError, match=r"expected 3 axes"):
        read_volume(nifti(tmp_path / "flat.nii", VALUES[..., 0]))
    assert read_volume(tmp_path / "flat.nii", axes=(2, 3)).values.shape == (3, 4)


def test_vector_images_of_itk_have_channels_too(tmp_path: Path) -> None:
    values = np.stack([VALUES.T, VALUES.T + 100], axis=-1)
    image = itk.GetImageFromArray(values, isVector=True)
    itk.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(DataError, match="channel=0"):
        read_volume(tmp_path / "a.mha")
    assert np.array_equal(read_volume(tmp_path / "a.mha", channel=1).values, VALUES.T + 100)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    values = VALUES.astype(np.float32)
    values[1, 2, 1] = values[0, 0, 0] = bad
    path = nifti(tmp_path / "a.nii.gz", values)
    with pytest.raises(DataError, match="2 voxels that are NaN or infinite.*fill_nan"):
        read_volume(path)
    filled = read_volume(path, fill_nan=-1).values
    assert filled[1, 2, 1] == filled[0, 0, 0] == -1
    assert np.count_nonzero(filled != VALUES.T) == 2


def test_missing_voxel_size(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii")
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(0).tobytes()  # pixdim[1], the step along x
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"voxel size .*spacing=\[z, y, x\]"):
        read_volume(path)
    assert read_volume(path, spacing=[3, 2, 0.5]).spacing == (3, 2, 0.5)
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
    (tmp_path / "b.nrrd").write_bytes(header.encode() + b"\n" + bytes(8))
    with pytest.raises(DataError, match="voxel size"):
        read_volume(tmp_path / "b.nrrd")
    (tmp_path / "c.nrrd").write_bytes(header.encode() + b"spacings: 1 2 3\n\n" + bytes(8))
    assert read_volume(tmp_path / "c.nrrd").spacing == (3, 2, 1)
    (tmp_path / "d.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n" + bytes(8)
    )
    with pytest.raises(DataError, match="voxel size"):
        read_volume(tmp_path / "d.mha")


def test_a_given_spacing_is_also_in_the_affine(tmp_path: Path) -> None:
    found = read_volume(nifti(tmp_path / "a.nii"), spacing=[6, 2, 1])
    assert np.allclose(np.linalg.norm(np.array(found.affine)[:3, :3], axis=0), [1, 2, 6])
    assert np.allclose(np.array(found.affine)[:3, 3], AFFINE[:3, 3])


def test_two_voxel_sizes_in_one_header(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii")
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(0.9).tobytes()
    path.write_bytes(raw)
    with pytest.raises(DataError, match="two voxel sizes"):
        read_volume(path)


def test_damage_names_the_file(tmp_path: Path) -> None:
    whole = nifti(tmp_path / "whole.nii", np.random.default_rng(0).integers(0, 99, (20, 20, 20)).astype(np.int16))
    packed = gzip.compress(whole.read_bytes())
    cases = {"cut.nii": whole.read_bytes()[:5000], "cut.nii.gz": packed[: len(packed) // 2], "empty.nii.gz": b""}
    cases |= {"text.nii": b"no volume at all" * 40, "text.nrrd": b"no volume", "cut.mha": b"ObjectType = Image\n"}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=name.replace(".", r"\.")):
            read_volume(tmp_path / name)
    with pytest.raises(DataError, match="is missing"):
        read_volume(tmp_path / "nowhere.nii")
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="no known format"):
        read_volume(tmp_path / "a.jpg")


def test_image_and_labels_that_do_not_fit() -> None:
    place = tuple(map(tuple, AFFINE.tolist()))
    image = Volume(np.zeros((2, 3, 4)), (3.0, 2.0, 0.5), place)
    check_alike(image, Volume(np.zeros((2, 3, 4)), (3.0, 2.0, 0.5), place), Path("i"), Path("l"))
    with pytest.raises(DataError, match=r"\(2, 4, 3\).*\(2, 3, 4\)"):
        check_alike(image, Volume(np.zeros((2, 4, 3)), (3.0, 2.0, 0.5), place), Path("i"), Path("l"))
    moved = AFFINE.copy()
    moved[0, 3] += 1
    other = Volume(np.zeros((2, 3, 4)), (3.0, 2.0, 0.5), tuple(map(tuple, moved.tolist())))
    with pytest.raises(DataError, match="1 mm apart.*geometry=image"):
        check_alike(image, other, Path("i"), Path("l"))
    check_alike(image, other, Path("i"), Path("l"), place=False)
    turned = Volume(np.zeros((2, 3, 4)), (3.0, 2.0, 0.5), tuple(map(tuple, (AFFINE @ np.diag([1, 1, -1, 1])).tolist())))
    with pytest.raises(DataError, match="lies elsewhere"):
        check_alike(image, turned, Path("i"), Path("l"))


def dicom_series(folder: Path, places: list[float], spacing: tuple[float, float] = (2.0, 0.5)) -> None:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True, exist_ok=True)
    series = pydicom.uid.generate_uid(entropy_srcs=[str(folder)])
    for i, place in enumerate(places):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(folder), str(i)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slide = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        slide.SOPClassUID, slide.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slide.SeriesInstanceUID, slide.StudyInstanceUID = series, series
        slide.Modality, slide.InstanceNumber = "CT", i + 1
        slide.ImagePositionPatient, slide.ImageOrientationPatient = [5.0, 6.0, place], [1, 0, 0, 0, 1, 0]
        slide.PixelSpacing = list(spacing)
        slide.Rows, slide.Columns, slide.SamplesPerPixel = 3, 4, 1
        slide.PhotometricInterpretation = "MONOCHROME2"
        slide.BitsAllocated, slide.BitsStored, slide.HighBit, slide.PixelRepresentation = 16, 16, 15, 1
        slide.RescaleSlope, slide.RescaleIntercept = 1, -1000
        slide.PixelData = (np.arange(12, dtype=np.int16).reshape(3, 4) + 100 * i).tobytes()
        slide.save_as(folder / f"{len(places) - i}.dcm", enforce_file_format=True)


def test_dicom_series_in_order_of_their_place(tmp_path: Path) -> None:
    dicom_series(tmp_path / "a", [10.0, 13.0, 16.0])
    found = read_volume(tmp_path / "a")
    assert found.values.shape == (3, 3, 4)
    assert found.spacing == (3.0, 2.0, 0.5)
    assert found.values[:, 0, 0].tolist() == [-1000, -900, -800]
    assert np.allclose(np.array(found.affine) @ [0, 0, 0, 1], [-5, -6, 10, 1])  # LPS to RAS


def test_dicom_folders_that_are_no_volume(tmp_path: Path) -> None:
    dicom_series(tmp_path / "gap", [0.0, 3.0, 9.0])
    with pytest.raises(DataError, match=r"3\.000 to 6\.000 mm apart"):
        read_volume(tmp_path / "gap")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no DICOM series"):
        read_volume(tmp_path / "none")
    dicom_series(tmp_path / "two", [0.0, 3.0])
    for file in list((tmp_path / "gap").iterdir()):
        os.rename(file, tmp_path / "two" / f"other{file.name}")
    with pytest.raises(DataError, match="2 DICOM series"):
        read_volume(tmp_path / "two")


def test_labels_that_cannot_be_written(tmp_path: Path) -> None:
    like = Volume(np.zeros((2, 3, 4)), (1.0, 1.0, 1.0), tuple(map(tuple, np.eye(4).tolist())))
    with pytest.raises(DataError, match="label map"):
        write_labels(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.float32), like)
    with pytest.raises(DataError, match="cannot write this format"):
        write_labels(tmp_path / "a.png", np.zeros((2, 3, 4), bool), like)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        write_labels(tmp_path / "file" / "a.nii.gz", np.zeros((2, 3, 4), bool), like)
    assert case_name(Path("x/Case_1.NII.GZ")) == "Case_1"


@needs_shared
def test_all_shared_volumes_are_read_where_simpleitk_sees_them() -> None:
    folder = SHARED / "data" / "volumes"
    files = [
        f for part in ("spinal_cord", "pyradiomics", "spleen_ct", "totalsegmentator") for f in (folder / part).iterdir()
    ]
    assert len(files) > 15
    for file in files:
        ours, theirs = read_volume(file), itk.ReadImage(str(file))
        assert np.allclose(ours.values, itk.GetArrayViewFromImage(theirs)), file
        assert ours.spacing == pytest.approx(theirs.GetSpacing()[::-1], rel=1e-5), file
        last = [n - 1 for n in theirs.GetSize()]
        place = np.array(ours.affine) @ [*last, 1]
        there = theirs.TransformIndexToPhysicalPoint(last)
        assert place[:3] == pytest.approx([-there[0], -there[1], there[2]], abs=1e-2), file


def test_axes_that_were_swapped_in_data_and_affine_alike(tmp_path: Path) -> None:
    """Both corners of the diagonal agree; the others do not."""
    cube = np.arange(27).reshape(3, 3, 3).astype(np.int16)
    turned = np.eye(4)[:, [1, 0, 2, 3]]
    one = read_volume(nifti(tmp_path / "a.nii", cube, np.eye(4)))
    two = read_volume(nifti(tmp_path / "b.nii", cube.transpose(1, 0, 2), turned))
    with pytest.raises(DataError, match="lies elsewhere"):
        check_alike(one, two, Path("a"), Path("b"))


def change_dicom(folder: Path, change: object) -> None:
    import pydicom

    for i, file in enumerate(sorted(folder.iterdir(), reverse=True)):
        slide = pydicom.dcmread(file)
        change(i, slide)
        slide.save_as(file)


def test_dicom_that_says_too_little_or_stands_askew(tmp_path: Path) -> None:
    dicom_series(tmp_path / "no-size", [0.0, 3.0])
    change_dicom(tmp_path / "no-size", lambda i, slide: delattr(slide, "PixelSpacing"))
    with pytest.raises(DataError, match="voxel size"):
        read_volume(tmp_path / "no-size")
    assert read_volume(tmp_path / "no-size", spacing=[3, 1, 1]).spacing == (3, 1, 1)
    dicom_series(tmp_path / "single", [7.0])
    with pytest.raises(DataError, match="voxel size"):
        read_volume(tmp_path / "single")
    change_dicom(tmp_path / "single", lambda i, slide: setattr(slide, "SliceThickness", 4))
    single = read_volume(tmp_path / "single")
    assert (single.values.shape, single.spacing) == ((1, 3, 4), (4.0, 2.0, 0.5))
    dicom_series(tmp_path / "tilted", [0.0, 3.0, 6.0])
    change_dicom(tmp_path / "tilted", lambda i, s: setattr(s, "ImagePositionPatient", [5.0, 6.0 + i, 3.0 * i]))
    with pytest.raises(DataError, match="tilted gantry"):
        read_volume(tmp_path / "tilted")
    dicom_series(tmp_path / "lost", [0.0, 3.0, 6.0])
    change_dicom(tmp_path / "lost", lambda i, s: delattr(s, "ImagePositionPatient"))
    with pytest.raises(DataError, match="has no position"):
        read_volume(tmp_path / "lost")


def test_suffixes_in_capitals(tmp_path: Path) -> None:
    for name in ("a.mha", "a.nrrd"):
        itk.WriteImage(itk.ReadImage(str(nifti(tmp_path / "a.nii.gz"))), str(tmp_path / name))
        (tmp_path / name).rename(tmp_path / name.upper())
        assert np.array_equal(read_volume(tmp_path / name.upper()).values, VALUES.T)


def test_other_byte_order_double_precision_and_colours(tmp_path: Path) -> None:
    other = nibabel.Nifti1Image(VALUES.astype(">f4"), AFFINE, nibabel.Nifti1Header(endianness=">"))
    nibabel.save(other, tmp_path / "big.nii")
    found = read_volume(tmp_path / "big.nii").values
    assert found.dtype == np.dtype("=f4")
    assert np.array_equal(found, VALUES.T)
    double = read_volume(nifti(tmp_path / "double.nii.gz", VALUES / 3.0)).values
    assert double.dtype == np.float32
    assert np.array_equal(double, (VALUES / 3.0).astype(np.float32).T)
    colours = np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(DataError, match="expected real numbers"):
        read_volume(nifti(tmp_path / "rgb.nii.gz", colours))


def test_reading_needs_the_volume_once(tmp_path: Path) -> None:
    import tracemalloc

    side = 96
    cases = {
        "scaled.nii.gz": (np.zeros((side,) * 3, np.int16), 0.5),
        "double.nii.gz": (np.zeros((side,) * 3), 1.0),
        "single.nii.gz": (np.zeros((side,) * 3, np.float32), 1.0),
    }
    read_volume(nifti(tmp_path / "warm.nii.gz"))
    for name, (values, slope) in cases.items():
        image = nibabel.Nifti1Image(values, np.eye(4))
        if slope != 1:
            image.header.set_slope_inter(slope, 0)
        nibabel.save(image, tmp_path / name)
        tracemalloc.start()
        try:
            found = read_volume(tmp_path / name)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert found.values.dtype == np.float32
        assert peak < 1.3 * found.values.nbytes, name
