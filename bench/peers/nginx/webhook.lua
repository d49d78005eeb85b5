-- The webhook of the nginx + Lua peer; see lua.conf.
local ffi = require "ffi"
local cjson = require "cjson.safe"
local lrucache = require "resty.lrucache"

ffi.cdef [[
typedef struct evp_md_st EVP_MD;
typedef struct hmac_ctx_st HMAC_CTX;
const EVP_MD *EVP_sha256(void);
HMAC_CTX *HMAC_CTX_new(void);
int HMAC_Init_ex(HMAC_CTX *ctx, const void *key, int len, const EVP_MD *md, void *engine);
int HMAC_Update(HMAC_CTX *ctx, const unsigned char *data, size_t len);
int HMAC_Final(HMAC_CTX *ctx, unsigned char *md, unsigned int *len);
int CRYPTO_memcmp(const void *a, const void *b, size_t len);
]]

local crypto = ffi.load("libcrypto.so.3")
local M = {}
local context, businesses, limits
local digest = ffi.new("unsigned char[32]")
local wanted = ffi.new("unsigned char[32]")
local length = ffi.new("unsigned int[1]")
local byte, sub = string.byte, string.sub
local LIMIT, PERIOD = 1000000000, 60

function M.start(secret, phones)
  context = crypto.HMAC_CTX_new()
  crypto.HMAC_Init_ex(context, secret, #secret, crypto.EVP_sha256(), nil)
  businesses = lrucache.new(1000)
  for phone in string.gmatch(phones, "[^,]+") do
    businesses:set(phone, { id = "b" .. phone, name = "Business " .. phone }, 86400)
  end
  limits = ngx.shared.limits
end

local function nibble(c)
  if c >= 48 and c <= 57 then return c - 48 end
  if c >= 97 and c <= 102 then return c - 87 end
  return nil
end

local function signed(header, body)
  if not header or #header ~= 71 or sub(header, 1, 7) ~= "sha256=" then return false end
  for i = 0, 31 do
    local high, low = nibble(byte(header, 8 + 2 * i)), nibble(byte(header, 9 + 2 * i))
    if not high or not low then return false end
    wanted[i] = high * 16 + low
  end
  crypto.HMAC_Init_ex(context, nil, 0, nil, nil)
  crypto.HMAC_Update(context, body, #body)
  crypto.HMAC_Final(context, digest, length)
  return crypto.CRYPTO_memcmp(digest, wanted, 32) == 0
end

local function answer(status, text)
  ngx.status = status
  ngx.header.content_length = #text
  ngx.print(text)
end

function M.serve()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  if not body then return answer(400, '{"detail":"no body"}') end
  if not signed(ngx.var.http_x_hub_signature_256, body) then return answer(403, '{"detail":"Invalid signature"}') end
  local document = cjson.decode(body)
  if not document then return answer(400, '{"detail":"no JSON"}') end
  for _, entry in ipairs(document.entry or {}) do
    for _, change in ipairs(entry.changes or {}) do
      local phone = change.value and change.value.metadata and change.value.metadata.phone_number_id
      local business = phone and businesses:get(phone)
      if business then
        local count = limits:incr(business.id, 1, 0, PERIOD)
        if count and count > LIMIT then return answer(429, '{"detail":"Too many"}') end
      end
    end
  end
  answer(200, '{"status":"ok"}')
end

return M
