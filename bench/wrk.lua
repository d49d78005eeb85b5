-- wrk posts what BENCH_MESSAGES holds: requests signed beforehand, each with its length in a line before it. Its last line is JSON.
local requests = {}

local function read()
  local file = assert(io.open(os.getenv("BENCH_MESSAGES"), "rb"))
  for length in file:lines() do
    requests[#requests + 1] = file:read(tonumber(length))
  end
  file:close()
end

local at = 0

function init(args)
  read()
end

function request()
  at = at + 1
  if at > #requests then at = 1 end
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('BENCH {"requests":%d,"seconds":%.6f,"refused":%d,"failed":%d,"p50_us":%.0f,"p99_us":%.0f}\n', summary.requests,
    summary.duration / 1e6, errors.status, errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50),
    latency:percentile(99)))
end
