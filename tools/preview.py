#!/usr/bin/env python3
"""Draws the dashboards of grafana/ from the data of a running Prometheus, without Grafana: an HTML page each, and a PNG
beside it where chromium is installed.

    tools/preview.py http://127.0.0.1:9090 target/preview [--job dunlin] [--minutes 2]

It is for looking at what was written: titles, units, thresholds, legends, and whether there is data. Kinds of panels are
drawn in a plain way: lines, numbers, tables, bars, bands of states, heat maps.
"""

import argparse
import html
import json
import math
import pathlib
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLORS = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300"]
NAMED = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2", "transparent": "#30343b"}
CELL, ROW, GAP = 68, 38, 8


def ask(url, path, **params):
    query = urllib.parse.urlencode(params)
    with urllib.request.urlopen(f"{url}{path}?{query}", timeout=30) as answer:
        return json.load(answer)["data"]


def scaled(value, steps, base):
    """A number with the greatest prefix of `steps` that fits."""
    size = 0
    while abs(value) >= base and size + 1 < len(steps):
        value, size = value / base, size + 1
    return f"{value:.3g}{steps[size]}" if abs(value) < 1000 else f"{value:.0f}{steps[size]}"


def shown(value, unit):
    if value is None or math.isnan(value):
        return "-"
    if unit in ("bytes", "Bps"):
        return scaled(value, [" B", " KiB", " MiB", " GiB", " TiB"], 1024) + ("/s" if unit == "Bps" else "")
    if unit == "s":
        if value == 0 or abs(value) >= 1:
            return f"{value:.3g} s" if abs(value) < 120 else f"{value / 60:.3g} min"
        return scaled(value * 1e9, [" ns", " µs", " ms"], 1000)
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "percent":
        return f"{value:.3g} %"
    if unit in ("ops", "cps"):
        return scaled(value, ["", " K", " M", " G"], 1000) + "/s"
    return scaled(value, ["", " K", " M", " G"], 1000) if unit == "short" else f"{value:g}"


def color_of(value, thresholds):
    color = thresholds["steps"][0]["color"]
    for step in thresholds["steps"][1:]:
        if value is not None and value >= step["value"]:
            color = step["color"]
    return NAMED.get(color, color)


def legend(target, metric):
    text = target["legendFormat"]
    if text == "__auto":
        return "{" + ", ".join(f"{k}={v}" for k, v in metric.items() if k not in ("__name__", "job", "cluster")) + "}" if metric else ""
    for name, value in metric.items():
        text = text.replace("{{" + name + "}}", value)
    return text


class Drawer:
    def __init__(self, url, job, minutes):
        self.url, self.job = url, job
        self.to = time.time()
        self.since = self.to - minutes * 60
        self.step = max(1, round(minutes * 60 / 120))

    def filled(self, expr):
        for name, value in (("$job", self.job), ("$cluster", ".*"), ("$instance", ".*"), ("$__rate_interval", "10s"), ("$__range", f"{round(self.to - self.since)}s")):
            expr = expr.replace(name, value)
        return expr

    def series(self, target):
        """Of a query over time: legend and points."""
        data = ask(self.url, "/api/v1/query_range", query=self.filled(target["expr"]), start=self.since, end=self.to, step=self.step)
        out = [(legend(target, r["metric"]), [(t, float(v)) for t, v in r["values"]], r["metric"]) for r in data["result"]]
        return sorted(out, key=lambda s: s[0])

    def now(self, target):
        data = ask(self.url, "/api/v1/query", query=self.filled(target["expr"]), time=self.to)
        return [(r["metric"], float(r["value"][1])) for r in data["result"]]

    def panel(self, panel):
        place = panel["gridPos"]
        w, h = place["w"] * CELL // 1 // 1 - GAP, place["h"] * ROW - GAP
        x, y = place["x"] * CELL, place["y"] * ROW
        box = f'<g transform="translate({x},{y})">'
        if panel["type"] == "row":
            return box + f'<text x="4" y="24" class="row">▾ {html.escape(panel["title"])}</text></g>'
        draw = {"timeseries": self.graph, "stat": self.stat, "table": self.table, "bargauge": self.bars, "state-timeline": self.states, "heatmap": self.heatmap}[panel["type"]]
        about = html.escape(panel["description"])
        out = box + f'<title>{about}</title><rect width="{w}" height="{h}" class="panel"/><text x="10" y="20" class="title">{html.escape(panel["title"])}</text>'
        return out + f'<svg x="8" y="28" width="{w - 16}" height="{h - 34}">{draw(panel, w - 16, h - 34)}</svg></g>'

    def axes(self, w, h, low, high, unit):
        out = ""
        for i in range(5):
            value, y = low + (high - low) * i / 4, h - h * i / 4
            out += f'<line x1="62" x2="{w}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/><text x="56" y="{max(9, y - 2 if i == 0 else y + 4):.1f}" class="axis end">{shown(value, unit)}</text>'
        for i in range(5):
            t, x = self.since + (self.to - self.since) * i / 4, 62 + (w - 62) * i / 4
            anchor = " end" if i == 4 else ""
            out += f'<text x="{x:.1f}" y="{h + 13}" class="axis{anchor}">{time.strftime("%H:%M:%S", time.localtime(t))}</text>'
        return out

    def graph(self, panel, w, h):
        unit, defaults = panel["fieldConfig"]["defaults"]["unit"], panel["fieldConfig"]["defaults"]
        lines = [s for target in panel["targets"] for s in self.series(target)]
        lines.sort(key=lambda s: -max((v for _, v in s[1] if not math.isnan(v)), default=0))
        rows = min(len(lines), max(1, (h - 110) // 16), 6)
        height = h - 20 - 16 * rows
        if not lines:
            return f'<text x="{w / 2}" y="{h / 2}" class="nothing">No data</text>'
        values = [v for _, points, _ in lines for _, v in points if math.isfinite(v)] or [0]
        if defaults["custom"]["stacking"]["mode"] == "normal":
            top = sum(max((v for _, v in points), default=0) for _, points, _ in lines)
            values.append(top)
        low, high = min(0, *values), max(values)
        high = high * 1.08 if high > low else low + 1
        if "max" in defaults and high <= defaults["max"]:
            high = defaults["max"]
        out = self.axes(w, height, low, high, unit)
        at = lambda t, v: (62 + (w - 62) * (t - self.since) / (self.to - self.since), height - height * (v - low) / (high - low))
        if defaults["custom"]["thresholdsStyle"]["mode"] != "off":
            for step in defaults["thresholds"]["steps"][1:]:
                if low <= step["value"] <= high:
                    y = at(0, step["value"])[1]
                    out += f'<line x1="62" x2="{w}" y1="{y:.1f}" y2="{y:.1f}" stroke="{NAMED.get(step["color"], step["color"])}" stroke-dasharray="6 4"/>'
        below = {}
        for i, (name, points, _) in enumerate(lines):
            color = COLORS[i % len(COLORS)]
            path, last = "", None
            for t, v in points:
                if not math.isfinite(v):
                    continue
                if defaults["custom"]["stacking"]["mode"] == "normal":
                    v = below[t] = below.get(t, 0) + v
                x, y = at(t, v)
                path += f'{"M" if last is None or t - last > self.step * 1.5 else "L"}{x:.1f} {y:.1f}'
                last = t
            out += f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.4"/>'
            if i < rows:
                finite = [v for _, v in points if math.isfinite(v)] or [math.nan]
                y = height + 30 + 16 * i
                out += f'<rect x="62" y="{y - 7}" width="12" height="3" fill="{color}"/><text x="80" y="{y}" class="legend">{html.escape(name[:46]) or "value"}</text>'
                more = f"  and {len(lines) - rows} more" if i + 1 == rows and len(lines) > rows else ""
                out += f'<text x="{w}" y="{y}" class="legend end">mean {shown(sum(finite) / len(finite), unit)}, max {shown(max(finite), unit)}, last {shown(finite[-1], unit)}{more}</text>'
        return out

    def stat(self, panel, w, h):
        defaults = panel["fieldConfig"]["defaults"]
        found = self.series(panel["targets"][0])
        points = [(t, v) for t, v in found[0][1] if math.isfinite(v)] if found else []
        if not points:
            return f'<text x="{w / 2}" y="{h / 2}" class="nothing">No data</text>'
        value = points[-1][1]
        text, color = shown(value, defaults["unit"]), color_of(value, defaults["thresholds"])
        for mapping in defaults["mappings"]:
            if f"{value:g}" in mapping["options"]:
                option = mapping["options"][f"{value:g}"]
                text, color = option["text"], NAMED[option["color"]]
        low, high = min(v for _, v in points), max(v for _, v in points)
        spread = (high - low) or 1
        area = "".join(f'L{w * (t - self.since) / (self.to - self.since):.1f} {h - (v - low) / spread * h * 0.35:.1f}' for t, v in points)
        start = w * (points[0][0] - self.since) / (self.to - self.since)
        return f'<path d="M{start:.1f} {h}{area}L{w} {h}Z" fill="{color}" opacity="0.25"/><text x="{w / 2}" y="{h / 2 + 8}" class="stat" style="fill:{color}">{html.escape(text)}</text>'

    def table(self, panel, w, h):
        columns, rows = [], {}
        for target in panel["targets"]:
            columns.append(target["legendFormat"])
            for metric, value in self.now(target):
                labels = tuple(sorted((k, v) for k, v in metric.items() if k != "__name__"))
                rows.setdefault(labels, {})[target["legendFormat"]] = value
        names = sorted({k for labels in rows for k, _ in labels})
        units = {o["matcher"]["options"]: o["properties"][0]["value"] for o in panel["fieldConfig"]["overrides"]}
        hides = any(t["options"].get("excludeByName", {}).get("Value") for t in panel["transformations"])
        heads = names + ([] if hides else columns)
        out, width = "", w / max(1, len(heads))
        cells = [heads] + [[dict(labels).get(n, "") for n in names] + ([] if hides else [shown(values[c], units.get(c, "short")) if c in values else "" for c in columns])
                           for labels, values in sorted(rows.items(), key=lambda r: -max(r[1].values()))]
        for i, row in enumerate(cells[: max(1, (h - 6) // 22)]):
            y = 16 + 22 * i
            for j, cell in enumerate(row):
                text = cell if len(cell) < width / 7 else cell[: max(4, int(width / 7) - 1)] + "…"
                out += f'<text x="{j * width + 4:.1f}" y="{y}" class="{"head" if i == 0 else "legend"}">{html.escape(text)}</text>'
            out += f'<line x1="0" x2="{w}" y1="{y + 6}" y2="{y + 6}" class="grid"/>'
        return out

    def bars(self, panel, w, h):
        defaults = panel["fieldConfig"]["defaults"]
        found = sorted((legend(t, m), v) for t in panel["targets"] for m, v in self.now(t))
        out, height = "", min(44, (h - 6) / max(1, len(found)))
        top = defaults.get("max") or max((v for _, v in found), default=1) or 1
        for i, (name, value) in enumerate(found):
            y = i * height
            color = color_of(value, defaults["thresholds"])
            out += f'<text x="0" y="{y + height / 2 + 4:.1f}" class="legend">{html.escape(name)}</text><rect x="130" y="{y + 4:.1f}" width="{w - 210}" height="{height - 10:.1f}" class="empty"/>'
            out += f'<rect x="130" y="{y + 4:.1f}" width="{(w - 210) * value / top:.1f}" height="{height - 10:.1f}" fill="{color}" opacity="0.7"/><text x="{w}" y="{y + height / 2 + 4:.1f}" class="legend end">{shown(value, defaults["unit"])}</text>'
        return out

    def states(self, panel, w, h):
        options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
        found = [s for t in panel["targets"] for s in self.series(t)]
        out, height = "", min(34, (h - 22) / max(1, len(found)))
        for i, (name, points, _) in enumerate(found):
            y = i * height
            out += f'<text x="0" y="{y + height / 2 + 4:.1f}" class="legend">{html.escape(name)}</text>'
            for t, v in points:
                x, step = 130 + (w - 130) * (t - self.since) / (self.to - self.since), (w - 130) * self.step / (self.to - self.since)
                option = options.get(f"{v:g}", {"color": "blue", "text": f"{v:g}"})
                out += f'<rect x="{x:.1f}" y="{y + 3:.1f}" width="{step + 0.6:.1f}" height="{height - 6:.1f}" fill="{NAMED[option["color"]]}" opacity="0.8"/>'
        marks = " ".join(f'{o["text"]}' for o in options.values())
        for i, option in enumerate(options.values()):
            out += f'<rect x="{130 + i * 110}" y="{h - 14}" width="12" height="10" fill="{NAMED[option["color"]]}"/><text x="{148 + i * 110}" y="{h - 5}" class="legend">{html.escape(option["text"])}</text>'
        return out if marks else ""

    def heatmap(self, panel, w, h):
        found = [(float(m["le"]), points) for t in panel["targets"] for _, points, m in self.series(t)]
        found.sort()
        finite = [le for le, _ in found if math.isfinite(le)]
        if not finite:
            return f'<text x="{w / 2}" y="{h / 2}" class="nothing">No data</text>'
        cells, before = [], {}
        for i, (_, points) in enumerate(found):
            for t, v in points:
                cells.append((i, t, v - before.get(t, 0)))
            before = dict(points)
        most = max((c for _, _, c in cells), default=1) or 1
        height = (h - 20) / len(found)
        out = ""
        for i, t, count in cells:
            if count > 0:
                x, step = 62 + (w - 62) * (t - self.since) / (self.to - self.since), (w - 62) * self.step / (self.to - self.since)
                out += f'<rect x="{x:.1f}" y="{h - 20 - (i + 1) * height:.1f}" width="{step:.1f}" height="{height - 1:.1f}" fill="#ff7a1a" opacity="{0.08 + 0.92 * (count / most) ** 0.5:.2f}"/>'
        for i in range(0, len(found), max(1, len(found) // 6)):
            text = shown(found[i][0], "s") if math.isfinite(found[i][0]) else "more"
            out += f'<text x="56" y="{h - 20 - i * height - 2:.1f}" class="axis end">{text}</text>'
        return out


STYLE = """body{margin:0;background:#111217;font-family:'DejaVu Sans',Inter,sans-serif}h1{color:#d8d9da;font:500 18px 'DejaVu Sans',sans-serif;margin:12px}
text{font-family:'DejaVu Sans',sans-serif;fill:#ccccdc}.panel{fill:#181b1f;stroke:#2c3035}.title{font-size:13px;font-weight:600}.row{font-size:15px}
.axis,.legend{font-size:10.5px;fill:#9fa7b3}.head{font-size:11px;fill:#6e9fff}.end{text-anchor:end}.grid{stroke:#2c3035;stroke-width:1}.empty{fill:#22252b}
.stat{font-size:30px;text-anchor:middle;font-weight:600}.nothing{font-size:14px;text-anchor:middle;fill:#777}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--job", default="dunlin")
    parser.add_argument("--minutes", type=float, default=1)
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    drawer = Drawer(args.url, args.job, args.minutes)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    for path in sorted((ROOT / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        panels = dashboard["panels"]
        width, height = 24 * CELL + 12, max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels) * ROW + 12
        body = "".join(drawer.panel(panel) for panel in panels)
        page = args.directory / f"{path.stem}.html"
        page.write_text(f'<!doctype html><meta charset="utf-8"><title>{html.escape(dashboard["title"])}</title><style>{STYLE}</style><h1>{html.escape(dashboard["title"])}</h1>'
                        f'<svg width="{width}" height="{height}"><g transform="translate(8,0)">{body}</g></svg>')
        if chromium:
            picture = page.with_suffix(".png")
            subprocess.run([chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height + 46}", f"--screenshot={picture}", page.as_uri()],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
        print(page)


if __name__ == "__main__":
    main()
