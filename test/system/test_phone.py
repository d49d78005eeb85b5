"""The sandbox's page in a headless browser: a text typed there gets its answer under it, with its ticks."""

import json
import shutil
import subprocess
import urllib.request

import pytest

from conftest import PATIENCE, business, free_port, wait_for


class Browser:
    """Chromium behind chromedriver, over the WebDriver protocol; no library needed."""

    def __init__(self, directory):
        self.port = free_port()
        self.log = open(directory / "chromedriver.log", "wb")
        self.popen = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdout=self.log, stderr=self.log)
        self.session = None
        wait_for(self.answers, 20, "chromedriver")
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
                            f"--user-data-dir={directory}/chromium"]}
        try:
            self.session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})["sessionId"]
        except OSError:
            self.close()
            raise

    def answers(self):
        try:
            return self.call("GET", "/status")["ready"]
        except OSError:
            return False

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60 * PATIENCE) as answer:
            return json.loads(answer.read())["value"]

    def open(self, url):
        self.call("POST", f"/session/{self.session}/url", {"url": url})

    def script(self, text):
        return self.call("POST", f"/session/{self.session}/execute/sync", {"script": text, "args": []})

    def type(self, selector, text):
        element = self.call("POST", f"/session/{self.session}/element", {"using": "css selector", "value": selector})
        self.call("POST", f"/session/{self.session}/element/{next(iter(element.values()))}/value", {"text": text})

    def click(self, selector):
        element = self.call("POST", f"/session/{self.session}/element", {"using": "css selector", "value": selector})
        self.call("POST", f"/session/{self.session}/element/{next(iter(element.values()))}/click", {})

    def close(self):
        try:
            if self.session:
                self.call("DELETE", f"/session/{self.session}")
        finally:
            self.popen.terminate()
            self.popen.wait(20)
            self.log.close()


@pytest.fixture
def browser(directory):
    if not shutil.which("chromedriver") or not shutil.which("chromium"):
        pytest.skip("chromium and chromium-driver are not installed")
    b = Browser(directory)
    yield b
    b.close()


BUBBLES = """return [...document.querySelectorAll('.msg')].map(m => [m.classList.contains('in') ? 'in' : 'out', m.innerText,
             (m.querySelector('.ticks') || {dataset: {}}).dataset.status || ''])"""


def test_a_text_typed_on_the_phone_is_answered_under_it(world, browser):
    box = world.sandbox("--phone-number-id", "10001")
    world.start([business(1)], box=box)
    browser.open(f"http://127.0.0.1:{box.port}/")
    browser.type("#text", "hello from the phone")
    browser.click("#send")
    bubbles = wait_for(lambda: (b := browser.script(BUBBLES)) and len(b) >= 2 and b, 20, "an answer on the page")
    kinds = [kind for kind, text, _ in bubbles if "hello from the phone" in text]
    assert kinds == ["in", "out"], bubbles
    wait_for(lambda: any(status == "read" for kind, _, status in browser.script(BUBBLES) if kind == "out"), 20, "the answer's ticks")
