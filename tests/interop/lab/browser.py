"""Runs a script in a page of headless Chromium, by its DevTools protocol over a pipe.

    browser.py FOLDER SECONDS SPKI < SCRIPT

SCRIPT is an expression whose promise becomes one line of JSON on standard output. SPKI is the hash
of a public key that Chromium is to trust. The browser ends with this, at the latest after SECONDS.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--mute-audio", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
]


def high(fd):
    """The same at a number that is in nobody's way."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD, 50)
    os.close(fd)
    return moved


class Browser:
    """A browser and its pipe: it reads commands from descriptor 3 and answers on 4."""

    def __init__(self, folder, spki, until):
        self.until, self.number, self.waiting = until, 0, b""
        reads, self.commands = (high(fd) for fd in os.pipe())
        self.answers, writes = (high(fd) for fd in os.pipe())
        argv = ["chromium", *FLAGS, f"--user-data-dir={folder}/profile",
                f"--ignore-certificate-errors-spki-list={spki}", "about:blank"]
        self.child = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "bash", *argv],
            pass_fds=(reads, writes), stdin=subprocess.DEVNULL, stdout=sys.stderr,
            start_new_session=True)
        os.close(reads)
        os.close(writes)

    def ask(self, method, session=None, **params):
        """Gives a command and returns its result."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": params}
        if session is not None:
            command["sessionId"] = session
        os.write(self.commands, json.dumps(command).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]

    def message(self):
        while b"\0" not in self.waiting:
            ready, _, _ = select.select([self.answers], [], [], self.until - time.monotonic())
            piece = os.read(self.answers, 65536) if ready else b""
            if not piece:
                sys.exit("the browser took too long" if not ready else "the browser ended")
            self.waiting += piece
        message, _, self.waiting = self.waiting.partition(b"\0")
        return json.loads(message)

    def end(self):
        """Ends every process of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()


def main():
    folder, seconds, spki = sys.argv[1:]
    browser = Browser(folder, spki, time.monotonic() + float(seconds))
    try:
        pages = browser.ask("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in pages if one["type"] == "page")
        session = browser.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        done = browser.ask("Runtime.evaluate", session, expression=sys.stdin.read(),
                           awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in done:
            sys.exit(json.dumps(done["exceptionDetails"]))
        print(json.dumps(done["result"]["value"]), flush=True)
    finally:
        browser.end()


main()
