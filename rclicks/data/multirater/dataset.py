"""The data set of images with mask files of several raters: absent raters, empty masks, objects.

Three things are kept apart. A rater who looked and drew nothing has an empty mask in its slot. A rater whose file is
absent is no rater of that sample: it is left out of the sample's raters, and `RaterFiles.missing` and
`RaterFiles.notes` say so. An object that nobody drew is no object, unless the caller wants it kept.

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
    root : Path
    find : callable
        From the root to the entries in evaluation order, by listing; called once.
    decode : callable
        From a drawing to a (H, W) bool mask an object. Of a file that shows one object, that one; of others those that
        are drawn in it.
    picture : callable
        From the path of an image to a `ImageWithSpacing`.
    rules : RaterRules
    objects : tuple of str
        Names of all objects, in order; () for those that are found, in natural order.
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
        """All entries that were found, with the wanted raters alone."""
        found = list(self._find(self._base))
        if not found:
            raise DataError(f"{self._base} holds no sample of {self.card.name}. Expected {self.card.layout}")
        check_unique([e.id for e in found], f"{self._base} holds several samples named")
        bare = [e for e in found if not self._there(e)]
        if bare:
            raise DataError(
                f"{len(bare)} images have no mask of any rater: {some_of(str(e.image) for e in bare)}. Expected "
                f"{self.card.layout}; add masks (an empty one says that a rater saw nothing) or take the images out"
            )
        if self.rules.raters is None:
            return found
        known = {d.rater for e in found for d in e.mask_files}
        if unknown := [r for r in self.rules.raters if r not in known]:
            raise ProtocolError(
                f"data set {self.card.name} has no rater {', '.join(unknown)}; there are "
                f"{', '.join(sorted(known, key=natural))}"
            )
        return [
            replace(e, mask_files=tuple(d for r in self.rules.raters for d in e.mask_files if d.rater == r))
            for e in found
        ]

    @cached_property
    def entries(self) -> list[RaterEntry]:
        """Entries in evaluation order; those of which no wanted rater has a file are left out."""
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
        """Names of all raters of the set, in natural order."""
        return tuple(sorted({d.rater for e in self._all for d in e.mask_files}, key=natural))

    def _there(self, entry: RaterEntry) -> tuple[MaskFile, ...]:
        """Return the drawings to read; under the rule "refuse" also absent ones, so that reading names them."""
        return tuple(d for d in entry.mask_files if self.rules.on_missing == "refuse" or is_there(d.path))

    def present(self, index: int) -> tuple[str, ...]:
        """Return the raters of a sample, whether or not they drew anything."""
        return tuple(dict.fromkeys(d.rater for d in self._there(self.entries[index])))

    def missing(self, index: int) -> tuple[MaskFile, ...]:
        """Return the mask files that a sample should have and has not."""
        return tuple(d for d in self.entries[index].mask_files if not is_there(d.path))

    def absent(self, index: int) -> tuple[str, ...]:
        """Return the raters of whom a mask file that a sample should have is not there."""
        return tuple(dict.fromkeys(d.rater for d in self.missing(index)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results should know: absent files, and samples left out; () if all is complete."""
        found = []
        short = {e.id: self.missing(i) for i, e in enumerate(self.entries) if self.missing(i)}
        if short:
            names = some_of(
                f"{name} ({', '.join(d.path.name for d in mask_files)})" for name, mask_files in short.items()
            )
            found.append(f"{self.card.name}: {len(short)} of {len(self.entries)} samples lack a rater's file: {names}")
        if out := [e.id for e in self._all if not self._there(e)]:
            found.append(
                f"{self.card.name}: {len(out)} samples were left out, for no wanted rater drew them: {some_of(out)}"
            )
        return tuple(found)

    def files(self, index: int) -> Sequence[Path]:
        """Return the image and the masks of the raters who are there."""
        entry = self.entries[index]
        return entry.image, *dict.fromkeys(d.path for d in self._there(entry))

    def read(self, index: int) -> Sample:
        """Decode one image and the masks of its raters."""
        entry = self.entries[index]
        pixels, spacing = self._picture(entry.image)
        mask_files = self._there(entry)
        decoded = [self._decode(d) for d in mask_files]
        for drawing, masks in zip(mask_files, decoded, strict=True):
            for mask in masks.values():
                check_size(pixels, mask, entry.image, drawing.path)
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
    """Put the masks of all raters together, an object a target.

    A rater has an empty mask of an object that its file could show and does not; one whose files show other objects
    only is no rater of it.

    Parameters
    ----------
    mask_files, decoded : sequences of one length
        The files that were read, and what each shows.
    shape : tuple of int
    objects : tuple of str
        As of `RaterFiles`.
    keep : bool
        Whether an object that nobody drew is a target.
    """
    names = objects or tuple(sorted({name for masks in decoded for name in masks}, key=natural))
    targets = []
    for name in names:
        own = [(d.rater, m.get(name)) for d, m in zip(mask_files, decoded, strict=True) if d.object in ("", name)]
        masks = tuple(np.zeros(shape, np.bool_) if mask is None else mask for _, mask in own)
        if own and (keep or any(mask.any() for mask in masks)):
            targets.append(Target(name, masks, raters=tuple(rater for rater, _ in own)))
    return tuple(targets)


def drawn_in(rules: MaskRules) -> Decode:
    """Return a decoder of mask files that show one object each."""
    return lambda drawing: {drawing.object: binary(read_array(drawing.path), rules, drawing.path)}
