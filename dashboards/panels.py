"""What the dashboards are made of: queries of Prometheus, a few kinds of panels, and the frame around them."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    statetimeline,
    statushistory,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    StackingMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLink,
    DashboardLinkType,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

__all__ = [
    "CELL",
    "SERVICE",
    "Panels",
    "board",
    "events",
    "heat",
    "levels",
    "lines",
    "of",
    "quantile",
    "query",
    "rate",
    "share",
    "states",
    "total",
    "variable",
]

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")
"""As `provisioning/datasources/servers.yml` names it."""

GRAFANA = DataSourceRef(type_val="grafana", uid="-- Grafana --")
"""Grafana itself, which keeps the annotations."""

FAULT_TAGS = ["brownout"]
"""What marks an annotation as the window of a fault, which the gate on containers writes there."""

WIDTH = 24
HEIGHT = 8
CHOSEN = 'cell=~"$cell", service=~"$service"'

PanelBuilder = timeseries.Panel | heatmap.Panel | statetimeline.Panel | statushistory.Panel
AnyPanel = TypeVar("AnyPanel", timeseries.Panel, heatmap.Panel, statetimeline.Panel, statushistory.Panel)
Panels = tuple[PanelBuilder, ...]
"""Those of one row."""


def of(metric: str, *matchers: str) -> str:
    """Return the series of a metric in the cells and of the services that are chosen above the panels."""
    return f"{metric}{{{', '.join((CHOSEN, *matchers))}}}"


def rate(metric: str, *matchers: str) -> str:
    """Return the rates a second of the counters that are chosen."""
    return f"rate({of(metric, *matchers)}[$__rate_interval])"


def total(labels: str, what: str) -> str:
    """Return the sums over all labels but some."""
    return f"sum by ({labels}) ({what})"


def share(labels: str, some: str, every: str) -> str:
    """Return the share of some in all, 0 where there are none of them and nothing where there is nothing at all."""
    return f"({total(labels, some)} or {total(labels, every)} * 0) / ({total(labels, every)} > 0)"


def quantile(q: float, labels: str, histogram: str, *matchers: str) -> str:
    """Return a quantile of what a histogram counted."""
    return f"histogram_quantile({q:g}, {total(f'{labels}, le', rate(f'{histogram}_bucket', *matchers))})"


def query(expression: str, legend: str, *, exemplars: bool = False) -> prometheus.Dataquery:
    """Return a query over the time that is shown.

    Args:
        expression: PromQL.
        legend: what a series is called, labels in double braces.
        exemplars: whether to show the traces that the histograms name.
    """
    return prometheus.Dataquery().expr(expression).legend_format(legend).range().exemplar(exemplars)


def lines(
    title: str, unit: str, *queries: prometheus.Dataquery, description: str = "", steps: bool = False
) -> timeseries.Panel:
    """Return lines over time; `steps` draws what changes at once as such."""
    drawn = LineInterpolation.STEP_AFTER if steps else LineInterpolation.LINEAR
    panel = timeseries.Panel().unit(unit).min(0).legend(_legend()).line_interpolation(drawn)
    return _filled(panel, title, queries, description)


def events(title: str, unit: str, *queries: prometheus.Dataquery, description: str = "") -> timeseries.Panel:
    """Return single points over time, joined from each to the next: what happens now and then."""
    panel = timeseries.Panel().unit(unit).min(0).legend(_legend())
    panel = panel.show_points(VisibilityMode.ALWAYS).span_nulls(span_nulls=True)
    return _filled(panel, title, queries, description)


def levels(title: str, unit: str, *queries: prometheus.Dataquery, description: str = "") -> timeseries.Panel:
    """Return areas on top of each other: the parts of a whole."""
    stacked = common.StackingConfig().mode(StackingMode.NORMAL)
    panel = timeseries.Panel().unit(unit).min(0).legend(_legend()).fill_opacity(40).stacking(stacked)
    return _filled(panel, title, queries, description)


def heat(title: str, buckets: prometheus.Dataquery, description: str = "") -> heatmap.Panel:
    """Return how many observations fell into each bucket of a histogram, over time."""
    axis = heatmap.YAxisConfig().unit("s")
    return _filled(heatmap.Panel().y_axis(axis), title, (buckets.format(PromQueryFormat.HEATMAP),), description)


def states(
    title: str,
    names: Sequence[tuple[str, str]],
    *queries: prometheus.Dataquery,
    description: str = "",
    now_and_then: bool = False,
) -> PanelBuilder:
    """Return a row a series, coloured by its state.

    Args:
        title: the panel's.
        names: what the values 0, 1, … mean, each with its colour.
        queries: the series.
        description: what else to know.
        now_and_then: whether a state is that of a moment, and not held until the next.
    """
    results = {str(n): ValueMappingResult(text=text, color=color, index=n) for n, (text, color) in enumerate(names)}
    mapped: list[ValueMapping] = [ValueMap(options=results)]
    if now_and_then:
        return _filled(statushistory.Panel().legend(_legend()).mappings(mapped), title, queries, description)
    return _filled(statetimeline.Panel().legend(_legend()).mappings(mapped), title, queries, description)


def variable(name: str, label: str, values: str, *, several: bool = True) -> dashboard.QueryVariable:
    """Return what is chosen above the panels.

    Args:
        name: its name in queries, after a ``$``.
        label: its name for readers.
        values: the query for what can be chosen.
        several: whether more than one may be, and all are at first.
    """
    made = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(PROMETHEUS)
        .query({"query": values, "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(several)
        .include_all(several)
    )
    every = VariableOption(text="All", value="$__all", selected=True)
    return made.all_value(".+").current(every) if several else made


CELL = variable("cell", "Cell", "label_values(shop_health, cell)")
SERVICE = variable("service", "Service", 'label_values(shop_health{cell=~"$cell"}, service)')


def board(
    title: str,
    description: str,
    variables: Sequence[Builder[VariableModel]],
    rows: Mapping[str, Panels],
    *,
    shown: str = "now-15m",
    refresh: str = "5s",
) -> dashboard.Dashboard:
    """Return a dashboard; its panels share the width of their row.

    Args:
        title: its name, and in lower case the end of its uid.
        description: what it answers.
        variables: what can be chosen above.
        rows: panels by the row's title.
        shown: since when.
        refresh: how often.
    """
    made = (
        dashboard.Dashboard(title)
        .uid(f"brownout-{title.lower().replace(' ', '-')}")
        .description(description)
        .tags(["brownout"])
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time(shown, "now")
        .refresh(refresh)
        .variables(list(variables))
        .annotation(_faults())
        .links(_links())
    )
    number = 0
    for name, panels in rows.items():
        number += 1
        made = made.with_row(dashboard.Row(name).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(panel.id(number).height(HEIGHT).span(WIDTH // len(panels)))
    return made


def _filled(panel: AnyPanel, title: str, queries: Sequence[prometheus.Dataquery], description: str) -> AnyPanel:
    panel = panel.title(title).datasource(PROMETHEUS)
    for letter, each in zip(ascii_uppercase, queries, strict=False):
        panel = panel.with_target(each.ref_id(letter).datasource(PROMETHEUS))
    return panel.description(description) if description else panel


def _legend() -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(show_legend=True)
    return legend.display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)


def _faults() -> dashboard.AnnotationQuery:
    kept = dashboard.AnnotationTarget().type("tags").tags(FAULT_TAGS).match_any(match_any=False).limit(100)
    return (
        dashboard.AnnotationQuery()
        .name("Faults")
        .datasource(GRAFANA)
        .enable(enable=True)
        .icon_color("red")
        .target(kept)  # type: ignore[arg-type]  # the library's own words: no query of a data source yet
    )


def _links() -> list[Builder[DashboardLink]]:
    others = dashboard.DashboardLink("brownout").type(DashboardLinkType.DASHBOARDS).tags(["brownout"])
    jaeger = dashboard.DashboardLink("Traces in Jaeger").type(DashboardLinkType.LINK).url("http://127.0.0.1:16686")
    return [others.as_dropdown(as_dropdown=True).keep_time(keep_time=True), jaeger.target_blank(target_blank=True)]
