"""Splits of one or more data sets into samples to learn from and samples to validate with."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from rclicks.cards import DatasetCard
from rclicks.data.contract import Dataset
from rclicks.errors import DataError
from rclicks.sample import Sample
from rclicks.training.split import is_held_out, train_val_split


class Names(Dataset):
    """A data set of which only names are asked for."""

    def __init__(
        self, name: str, ids: Sequence[str], groups: Sequence[str] = (), validation: Sequence[str] = ()
    ) -> None:
        self.card = DatasetCard(name=name, summary="names")
        self._ids, self._groups, self._validation = list(ids), list(groups or ids), list(validation)

    @property
    def ids(self) -> list[str]:
        return self._ids

    @property
    def groups(self) -> list[str]:
        return self._groups

    @property
    def validation_ids(self) -> list[str]:
        return self._validation

    def read(self, index: int) -> Sample:
        raise AssertionError("a split decodes nothing")


MANY = [f"case{i}" for i in range(200)]


def halves(*sets: Dataset, val_list: Path | None = None) -> list[tuple[list[str], list[str]]]:
    parts = train_val_split(sets, val_list).parts
    return [([p.dataset.ids[i] for i in p.train], [p.dataset.ids[i] for i in p.validation]) for p in parts]


def test_about_a_tenth_is_held_out_and_names_alone_decide() -> None:
    ((train, validation),) = halves(Names("a", MANY))
    assert sorted(train + validation) == sorted(MANY)
    assert 10 <= len(validation) <= 30
    assert halves(Names("b", MANY[::-1]))[0][1] == validation[::-1]
    assert all(is_held_out(name) for name in validation)


def test_no_group_is_in_both_halves() -> None:
    groups = [f"person{i // 4}" for i in range(200)]
    ((train, validation),) = halves(Names("a", MANY, groups))
    assert not {groups[MANY.index(n)] for n in train} & {groups[MANY.index(n)] for n in validation}
    assert len(validation) % 4 == 0


def test_a_published_validation_part_is_held_out_unless_a_list_says_otherwise(tmp_path: Path) -> None:
    data = Names("a", MANY, validation=MANY[:3])
    assert halves(data)[0][1] == MANY[:3]
    listed = tmp_path / "list.txt"
    listed.write_text("case7\n")
    assert halves(data, val_list=listed)[0][1] == ["case7"]
    with pytest.raises(DataError, match="all 2 are its published validation part"):
        halves(Names("a", MANY[:2], validation=MANY[:2]))


def test_each_of_several_data_sets_has_its_own_rule_and_groups(tmp_path: Path) -> None:
    published, other = Names("a", MANY[:40], validation=["case1"]), Names("b", MANY[:40])
    (first, second) = halves(published, other)
    assert first[1] == ["case1"]
    assert second == halves(other)[0]
    listed = tmp_path / "list.txt"
    listed.write_text("case5\nx\n")
    (first, second) = halves(published, Names("b", ["x", "y"]), val_list=listed)
    assert (first[1], second) == (["case5"], (["y"], ["x"]))


def test_too_few_samples_are_in_both_halves() -> None:
    few = [name for name in MANY if not is_held_out(name)][:2]
    found = train_val_split([Names("a", few)])
    assert found.overlaps
    assert (found.train_count, found.validation_count) == (2, 2)
    assert not train_val_split([Names("a", MANY)]).overlaps
