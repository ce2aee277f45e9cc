"""Reports measurements: as text, JSON, or a plot."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aioboinc import errors
from bench.measuring import Curve, Kind, Series, Stage

__all__ = ["markdown", "plot", "text", "to_json"]

_COLOURS = {Kind.OURS: "#1f77b4", Kind.BESIDE: "#ff7f0e", Kind.BOUND: "#c7c7c7"}
_LABELS = {
    Kind.OURS: "aioboinc",
    Kind.BESIDE: "instead of it",
    Kind.BOUND: "bound: a part of the work, on this machine",
}


def text(stages: Sequence[Stage], machine: Mapping[str, str]) -> str:
    """Return the tables, ratios first, and the machine at the end."""
    blocks = ["\n".join(_table(stage)) for stage in stages]
    blocks.append("\n".join(_machine(machine)))
    return "\n\n".join(blocks) + "\n"


def _table(stage: Stage) -> Iterator[str]:
    rounds = max((len(series.seconds) for series in stage.series), default=1)
    yield f"{stage.name}: {stage.jobs:,} jobs, {stage.database}, {rounds} rounds" if stage.jobs else stage.name
    for one in stage.series:
        if one.kind is Kind.OURS:
            for other in filter(one.is_comparable, stage.series):
                yield f"  {one.ratio(other):8.2f} x  {one.name}  :  {other.name}"
    width = max((len(series.name) for series in stage.series), default=0)
    for series in stage.series:
        low, high = min(series.rates), max(series.rates)
        yield f"  {series.name:{width}}  {series.rate:10,.0f}/s   ({low:,.0f} to {high:,.0f})"
    for figure in stage.figures:
        yield f"  {figure.name}: {figure.value:,.3g} {figure.unit}"
    for curve in stage.curves:
        yield f"  {curve.name}: {_points(curve)}"


def _points(curve: Curve) -> str:
    return ", ".join(
        f"{point.size} MiB {point.seconds:.2f} s {point.memory:,.0f} MiB{' (refused)' * bool(point.refused)}"
        for point in curve.points
    )


def markdown(stages: Sequence[Stage], machine: Mapping[str, str]) -> str:
    """Return one table of all stages, ready for a page, and the machine below it.

    Ratios compare only with alternatives for users; the bounds are for comparison with the rates.
    """
    lines = ["| stage | | a second | times as fast as |", "|---|---|---|---|"]
    for stage in stages:
        name = stage.name
        for series in stage.series:
            low, high = min(series.rates), max(series.rates)
            rate = f"{series.rate:,.0f} ({low:,.0f} to {high:,.0f})"
            others = [other for other in stage.series if other.kind is Kind.BESIDE and series.is_comparable(other)]
            ours = series.kind is Kind.OURS
            ratios = "<br>".join(f"{series.ratio(other):.1f} × {other.name}" for other in others if ours)
            lines.append(f"| {name} | {series.name} | {rate} | {ratios} |")
            name = ""
        for figure in stage.figures:
            lines.append(f"| {name} | {figure.name} | {figure.value:,.3g} {figure.unit} | |")
            name = ""
        for curve in stage.curves:
            lines.append(f"| {name} | {curve.name} | {_points(curve)} | |")
            name = ""
    sizes = sorted({(stage.jobs, stage.database) for stage in stages if stage.jobs})
    jobs = " and ".join(f"{count:,} jobs, {database}" for count, database in sizes)
    return "\n".join((*lines, "", f"{jobs}.", "", *_machine(machine))) + "\n"


def _machine(machine: Mapping[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in machine.items()]


def to_json(stages: Sequence[Stage], machine: Mapping[str, str]) -> str:
    """Return all that was measured."""
    document = {"machine": dict(machine), "stages": [_stage(stage) for stage in stages]}
    return json.dumps(document, indent=1) + "\n"


def _stage(stage: Stage) -> dict[str, Any]:
    document = dataclasses.asdict(stage)
    for entry, series in zip(document["series"], stage.series, strict=True):
        entry["median_rate"] = round(series.rate, 1)
        entry["ratios"] = {
            other.name: round(series.ratio(other), 3)
            for other in stage.series
            if series.kind is Kind.OURS and series.is_comparable(other)
        }
    return document


def plot(stages: Sequence[Stage], machine: Mapping[str, str], path: Path) -> None:
    """Draw the rates of all stages. Raises `errors.UsageError` without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise errors.UsageError("--plot needs matplotlib: pip install matplotlib") from None
    matplotlib.use("agg")
    from matplotlib import patches, pyplot

    if any(stage.curves for stage in stages):
        _curves([curve for stage in stages for curve in stage.curves], machine, path)
        return
    drawn = [stage for stage in stages if stage.series]
    heights = [len(stage.series) for stage in drawn]
    figure, axes = pyplot.subplots(
        len(drawn),
        1,
        figsize=(10, 1.2 + 0.35 * sum(heights) + 0.7 * len(drawn)),
        height_ratios=heights,
        squeeze=False,
    )
    for stage, (axis,) in zip(drawn, axes, strict=True):
        for place, series in enumerate(stage.series):
            _bar(axis, place, series)
        axis.set_yticks(range(len(stage.series)), [series.name for series in stage.series])
        axis.invert_yaxis()
        axis.xaxis.set_major_formatter("{x:,.0f}")
        title = f"{stage.name}: jobs a second ({stage.jobs:,} jobs, {stage.database})"
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    kinds = {series.kind for stage in drawn for series in stage.series}
    figure.legend(
        handles=[patches.Patch(color=_COLOURS[kind], label=_LABELS[kind]) for kind in Kind if kind in kinds],
        loc="lower center",
        ncols=3,
        frameon=False,
        title=", ".join((machine["processor"], machine["database"], machine["file system"])),
    )
    figure.tight_layout(rect=(0, 0.6 / figure.get_figheight(), 1, 1))
    figure.savefig(path)


def _curves(curves: Sequence[Curve], machine: Mapping[str, str], path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 7))
    for number, curve in enumerate(curves):
        style = {"color": f"C{number % 10}", "linestyle": ("-", "--")[number // 10], "marker": "o"}
        sizes = [point.size for point in curve.points]
        label = curve.name + " (refused)" * all(point.refused for point in curve.points)
        axes[0].plot(sizes, [point.seconds for point in curve.points], label=label, **style)
        axes[1].plot(sizes, [point.memory for point in curve.points], **style)
        for axis, kind in zip(axes, ("seconds", "memory"), strict=True):
            refused = [(point.size, getattr(point, kind)) for point in curve.points if point.refused]
            axis.plot([x for x, _ in refused], [y for _, y in refused], "x", color="black", markersize=9)
    for axis, title in zip(axes, ("processor time (s)", "memory beside the file (MiB)"), strict=True):
        axis.set_title(f"decoding: {title}", loc="left", fontsize=10, fontweight="bold")
        axis.set_xlabel("file (MiB); a cross: refused")
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="lower center", ncols=3, frameon=False, fontsize=8, title=machine["processor"])
    figure.tight_layout(rect=(0, 0.24, 1, 1))
    figure.savefig(path)


def _bar(axis: Any, place: int, series: Series) -> None:
    low, high = min(series.rates), max(series.rates)
    axis.barh(
        place,
        series.rate,
        color=_COLOURS[series.kind],
        xerr=[[series.rate - low], [high - series.rate]],
        ecolor="#444444",
    )
    axis.annotate(f" {series.rate:,.0f}", (high, place), va="center", fontsize=8)
