"""The data set of images with mask files of several raters: absent raters, empty masks, objects.

Three cases are distinguished. A rater who drew nothing has an empty mask. A rater whose file is missing is not a rater
of this sample; `RaterFiles.missing` and `RaterFiles.notes` report it. An object that no rater drew is left out, unless
the caller keeps such objects.

>>> from rclicks.data.multirater.listing import MaskFile
>>> ann, bob = (MaskFile(name, Path(f"{name}.png")) for name in ("ann", "bob"))
>>> (target,) = targets_of([ann, bob], [{"0": np.ones((1, 2), bool)}, {}], (1, 2))
>>> target.raters, [mask.tolist() for mask in target.masks]
(('ann', 'bob'), [[[True, True]], [[False, False]]])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.data.images import check_size
from rclicks.data.multirater.listing import MaskFile, RaterEntry, check_unique, is_there, natural, some_of
from rclicks.data.multirater.mask_files import ImageWithSpacing, MaskRules, binary, read_array, read_picture
from rclicks.data.multirater.options import RaterRules
from rclicks.errors import DataError, ProtocolError
from rclicks.sample import Mask, Sample, Target

__all__ = ["Decode", "RaterFiles", "drawn_in", "targets_of"]

Decode = Callable[[MaskFile], Mapping[str, Mask]]


class RaterFiles(Dataset):
    """Images with mask files of several raters.

    Parameters
    ----------
    card : DatasetCard
        Facts about the data set.
    root : Path
        Folder of the data set.
    find : callable
        Function from the root to the entries in evaluation order. It only lists files and is called once.
    decode : callable
        Function from a `MaskFile` to (H, W) bool masks by object. If the file shows one object, the result contains
        this object; otherwise it contains the objects that are drawn in the file.
    picture : callable
        Function from the path of an image to an `ImageWithSpacing`; by default `read_picture`.
    rules : RaterRules
        Rules for raters and objects.
    objects : tuple of str
        Names of all objects in order; () for the objects that are found, in natural order.
    """

    def __init__(
        self,
        card: DatasetCard,
        root: Path,
        find: Callable[[Path], Sequence[RaterEntry]],
        decode: Decode,
        picture: Callable[[Path], ImageWithSpacing] | None = None,
        rules: RaterRules | None = None,
        objects: tuple[str, ...] = (),
    ) -> None:
        self.card, self.root, self._base = card, root, root
        self._find, self._decode, self._picture = find, decode, picture or read_picture
        self.rules, self._objects = rules or RaterRules(), objects

    @cached_property
    def _all(self) -> list[RaterEntry]:
        """All entries that were found, restricted to the raters of the rules."""
        found = list(self._find(self._base))
        if not found:
            raise DataError(f"{self._base} contains no sample of {self.card.name}. Expected {self.card.layout}")
        check_unique([e.id for e in found], f"{self._base} holds several samples named")
        bare = [e for e in found if not self._there(e)]
        if bare:
            raise DataError(
                f"{len(bare)} images have no mask of any rater: {some_of(str(e.image) for e in bare)}. Expected "
                f"{self.card.layout}; add masks (an empty mask means that a rater drew nothing) or remove the images"
            )
        if self.rules.raters is None:
            return found
        known = {f.rater for e in found for f in e.mask_files}
        if unknown := [r for r in self.rules.raters if r not in known]:
            raise ProtocolError(
                f"data set {self.card.name} has no rater {', '.join(unknown)}; there are "
                f"{', '.join(sorted(known, key=natural))}"
            )
        return [
            replace(e, mask_files=tuple(f for r in self.rules.raters for f in e.mask_files if f.rater == r))
            for e in found
        ]

    @cached_property
    def entries(self) -> list[RaterEntry]:
        """Entries in evaluation order; entries without a file of any rater of the rules are left out."""
        return [e for e in self._all if self._there(e)]

    @cached_property
    def ids(self) -> list[str]:
        """Sample names in evaluation order."""
        return [e.id for e in self.entries]

    @property
    def groups(self) -> Sequence[str]:
        """The person or scan of each sample."""
        return [e.group or e.id for e in self.entries]

    @cached_property
    def raters(self) -> tuple[str, ...]:
        """Names of all raters of the data set in natural order."""
        return tuple(sorted({f.rater for e in self._all for f in e.mask_files}, key=natural))

    def _there(self, entry: RaterEntry) -> tuple[MaskFile, ...]:
        """Return the mask files to read. Under the rule "refuse" these include missing files, whose reading fails."""
        return tuple(f for f in entry.mask_files if self.rules.on_missing == "refuse" or is_there(f.path))

    def present(self, index: int) -> tuple[str, ...]:
        """Return the raters who have a mask file of a sample, also an empty one."""
        return tuple(dict.fromkeys(f.rater for f in self._there(self.entries[index])))

    def missing(self, index: int) -> tuple[MaskFile, ...]:
        """Return the mask files that are expected for a sample but do not exist."""
        return tuple(f for f in self.entries[index].mask_files if not is_there(f.path))

    def absent(self, index: int) -> tuple[str, ...]:
        """Return the raters with at least one missing mask file of a sample."""
        return tuple(dict.fromkeys(f.rater for f in self.missing(index)))

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for readers of results about missing files and omitted samples; () if the data set is complete."""
        found = []
        incomplete = {e.id: self.missing(i) for i, e in enumerate(self.entries) if self.missing(i)}
        if incomplete:
            names = some_of(
                f"{name} ({', '.join(f.path.name for f in mask_files)})" for name, mask_files in incomplete.items()
            )
            found.append(
                f"{self.card.name}: {len(incomplete)} of {len(self.entries)} samples lack a rater's file: {names}"
            )
        if omitted := [e.id for e in self._all if not self._there(e)]:
            found.append(
                f"{self.card.name}: {len(omitted)} samples were left out, because none of the chosen raters has a "
                f"file for them: {some_of(omitted)}"
            )
        return tuple(found)

    def files(self, index: int) -> Sequence[Path]:
        """Return the image and the mask files of a sample that are read."""
        entry = self.entries[index]
        return entry.image, *dict.fromkeys(f.path for f in self._there(entry))

    def read(self, index: int) -> Sample:
        """Decode one image and the masks of its raters."""
        entry = self.entries[index]
        pixels, spacing = self._picture(entry.image)
        mask_files = self._there(entry)
        decoded = [self._decode(f) for f in mask_files]
        for file, masks in zip(mask_files, decoded, strict=True):
            for mask in masks.values():
                check_size(pixels, mask, entry.image, file.path)
        targets = targets_of(mask_files, decoded, pixels.shape[:2], self._objects, keep=self.rules.on_empty == "keep")
        return Sample(self.card.name, entry.id, pixels, targets, spacing)


def targets_of(
    mask_files: Sequence[MaskFile],
    decoded: Sequence[Mapping[str, Mask]],
    shape: tuple[int, ...],
    objects: tuple[str, ...] = (),
    *,
    keep: bool = False,
) -> tuple[Target, ...]:
    """Combine the masks of all raters to one target for each object.

    If the file of a rater can show an object but does not, the rater has an empty mask of this object. If the files of
    a rater can only show other objects, the rater is not a rater of this object.

    Parameters
    ----------
    mask_files : sequence of MaskFile
        Files that were read.
    decoded : sequence of mapping of str to (H, W) bool array
        Masks by object of each file.
    shape : tuple of int
        Height and width (H, W) of the image in pixels.
    objects : tuple of str
        Names of the objects, as for `RaterFiles`.
    keep : bool
        Whether an object that no rater drew is a target.
    """
    names = objects or tuple(sorted({name for masks in decoded for name in masks}, key=natural))
    targets = []
    for name in names:
        drawn = [(f.rater, m.get(name)) for f, m in zip(mask_files, decoded, strict=True) if f.object in ("", name)]
        masks = tuple(np.zeros(shape, np.bool_) if mask is None else mask for _, mask in drawn)
        if drawn and (keep or any(mask.any() for mask in masks)):
            targets.append(Target(name, masks, raters=tuple(rater for rater, _ in drawn)))
    return tuple(targets)


def drawn_in(rules: MaskRules) -> Decode:
    """Return a decoder of mask files that show one object each."""
    return lambda file: {file.object: binary(read_array(file.path), rules, file.path)}
