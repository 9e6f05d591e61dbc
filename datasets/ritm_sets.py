"""GrabCut, Berkeley, DAVIS and COCO_MVal in the layout that RITM and its successors read.

Samples are in byte order of the image paths; each has one object. In masks of GrabCut and Berkeley, pixels whose first
channel is above 128 are the object, and 128 is ignored. In masks of DAVIS and COCO_MVal, pixels with any channel above
0 are the object.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rclicks.cards import DatasetCard
from rclicks.data.pairs import PairedDataset, single_object
from rclicks.sample import Target

CARDS = (
    DatasetCard(
        name="GrabCut",
        summary="50 photographs, one object each, with a band of ignored pixels around it",
        folder="GrabCut",
        layout="data_GT/*.jpg|bmp|JPG and boundary_GT/*.bmp (0 background, 128 ignored, 255 object)",
        samples=50,
        objects=50,
        source="Microsoft Research; as distributed by SamsungLabs/ritm_interactive_segmentation",
        licence="no explicit licence; published for research",
        citation="Rother, Kolmogorov, Blake: GrabCut, SIGGRAPH 2004",
        get="Take GrabCut.zip from the releases of the RITM repository (SamsungLabs/ritm_interactive_segmentation).",
    ),
    DatasetCard(
        name="Berkeley",
        summary="100 objects in 96 photographs of BSDS",
        folder="Berkeley",
        layout="images/*.jpg and masks/*.png (0 background, 255 object)",
        samples=100,
        objects=100,
        source="BSDS500 images, masks by McGuinness and O'Connor; as distributed by RITM",
        licence="BSDS: non-commercial research and education",
        citation="McGuinness, O'Connor: A comparative evaluation of interactive segmentation algorithms, 2010",
        get="Take Berkeley.zip from the releases of the RITM repository (SamsungLabs/ritm_interactive_segmentation).",
    ),
    DatasetCard(
        name="DAVIS",
        summary="345 frames of the 50 sequences of DAVIS 2016",
        folder="DAVIS",
        layout="img/*.jpg and gt/*.png (any channel above 0 is the object)",
        samples=345,
        objects=345,
        source="DAVIS 2016, frames chosen by Jang and Kim (BRS); as distributed by RITM",
        licence="DAVIS terms: treat as non-commercial",
        citation="Perazzi et al.: A benchmark dataset for video object segmentation, CVPR 2016",
        get="Take DAVIS.zip from the releases of the RITM repository (SamsungLabs/ritm_interactive_segmentation).",
    ),
    DatasetCard(
        name="COCO_MVal",
        summary="800 objects of COCO val2017, ten of each category",
        folder="COCO_MVal",
        layout="img/*.jpg and gt/*.png (any channel above 0 is the object)",
        samples=800,
        objects=800,
        source="COCO val2017, chosen by Sofiiuk et al. (f-BRS)",
        licence="annotations CC BY 4.0, images under their Flickr terms",
        citation="Lin et al.: Microsoft COCO, ECCV 2014; Sofiiuk et al.: f-BRS, CVPR 2020",
        get="Take COCO_MVal.zip from the releases of the RITM repository (SamsungLabs/ritm_interactive_segmentation).",
    ),
)


def _trimap(mask: NDArray[np.uint8]) -> list[Target]:
    first = mask if mask.ndim == 2 else mask[..., 0]
    return single_object(first > 128, first == 128)


def _any_channel(mask: NDArray[np.uint8]) -> list[Target]:
    return single_object(mask > 0 if mask.ndim == 2 else mask.max(axis=2) > 0)


_LAYOUTS = {
    "GrabCut": ("data_GT", "boundary_GT", _trimap),
    "Berkeley": ("images", "masks", _trimap),
    "DAVIS": ("img", "gt", _any_channel),
    "COCO_MVal": ("img", "gt", _any_channel),
}


def load(card: DatasetCard, root: Path) -> PairedDataset:
    """Open one of the four data sets; they have no options."""
    return PairedDataset(card, root, *_LAYOUTS[card.name])
