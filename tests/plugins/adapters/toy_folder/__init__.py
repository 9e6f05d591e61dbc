"""A family that is a folder: cards and hooks here, the rest in modules of its own."""

from rclicks.cards import ModelCard

from .network import Memory, Net

CARDS = (ModelCard(name="toy-folder", family="toy_folder", summary="a disc around the last click"),)


def load(card, *, checkpoint=None, device="cpu", protocol=None, radius=6):
    from .model import ToyFolder

    return ToyFolder(card, Net(radius), Memory)
