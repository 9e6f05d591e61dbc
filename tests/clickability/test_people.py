"""Real clicks: both layouts, the published scaling, items of all rounds, and files that are wrong."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.errors import DataError
from rclicks.human_clicks.pairing import human_items
from rclicks.human_clicks.tables import RCLICKS, HumanClicks, read_table, scale_points
from rclicks.interaction import Click
from rclicks.sample import Sample, Target
from support import golden, needs_shared

HEADER = ",".join(RCLICKS)
ROWS = [
    "COCO,cat 1,cat 1,,first,,pc,10,20,60,40",
    "COCO,cat 1,cat 1,,first,,mobile,99,-4,60,40",
    "COCO,cat 1,cat 1_ritm_fn,,fn,ritm,pc,12,21,60,40",
    "COCO,cat 1,cat 1_sam_fp_pc_20,,fp,sam,pc,50,5,60,40",
    "TETRIS,dog,dog_______7,7,first,,pc,3,4,60,40",
    "TETRIS,dog,dog_______9,9,first,,pc,30,20,60,40",
]


class Pictures(Dataset):
    """Two pictures of 40 x 60 pixels: "cat 1" with one object, "dog" with 7 and 9."""

    def __init__(self, name: str) -> None:
        self.card, self.root = DatasetCard(name=name, summary="s"), Path("pictures")

    @property
    def ids(self) -> list[str]:
        return ["cat 1"] if self.card.name == "COCO_MVal" else ["dog"]

    def read(self, index: int) -> Sample:
        masks = [np.zeros((40, 60), bool) for _ in range(2)]
        masks[0][10:30, 5:25] = True
        masks[1][10:30, 30:55] = True
        names = ["0"] if self.card.name == "COCO_MVal" else ["7", "9"]
        targets = tuple(Target(n, (m,)) for n, m in zip(names, masks, strict=False))
        return Sample(self.card.name, self.ids[index], np.zeros((40, 60, 3), np.uint8), targets)


def written(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    file = folder / "clicks.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


@needs_shared
def test_published_scaling_is_golden() -> None:
    for item in golden("behaviour/click_scaling")["items"]:
        points = np.stack([item["ys"], item["xs"]], axis=1)
        found = scale_points(points, (item["h"], item["w"]), tuple(item["target_w_h"][::-1]))
        assert found.tolist() == np.stack([item["ys_out"], item["xs_out"]], axis=1).tolist()


def test_people_of_the_rclicks_layout(tmp_path: Path) -> None:
    people = HumanClicks(written(tmp_path, ROWS))
    cat, dog = Pictures("COCO_MVal")[0], Pictures("TETRIS")[0]
    assert people.of(cat, cat.targets[0]) == {"p1": (Click((20, 10), True),), "p2": (Click((0, 59), True),)}
    assert [list(people.of(dog, t).values()) for t in dog.targets] == [
        [(Click((4, 3), True),)],
        [(Click((20, 30), True),)],
    ]
    small = Sample("COCO_MVal", "cat 1", np.zeros((20, 30, 3), np.uint8), (Target("0", (np.ones((20, 30), bool),)),))
    assert people.of(small, small.targets[0])["p1"] == (Click((10, 5), True),)
    assert people.of(Sample("GrabCut", "cat 1", cat.image, cat.targets), cat.targets[0]) == {}


def test_further_columns_are_kept_aside(tmp_path: Path) -> None:
    rows = [r + ",x" for r in ROWS]
    assert len(read_table(written(tmp_path, rows, HEADER + ",time"))) == len(ROWS)


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        (HEADER.replace(",device", ""), [], r"missing columns \['device'\]"),
        (HEADER, [ROWS[0].replace("first", "second")], "line 2: click_type is 'second'"),
        (HEADER, [ROWS[0], ROWS[1].replace("99", "far")], "line 3: x is 'far'"),
        (HEADER, [ROWS[0].replace(",60,", ",0,")], "line 2: w is 0"),
        (HEADER, [ROWS[0].replace(",60,", ",inf,")], "line 2: w is 'inf'"),
        ("dataset,sample", ["a,b"], "missing columns"),
    ],
)
def test_bad_files(tmp_path: Path, header: str, rows: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_table(written(tmp_path, rows, header))


def test_items_of_all_rounds(tmp_path: Path) -> None:
    masks = tmp_path / "fn_fp"
    masks.mkdir()
    previous = np.zeros((40, 60, 3), np.uint8)
    previous[20:30, :, 2] = 255  # red
    previous[..., 0] = 255  # blue says nothing
    cv2.imwrite(str(masks / "cat 1_ritm_fn.png"), previous)
    previous[..., 2] //= 2
    cv2.imwrite(str(masks / "cat 1_sam_fp_pc_20.png"), previous)
    table = read_table(written(tmp_path, ROWS))
    first, fn, fp = human_items(table, Pictures("COCO_MVal"), masks)
    assert [(i.key, i.kind, len(i.points)) for i in (first, fn, fp)] == [
        ("cat 1", "first", 2),
        ("cat 1_ritm_fn", "fn", 1),
        ("cat 1_sam_fp_pc_20", "fp", 1),
    ]
    assert first.points.tolist() == [[20, 10], [0, 59]]
    assert first.devices == ("pc", "mobile")
    mask = first.load().mask
    np.testing.assert_array_equal(first.load().error, mask)
    np.testing.assert_array_equal(fn.load().error > 0, mask & (np.arange(40) < 20)[:, None])
    soft = fp.load().error
    assert soft.max() == pytest.approx(127 / 255)
    assert not soft[mask].any()
    assert [i.object for i in human_items(table, Pictures("TETRIS"))] == ["7", "9"]


def test_what_items_refuse(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, ROWS))
    cats = Pictures("COCO_MVal")
    with pytest.raises(DataError, match="pass the folder of previous masks"):
        human_items(table, cats)
    with pytest.raises(DataError, match=r"previous mask .*cat 1_ritm_fn.png of clicks .* is missing"):
        human_items(table, cats, tmp_path)
    with pytest.raises(DataError, match="no clicks on COCO_MVal; it has clicks on TETRIS"):
        human_items(table[table["dataset"] == "TETRIS"], cats)
    with pytest.raises(DataError, match="image 'cow'"):
        human_items(table[:1].assign(sample="cow"), cats)
    with pytest.raises(DataError, match=r"image of \(41, 60\) pixels"):
        human_items(table[:1].assign(height=41), cats)[0].load()
    with pytest.raises(DataError, match="object '8'"):
        human_items(table[4:5].assign(object="8"), Pictures("TETRIS"))[0].load()
    (plain,) = human_items(table[:1].assign(height=0, width=0, y=40, stem=""), cats)
    with pytest.raises(DataError, match=r"y, x = \(40, 10\) lies outside the 40 x 60"):
        plain.load()
