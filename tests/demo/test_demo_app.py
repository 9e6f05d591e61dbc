"""The page of the demo: the server answers, and clicks in a real browser do what the core says."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import rclicks
from rclicks.demo.app import start
from rclicks.demo.bench import Bench
from rclicks.demo.files import open_files
from rclicks.demo.session import Session
from rclicks.errors import PluginError, RunError, UnknownNameError
from rclicks.interaction import Click
from rclicks.registry import Registry
from support import REPOSITORY, rng_image

SHAPE = (64, 96)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


SLOW = '''
"""A slow model with two answers: the rows down to the first click, and those down to the last."""
import time
import numpy as np
from rclicks.cards import ModelCard
from rclicks.models.contract import Model, State
CARDS = (ModelCard(name="slow", family="slow", summary="two answers"),)


class Slow(Model):
    def __init__(self, card):
        self.card, self.options = card, {}

    def embed(self, sample):
        return sample.shape

    def segment(self, embedding, states):
        time.sleep(0.7)
        maps = [self.candidates(embedding, state)[1] for state in states]
        return [State(state.interactions, found > 0.5, found) for state, found in zip(states, maps)]

    def candidates(self, embedding, state):
        maps = np.zeros((2, *embedding), np.float32)
        for found, click in zip(maps, (state.interactions[0], state.interactions[-1])):
            found[: click.point[0] + 1] = 1
        return maps


def load(card, *, checkpoint=None, device="cpu", protocol=None):
    return Slow(card)
'''


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a data set `folder` of one image."""
    root = tmp_path_factory.mktemp("data")
    truth = np.zeros(SHAPE, np.uint8)
    truth[16:48, 20:70] = 255
    image = rng_image(3, *SHAPE) // 3
    image[truth > 0] += 120
    for kind, picture in (("images", image), ("masks", truth)):
        (root / kind).mkdir()
        assert cv2.imwrite(str(root / kind / "cat.png"), picture)
    return root


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio")
    port = free_port()
    plugins = tmp_path_factory.mktemp("plugins")
    (plugins / "adapters").mkdir()
    (plugins / "adapters" / "slow.py").write_text(SLOW)
    page = start(tmp_path_factory.mktemp("saved"), ["geodesic"], port=port, plugins=[plugins])
    yield f"http://127.0.0.1:{port}"
    page.close(verbose=False)


def test_without_gradio_the_command_says_what_to_install() -> None:
    """In a process that cannot import gradio, wherever it is installed."""
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'gradio' else find(name, *a)\n"
        "sys.argv = ['rclicks', 'demo']\n"
        "from rclicks.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == PluginError.exit_code
    assert "pip install 'rclicks[demo]'" in done.stderr


def test_unknown_models_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        start(tmp_path, ["no-such-model"])


def test_a_taken_port_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="choose another --port"):
        start(tmp_path, port=int(address.rsplit(":", 1)[1]))


def test_it_listens_on_this_machine_only_and_tells_nobody(address: str) -> None:
    with urllib.request.urlopen(address, timeout=20) as answer:
        text = answer.read().decode()
    assert "rclicks demo" in text
    assert "fonts.googleapis.com/css2" not in text
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "0"
    port = int(address.rsplit(":", 1)[1])
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if Path("/proc/net/tcp").exists() else ():
        place, state = line.split()[1], line.split()[3]
        if place.endswith(f":{port:04X}") and state == "0A":  # listening
            assert place.startswith("0100007F")


def open_page(browser: Any, address: str, files: Path, masks: Sequence[Path] = ()) -> Any:
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(15_000)
    page.goto(address)
    given = {"#image-file": [files / "images" / "cat.png"], "#mask-files": masks or [files / "masks" / "cat.png"]}
    for field, paths in given.items():
        page.locator(f"{field} input[type=file]").set_input_files([str(path) for path in paths])
        page.locator(f"{field} .file-preview").wait_for()
    page.locator("#open-files").click()
    wait_for(page, "0 clicks")
    return page


def wait_for(page: Any, words: str) -> str:
    page.wait_for_function("words => document.querySelector('#status textarea').value.includes(words)", arg=words)
    return str(page.locator("#status textarea").input_value())


def click_at(page: Any, point: tuple[int, int]) -> None:
    """Click on the middle of a pixel (row, column) of the image, wherever the browser shows it."""
    page.wait_for_function(  # a picture that is still on its way has no size
        "() => { const i = document.querySelector('#picture img'); return i && i.complete && i.naturalWidth > 0; }"
    )
    shown = page.locator("#picture img")
    box = shown.bounding_box()
    row, column = ((c + 0.5) / n for c, n in zip(point, SHAPE, strict=True))
    shown.click(position={"x": column * box["width"], "y": row * box["height"]})


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.slow
def test_clicks_in_a_browser_are_those_of_the_core(address: str, browser: Any, files: Path, tmp_path: Path) -> None:
    sample = open_files(files / "images" / "cat.png", [files / "masks" / "cat.png"])
    session, bench = Session(sample, "geodesic"), Bench(Registry.discover())
    page = open_page(browser, address, files)
    click_at(page, (30, 40))
    session = session.place(Click((30, 40)))
    wait_for(page, f"1 clicks, last at row 30, column 40, {bench.masks(session)[-1].sum()} pixels")
    page.locator("#sign").get_by_text("negative").click()
    click_at(page, (5, 90))
    session = session.place(Click((5, 90), positive=False))
    wait_for(page, f"2 clicks, last at row 5, column 90, {bench.masks(session)[-1].sum()} pixels")
    page.locator("#undo").click()
    wait_for(page, "1 clicks, last at row 30, column 40")
    page.locator("#redo").click()
    wait_for(page, "2 clicks")
    suggestion = session.suggest("gt", bench.masks(session)[-1])
    session = session.place(suggestion)
    page.locator("#suggest").click()
    wait_for(page, f"3 clicks, last at row {suggestion.point[0]}, column {suggestion.point[1]}")

    other = open_page(browser, address, files)  # a second visitor
    click_at(other, (50, 80))
    wait_for(other, "1 clicks, last at row 50, column 80")
    page.locator("#undo").click()
    wait_for(page, "2 clicks, last at row 5, column 90")
    page.locator("#redo").click()
    wait_for(page, f"3 clicks, last at row {suggestion.point[0]}")
    assert "1 clicks" in other.locator("#status textarea").input_value()
    other.locator("#clear").click()
    wait_for(other, "0 clicks")

    page.locator("#save").click()
    links = page.locator("#saved a[download]")
    links.nth(1).wait_for()
    for number in range(2):
        with page.expect_download() as download:
            links.nth(number).click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
    log = tmp_path / "cat_clicks.csv"
    assert log.read_text() == session.log()
    mask = cv2.imread(str(tmp_path / "cat_mask.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask > 0, bench.masks(session)[-1])
    frame = rclicks.evaluate(
        "quickstart", models=["geodesic"], datasets=[f"folder:root={files}"], users=[f"recorded:file={log}"]
    )
    assert len(frame) == 3
    assert frame["iou"].iloc[-1] == pytest.approx(bench.scores(session, mask > 0)["gt"]["iou"])


def choose_model(page: Any, name: str) -> None:
    page.get_by_label("Model", exact=True).click()
    page.get_by_role("option", name=name, exact=True).click()


def raters(folder: Path) -> list[Path]:
    """Write what ann (rows 16 to 47), bob (16 to 31) and eve (nothing) drew."""
    drawn = {"ann": slice(16, 48), "bob": slice(16, 32), "eve": slice(0)}
    for name, rows in drawn.items():
        mask = np.zeros(SHAPE, np.uint8)
        mask[rows] = 255
        assert cv2.imwrite(str(folder / f"{name}.png"), mask)
    return [folder / f"{name}.png" for name in drawn]


@pytest.mark.slow
def test_several_raters_and_answers_in_a_browser(address: str, browser: Any, files: Path, tmp_path: Path) -> None:
    """The answer to clicks at rows 20 and 39 is rows 0 to 39, and the first candidate rows 0 to 20."""
    page = open_page(browser, address, files, raters(tmp_path))
    choose_model(page, "slow")
    wait_for(page, "slow: 0 clicks")
    assert page.locator("#raters img").count() == 2
    click_at(page, (20, 40))
    wait_for(page, "1 clicks")
    page.locator("#led").wait_for(state="hidden")
    click_at(page, (39, 40))
    words = wait_for(page, "2 clicks")
    assert "nearest to ann (0.6667)" in words  # 24 rows of 40 + 32
    assert "Dice 0.6667 with ann" in words
    page.get_by_text("candidate 1: bob 0.270").wait_for()  # 5 rows of 21 + 16
    page.get_by_text("candidate 2: ann 0.667").wait_for()
    page.get_by_text("bob: Dice 0.571, IoU 0.400").first.wait_for()  # 16 rows of 40 + 16
    page.wait_for_function("() => document.querySelector('#agreement').innerText.includes('inter-rater agreement')")
    flat = " ".join(page.locator("#agreement").inner_text().split())
    assert "now 0.667 0.571 candidate 1 0.189 0.270 candidate 2 0.667 0.571" in flat
    assert "inter-rater agreement 0.667 0.667" in flat
    page.get_by_label("bob", exact=True).click()
    wait_for(page, "Dice 0.5714 with bob")
    page.locator("#lead").click()
    page.get_by_text("after 2").nth(1).wait_for()
    assert page.locator("#led img").count() == 2
    page.locator("#undo").click()
    wait_for(page, "1 clicks, last at row 20")
    page.locator("#led").wait_for(state="hidden")


@pytest.mark.slow
def test_no_act_of_a_hasty_visitor_is_lost(address: str, browser: Any, files: Path) -> None:
    """Acts that come while the model is still busy with the one before are done one after the other."""
    page = open_page(browser, address, files)
    choose_model(page, "slow")
    wait_for(page, "slow: 0 clicks")
    page.locator("#suggest").click()
    wait_for(page, "1 clicks")
    # As fast as the browser can, without waiting until the page invites the next act.
    page.evaluate("() => { for (const id of ['suggest', 'clear']) document.getElementById(id).click(); }")
    page.wait_for_timeout(4000)  # a click that was overtaken would come back
    assert "slow: 0 clicks" in page.locator("#status textarea").input_value()
