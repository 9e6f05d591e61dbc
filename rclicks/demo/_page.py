"""The page of the demo, of gradio's components; whatever is computed comes from the core."""

import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rclicks.demo.bench import Bench
from rclicks.demo.drawing import canvas, compare, pixel_at, scale_of
from rclicks.demo.files import datasets_found, open_files, open_sample, save
from rclicks.demo.session import Session
from rclicks.errors import RclicksError
from rclicks.interaction import Click
from rclicks.metrics.facts import TargetFacts
from rclicks.metrics.overlap import iou
from rclicks.sample import Mask, Sample

__all__ = ["LAUNCH", "build"]

LAUNCH: dict[str, Any] = {
    "share": False,
    "ssr_mode": False,
    "quiet": True,
    "footer_links": [],
    "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),  # none from the network
}
SIGNS = {"positive (add)": True, "negative (remove)": False}
ROW: dict[str, Any] = {"columns": 4, "object_fit": "contain", "height": 280, "format": "png", "visible": False}
HOUR = 3600


def build(bench: Bench, folder: Path, data_root: Path | None = None) -> gr.Blocks:
    """Return the page.

    Parameters
    ----------
    bench : Bench
    folder : Path
        Saved files go to sub-folders of it, a new one each time.
    data_root : Path or None
        Folder that holds the data sets' folders.
    """
    names = bench.names
    found = datasets_found(bench.registry, data_root)
    with gr.Blocks(title="rclicks demo", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as page:
        state = gr.State(None)
        with gr.Row():
            with gr.Column(scale=1):
                with gr.Tab("Your image"):
                    image = gr.File(label="Image", file_types=["image"], elem_id="image-file")
                    masks = gr.File(
                        label="Reference masks",
                        file_types=["image"],
                        file_count="multiple",
                        elem_id="mask-files",
                    )
                    open_own = gr.Button("Open", variant="primary", elem_id="open-files")
                with gr.Tab("Data set"):
                    dataset = gr.Dropdown(found, value=found[0] if found else None, label="Data set", elem_id="dataset")
                    index = gr.Number(0, precision=0, minimum=0, label="Sample, from 0")
                    number = gr.Number(0, precision=0, minimum=0, label="Object, from 0")
                    open_set = gr.Button("Open", variant="primary", elem_id="open-sample")
                model = gr.Dropdown(names, value=names[0], label="Model")
                sign = gr.Radio(list(SIGNS), value=next(iter(SIGNS)), label="A click is", elem_id="sign")
                with gr.Row():
                    undo = gr.Button("Undo", interactive=False, elem_id="undo", min_width=60)
                    redo = gr.Button("Redo", interactive=False, elem_id="redo", min_width=60)
                    clear = gr.Button("Clear", interactive=False, elem_id="clear", min_width=60)
                follow = gr.Radio([], label="Whose mask suggestions follow", visible=False)
                suggest = gr.Button("Place suggested click", interactive=False, elem_id="suggest")
                keep = gr.Button("Save mask and clicks", interactive=False, elem_id="save")
                files = gr.File(label="Saved", interactive=False, file_count="multiple", elem_id="saved")
            with gr.Column(scale=3):
                status = gr.Textbox(_status(None, None), show_label=False, interactive=False, elem_id="status")
                picture = gr.Image(label="Click here", interactive=False, format="png", elem_id="canvas", buttons=[])
                tiles = gr.Gallery(label="Raters: only rater green, only model red, both yellow", **ROW)
                answers = gr.Gallery(label="Candidates of the model", elem_id="candidates", **ROW)
                curve = gr.LinePlot(x="click", y="IoU", color="rater", y_lim=[0, 1], visible=False, label="IoU")
        shown = [state, picture, status, undo, redo, clear, suggest, keep, files, model, follow, tiles, answers, curve]

        def view(session: Session | None, follows: str | None = None) -> list[Any]:
            """Return the value of everything shown, all of it from the session."""
            if session is None:
                return [None, None, _status(None, None), *(gr.update() for _ in shown[3:])]
            predictions = bench.masks(session)
            mask, candidates = predictions[-1], bench.candidates(session)
            drew = {} if session.target is None else {r: session.facts(r) for r in session.target.raters}
            drew = {rater: facts for rater, facts in drew.items() if facts.window is not None}
            chosen = follows if follows in drew else next(iter(drew), None)
            pixels = np.asarray(session.sample.image)
            left = chosen is not None and session.suggest(chosen, mask) is not None
            return [
                session,
                canvas(pixels, mask, session.clicks, scale_of(pixels.shape)),
                _status(session, drew[chosen] if chosen else None, mask),
                gr.update(interactive=bool(session.clicks)),
                gr.update(interactive=bool(session.undone)),
                gr.update(interactive=bool(session.clicks)),
                gr.update(interactive=left),
                gr.update(interactive=bool(session.clicks)),
                None,
                session.model,
                gr.update(choices=list(drew), value=chosen, visible=len(drew) > 1),
                gr.update(value=_tiles(bench, session, mask, candidates), visible=bool(drew)),
                gr.update(value=_answers(pixels, candidates), visible=candidates is not None),
                gr.update(value=_curve(drew, predictions), visible=bool(drew) and bool(session.clicks)),
            ]

        def acts(act: Callable[..., Session | None]) -> Callable[..., list[Any]]:
            """Turn (session, more) -> session into a handler; what rclicks refuses becomes a warning."""

            @wraps(act)
            def handle(session: Session | None, follows: str | None, *more: Any) -> list[Any]:
                try:
                    return view(act(session, follows, *more), follows)
                except RclicksError as error:
                    gr.Warning(str(error), title="Not possible")
                    return view(session, follows)

            return handle

        def fresh(sample: Sample, name: str, target: int = 0) -> Session:
            bench.load(name)  # before the image is shown, so that a model that cannot be loaded is refused here
            return Session(sample, name, object=target)

        def own(
            session: Session | None, follows: str | None, file: str | None, drawn: list[str] | None, name: str
        ) -> Any:
            if file is None:
                gr.Warning("choose an image file, then open it")
                return session
            return fresh(open_files(Path(file), [Path(f) for f in drawn or []]), name)

        def from_set(
            session: Session | None, follows: str | None, data: str | None, at: int, target: int, name: str
        ) -> Any:
            if data is None:
                gr.Warning("no data set was found; name their folder by --data-root")
                return session
            return fresh(open_sample(bench.registry, data, int(at or 0), data_root), name, int(target or 0))

        def changed(session: Session | None, follows: str | None, name: str) -> Any:
            if session is None:
                return None
            bench.load(name)
            return Session(session.sample, name, session.clicks, session.undone, session.object)

        def suggested(session: Session, follows: str | None) -> Session:
            rater = follows or (session.target.raters[0] if session.target else "")
            click = session.suggest(rater, bench.masks(session)[-1])
            return session if click is None else session.place(click)

        def clicked(session: Session | None, follows: str | None, label: str, event: gr.SelectData) -> list[Any]:
            if session is None:
                return view(None)
            point = pixel_at(event.index, scale_of(session.sample.shape))
            return acts(lambda s, _: s.place(Click(point, SIGNS[label])))(session, follows)

        def kept(session: Session | None) -> list[str] | None:
            if session is None:
                return None
            place = Path(tempfile.mkdtemp(dir=folder))
            return [str(path) for path in save(place, session, bench.masks(session)[-1])]

        first = [state, follow]
        open_own.click(acts(own), [*first, image, masks, model], shown, api_name="open_files")
        open_set.click(acts(from_set), [*first, dataset, index, number, model], shown, api_name="open_sample")
        model.input(acts(changed), [*first, model], shown, api_name="model")
        undo.click(acts(lambda s, _: s and s.undo()), first, shown, api_name="undo")
        redo.click(acts(lambda s, _: s and s.redo()), first, shown, api_name="redo")
        clear.click(acts(lambda s, _: s and s.clear()), first, shown, api_name="clear")
        suggest.click(acts(suggested), first, shown, api_name="suggest")
        follow.input(acts(lambda s, _: s), first, shown, api_name="follow")
        picture.select(clicked, [*first, sign], shown, api_name=False)
        keep.click(kept, [state], [files], api_name="save")
    return page


def _larger(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture enlarged in squares, so that the browser does not blur it."""
    scale = scale_of(picture.shape)
    return np.repeat(np.repeat(picture, scale, axis=0), scale, axis=1)


def _status(session: Session | None, facts: TargetFacts | None, mask: Mask | None = None) -> str:
    if session is None or mask is None:
        return "Open an image, then click on what you want to cut out."
    height, width = session.sample.shape
    score = "" if facts is None else f", IoU {iou(facts, mask):.4f}"
    last = (
        f", last at row {session.clicks[-1].point[0]}, column {session.clicks[-1].point[1]}" if session.clicks else ""
    )
    return (
        f"{session.sample.dataset}/{session.sample.id}, {height} x {width}, {session.model}: "
        f"{len(session.clicks)} clicks{last}, {np.count_nonzero(mask)} pixels{score}"
    )


def _tiles(bench: Bench, session: Session, mask: Mask, candidates: NDArray[np.bool_] | None) -> list[Any]:
    """Return a picture a rater, with scores and, where the model has several answers, the one nearest to the rater."""
    made = []
    for rater, scores in bench.scores(session, mask).items():
        facts = session.facts(rater)
        words = f"{rater}: IoU {scores['iou']:.3f}, Dice {scores['dice']:.3f}"
        if candidates is not None:
            values = [iou(facts, candidate) for candidate in candidates]
            words += f"; nearest candidate {int(np.argmax(values)) + 1}: {max(values):.3f}"
        made.append((_larger(compare(np.asarray(session.sample.image), facts.mask, mask)), words))
    return made


def _answers(image: NDArray[np.uint8], candidates: NDArray[np.bool_] | None) -> list[Any]:
    return [
        (canvas(image, mask, (), scale_of(image.shape)), f"candidate {number}, {np.count_nonzero(mask)} pixels")
        for number, mask in enumerate(() if candidates is None else candidates, 1)
    ]


def _curve(drew: dict[str, TargetFacts], predictions: list[Mask]) -> pd.DataFrame:
    rows = [
        (count, iou(facts, mask), rater)
        for rater, facts in drew.items()
        for count, mask in enumerate(predictions)
        if count
    ]
    return pd.DataFrame(rows, columns=["click", "IoU", "rater"])
