"""The sandbox's page by itself in headless Chromium: ticks, buttons, a cleared record, a webhook that is down."""

import shutil
import urllib.parse

import pytest

from conftest import wait_for
from test_phone import Browser
from test_sandbox import Webhook, send, text

ENTER = "\ue007"
pytestmark = pytest.mark.skipif(not (shutil.which("chromedriver") and shutil.which("chromium")), reason="no chromium, no chromedriver")


@pytest.fixture
def browser(world):
    b = Browser(world.directory)
    yield b
    b.close()


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
    browser.open(f"http://127.0.0.1:{box.port}/")
    browser.type("#text", "hello" + ENTER)
    first = [["in", "hello", "delivered"], ["out", "<b>hello</b>", "read"]]
    wait_for(lambda: browser.script(BUBBLES) == first, 20, "the answer and its ticks")
    browser.type("#text", "choose")
    browser.click("#send")
    wait_for(lambda: ["out", "which?", "read"] in browser.script(BUBBLES), 20, "the buttons")
    browser.click(".choice:last-child")
    wait_for(lambda: [b[1] for b in browser.script(BUBBLES)] == ["hello", "<b>hello</b>", "choose", "which?", "Coffee", "<b>Coffee</b>"], 20, "the choice")
    assert hook.values("messages")[-1]["interactive"]["button_reply"] == {"id": "c", "title": "Coffee"}
    # Forgetting the record empties the phone, without a reload.
    box.forget()
    wait_for(lambda: browser.script(BUBBLES) == [], 20, "an empty phone")
    # Nothing comes from anywhere else.
    loaded = browser.script("return performance.getEntriesByType('resource').map(r => r.name)")
    assert {urllib.parse.urlparse(name).port for name in loaded} <= {box.port}


def test_a_webhook_that_does_not_answer_is_shown(world, browser):
    box = world.sandbox()
    browser.open(f"http://127.0.0.1:{box.port}/")
    browser.type("#text", "anybody?" + ENTER)
    wait_for(lambda: browser.script(BUBBLES) == [["in", "anybody?", "failed"]], 20, "the failed tick")
    assert "cannot be reached" in browser.script("return document.getElementById('note').textContent")
