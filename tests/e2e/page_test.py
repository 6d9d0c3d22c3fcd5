# SPDX-License-Identifier: Apache-2.0
"""The operator's page in a real browser, served by a real controller over TCP, on pretended VMs."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

from tests.rig import system, workdir
from tests.rig.browser import Browser
from tests.rig.pretend import Host, Vm

from .harness import ACMACTL, CONTROLLER, MIB, Skip, case, expect, wait_until

# Names and words that would be a script, a picture or an attribute if they were taken for markup.
_HOSTILE_NAME = "<img src=x onerror=\"document.title='pwned'\">"
_HOSTILE_WORDS = "</span><script>document.title='pwned'</script><b onclick=alert(1)>'\"&lt;"


def _policy(low, high, psi="0.1%", mode="auto"):
    return {"min-mem": low, "max-mem": high, "psi": psi, "mode": mode}


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Served:
    def __init__(self, directory, port, daemon):
        self.url = f"http://127.0.0.1:{port}"
        self._socket = os.path.join(directory, "c.sock")
        self._log = os.path.join(directory, "log")
        self.daemon = daemon

    def ctl(self, *arguments):
        return subprocess.run([ACMACTL, "--socket", self._socket, *arguments], capture_output=True, text=True, timeout=60, check=True)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=20) as answer:
            return answer.read().decode()

    def vms(self):
        try:
            return {vm["name"]: vm for vm in json.loads(self.get("/v1/vms"))["vms"]}
        except urllib.error.URLError:
            return {}

    def log(self):
        with open(self._log, encoding="utf-8", errors="replace") as file:
            return file.read()[-3000:]


@contextlib.contextmanager
def serving(vms):
    """A controller that manages these pretended VMs."""
    directory = workdir.make("page")
    port = _free_port()
    with open(os.path.join(directory, "controller.toml"), "w", encoding="utf-8") as config:
        config.write(f'usage-database = "{directory}/usage.db"\nlisten = "127.0.0.1:{port}"\n')
    with Host(directory, vms) as host:
        command = [CONTROLLER, "--config", f"{directory}/controller.toml", "--socket", f"{directory}/c.sock", "--connect", host.uri]
        with open(os.path.join(directory, "log"), "wb") as log:
            daemon = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=system.die_with_parent)
        try:
            served = _Served(directory, port, daemon)
            wait_until(lambda: len(served.vms()) == len(vms), 60, served.log)
            yield served
        finally:
            daemon.terminate()
            daemon.wait(30)


def _need_browser():
    if shutil.which("chromium") is None:
        raise Skip("chromium is not installed")


_ROWS = "[...document.querySelectorAll('#rows .row')]"


def _row(name):
    return f"{_ROWS}.find(row => row.querySelector('b').textContent === {json.dumps(name)})"


def _row_text(browser, name):
    return browser.value(f"{_row(name)}?.innerText") or ""


def _shown(browser):
    """The rows by their place: names from top to bottom."""
    return browser.value(
        f"{_ROWS}.sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map(row => row.querySelector('b').textContent)"
    )


def _painted(browser, selector):
    """How many pixels of a canvas are not empty."""
    return browser.value(
        f"(c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 3 && v).length)"
        f"(document.querySelector({json.dumps(selector)}))"
    )


def _stage():
    vms = [
        Vm("web-1", 2048, _policy("512MiB", "2GiB"), psi_bp=4, used_mib=800, swing_mib=300, period_s=20),
        Vm("db", 4096, _policy("1GiB", "3GiB"), psi_bp=60, used_mib=2200, reason="holding: spike"),
        Vm("watched", 2048, _policy("512MiB", "1GiB", mode="observe")),
        Vm("silent", 1024, _policy("512MiB", "1GiB"), agent=False),
        Vm("bare", 1024, agent=False),
        Vm(_HOSTILE_NAME, 1024, _policy("256MiB", "768MiB"), reason=_HOSTILE_WORDS),
    ]
    return vms


@case(timeout_s=180)
def the_page_shows_bounds_sizes_pressure_and_reasons_live():
    _need_browser()
    with serving(_stage()) as served, Browser() as browser:
        wait_until(lambda: served.vms()["web-1"].get("psi_bp") is not None, 60, served.log)
        browser.open(served.url + "/")
        wait_until(lambda: len(_shown(browser) or []) == 6, 30, lambda: str(browser.complaints()))

        row = _row_text(browser, "web-1")
        for text in ("managed", "512 MiB – 2.00 GiB", "granted", "/ 0.10 %"):
            expect(text in row, f"no '{text}' in: {row}")
        expect("observed" in _row_text(browser, "watched"), _row_text(browser, "watched"))
        expect("no policy" in _row_text(browser, "bare"), _row_text(browser, "bare"))
        expect("over" in browser.value(f"{_row('db')}.querySelector('.c4 .numbers').className"), "db is over its target")
        reason = served.vms()["db"]["last_change_reason"]
        expect(reason and reason in _row_text(browser, "db"), f"'{reason}' not in {_row_text(browser, 'db')}")
        expect("granted of" in browser.text("#budget-text"), browser.text("#budget-text"))

        # Live: what somebody changes shows by itself, with its reason.
        served.ctl("set", "watched", "--max-mem", "896MiB", "--mode", "auto")
        wait_until(lambda: "512 MiB – 896 MiB" in _row_text(browser, "watched"), 20, lambda: _row_text(browser, "watched"))
        wait_until(lambda: "max-mem is 896 MiB" in _row_text(browser, "watched"), 20, lambda: _row_text(browser, "watched"))
        before = browser.text("#budget-text")
        served.ctl("reserve", "1GiB", "--domain", "coming")
        wait_until(lambda: "for coming" in browser.text("#reservations"), 20, before)
        served.ctl("pause")
        wait_until(lambda: "paused" in browser.text("#notices"), 20, "no word of the pause")
        served.ctl("resume")
        wait_until(lambda: "paused" not in browser.text("#notices"), 20, "still paused")

        wait_until(lambda: _painted(browser, "#rows .c3 canvas") > 500, 20, "no chart is drawn")
        wait_until(lambda: _painted(browser, "#host-chart") > 500, 20, "no chart of the host is drawn")

        # By the keyboard alone: filter, down to the row, open it, its decisions, and close it.
        browser.press("/", "/")
        browser.call("Input.insertText", text="web")
        wait_until(lambda: _shown(browser) == ["web-1"], 10, lambda: str(_shown(browser)))
        browser.press("ArrowDown")
        browser.press("Enter")
        wait_until(lambda: browser.text("#detail-name") == "web-1", 10, lambda: browser.text("#detail"))
        wait_until(lambda: "set-policy" in browser.text("#detail-why"), 10, lambda: browser.text("#detail-why"))
        wait_until(lambda: _painted(browser, "#detail-memory") > 500, 10, "no chart in the details")
        expect("settled: little is cold" in browser.text("#detail-agent"), browser.text("#detail-agent"))
        browser.press("Escape")
        expect(browser.value("document.getElementById('detail').hidden"), "Escape closes the details")

        # It says when nobody answers any more.
        expect(browser.complaints() == [], str(browser.complaints()))
        expect(all(url.startswith(served.url) for url in browser.requested() if url != "about:blank"), str(browser.requested()))
        served.daemon.kill()
        wait_until(lambda: "no answer" in browser.text("#connection"), 20, lambda: browser.text("#connection"))


@case(timeout_s=180)
def no_name_or_word_of_a_guest_becomes_markup_in_the_page():
    _need_browser()
    with serving(_stage()) as served, Browser() as browser:
        wait_until(lambda: served.vms()[_HOSTILE_NAME].get("psi_bp") is not None, 60, served.log)
        browser.open(served.url + "/#vm=" + served.vms()[_HOSTILE_NAME]["uuid"])
        wait_until(lambda: _HOSTILE_NAME in (_shown(browser) or []), 30, lambda: str(browser.complaints()))
        wait_until(lambda: _HOSTILE_WORDS in (browser.text("#detail-agent") or ""), 30, lambda: browser.text("#detail"))
        expect(browser.text("#detail-name") == _HOSTILE_NAME, browser.text("#detail-name"))
        wait_until(lambda: browser.text("#detail-why"), 30, "no decisions")
        expect(browser.value("document.querySelectorAll('#rows img, #rows script, #detail img, #detail script').length") == 0, "markup")
        expect(browser.value("document.title").startswith(("ACMA", "● ACMA")), browser.value("document.title"))
        # Were the page to take text for markup, the server's policy would stop it.
        tried = browser.value("(() => { try { document.body.innerHTML = '<b>x</b>'; return 'done' } catch (e) { return String(e) } })()")
        expect("TrustedHTML" in tried, tried)
        expect([text for text in browser.complaints() if "TrustedHTML" not in text] == [], str(browser.complaints()))


@case(timeout_s=240)
def the_page_draws_only_what_is_seen_of_a_thousand_vms():
    _need_browser()
    vms = [Vm(f"vm-{i:04d}", 1024, _policy("256MiB", "1GiB"), agent=i % 20 == 0) for i in range(1000)]
    with serving(vms) as served, Browser() as browser:
        browser.open(served.url + "/")
        wait_until(lambda: len(_shown(browser) or []) > 5, 60, lambda: str(browser.complaints()))
        expect(len(_shown(browser)) < 40, f"{len(_shown(browser))} rows")
        expect(browser.value("document.getElementById('table').ariaRowCount") == "1001", "it tells how many there are")
        expect(_shown(browser)[0] == "vm-0000", _shown(browser)[0])
        browser.value("window.scrollTo(0, document.body.scrollHeight)")
        wait_until(lambda: _shown(browser)[-1] == "vm-0999", 20, lambda: str(_shown(browser)))
        browser.value("window.scrollTo(0, 0); document.querySelector('#head .c1 button').click()")
        wait_until(lambda: _shown(browser)[0] == "vm-0999", 20, lambda: str(_shown(browser)))
        browser.value("document.querySelector('#filter').value = '0500'; document.querySelector('#filter').dispatchEvent(new Event('input'))")
        wait_until(lambda: _shown(browser) == ["vm-0500"], 20, lambda: str(_shown(browser)))
        # What one look costs in the browser, all VMs listed: well within a beat, on a busy machine too.
        browser.value("document.querySelector('#filter').value = ''; document.querySelector('#filter').dispatchEvent(new Event('input'))")
        took = browser.value("(async () => { const t = performance.now(); window.scrollBy(0, 5000); await new Promise(requestAnimationFrame);"
                             " await new Promise(requestAnimationFrame); return performance.now() - t })()")
        print(f"a scroll took {took:.0f} ms")
        expect(browser.complaints() == [], str(browser.complaints()))


def _history(served, query):
    return json.loads(served.get("/v1/history" + query))


@case(timeout_s=120)
def history_tells_bounds_sizes_and_pressure_over_time():
    with serving(_stage()) as served:
        wait_until(lambda: served.vms()["web-1"].get("psi_bp") is not None, 60, served.log)
        wait_until(lambda: len(_history(served, "?range=5m&vm=web-1")["vms"][0]["points"]) >= 3, 60, served.log)
        report = _history(served, "?range=5m&vm=web-1")
        expect(report["step_us"] == 5_000_000 and report["host"], str(report)[:500])
        point = report["vms"][0]["points"][-1]
        expect((point["min_mem_bytes"], point["max_mem_bytes"], point["psi_target_bp"]) == (512 * MIB, 2048 * MIB, 10), str(point))
        expect(512 * MIB <= point["size_bytes"] <= point["grant_bytes"] <= 2048 * MIB and point["psi_bp"] > 0, str(point))
        # All of them, page by page.
        names, after = [], ""
        while True:
            page = _history(served, f"?limit=4{after}")
            names += [vm["name"] for vm in page["vms"]]
            if "next" not in page:
                break
            after = "&after=" + page["next"]
        expect(sorted(names) == sorted(vm.name for vm in _stage()), str(names))
