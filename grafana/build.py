#!/usr/bin/env python3
"""Writes the dashboards, rules, rule tests and the runbook from dashboards.py and alerts.py.

    grafana/build.py             write them
    grafana/build.py --check     say what is not as it would be written, exit 1 if anything
    grafana/build.py --queries   every query of every panel and variable as JSON, for tests
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True

from alerts import ALERTS, RECORDING  # noqa: E402
from dashboards import DASHBOARDS  # noqa: E402

RUNBOOK = "https://github.com/dunlin-cache/dunlin/blob/main/docs/runbook.md"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
VARIABLES = [
    ("job", "Job", "label_values(redis_up, job)", False),
    ("cluster", "Cluster", 'label_values(redis_up{job="$job"}, cluster)', True),
    ("instance", "Instance", 'label_values(redis_up{job="$job", cluster=~"$cluster"}, instance)', True),
]


# --- dashboards ---------------------------------------------------------------------------------------------------

def thresholds(panel):
    ground = "red" if panel["low"] else "green"
    steps = [{"color": ground, "value": None}] + [{"color": c, "value": v} for v, c in panel["steps"]]
    return {"mode": "absolute", "steps": steps}


def mappings(panel):
    values = panel.get("values")
    if not values:
        return []
    options = {v: {"text": text, "color": color, "index": i} for i, (v, (text, color)) in enumerate(values.items())}
    return [{"type": "value", "options": options}]


def targets(panel):
    out = []
    for i, (expr, legend) in enumerate(panel["queries"]):
        target = {"datasource": SOURCE, "editorMode": "code", "expr": expr, "legendFormat": legend or "__auto", "refId": chr(65 + i), "range": True, "instant": False}
        if panel["kind"] in ("table", "stat", "bargauge"):
            target["range"], target["instant"] = panel["kind"] == "stat", panel["kind"] != "stat"
        if panel["kind"] in ("table", "heatmap"):
            target["format"] = panel["kind"]
        out.append(target)
    return out


def custom(panel):
    if panel["kind"] == "timeseries":
        return {
            "drawStyle": "line", "lineInterpolation": "linear", "lineWidth": 1, "fillOpacity": 20 if panel.get("stack") else 8,
            "showPoints": "never", "spanNulls": False, "axisPlacement": "auto", "axisLabel": "",
            "stacking": {"mode": "normal" if panel.get("stack") else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if panel["steps"] and not panel["low"] else "off"},
        }
    if panel["kind"] == "state-timeline":
        return {"fillOpacity": 80, "lineWidth": 0}
    return {}


REDUCE = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS = {
    "timeseries": {"legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["mean", "max", "lastNotNull"]}, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {"colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto", "reduceOptions": REDUCE, "textMode": "value", "wideLayout": True},
    "table": {"showHeader": True, "cellHeight": "sm"},
    "bargauge": {"displayMode": "gradient", "orientation": "horizontal", "reduceOptions": REDUCE, "showUnfilled": True, "valueMode": "color", "namePlacement": "auto", "sizing": "auto", "minVizHeight": 10, "minVizWidth": 0, "maxVizHeight": 300},
    "state-timeline": {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8, "alignValue": "left", "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []}, "tooltip": {"mode": "single", "sort": "none"}},
    "heatmap": {"calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "fill": "dark-orange", "reverse": False}, "filterValues": {"le": 1e-9},
                "legend": {"show": True}, "exemplars": {"color": "rgba(255,0,255,0.7)"}, "rowsFrame": {"layout": "auto"}, "showValue": "never", "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False}, "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"}},
}


def overrides(panel):
    out = [{"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]} for name, unit in panel.get("units", {}).items()]
    return out


def transformations(panel):
    if panel["kind"] != "table":
        return []
    names = {f"Value #{chr(65 + i)}": legend for i, (_, legend) in enumerate(panel["queries"])}
    if len(names) == 1:
        names = {"Value": panel["queries"][0][1]}
        hidden = {"Time": True, "Value": True}
    else:
        hidden = {"Time": True}
    merge = [{"id": "merge", "options": {}}] if len(names) > 1 else []
    return merge + [{"id": "organize", "options": {"excludeByName": hidden, "indexByName": {}, "renameByName": names}}]


def build_panel(number, panel, place):
    kind = panel["kind"]
    if kind == "row":
        return {"id": number, "type": "row", "title": panel["title"], "collapsed": False, "gridPos": place, "panels": []}
    defaults = {"unit": panel["unit"], "thresholds": thresholds(panel), "mappings": mappings(panel), "color": {"mode": "thresholds" if kind in ("stat", "state-timeline") else "palette-classic"}, "custom": custom(panel)}
    if "max" in panel:
        defaults["min"], defaults["max"] = 0, panel["max"]
    return {
        "id": number, "type": kind, "title": panel["title"], "description": panel["description"], "datasource": SOURCE, "gridPos": place,
        "targets": targets(panel), "options": OPTIONS[kind], "fieldConfig": {"defaults": defaults, "overrides": overrides(panel)},
        "transformations": transformations(panel),
    }


def widths(count):
    """How wide so many panels in a row or more are that have no width of their own: in threes, without a gap at the end."""
    if count % 3 == 1:
        return [8] * (count - 4) + [6] * 4 if count > 1 else [24]
    return [8] * (count - count % 3) + [12] * (count % 3)


def sized(panels):
    """The panels with their widths."""
    rows = [[]]
    for panel in panels:
        if panel["kind"] == "row":
            rows.append([])
        elif "w" not in panel:
            rows[-1].append(panel)
    for row in rows:
        for panel, width in zip(row, widths(len(row))):
            panel["w"] = width
    return panels


def build_dashboard(uid, title, description, panels):
    x = y = height = 0
    out = []
    for number, panel in enumerate(sized(panels), 1):
        w, h = (24, 1) if panel["kind"] == "row" else (panel["w"], panel.get("h", 8))
        if x + w > 24:
            x, y, height = 0, y + height, 0
        out.append(build_panel(number, panel, {"x": x, "y": y, "w": w, "h": h}))
        x, height = x + w, max(height, h)
    variables = [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {"text": "", "value": ""}, "hide": 0, "includeAll": False, "multi": False, "options": [], "refresh": 1, "regex": "", "skipUrlSync": False}]
    for name, label, query, several in VARIABLES:
        variable = {"name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query, "query": {"query": query, "refId": "StandardVariableQuery"},
                    "current": {"text": "", "value": ""}, "hide": 0, "includeAll": several, "multi": several, "options": [], "refresh": 2, "regex": "", "skipUrlSync": False, "sort": 1}
        if several:
            variable |= {"allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
        variables.append(variable)
    link = {"title": "Dunlin", "type": "dashboards", "tags": ["dunlin"], "asDropdown": True, "includeVars": True, "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": ""}
    return {
        "id": None, "uid": f"dunlin-{uid}", "title": f"Dunlin / {title}", "description": description, "tags": ["dunlin", "redis"], "schemaVersion": 39, "version": 1, "editable": True,
        "graphTooltip": 1, "fiscalYearStartMonth": 0, "liveNow": False, "weekStart": "", "refresh": "10s", "time": {"from": "now-30m", "to": "now"}, "timezone": "browser", "timepicker": {},
        "annotations": {"list": [{"builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True, "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard"},
                                 {"datasource": SOURCE, "enable": True, "iconColor": "red", "name": "Failovers", "expr": "changes(redis_cluster_current_epoch{job=\"$job\", cluster=~\"$cluster\", instance=~\"$instance\"}[1m]) > 0", "titleFormat": "Epoch of {{instance}}"}]},
        "links": [link], "templating": {"list": variables}, "panels": out,
    }


# --- rules --------------------------------------------------------------------------------------------------------

def quoted(text):
    """A YAML scalar in single quotes."""
    return "'" + text.replace("'", "''") + "'"


HEAD = "# Written by grafana/build.py from grafana/alerts.py.\n"


def recording_rules():
    out = HEAD + "groups:\n  - name: dunlin-recording\n    rules:\n"
    for name, expr in RECORDING:
        out += f"      - record: {name}\n        expr: {quoted(expr)}\n"
    return out


def alert_rules():
    out = HEAD + "groups:\n  - name: dunlin-alerts\n    rules:\n"
    for a in ALERTS:
        out += f"      - alert: {a['name']}\n        expr: {quoted(a['expr'])}\n"
        if a["wait"]:
            out += f"        for: {a['wait']}m\n"
        out += f"        labels:\n          severity: {a['severity']}\n        annotations:\n"
        out += f"          summary: {quoted(a['summary'])}\n          description: {quoted(a['description'])}\n"
        out += f"          runbook_url: {quoted(RUNBOOK + '#' + a['name'].lower())}\n"
    return out


def rule_tests():
    """A test by alert and kind of series: exp_alerts cannot say `any`, so the query ALERTS is compared."""
    out = HEAD + "rule_files:\n  - ../rules/recording.yml\n  - ../rules/alerts.yml\nevaluation_interval: 1m\ntests:\n"
    for a in ALERTS:
        for kind in ("fires", "healthy"):
            out += f"  - name: {quoted(a['name'] + ' ' + ('fires' if kind == 'fires' else 'is silent'))}\n    interval: 1m\n    input_series:\n"
            for name, values in a[kind].items():
                out += f"      - series: {quoted(name)}\n        values: {quoted(values)}\n"
            at = max(30, a["wait"] + 10)
            query = f'count(ALERTS{{alertname="{a["name"]}", alertstate="firing"}}) > bool 0'
            out += f"    promql_expr_test:\n      - expr: {quoted(query)}\n        eval_time: {at}m\n"
            out += "        exp_samples: []\n" if kind == "healthy" else "        exp_samples:\n          - value: 1\n"
    return out


def runbook():
    out = "# Runbook\n\nAn entry for each alert of grafana/prometheus/rules/alerts.yml. Both are written by grafana/build.py from\ngrafana/alerts.py.\n"
    for severity in ("critical", "warning", "info"):
        names = [a["name"] for a in ALERTS if a["severity"] == severity]
        out += f"\n{severity.capitalize()}: " + ", ".join(f"[{n}](#{n.lower()})" for n in names) + "\n"
    for a in ALERTS:
        wait = f", for {a['wait']} minutes" if a["wait"] else ""
        out += f"\n## {a['name']}\n\nSeverity: {a['severity']}. Condition{wait}:\n\n```\n{a['expr']}\n```\n\n"
        out += f"**Means.** {a['meaning']}\n\n**Do.** {a['action']}\n"
    return out


# --- files --------------------------------------------------------------------------------------------------------

def files():
    out = {f"grafana/dashboards/{uid}.json": json.dumps(build_dashboard(uid, title, about, panels), indent=1) + "\n" for uid, title, about, panels in DASHBOARDS}
    out["grafana/prometheus/rules/recording.yml"] = recording_rules()
    out["grafana/prometheus/rules/alerts.yml"] = alert_rules()
    out["grafana/prometheus/tests/rules.yml"] = rule_tests()
    out["docs/runbook.md"] = runbook()
    return out


def queries():
    out = [{"where": f"variable {name}", "expr": query, "may_be_empty": False} for name, _, query, _ in VARIABLES]
    for uid, _, _, panels in DASHBOARDS:
        for panel in panels:
            for expr, legend in panel.get("queries", []):
                out.append({"where": f"{uid}: {panel['title']}", "expr": expr, "legend": legend, "kind": panel["kind"], "unit": panel["unit"], "may_be_empty": panel.get("may_be_empty", False)})
    out += [{"where": f"rule {name}", "expr": expr, "may_be_empty": False} for name, expr in RECORDING]
    out += [{"where": f"alert {a['name']}", "expr": a["expr"], "may_be_empty": True} for a in ALERTS]
    return out


def main():
    if "--queries" in sys.argv:
        json.dump(queries(), sys.stdout, indent=1)
        return 0
    wrong = 0
    for name, text in files().items():
        path = HERE.parent / name
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                print(f"{name} is not as grafana/build.py writes it")
                wrong = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
