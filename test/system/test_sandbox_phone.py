"""The sandbox's page in headless Chromium, driven through chromedriver (W3C WebDriver)."""

import json
import shutil
import subprocess
import urllib.parse

import pytest

from conftest import PATIENCE, free_port, request, wait_for
from test_sandbox import Webhook, send, text

ENTER = "\ue007"
pytestmark = pytest.mark.skipif(not (shutil.which("chromedriver") and shutil.which("chromium")), reason="no chromium, no chromedriver")


class Browser:
    def __init__(self, directory):
        self.port = free_port()
        home = directory / "browser"
        home.mkdir()
        self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home)})
        wait_for(self.is_up, 30, "chromedriver")
        args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=500,900", f"--user-data-dir={home}"]
        wish = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": args}}}}
        self.session = self.call("POST", "/session", wish)["sessionId"]

    def is_up(self):
        try:
            return request(self.port, "GET", "/status").status == 200
        except OSError:
            return False

    def call(self, method, path, body=None):
        answer = request(self.port, method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}, timeout=120)
        assert answer.status == 200, answer
        return answer.json["value"]

    def do(self, method, path, body=None):
        return self.call(method, f"/session/{self.session}{path}", body)

    def element(self, css):
        return next(iter(self.do("POST", "/element", {"using": "css selector", "value": css}).values()))

    def type(self, css, keys):
        self.do("POST", f"/element/{self.element(css)}/value", {"text": keys})

    def click(self, css):
        self.do("POST", f"/element/{self.element(css)}/click", {})

    def run(self, script):
        return self.do("POST", "/execute/sync", {"script": script, "args": []})

    def stop(self):
        try:
            self.do("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait(30 * PATIENCE)


@pytest.fixture
def browser(world):
    b = Browser(world.directory)
    yield b
    b.stop()


@pytest.fixture
def hook(world):
    w = Webhook(world.port)
    yield w
    w.stop()


BUBBLES = """return [...document.querySelectorAll('.msg')].map(m => [m.classList.contains('in') ? 'in' : 'out',
  m.querySelector('.body').textContent, m.querySelector('.ticks').dataset.status]);"""


def test_a_typed_message_gets_its_answer_under_it(world, hook, browser):
    box = world.sandbox()

    def answer(m):
        said = m["text"]["body"] if m["type"] == "text" else m["interactive"]["button_reply"]["title"]
        document = text(f"<b>{said}</b>", to="+" + m["from"])
        if said == "choose":
            document = text(to="+" + m["from"], type="interactive", interactive={"type": "button", "body": {"text": "which?"}, "action": {"buttons": [
                {"type": "reply", "reply": {"id": "t", "title": "Tea"}}, {"type": "reply", "reply": {"id": "c", "title": "Coffee"}}]}})
        assert send(box, document).status == 200

    hook.on_message = answer
    browser.do("POST", "/url", {"url": f"http://127.0.0.1:{box.port}/"})
    browser.type("#text", "hello" + ENTER)
    first = [["in", "hello", "delivered"], ["out", "<b>hello</b>", "read"]]
    wait_for(lambda: browser.run(BUBBLES) == first, 20, "the answer and its ticks")
    browser.type("#text", "choose")
    browser.click("#send")
    wait_for(lambda: ["out", "which?", "read"] in browser.run(BUBBLES), 20, "the buttons")
    browser.click(".choice:last-child")
    wait_for(lambda: [b[1] for b in browser.run(BUBBLES)] == ["hello", "<b>hello</b>", "choose", "which?", "Coffee", "<b>Coffee</b>"], 20, "the choice")
    assert hook.values("messages")[-1]["interactive"]["button_reply"] == {"id": "c", "title": "Coffee"}
    # Forgetting the record empties the phone, without a reload.
    box.forget()
    wait_for(lambda: browser.run(BUBBLES) == [], 20, "an empty phone")
    # Nothing comes from anywhere else.
    loaded = browser.run("return performance.getEntriesByType('resource').map(r => r.name)")
    assert {urllib.parse.urlparse(name).port for name in loaded} <= {box.port}


def test_a_webhook_that_does_not_answer_is_shown(world, browser):
    box = world.sandbox()
    browser.do("POST", "/url", {"url": f"http://127.0.0.1:{box.port}/"})
    browser.type("#text", "anybody?" + ENTER)
    wait_for(lambda: browser.run(BUBBLES) == [["in", "anybody?", "failed"]], 20, "the failed tick")
    assert "cannot be reached" in browser.run("return document.getElementById('note').textContent")
