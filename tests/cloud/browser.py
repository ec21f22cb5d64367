#!/usr/bin/env python3
"""Reports what a browser shows for a page: browser.py URL SCREENSHOT.

Controls headless Chromium with ChromeDriver. Prints JSON: the heading, and the natural
width of the first image, which is 0 if the image could not be loaded.
"""

import base64
import json
import subprocess
import sys
import urllib.request
from pathlib import Path

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=900,620",
]
LOOK = """return {
    heading: document.querySelector("h1")?.textContent ?? "",
    width: document.querySelector("img")?.naturalWidth ?? 0,
};"""


class Driver:
    def __init__(self):
        self.process = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "started successfully on port" in line:
                port = line.rsplit("port", 1)[1].strip(" .\n")
                self.base = f"http://127.0.0.1:{port}"
                return
        raise RuntimeError("chromedriver did not start")

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def session(self, wanted=None):
        options = {"args": ARGUMENTS}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, **(wanted or {})}
        made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        return "/session/" + made["sessionId"]


def main():
    url, screenshot = sys.argv[1:]
    driver = Driver()
    try:
        session = driver.session()
        # Returns when the page and its images are loaded.
        driver.ask("POST", session + "/url", {"url": url})
        shown = driver.ask("POST", session + "/execute/sync", {"script": LOOK, "args": []})
        image = driver.ask("GET", session + "/screenshot")
        Path(screenshot).write_bytes(base64.b64decode(image))
        driver.ask("DELETE", session)
        print(json.dumps(shown))
    finally:
        driver.process.terminate()
        driver.process.wait()


if __name__ == "__main__":
    main()
