"""The columns of the records: one row is one round of one trajectory.

The schema has a version. New columns may be added. Existing columns are never renamed or removed.

- Times are shares in seconds, so that their sums are true totals. `encode_s` is the time to encode the image, divided
  by the number of rows of the unit. `decode_s` is the time of a batch, divided by the number of its trajectories.
- `region` contains the pixels of a scribble or lasso: one bit for each pixel (`numpy.packbits`) of the box from
  (z, y, x) to (z1, y1, x1), both inclusive, in array order.
- If an object has several raters, five columns contain lists in the same order: `raters` (names), `rater_area` (number
  of pixels that each rater drew), `rater_iou` and `rater_dice` (scores of the prediction on each rater) and
  `followed_dice` (Dice of the followed mask with each rater).
- `set_size` is the number of masks in the set of predictions, if metrics of sets were computed.
- `lanes` is the batch size with which the round was computed.
"""

from __future__ import annotations

import pyarrow as pa

from rclicks.metrics.raters.catalogue import STORED

__all__ = ["FAILURE_SCHEMA", "KEYS", "SCHEMA", "SCHEMA_VERSION", "TIMES", "TRAJECTORY"]

SCHEMA_VERSION = 1

_text = pa.dictionary(pa.int32(), pa.string())

TRAJECTORY = ("model", "dataset", "sample", "object", "rater", "user", "group", "replicate")
KEYS = (*TRAJECTORY, "round")
TIMES = ("encode_s", "decode_s", "user_s", "metric_s", "cold")

SCHEMA = pa.schema(
    [
        ("model", _text),
        ("checkpoint", _text),
        ("dataset", _text),
        ("sample", pa.string()),
        ("object", pa.string()),
        ("rater", _text),
        ("protocol", _text),
        ("user", _text),
        ("group", _text),
        ("replicate", pa.int32()),
        ("round", pa.int32()),
        ("kind", _text),
        ("positive", pa.bool_()),
        ("z", pa.int32()),
        ("y", pa.int32()),
        ("x", pa.int32()),
        ("z1", pa.int32()),
        ("y1", pa.int32()),
        ("x1", pa.int32()),
        ("region", pa.binary()),
        *((name, pa.float64()) for name in STORED),
        ("set_size", pa.int32()),
        ("raters", pa.list_(pa.string())),
        ("rater_area", pa.list_(pa.int64())),
        ("rater_iou", pa.list_(pa.float64())),
        ("rater_dice", pa.list_(pa.float64())),
        ("followed_dice", pa.list_(pa.float64())),
        ("encode_s", pa.float64()),
        ("decode_s", pa.float64()),
        ("user_s", pa.float64()),
        ("metric_s", pa.float64()),
        ("cold", pa.bool_()),
        ("lanes", pa.int32()),
        ("flags", _text),
        ("unit", pa.string()),
    ]
)

FAILURE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("model", "dataset", "sample", "object", "rater", "user", "group")]
    + [("replicate", pa.int32()), ("error", pa.string()), ("message", pa.string()), ("traceback", pa.string())]
    + [("unit", pa.string())]
)
