# SPDX-License-Identifier: Apache-2.0
"""Rows of a bench: one per metric, its figure from the worst case; printed as a table, written as JSON."""

import dataclasses
import json
import sys


@dataclasses.dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    better: str  # "lower" or "higher"
    goal: float | None  # None: held against a peer of the same run, or there is none
    digits: int = 1
    only: str = ""  # of which cases the definition is, where not of all, and why


@dataclasses.dataclass
class Value:
    """One contestant's figure in one case: a number, or None and why there is none."""

    number: float | None
    why: str = ""
    detail: dict = dataclasses.field(default_factory=dict)

    def as_json(self):
        return {"value": self.number, **({"why": self.why} if self.why else {}), **self.detail}


def worst(metric, values):
    """The worst of {case: Value}; a case without a figure is worse than any figure."""
    if not values:
        return Value(None, "no case was measured")
    for case, value in values.items():
        if value.number is None:
            return Value(None, f"{case}: {value.why}")
    pick = max if metric.better == "lower" else min
    return Value(pick(value.number for value in values.values()))


class Report:
    def __init__(self, bench, machine, metrics):
        self.bench = bench
        self.machine = machine
        self.metrics = metrics
        self._values = {}  # (metric name, contestant) -> {case: Value}
        self._cases = {}  # case -> what it was
        self._goals = {}  # metric name -> goal, where it is a peer's figure

    def add(self, metric, contestant, case, value):
        """`case` is a dict with at least "case", its name."""
        self._cases[case["case"]] = case
        self._values.setdefault((metric.name, contestant), {})[case["case"]] = value

    def has(self, metric, contestant, case):
        return case["case"] in self._values.get((metric.name, contestant), {})

    def value(self, metric, contestant, case):
        """The figure that was added, or None."""
        found = self._values.get((metric.name, contestant), {}).get(case["case"])
        return found and found.number

    def hold_against(self, goals):
        """goals: {metric: (peer, factor)}: the goal is that peer's best figure of this run, times the factor."""
        for metric, (peer, factor) in goals.items():
            figures = [value.number for value in self._values.get((metric.name, peer), {}).values() if value.number is not None]
            if figures:
                self._goals[metric.name] = factor * (min(figures) if metric.better == "lower" else max(figures))

    def _goal(self, metric):
        return self._goals.get(metric.name, metric.goal)

    def _contestants(self, metric):
        return [contestant for name, contestant in self._values if name == metric.name and contestant != "ours"]

    def row(self, metric):
        ours = self._values.get((metric.name, "ours"), {})
        figure = worst(metric, ours)
        row = {
            "metric": metric.name,
            "unit": metric.unit,
            "better": metric.better,
            "ours": figure.number,
            "peers": {},
            "goal": self._goal(metric),
            **({"only": metric.only} if metric.only else {}),
        }
        if figure.number is None:
            row["why"] = figure.why
        for peer in self._contestants(metric):
            figure = worst(metric, self._values[metric.name, peer])
            row["peers"][peer] = figure.number
            if figure.number is None:
                row.setdefault("peers_why", {})[peer] = figure.why
        row["cases"] = []
        for name, case in self._cases.items():
            entry = {
                contestant: values[name].as_json()
                for (metric_name, contestant), values in self._values.items()
                if metric_name == metric.name and name in values
            }
            if entry:
                ours_here = entry.pop("ours", None)
                row["cases"].append({**case, "ours": ours_here, "peers": entry})
        return row

    def rows(self):
        return [self.row(metric) for metric in self.metrics if any(name == metric.name for name, _ in self._values)]

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"bench": self.bench, "machine": self.machine, "rows": self.rows()}, file, indent=1)
            file.write("\n")

    def table(self, out=sys.stdout):
        peers = []
        for metric in self.metrics:
            peers += [peer for peer in self._contestants(metric) if peer not in peers]
        lines = [["metric", "unit", "case", "ours", *peers, "goal", ""]]
        notes = []
        for metric, row in ((metric, self.row(metric)) for metric in self.metrics):
            if not row["cases"]:
                continue
            lines.append(
                [metric.name, metric.unit, "worst", _text(metric, row["ours"])]
                + [_text(metric, row["peers"][peer]) if peer in row["peers"] else "" for peer in peers]
                + [_text(metric, row["goal"]), _verdict(metric, row["ours"], row["goal"])]
            )
            if metric.only:
                notes.append(f"{metric.name}: only {metric.only}")
            for case in row["cases"]:
                cells = [_text(metric, (case["ours"] or {}).get("value"))]
                cells += [_text(metric, case["peers"][peer]["value"]) if peer in case["peers"] else "" for peer in peers]
                lines.append(["", "", case["case"], *cells, "", ""])
                for contestant, value in [("ours", case["ours"]), *case["peers"].items()]:
                    if value and value.get("why"):
                        notes.append(f"{metric.name} {case['case']} {contestant}: {value['why']}")
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        for line in lines:
            cells = [cell.ljust(width) if column < 3 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths))]
            print("  ".join(cells).rstrip(), file=out)
        for note in notes:
            print(f"  - {note}", file=out)


def _text(metric, number):
    return "null" if number is None else f"{number:,.{metric.digits}f}"


def _verdict(metric, number, goal):
    if number is None:
        return "no figure"
    if goal is None:
        return ""
    good = number <= goal if metric.better == "lower" else number >= goal
    return "met" if good else "MISSED"
