"""The interactive plots, by Bokeh: maps of the test works with thumbnails, learning curves.

Maps put each vector on a plane: PCA keeps the two directions of largest variance, t-SNE
(van der Maaten & Hinton, JMLR 9 (2008) 2579-2605) and UMAP (McInnes, Healy & Melville,
arXiv:1802.03426) keep neighbours near and say nothing by the distances between groups. Seeds are
fixed. Colours of axes and grounds come from the page's style sheet (`--bk-...`), light or dark.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool
from bokeh.palettes import Category10_10, Category20_20
from bokeh.plotting import figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from training.document import Document, items, number, phases
from training.report.tested import WorksTested

WORKS = 2000  # drawn at most: a browser stays quick, and the page below 15 MB
FEWEST = 8
_SEED = 0
# t-SNE after PCA to 50 numbers, as its authors do; half of scikit-learn's iterations change
# nothing to be seen and take half the time.
_PCA, _ITERATIONS = 50, 500
MARKERS = {
    "circle": "●",
    "square": "■",
    "triangle": "▲",
    "diamond": "◆",
    "inverted_triangle": "▼",
    "star": "★",
}
_TOOLTIP = """
<div class="thumb" style="max-width: 15rem; overflow-wrap: anywhere; font: 13px/1.4 sans-serif">
<img src="@thumb" width="96" height="96" alt="" style="display: block; margin-bottom: 4px">
<b>@label</b><br>@name<br>@said</div>
"""
# Plot -> epochs' measurements -> name and line.
_CURVES = {
    "accuracy": {
        "validation_accuracy": ("accuracy on validation works", "solid"),
        "validation_precision_at_5": ("Precision@5 on validation works", "dashed"),
    },
    "loss": {
        "loss": ("loss on training works", "solid"),
        "validation_loss": ("loss on validation works", "dashed"),
    },
}
Plane = NDArray[np.float64]


def colour(code: int, classes: int) -> str:
    """A class's colour; of more than 20 classes some share one and differ in their marker."""
    palette = Category10_10 if classes <= len(Category10_10) else Category20_20
    return str(palette[code % len(palette)])


def marker(code: int) -> str:
    """A class's marker, so that colour is not all that tells it."""
    return list(MARKERS)[code % len(MARKERS)]


def why_no_maps(embeddings: NDArray[np.float32]) -> str | None:
    """Why these vectors cannot be mapped, or None."""
    works, dimension = embeddings.shape
    if works < FEWEST or dimension < 2:
        return f"maps take {FEWEST} test works at least, of two numbers; there are {works}"
    if np.ptp(embeddings, axis=0).max() < 1e-6:
        return "all test works have the same vector"
    return None


def drawn_works(works: int) -> NDArray[np.int64]:
    """Numbers of the works that are drawn: all, or `WORKS` of them by a fixed seed."""
    if works <= WORKS:
        return np.arange(works)
    return np.sort(np.random.default_rng(_SEED).choice(works, WORKS, replace=False))


def maps(
    tested: WorksTested, thumbnail: Callable[[int], str], classes: list[str]
) -> dict[str, Any]:
    """Plots by the method's name."""
    shown = drawn_works(len(tested))
    embeddings = tested.embeddings[shown]
    planes = {"PCA": _pca(embeddings), "t-SNE": _tsne(embeddings), "UMAP": _umap(embeddings)}
    codes = {name: code for code, name in enumerate(classes)}
    found = [codes.get(tested.labels[work], 0) for work in shown]
    said = tested.predicted
    columns: dict[str, Any] = {
        "name": [tested.names[work] for work in shown],
        "label": [tested.labels[work] for work in shown],
        "said": [f"classifier: {said[work]}" if said else "" for work in shown],
        "thumb": [thumbnail(int(tested.rows[work])) for work in shown],
        "colour": [colour(code, len(classes)) for code in found],
        "marker": [marker(code) for code in found],
    }
    for name, plane in planes.items():
        columns |= {f"{name} 1": plane[:, 0], f"{name} 2": plane[:, 1]}
    # One source for all: thumbnails are in the page once, and what is selected in one map is
    # selected in all.
    source = ColumnDataSource(columns)
    return {name: _map(name, source) for name in planes}


def learning_curves(document: Document) -> dict[str, Any]:
    """Plots of accuracy and of loss over all epochs, a line a phase."""
    found = {title: _curves(document, title) for title in _CURVES}
    return {title: plot for title, plot in found.items() if plot.renderers}


def line_styles(title: str) -> list[tuple[str, str, str]]:
    """Name, colour and "solid" or "dashed" of a plot's lines."""
    styles = _CURVES[title].values()
    return [(name, colour(code, 2), dash) for code, (name, dash) in enumerate(styles)]


def _map(name: str, source: ColumnDataSource) -> Any:
    plot = _figure(height=400, tools="pan,wheel_zoom,box_zoom,box_select,tap,reset")
    plot.scatter(
        f"{name} 1",
        f"{name} 2",
        source=source,
        size=7,
        marker="marker",
        color="colour",
        fill_alpha=0.75,
        line_alpha=0.9,
        nonselection_alpha=0.12,
    )
    plot.add_tools(HoverTool(tooltips=_TOOLTIP, point_policy="snap_to_data", limit=1))
    plot.xaxis.major_label_text_font_size = plot.yaxis.major_label_text_font_size = "0px"
    plot.axis.ticker = []
    plot.grid.visible = False
    return plot


def _curves(document: Document, title: str) -> Any:
    plot = _figure(height=280, tools="pan,wheel_zoom,box_zoom,reset")
    plot.xaxis.axis_label = "epoch, phase after phase"
    plot.yaxis.axis_label = title
    plot.xaxis.ticker.min_interval = 1
    before = 0
    for phase in phases(document):
        epochs = items(phase, "epochs")
        for measure, style in zip(_CURVES[title], line_styles(title), strict=True):
            points = [
                (before + n, value, n, f"phase {phase.get('phase')}", style[0])
                for n, value in enumerate((number(epoch, measure) for epoch in epochs), start=1)
                if value is not None
            ]
            if points:
                _line(plot, points, *style[1:])
        before += len(epochs)
    if plot.renderers:
        plot.add_tools(HoverTool(tooltips=[("@phase, epoch @epoch", "@title @value{0.000}")]))
    return plot


def _line(plot: Any, points: list[tuple[Any, ...]], hue: str, dash: str) -> None:
    names = ("x", "value", "epoch", "phase", "title")
    columns = zip(*points, strict=True)
    source = ColumnDataSource({n: list(c) for n, c in zip(names, columns, strict=True)})
    plot.line("x", "value", source=source, color=hue, line_dash=dash, line_width=2)
    plot.scatter("x", "value", source=source, color=hue, size=6)


def _figure(height: int, tools: str) -> Any:
    plot = figure(height=height, sizing_mode="stretch_width", tools=tools)
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.toolbar_location = "above"
    plot.axis.minor_tick_line_color = None
    return plot


def _pca(embeddings: NDArray[np.float32]) -> Plane:
    return _plane(PCA(2, random_state=_SEED), embeddings)


def _tsne(embeddings: NDArray[np.float32]) -> Plane:
    works, dimension = embeddings.shape
    reduced = PCA(min(_PCA, works, dimension), random_state=_SEED).fit_transform(embeddings)
    method = TSNE(
        init="pca",
        perplexity=min(30, (works - 1) / 3),
        max_iter=_ITERATIONS,
        random_state=_SEED,
    )
    return _plane(method, reduced)


def _umap(embeddings: NDArray[np.float32]) -> Plane:
    _let_numba_compile()
    from umap import UMAP  # noqa: PLC0415  compiles for seconds when it is imported

    works = len(embeddings)
    # Exact, where UMAP's own search would compile itself for ten seconds first.
    near = NearestNeighbors(n_neighbors=min(15, works - 1), metric="cosine").fit(embeddings)
    distances, neighbours = near.kneighbors(embeddings)
    # Its spectral start needs more works than these; a seed allows one thread only.
    init = "spectral" if works > 50 else "random"
    method = UMAP(
        n_neighbors=near.n_neighbors,
        metric="cosine",
        precomputed_knn=(neighbours, distances),
        init=init,
        random_state=_SEED,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precomputed_knn")  # new points are never asked about
        return _plane(method, embeddings)


def _let_numba_compile() -> None:
    """Numba, below UMAP, refuses to work where it cannot write the code that it compiles: beside
    the package, which a container or a system's Python does not allow."""
    import numba  # noqa: PLC0415

    package = importlib.util.find_spec("umap")
    if numba.config.CACHE_DIR or package is None or package.origin is None:
        return
    if not os.access(Path(package.origin).parent, os.W_OK):
        # A folder of this process alone: what is in it is run.
        numba.config.CACHE_DIR = tempfile.mkdtemp(prefix="numba-")
        atexit.register(shutil.rmtree, numba.config.CACHE_DIR, ignore_errors=True)


def _plane(method: Any, embeddings: NDArray[Any]) -> Plane:
    return np.asarray(method.fit_transform(embeddings), np.float64)
