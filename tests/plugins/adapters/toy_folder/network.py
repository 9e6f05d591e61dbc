"""What stands for a network, and a memory that is pickled on its way to and from a worker process."""

from dataclasses import dataclass

from .._discs import disc


@dataclass(frozen=True)
class Memory:
    clicks: int


@dataclass(frozen=True)
class Net:
    radius: int

    def __call__(self, shape, click):
        return disc(shape, click.point, self.radius) & click.positive
