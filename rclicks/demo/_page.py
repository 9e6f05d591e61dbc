"""The page of the demo, built from components of gradio; all results come from the other modules of the demo."""

import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rclicks.demo.agreement import agreement
from rclicks.demo.bench import Bench
from rclicks.demo.drawing import compare, draw_clicks, pixel_at, scale_of
from rclicks.demo.files import datasets_found, open_files, open_sample, save
from rclicks.demo.session import Session
from rclicks.errors import RclicksError
from rclicks.interaction import Click
from rclicks.metrics.overlap import dice
from rclicks.metrics.target import TargetReference
from rclicks.sample import Mask, Sample

__all__ = ["LAUNCH", "build"]

LAUNCH: dict[str, Any] = {
    "share": False,
    "ssr_mode": False,
    "quiet": True,
    "footer_links": [],
    "css": "#raters, #candidates, #led { .grid-wrap { min-height: 16rem; max-height: none; }"
    " .caption-label { max-width: 100%; white-space: normal; } }",
    "theme": gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),  # no fonts from the network
}
SIGNS = {"positive (add)": True, "negative (remove)": False}
ROW: dict[str, Any] = {
    "columns": 4,
    "fit_columns": False,
    "object_fit": "contain",
    "format": "png",
    "visible": False,
}
COLOURS = "rater only: green, model only: red, both: yellow"
# Only one action runs at a time. If a click were handled before the previous click of the same visitor is done, one
# of the two would be lost. Visitors wait for each other anyway, because there is only one bench.
TURN: dict[str, Any] = {"concurrency_id": "acts", "concurrency_limit": 1}
HOUR = 3600


def build(bench: Bench, folder: Path, data_root: Path | None = None) -> gr.Blocks:
    """Return the page.

    Parameters
    ----------
    bench : Bench
    folder : Path
        Folder for saved files; each time they are saved in a new sub-folder.
    data_root : Path or None
        Folder that contains the folders of the data sets.
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
                follow = gr.Radio([], label="Rater for suggested clicks", visible=False)
                suggest = gr.Button("Place suggested click", interactive=False, elem_id="suggest")
                lead = gr.Button("Let each rater click", interactive=False, elem_id="lead")
                keep = gr.Button("Save mask and clicks", interactive=False, elem_id="save")
                files = gr.File(label="Saved", interactive=False, file_count="multiple", elem_id="saved")
            with gr.Column(scale=3):
                status = gr.Textbox(_status(None), show_label=False, interactive=False, elem_id="status")
                picture = gr.Image(label="Click here", interactive=False, format="png", elem_id="picture", buttons=[])
                tiles = gr.Gallery(label=f"Raters: {COLOURS}", elem_id="raters", **ROW)
                answers = gr.Gallery(label="Candidates of the model", elem_id="candidates", **ROW)
                table = gr.Dataframe(
                    label="Dice with each rater", interactive=False, buttons=[], visible=False, elem_id="agreement"
                )
                others = gr.Gallery(label=f"If each rater had placed the clicks: {COLOURS}", elem_id="led", **ROW)
                curve = gr.LinePlot(x="click", y="Dice", color="rater", y_lim=[0, 1], visible=False, label="Dice")
        buttons = [undo, redo, clear, suggest, lead, keep]
        shown = [state, picture, status, *buttons, files, model, follow, tiles, answers, table, others, curve]

        def view(session: Session | None, follows: str | None = None) -> list[Any]:
            """Return the values of all components, which depend on the session alone."""
            if session is None:
                return [None, None, _status(None), *(gr.update() for _ in shown[3:])]
            predictions = bench.masks(session)
            mask, candidates = predictions[-1], bench.candidates(session)
            drew = session.drew()
            chosen = follows if follows in drew else next(iter(drew), None)
            pixels = np.asarray(session.sample.image)
            clicked = bool(session.clicks)
            left = chosen is not None and session.suggest(chosen, mask) is not None
            return [
                session,
                draw_clicks(pixels, mask, session.clicks, scale_of(pixels.shape)),
                _status(session, mask, bench.scores(session, mask), chosen),
                gr.update(interactive=clicked),
                gr.update(interactive=bool(session.undone)),
                gr.update(interactive=clicked),
                gr.update(interactive=left),
                gr.update(interactive=bool(drew) and clicked),
                gr.update(interactive=clicked),
                None,
                session.model,
                gr.update(choices=list(drew), value=chosen, visible=len(drew) > 1),
                gr.update(value=_tiles(bench, session, drew, mask), visible=bool(drew)),
                gr.update(value=_answers(session, drew, candidates), visible=bool(candidates)),
                _table(session, drew, {"now": mask} | candidates),
                gr.update(value=[], visible=False),
                gr.update(value=_curve(drew, predictions), visible=bool(drew) and clicked),
            ]

        def acts(act: Callable[..., Session | None]) -> Callable[..., list[Any]]:
            """Return an event handler for a function that returns a new session; errors of rclicks become warnings."""

            @wraps(act)
            def handle(session: Session | None, follows: str | None, *more: Any) -> list[Any]:
                try:
                    return view(act(session, follows, *more), follows)
                except RclicksError as error:
                    gr.Warning(str(error), title="Not possible")
                    return view(session, follows)

            return handle

        def fresh(sample: Sample, name: str, target: int = 0) -> Session:
            bench.load(name)  # first, so that a model that cannot be loaded is refused before the image is shown
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
                gr.Warning("no data set was found; set their folder with --data-root")
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

        def led(session: Session | None) -> Any:
            try:
                return gr.update(value=_led(bench, session) if session else [], visible=session is not None)
            except RclicksError as error:
                gr.Warning(str(error), title="Not possible")
                return gr.skip()

        first = [state, follow]
        open_own.click(acts(own), [*first, image, masks, model], shown, api_name="open_files", **TURN)
        open_set.click(acts(from_set), [*first, dataset, index, number, model], shown, api_name="open_sample", **TURN)
        model.input(acts(changed), [*first, model], shown, api_name="model", **TURN)
        undo.click(acts(lambda s, _: s and s.undo()), first, shown, api_name="undo", **TURN)
        redo.click(acts(lambda s, _: s and s.redo()), first, shown, api_name="redo", **TURN)
        clear.click(acts(lambda s, _: s and s.clear()), first, shown, api_name="clear", **TURN)
        suggest.click(acts(suggested), first, shown, api_name="suggest", **TURN)
        follow.input(acts(lambda s, _: s), first, shown, api_name="follow", **TURN)
        picture.select(clicked, [*first, sign], shown, api_name=False, **TURN)
        lead.click(led, [state], [others], api_name="lead", **TURN)
        keep.click(kept, [state], [files], api_name="save", **TURN)
    return page


def _larger(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture in which each pixel is a square of equal pixels, so that the browser does not blur it."""
    scale = scale_of(picture.shape)
    return np.repeat(np.repeat(picture, scale, axis=0), scale, axis=1)


def _status(
    session: Session | None,
    mask: Mask | None = None,
    scores: dict[str, dict[str, float]] | None = None,
    follows: str | None = None,
) -> str:
    if session is None or mask is None:
        return "Open an image, then click on the object that you want to segment."
    height, width = session.sample.shape
    words = [f"{len(session.clicks)} clicks"]
    if session.clicks:
        words.append("last at row {}, column {}".format(*session.clicks[-1].point))
    words.append(f"{np.count_nonzero(mask)} pixels")
    if scores and follows:
        words.append(f"Dice {scores[follows]['dice']:.4f} with {follows}")
    if scores and len(scores) > 1 and mask.any():
        nearest = max(scores, key=lambda rater: scores[rater]["dice"])
        words.append(f"nearest to {nearest} ({scores[nearest]['dice']:.4f})")
    return f"{session.sample.dataset}/{session.sample.id}, {height} x {width}, {session.model}: {', '.join(words)}"


def _tiles(bench: Bench, session: Session, drew: dict[str, TargetReference], mask: Mask) -> list[Any]:
    """Return a picture for each rater who drew something, which compares this rater's mask with the prediction."""
    image = np.asarray(session.sample.image)
    return [
        (
            _larger(compare(image, drew[rater].mask, mask)),
            f"{rater}: Dice {scores['dice']:.3f}, IoU {scores['iou']:.3f}",
        )
        for rater, scores in bench.scores(session, mask).items()
    ]


def _answers(session: Session, drew: dict[str, TargetReference], candidates: dict[str, Mask]) -> list[Any]:
    image = np.asarray(session.sample.image)
    made = []
    for name, mask in candidates.items():
        words = f"{name}, {np.count_nonzero(mask)} pixels"
        if drew and mask.any():
            scores = {rater: dice(reference, mask) for rater, reference in drew.items()}
            nearest = max(scores, key=scores.__getitem__)
            words = f"{name}: {nearest} {scores[nearest]:.3f}"
        made.append((draw_clicks(image, mask, (), scale_of(image.shape)), words))
    return made


def _table(session: Session, drew: dict[str, TargetReference], answers: dict[str, Mask]) -> Any:
    """Return the table of all predictions and raters; hidden if the tiles already show everything."""
    if not drew or len(drew) + len(answers) < 3:  # one rater and one prediction
        return gr.update(visible=False)
    ignore = session.target.ignore if session.target else None
    found = agreement(answers, {rater: reference.mask for rater, reference in drew.items()}, ignore)
    return gr.update(value={"headers": list(found.header), "data": [list(r) for r in found.rows]}, visible=True)


def _led(bench: Bench, session: Session) -> list[Any]:
    """Return a picture for each rater: the prediction after equally many clicks that follow this rater."""
    image = np.asarray(session.sample.image)
    made = []
    for rater, reference in session.drew().items():
        played = bench.led(session, rater, len(session.clicks))
        mask = bench.masks(played)[-1]
        words = f"{rater}: Dice {dice(reference, mask):.3f} after {len(played.clicks)}"
        made.append((_larger(compare(image, reference.mask, mask)), words))
    return made


def _curve(drew: dict[str, TargetReference], predictions: list[Mask]) -> pd.DataFrame:
    rows = [
        (count, dice(reference, mask), rater)
        for rater, reference in drew.items()
        for count, mask in enumerate(predictions)
        if count
    ]
    return pd.DataFrame(rows, columns=["click", "Dice", "rater"])
