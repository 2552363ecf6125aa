-- KEYS: a window of tokens. ARGV: the time ('' for the server's), the second they were counted in,
-- how many more (or less) they were. What counts no more is left alone.
local window = open_window(KEYS[1], seconds_now(ARGV[1]))
local second, delta = tonumber(ARGV[2]), tonumber(ARGV[3])
if second < window.from then return {} end
local counted = tonumber(redis.call('HGET', KEYS[1], integer(second)) or '')
if not counted then return {} end
add(window, second, math.max(-counted, delta))
return {}
