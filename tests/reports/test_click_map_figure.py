"""The click-map figure shows what it is given, and nothing of the photograph where that is asked."""

import numpy as np

from rclicks.human_clicks.items import Scene
from rclicks.reports.clickmaps import click_map_figure

MASK = np.zeros((60, 90), bool)
MASK[20:40, 30:70] = True
SCENE = Scene(np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8), MASK, MASK)
SAMPLED, REAL = np.array([[25, 40], [30, 50], [35, 60]]), np.array([[10, 5]])


def test_both_panels_show_their_clicks_and_the_whole_error() -> None:
    figure = click_map_figure(SCENE, np.ones(MASK.shape), SAMPLED, REAL, title="a $b$")
    left, right = figure.axes
    assert left.collections[-1].get_offsets().tolist() == [[40, 25], [50, 30], [60, 35]]
    assert right.collections[-1].get_offsets().tolist() == [[5, 10]]
    assert left.get_title(loc="left") == "3 clicks sampled from the map"
    assert right.get_title(loc="left") == "1 click of a person"
    (low, high), (bottom, top) = left.get_xlim(), left.get_ylim()
    assert low < 5
    assert high > 69
    assert top < 10
    assert bottom > 39


def test_without_photo_no_pixel_of_the_image_is_drawn() -> None:
    for photo in (True, False):
        figure = click_map_figure(SCENE, np.ones(MASK.shape), SAMPLED, REAL, photo=photo)
        backdrop = np.asarray(figure.axes[0].images[0].get_array())
        assert bool(np.ptp(backdrop) > 0) is photo
