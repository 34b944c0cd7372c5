"""A report one can open anywhere: one HTML file with its pictures inside."""

from __future__ import annotations

import base64
import dataclasses
import html
import string
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from rosam_core.evaluation.pictures import (
    ERROR_END,
    colorize_error,
    colorize_relative,
    dilate_sparse,
    encode_jpeg,
    encode_png,
    fit,
    relative_error,
)
from rosam_core.runtime.colormap import NEAREST_M, colorize_confidence, colorize_depth
from rosam_core.types import Float32, UInt8

PANEL_WIDTH = 560


@dataclasses.dataclass(frozen=True)
class Card:
    """One number at the top of the report."""

    label: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with a heading; the first row is the header, `left` columns hold words."""

    heading: str
    rows: Sequence[Sequence[str]]
    note: str = ""
    left: Sequence[int] = (0,)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A plot, as PNG bytes, with its caption."""

    heading: str
    png: bytes
    caption: str = ""
    shape: str = ""  # "", "wide" = a whole row, "tall" = two rows


@dataclasses.dataclass(frozen=True)
class Example:
    """One frame shown as image, depth, error and confidence.

    Attributes:
        title: For example `night, worst`.
        caption: Figures of this frame.
        image: uint8[H,W,3] RGB.
        depth: float32[H,W] [m].
        confidence: float32[H,W] in [0, 1].
        truth: float32[H,W] [m], or None if there is none.
        is_sparse: The truth is lone lidar points.
    """

    title: str
    caption: str
    image: UInt8
    depth: Float32
    confidence: Float32
    truth: Float32 | None = None
    is_sparse: bool = False


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything a report shows, in the order it is shown.

    Attributes:
        title: Heading.
        lead: One sentence under it.
        hero: Animated WebP or JPEG bytes at the top; empty for none.
        cards: Key figures.
        tables: Tables.
        figures: Plots.
        examples: Frames.
        notes: How it was measured; one line each.
        links: Text and relative address of the files beside the report.
        max_depth_m: Far end of the depth colours [m].
    """

    title: str
    lead: str
    hero: bytes
    cards: Sequence[Card]
    tables: Sequence[Table]
    figures: Sequence[Figure]
    examples: Sequence[Example]
    notes: Sequence[str]
    links: Sequence[tuple[str, str]]
    max_depth_m: float = 80.0


def write_report(path: Path, report: Report) -> None:
    """Writes a report as one HTML file that needs nothing beside it.

    Args:
        path: The file; its folder is made if need be.
        report: What to show.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(report), encoding="utf-8")


def render_report(report: Report) -> str:
    """Returns the HTML of a report.

    Args:
        report: What to show; every text is escaped.
    """
    template = string.Template((Path(__file__).parent / "report.html").read_text("utf-8"))
    return template.substitute(
        title=html.escape(report.title),
        lead=html.escape(report.lead),
        hero=f'<img class="hero" alt="image, depth, confidence" src="{_data_uri(report.hero)}">'
        if report.hero
        else "",
        links=" ".join(
            f'<a href="{html.escape(address)}">{html.escape(text)}</a>'
            for text, address in report.links
        ),
        cards="".join(_card(card) for card in report.cards),
        tables="".join(_table(table) for table in report.tables),
        figures="".join(_figure(figure) for figure in report.figures),
        legend=_legend(report.max_depth_m) if report.examples else "",
        examples="".join(_example(e, report.max_depth_m) for e in report.examples),
        notes="".join(f"<li>{html.escape(note)}</li>" for note in report.notes),
    )


def _card(card: Card) -> str:
    return (
        f'<div class="card"><span>{html.escape(card.label)}</span>'
        f"<b>{html.escape(card.value)}</b><small>{html.escape(card.note)}</small></div>"
    )


def _table(table: Table) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=left' if i in table.left else ''}>{html.escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    body = "".join(
        f"<tr{' class=group' if row[0] else ''}>{line(row, 'td')}</tr>" for row in table.rows[1:]
    )
    note = f'<p class="note">{html.escape(table.note)}</p>' if table.note else ""
    return (
        f"<h2>{html.escape(table.heading)}</h2><div class=scroll><table><thead><tr>"
        f"{line(table.rows[0], 'th')}</tr></thead><tbody>{body}</tbody></table></div>{note}"
    )


def _figure(figure: Figure) -> str:
    return (
        f'<figure class="{figure.shape}"><h3>{html.escape(figure.heading)}</h3>'
        f'<img alt="{html.escape(figure.heading)}" src="{_data_uri(figure.png)}">'
        f"<figcaption>{html.escape(figure.caption)}</figcaption></figure>"
    )


def _example(example: Example, max_depth_m: float) -> str:
    panels = example_panels(example, max_depth_m)
    images = "".join(
        f'<div><img loading=lazy alt="{name}" src="{_data_uri(_jpeg(picture))}">'
        f"<span>{name}</span></div>"
        for name, picture in panels
    )
    return (
        f'<section class="example"><h3>{html.escape(example.title)}'
        f"<small>{html.escape(example.caption)}</small></h3>"
        f'<div class="panels n{len(panels)}">{images}</div></section>'
    )


def example_panels(example: Example, max_depth_m: float) -> list[tuple[str, UInt8]]:
    """Returns the named pictures of a frame: image, depth, error if there is a truth, confidence.

    Args:
        example: The frame.
        max_depth_m: Far end of the depth colours [m]; truth from there on has no error, and depth
            beyond counts as this, as in `depth_metrics`.
    """
    panels = [("image", example.image), ("depth", colorize_depth(example.depth, max_depth_m))]
    if example.truth is not None:
        panels.append(("error", _error_panel(example, max_depth_m)))
    return [*panels, ("confidence", colorize_confidence(example.confidence))]


def _error_panel(example: Example, max_depth_m: float) -> UInt8:
    truth = example.truth if example.truth is not None else np.full_like(example.depth, np.nan)
    truth = np.where(truth < max_depth_m, truth, np.float32(np.nan))
    error = relative_error(truth, np.minimum(example.depth, np.float32(max_depth_m)))
    if not example.is_sparse:
        return colorize_relative(error)
    # Lidar points lie over a dimmed image: alone they would be dots on grey.
    grey = cv2.cvtColor(example.image, cv2.COLOR_RGB2GRAY)
    under = np.repeat((grey // 3 + 20)[..., None], 3, axis=2)
    error = dilate_sparse(error, max(1, example.image.shape[1] // 400))
    return np.where(np.isnan(error)[..., None], under, colorize_relative(error))


def _jpeg(picture: UInt8) -> bytes:
    height = round(PANEL_WIDTH * picture.shape[0] / picture.shape[1])
    return encode_jpeg(fit(picture, PANEL_WIDTH, height))


def _legend(max_depth_m: float) -> str:
    """Returns the colour bars of depth, error and confidence."""
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    # Depth colours run over the square root of inverse depth, so the bar's ticks are not even.
    end = (NEAREST_M / max_depth_m) ** 0.5
    depth = NEAREST_M / (1 + ramp * (end - 1)) ** 2
    # The last one stands at the far end; one close before it would be written over.
    ticks = [NEAREST_M, *(d for d in (2, 5, 10) if d <= max_depth_m / 2), max_depth_m]
    places = [(1 - (NEAREST_M / d) ** 0.5) / (1 - end) for d in ticks]
    one = np.ones_like(ramp)
    bars = (
        (
            "depth",
            colorize_depth(depth, max_depth_m),
            [(p, f"{d:g} m") for p, d in zip(places, ticks, strict=True)],
        ),
        (
            "error, share of the true depth",
            colorize_error(one, one + ramp * ERROR_END),
            [(0.0, "0"), (0.5, f"{ERROR_END / 2:.0%}"), (1.0, f"{ERROR_END:.0%} or more")],
        ),
        ("confidence", colorize_confidence(ramp), [(0.0, "0"), (0.5, "0.5"), (1.0, "1")]),
    )
    return "".join(
        f'<div class="bar"><span>{name}</span>'
        f'<img alt="" src="{_data_uri(encode_png(np.repeat(picture, 10, axis=0)))}">'
        "<div>" + "".join(f'<i style="left:{100 * p:.1f}%">{t}</i>' for p, t in ticks_) + "</div>"
        "</div>"
        for name, picture, ticks_ in bars
    )


def _data_uri(data: bytes) -> str:
    """Returns picture bytes as an address a browser shows without a file."""
    kinds = {b"\x89PNG": "png", b"RIFF": "webp"}
    kind = kinds.get(data[:4], "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
