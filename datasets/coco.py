"""Any data set in COCO's annotation format; every image is one sample (needs pycocotools, extra ``coco``)."""

from __future__ import annotations

import contextlib
import io
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import check_size, read_image
from rclicks.errors import DataError, PluginError
from rclicks.sample import Sample, Target

CARDS = (
    DatasetCard(
        name="coco",
        summary="your own images with a COCO annotation file (polygons or run lengths)",
        folder="coco",
        layout="an annotation file and an image folder, set by the options annotations and images",
        source="Lin et al. 2014 (the format)",
        citation="Lin et al.: Microsoft COCO, ECCV 2014",
        get="Put annotations.json and images/ into this folder, or pass root=YOUR_FOLDER.",
    ),
)


class Coco(Dataset):
    """Images with at least one object; every annotation is one target. Annotations of crowds are left out."""

    def __init__(
        self, card: DatasetCard, root: Path, annotations: str, images: str, min_area: float, most: int
    ) -> None:
        self.card, self.root = card, root
        self._file, self._images, self._min_area, self._most = root / annotations, root / images, min_area, most

    @cached_property
    def _coco(self) -> Any:
        try:
            from pycocotools.coco import COCO
        except ImportError as error:
            raise PluginError("data set coco needs pycocotools: pip install 'rclicks[coco]'") from error
        try:
            raw = json.loads(self._file.read_text(encoding="utf-8"))
            if not isinstance(raw["images"], list) or not isinstance(raw["annotations"], list):
                raise TypeError("images and annotations must be lists")
            with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
                found = COCO()
                found.dataset = raw
                found.createIndex()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{self._file} is no COCO annotation file: {error!r}") from error
        return found

    @cached_property
    def _chosen(self) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Return (image, annotations) pairs by ascending image id, annotations by ascending id."""
        chosen = []
        for image_id in sorted(self._coco.imgs):
            notes = [a for a in self._coco.imgToAnns[image_id] if not a.get("iscrowd")]
            notes = sorted((a for a in notes if a.get("area", np.inf) >= self._min_area), key=lambda a: a["id"])
            if notes:
                chosen.append((self._coco.imgs[image_id], notes[: self._most or None]))
        return chosen

    @cached_property
    def ids(self) -> list[str]:
        """Image ids of the annotation file."""
        return [str(image["id"]) for image, _ in self._chosen]

    def files(self, index: int) -> tuple[Path, Path]:
        """Return the paths of the image and of the annotation file."""
        return self._images / self._chosen[index][0]["file_name"], self._file

    def read(self, index: int) -> Sample:
        """Decode one image and its masks."""
        image_path, _ = self.files(index)
        image = read_image(image_path)
        targets = []
        for note in self._chosen[index][1]:
            try:
                mask = self._coco.annToMask(note).astype(bool)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise DataError(
                    f"{self._file}: annotation {note['id']} has a damaged segmentation: {error!r}"
                ) from error
            check_size(image, mask, image_path, self._file)
            targets.append(Target(str(note["id"]), (mask,)))
        return Sample(self.card.name, self.ids[index], image, tuple(targets))


def load(
    card: DatasetCard,
    root: Path,
    *,
    annotations: str = "annotations.json",
    images: str = "images",
    min_area: float = 0,
    max_objects: int = 0,
) -> Coco:
    """Open a data set in COCO's format.

    Parameters
    ----------
    annotations : str
        Path of the annotation file below the root.
    images : str
        Path of the image folder below the root.
    min_area : float
        Smallest area of an annotation in pixels; smaller ones are left out.
    max_objects : int
        Largest number of annotations of each image, in the order of their ids; 0 for all.
    """
    return Coco(card, root, annotations, images, min_area, max_objects)
