-- What wrk prints at the end, in words that a program reads; with BENCH_UPLOAD_BYTES every request carries a body of that size.
local upload = tonumber(os.getenv("BENCH_UPLOAD_BYTES") or "0")
if upload > 0 then
   wrk.method = "POST"
   wrk.body = string.rep("x", upload)
   wrk.headers["Content-Type"] = "application/octet-stream"
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      "bench requests=%d us=%d bytes=%d p50=%.3f p99=%.3f p999=%.3f errors=%d\n",
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency:percentile(99.9) / 1000,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
