#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/grafana against a real controller: whatever the dashboard and the alert rules ask for is served, with the labels
that they use. Arguments: the controller and the top of the tree."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest

CONTROLLER, TOP = sys.argv[1:3]
sys.path.insert(0, TOP)
from tests.rig.controller import UnixConnection  # noqa: E402
from tests.rig.pretend import Host, Vm  # noqa: E402

# What Prometheus itself adds to each sample, and its own metrics.
SCRAPED = {"instance", "job"}
FOREIGN = {"up"}
NOT_METRICS = {"sum", "rate", "count", "max", "by", "on", "or", "vector", "group_left"}


def metrics_of(path):
    """{name: [labels of a sample, ...]} of a controller; those without a sample now are there too.
    A histogram's have its name with _bucket, _count and _sum."""
    with contextlib.closing(UnixConnection(path)) as connection:
        connection.request("GET", "/metrics")
        answer = connection.getresponse().read().decode()
    metrics = {line.split()[2]: [] for line in answer.splitlines() if line.startswith("# HELP ")}
    for line in answer.splitlines():
        if not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()
            metrics.setdefault(name, []).append(set(re.findall(r'(\w+)="', labels or "")))
    return metrics


def expressions():
    """(where, PromQL) of everything in docs/grafana."""
    with open(os.path.join(TOP, "docs", "grafana", "acma.json"), encoding="utf-8") as file:
        board = json.load(file)
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.match(r"label_values\((.*), \w+\)$", variable["query"]).group(1)
    with open(os.path.join(TOP, "docs", "grafana", "alerts.yml"), encoding="utf-8") as file:
        alert = ""
        for line in file:
            found = re.match(r"\s+(?:- )?(alert|expr): (.*)$", line)
            if found and found.group(1) == "alert":
                alert = found.group(2)
            elif found:
                yield alert, found.group(2)


class Grafana(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory(prefix="acma-grafana-") as directory:
            policy = {"min-mem": "256MiB", "max-mem": "1GiB", "psi": "0.1%"}
            with Host(directory, [Vm("web", 2048, policy, psi_bp=3), Vm("bare", 1024, agent=False)]) as host:
                config = os.path.join(directory, "controller.toml")
                with open(config, "w", encoding="utf-8") as file:
                    file.write(f'usage-database = "{directory}/usage.db"\n')
                path = os.path.join(directory, "c.sock")
                command = [CONTROLLER, "--config", config, "--connect", host.uri, "--socket", path]
                daemon = subprocess.Popen(command, stderr=subprocess.DEVNULL)
                try:
                    deadline = time.monotonic() + 30
                    while time.monotonic() < deadline:
                        try:
                            cls.metrics = metrics_of(path)
                        except OSError:
                            cls.metrics = {}
                        if cls.metrics.get("acma_domain_psi_bp"):
                            break
                        time.sleep(0.1)
                finally:
                    daemon.terminate()
                    daemon.wait()

    def test_every_metric_is_served_with_the_labels_that_are_asked_for(self):
        self.assertTrue(self.metrics.get("acma_domain_psi_bp"), "the agent's pressure never came")
        count = 0
        for where, expression in expressions():
            bare = re.sub(r'"[^"]*"', "", expression)
            names = set(re.findall(r"\b[a-z]\w*_\w+\b(?=[\s{)\[]|$)", bare)) - NOT_METRICS
            self.assertTrue(names or FOREIGN & set(re.findall(r"\w+", bare)), f"{where}: no metric in {expression}")
            for name in names:
                self.assertIn(name, self.metrics, where)
                count += 1
            for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", bare):
                for label in re.findall(r"(\w+)[=!]", matchers):
                    if name not in FOREIGN and self.metrics[name]:
                        self.assertTrue(label in SCRAPED or all(label in sample for sample in self.metrics[name]), f"{where}: {name}{{{label}}}")
        self.assertGreater(count, 40)

    def test_labels_of_domains_are_those_of_libvirt_exporters(self):
        for name, samples in self.metrics.items():
            if name.startswith("acma_domain_"):
                for sample in samples:
                    self.assertLessEqual({"domain", "uuid"}, sample, name)

    def test_every_alert_says_what_it_is_and_what_to_do(self):
        with open(os.path.join(TOP, "docs", "grafana", "alerts.yml"), encoding="utf-8") as file:
            text = file.read()
        alerts = text.split("- alert: ")[1:]
        self.assertGreater(len(alerts), 5)
        for alert in alerts:
            for part in ("expr: ", "severity: ", "summary: ", "description: "):
                self.assertIn(part, alert)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
