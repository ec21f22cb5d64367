#!/usr/bin/env python3
"""Reports how a browser renders a run's page and picture: report.py PAGE PICTURE FOLDER.

Controls headless Chromium with ChromeDriver, at the widths of a phone and of a large
screen, light and dark. Prints JSON: console messages and requested URLs, what scrolls,
the positions of lanes and bars, and what is folded. Saves the screenshots to FOLDER.
"""

import base64
import json
import sys
import xml.etree.ElementTree
from pathlib import Path

from browser import Driver

WANTED = {"goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
WIDTHS = {"phone": 360, "screen": 1280}

LOOK = """
const seen = [...document.querySelectorAll("figure")].filter(f => f.getClientRects().length);
const box = r => ({left: r.left, right: r.right, top: r.top, bottom: r.bottom});
const lanes = {};
for (const lane of seen[0].querySelectorAll("g.branch")) {
    const bars = [...lane.querySelectorAll(".call rect.bar")].map(b => box(b.getBoundingClientRect()));
    lanes[lane.dataset.branch] = {
        left: Math.min(...bars.map(b => b.left)), right: Math.max(...bars.map(b => b.right)),
        top: Math.min(...bars.map(b => b.top)), bottom: Math.max(...bars.map(b => b.bottom)),
        calls: [...lane.querySelectorAll(".call title")].map(t => t.textContent),
    };
}
const error = document.querySelector("li.failed pre.error");
const folded = !error.checkVisibility();
for (const details of document.querySelectorAll("details")) details.open = true;
const wide = [...document.querySelectorAll("main *")].filter(e =>
    !e.closest("svg") && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5);
const shown = {
    figures: seen.length, lanes, folded,
    unfolded: error.checkVisibility() ? error.textContent : null,
    scrolls: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    wide: wide.map(e => e.outerHTML.slice(0, 100)),
    letters: Math.min(...[...seen[0].querySelectorAll("text")].map(t => t.getBoundingClientRect().height)),
    scripts: document.scripts.length, text: document.body.innerText, title: document.title,
};
for (const details of document.querySelectorAll("details")) details.open = false;
return shown;
"""

# A click on a bar of the picture opens its entry.
FOLLOW = """
const seen = [...document.querySelectorAll("figure")].find(f => f.getClientRects().length);
const bar = seen.querySelector(".call rect.failed").closest("a");
bar.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true, view: window}));
const [link, done] = [bar.getAttribute("href"), arguments[0]];
requestAnimationFrame(() => requestAnimationFrame(() =>
    done(document.querySelector(link).closest("details").open)));
"""

COLOURS = """
const [data, done] = arguments;
const image = new Image();
image.onload = () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, image.height];
    const paint = canvas.getContext("2d");
    paint.drawImage(image, 0, 0);
    const dots = new Uint32Array(paint.getImageData(0, 0, image.width, image.height).data.buffer);
    const counts = new Map();
    for (const dot of dots) counts.set(dot, (counts.get(dot) ?? 0) + 1);
    const most = Math.max(...counts.values());
    done({colours: counts.size, plain: most / dots.length, width: image.width, height: image.height});
};
image.src = "data:image/png;base64," + data;
"""


class Page:
    def __init__(self, driver):
        self.driver = driver
        self.session = driver.session(WANTED)

    def post(self, path, body):
        return self.driver.ask("POST", self.session + path, body)

    def devtools(self, command, **parameters):
        return self.post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url, width, scheme):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=800,
                      deviceScaleFactor=1, mobile=width < 500)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.devtools("Emulation.setEmulatedMedia", features=[feature])
        self.post("/url", {"url": url})

    def run(self, script, *arguments, how="sync"):
        return self.post("/execute/" + how, {"script": script, "args": list(arguments)})

    def screenshot(self, file):
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 6000), "scale": 1}
        shot = self.devtools("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))
        return shot["data"]

    def logged(self):
        return [entry["message"] for entry in self.post("/se/log", {"type": "browser"})]

    def asked_for(self):
        messages = [json.loads(entry["message"])["message"]
                    for entry in self.post("/se/log", {"type": "performance"})]
        return sorted({message["params"]["request"]["url"] for message in messages
                       if message["method"] == "Network.requestWillBeSent"})


def main():
    page_file, picture, folder = (Path(argument).resolve() for argument in sys.argv[1:])
    frame = folder / "readme.html"
    frame.write_text(f'<!DOCTYPE html><title>x</title><img alt="" src="{picture.name}">')
    driver = Driver()
    root = xml.etree.ElementTree.parse(picture).getroot()
    result = {"pages": {}, "shots": {}, "root": root.tag, "tags": sorted({e.tag for e in root.iter()})}
    try:
        page = Page(driver)
        shots = {}
        for name, width in WIDTHS.items():
            for scheme in ["light", "dark"]:
                page.open(page_file.as_uri(), width, scheme)
                shots[f"{name}-{scheme}"] = page.screenshot(folder / f"{name}-{scheme}.png")
            result["pages"][name] = page.run(LOOK)
            result["pages"][name]["follows"] = page.run(FOLLOW, how="async")
        for scheme in ["light", "dark"]:
            page.open(frame.as_uri(), 1000, scheme)
            shots[f"picture-{scheme}"] = page.screenshot(folder / f"picture-{scheme}.png")
        result["picture"] = page.run("const i = document.images[0]; return [i.naturalWidth, i.naturalHeight];")
        result["asked"], result["logged"] = page.asked_for(), page.logged()
        page.open("about:blank", 800, "light")
        for name, shot in shots.items():
            result["shots"][name] = page.run(COLOURS, shot, how="async")
        driver.ask("DELETE", page.session)
        print(json.dumps(result))
    finally:
        driver.process.terminate()
        driver.process.wait()


main()
