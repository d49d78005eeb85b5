"""The stack that wahookd replaces, as its operators describe it: FastAPI under gunicorn and uvicorn workers, slowapi, a BaseHTTPMiddleware
that times and logs, JSON into objects, a cache of businesses behind an asyncio lock. Its calls to Graph are cut out, and as it never
checked a signature, neither does this. Nothing is stored. The phone number ids come in BENCH_PHONES."""

import asyncio
import logging
import os
import time
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address
from starlette.middleware.base import BaseHTTPMiddleware

logging.basicConfig(level=logging.INFO, format="%(asctime)s - %(name)s - %(levelname)s - %(message)s")
log = logging.getLogger("webhook")


@dataclass
class Message:
    sender: str
    kind: str
    id: str
    text: str
    phone_number_id: str


@dataclass
class Business:
    id: str
    name: str
    phones: list = field(default_factory=list)


class Collection:
    """In the place of motor's: answers at once."""

    def __init__(self, phones):
        self.businesses = {phone: Business(f"b{phone}", f"Business {phone}", [phone]) for phone in phones}

    async def find_one(self, query):
        return self.businesses.get(query["whatsappPhoneNumberIds"])


class Cache:
    def __init__(self, collection, ttl=300, size=1000):
        self.collection, self.ttl, self.size = collection, ttl, size
        self.entries, self.lock = {}, asyncio.Lock()

    async def business(self, phone):
        async with self.lock:
            entry = self.entries.get(phone)
            if entry and time.time() - entry[1] < self.ttl:
                return entry[0]
        found = await self.collection.find_one({"whatsappPhoneNumberIds": phone, "whatsappEnabled": True, "isActive": True})
        async with self.lock:
            if len(self.entries) >= self.size:
                self.entries.pop(min(self.entries, key=lambda key: self.entries[key][1]))
            self.entries[phone] = (found, time.time())
        return found


class Timing(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        start = time.time()
        response = await call_next(request)
        took = time.time() - start
        response.headers["X-Process-Time"] = str(took)
        log.info("%s %s %d %.4fs", request.method, request.url.path, response.status_code, took)
        return response


limiter = Limiter(key_func=get_remote_address)
app = FastAPI()
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, lambda request, e: JSONResponse({"error": f"Rate limit exceeded: {e.detail}"}, 429))
app.add_middleware(Timing)
cache = Cache(Collection(os.environ["BENCH_PHONES"].split(",")))


def messages_of(document):
    for entry in document.get("entry", []):
        for change in entry.get("changes", []):
            value = change.get("value", {})
            phone = value.get("metadata", {}).get("phone_number_id", "")
            for m in value.get("messages", []):
                yield Message(m.get("from", ""), m.get("type", ""), m.get("id", ""), m.get("text", {}).get("body", ""), phone)


@app.post("/whatsapp_response")
@limiter.limit("1000000000/minute")
async def receive(request: Request):
    document = await request.json()
    for message in messages_of(document):
        business = await cache.business(message.phone_number_id)
        if business:
            log.info("message %s for %s", message.id, business.name)
    return {"status": "ok"}
