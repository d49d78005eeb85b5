// Node + fastify as one would write it: raw body, HMAC compared in constant time, JSON, an LRU map of businesses, a limit. Nothing is stored.
// Usage: node server.js PORT WORKERS SECRET PHONE,...
"use strict";
const cluster = require("node:cluster");
const { createHmac, timingSafeEqual } = require("node:crypto");

const [port, workers, secret, phones] = process.argv.slice(2);
const LIMIT = 1e9, PERIOD_MS = 60000, CACHE = 1000;

const businesses = new Map();
for (const phone of phones.split(",")) businesses.set(phone, { id: `b${phone}`, name: `Business ${phone}` });

// A Map keeps the order of insertion: what was used last is put last.
function lookUp(phone) {
  const business = businesses.get(phone);
  if (business === undefined) return undefined;
  businesses.delete(phone);
  businesses.set(phone, business);
  if (businesses.size > CACHE) businesses.delete(businesses.keys().next().value);
  return business;
}

const windows = new Map();
function allowed(id) {
  const now = Date.now();
  let window = windows.get(id);
  if (window === undefined || now >= window.until) windows.set(id, (window = { count: 0, until: now + PERIOD_MS }));
  return ++window.count <= LIMIT;
}

function signed(header, body) {
  if (typeof header !== "string" || header.length !== 71 || !header.startsWith("sha256=")) return false;
  const given = Buffer.from(header.slice(7), "hex");
  const right = createHmac("sha256", secret).update(body).digest();
  return given.length === right.length && timingSafeEqual(given, right);
}

function serve() {
  const fastify = require("fastify")({ logger: false });
  fastify.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, body, done) => done(null, body));
  fastify.post("/whatsapp_response", (request, reply) => {
    if (!signed(request.headers["x-hub-signature-256"], request.body)) return reply.code(403).send({ detail: "Invalid signature" });
    let document;
    try {
      document = JSON.parse(request.body);
    } catch {
      return reply.code(400).send({ detail: "no JSON" });
    }
    for (const entry of document.entry ?? [])
      for (const change of entry.changes ?? []) {
        const business = lookUp(change.value?.metadata?.phone_number_id);
        if (business && !allowed(business.id)) return reply.code(429).send({ detail: "Too many" });
      }
    return reply.send({ status: "ok" });
  });
  fastify.listen({ port: Number(port), host: "127.0.0.1", backlog: 4096 });
}

if (Number(workers) > 1 && cluster.isPrimary) for (let i = 0; i < Number(workers); i++) cluster.fork();
else serve();
