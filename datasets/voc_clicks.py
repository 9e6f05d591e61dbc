"""Objects of PASCAL VOC 2012 on which several people clicked: one object for each class of an image, at 256 pixels.

The clicks (What's the Point, Bearman et al., ECCV 2016) are read by `rclicks.human_clicks.whats_the_point`. A target is
an eligible pair of image and class; its id is the class number. Void pixels (255) are ignored.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import check_size, read_image, read_labels
from rclicks.errors import DataError, ProtocolError
from rclicks.human_clicks.whats_the_point import SPLITS, eligible_objects
from rclicks.sample import Sample, Target

CARDS = (
    DatasetCard(
        name="VOC_clicks",
        summary="objects of PASCAL VOC 2012 with people's clicks, 256 pixels",
        folder="clicks/voc_clicks",
        layout="images/<id>.jpg, labels/<id>.png, objects.csv and clicks.csv",
        samples=75,
        objects=92,
        source="What's the Point clicks on PASCAL VOC 2012 pictures with the SegmentationClassAug labels",
        licence="images under their Flickr terms; clicks without a stated licence, citation requested",
        citation="Bearman et al.: What's the point: semantic segmentation with point supervision, ECCV 2016",
        get="Combine VOC2012 images, SegmentationClassAug labels and the published clicks, see docs/click-models.md.",
    ),
)

VOID = 255
ALL = "all"


class VocClicks(Dataset):
    """Images with clicks of people; every class with a single instance is one target."""

    def __init__(self, card: DatasetCard, root: Path, split: str) -> None:
        self.card, self.root, self.split, self._base = card, root, split, root

    @cached_property
    def _objects(self) -> dict[str, list[int]]:
        """Return the eligible classes of each image, both in file order."""
        found: dict[str, list[int]] = {}
        for split in SPLITS if self.split == ALL else (self.split,):
            for name, cls in eligible_objects(self._base, split)[["image_id", "cls"]].itertuples(index=False):
                found.setdefault(str(name), []).append(int(cls))
        return found

    @cached_property
    def ids(self) -> list[str]:
        """Image names in the order of objects.csv; if the split is "all", those of "train" come first."""
        return list(self._objects)

    @cached_property
    def validation_ids(self) -> list[str]:
        """Images of the split "val" among `ids`."""
        validation = {str(name) for name in eligible_objects(self._base, "val")["image_id"]}
        return [name for name in self.ids if name in validation]

    def files(self, index: int) -> tuple[Path, Path]:
        """Return the paths of the image and of the label map."""
        name = self.ids[index]
        return self._base / "images" / f"{name}.jpg", self._base / "labels" / f"{name}.png"

    def read(self, index: int) -> Sample:
        """Decode one image and its objects."""
        image_path, label_path = self.files(index)
        image, labels = read_image(image_path), read_labels(label_path)
        check_size(image, labels, image_path, label_path)
        name = self.ids[index]
        void = labels == VOID
        targets = []
        for cls in self._objects[name]:
            mask = labels == cls
            if not mask.any():
                raise DataError(f"{label_path} has no pixel of class {cls}, which objects.csv lists")
            targets.append(Target(str(cls), (mask,), void if void.any() else None))
        return Sample(self.card.name, name, image, tuple(targets))


def load(card: DatasetCard, root: Path, *, split: str = "val") -> VocClicks:
    """Open the data set.

    Parameters
    ----------
    split : {"val", "train", "all"}
        Split to read. The embedded click model was trained on "train". Trainings read "all" and hold out "val".

    Raises
    ------
    ProtocolError
        If the split is unknown.
    """
    if split not in (*SPLITS, ALL):
        raise ProtocolError(f"data set {card.name}: split is {split!r}; allowed: {', '.join((*SPLITS, ALL))}")
    return VocClicks(card, root, split)
