# SPDX-License-Identifier: Apache-2.0
"""A page in headless Chromium, steered by the DevTools protocol over a pipe. No library, no port."""

import base64
import json
import os
import select
import signal
import subprocess
import time

from . import system, workdir
from .errors import RigError

# --no-sandbox: tests run as root, which Chromium's sandbox refuses; the page is our own.
_OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-dev-shm-usage", "--mute-audio", "--hide-scrollbars"]


class Browser:
    """with Browser() as browser: browser.open(url); browser.value("document.title")."""

    def __init__(self, width=1400, height=900):
        self._size = (width, height)
        self._profile = workdir.make("browser")
        self._number = 0
        self._input = b""
        self.events = []  # (method, params) of all that came unasked

    def __enter__(self):
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        size = ",".join(str(side) for side in self._size)
        command = ["chromium", *_OPTIONS, f"--window-size={size}", f"--user-data-dir={self._profile}", "--remote-debugging-pipe"]
        # Chromium reads from descriptor 3 and writes to 4.
        wrapped = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", *command]
        with open(os.path.join(self._profile, "log"), "wb") as log:
            self._process = subprocess.Popen(
                wrapped, pass_fds=(to_read, to_write), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=system.die_with_parent,
            )
        os.close(to_read)
        os.close(to_write)
        self._session = None
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
            self.resize(*self._size)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        os.close(self._to)
        os.close(self._from)
        try:
            os.killpg(self._process.pid, signal.SIGKILL)  # with its helpers
        except ProcessLookupError:
            pass
        self._process.wait()
        workdir.remove(self._profile)

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RigError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _next(self, deadline):
        while b"\0" not in self._input:
            if not select.select([self._from], [], [], max(0, deadline - time.monotonic()))[0]:
                raise RigError("Chromium does not answer")
            piece = os.read(self._from, 1 << 20)
            if not piece:
                with open(os.path.join(self._profile, "log"), encoding="utf-8", errors="replace") as log:
                    raise RigError(f"Chromium ended: {log.read()[-2000:]}")
            self._input += piece
        message, self._input = self._input.split(b"\0", 1)
        message = json.loads(message)
        if "method" in message:
            self.events.append((message["method"], message["params"]))
        return message

    # ---- what tests do ----------------------------------------------------------------------------------------------

    def open(self, url):
        self.call("Page.navigate", url=url)

    def value(self, expression):
        """What a JavaScript expression gives; promises are awaited."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RigError(f"{expression}: {json.dumps(done['exceptionDetails'])[:1000]}")
        return done["result"].get("value")

    def text(self, selector):
        return self.value(f"document.querySelector({json.dumps(selector)})?.innerText")

    def press(self, key, text=""):
        codes = {"ArrowDown": 40, "ArrowUp": 38, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "/": 191}
        common = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0)}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, theme):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def complaints(self):
        """What went wrong in the page so far: exceptions, refusals by its policy, failed requests, dialogs."""
        found = []
        for method, params in self.events:
            if method == "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                found.append(details.get("exception", {}).get("description") or details["text"])
            elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            elif method == "Page.javascriptDialogOpening":
                found.append(f"dialog: {params['message']}")
        return found

    def requested(self):
        """URLs of all requests so far."""
        return [params["request"]["url"] for method, params in self.events if method == "Network.requestWillBeSent"]
