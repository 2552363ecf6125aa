-- A window is a hash of amounts by second, with `total` (their sum), `from` (nothing is older) and
-- `last` (nothing is newer). What was counted in second s counts until s + 61: then the last moment
-- of it is 60 s ago. Put before the other scripts.
local COUNTS = 61

-- The server's own time; a test hands in another.
local function seconds_now(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function integer(number) return string.format('%.0f', number) end

-- Amounts of the seconds from..to, as numbers.
local function amounts(key, from, to)
  if to < from then return {} end
  local names = {}
  for second = from, to do names[#names + 1] = integer(second) end
  local found = redis.call('HMGET', key, unpack(names))
  for at = 1, #found do found[at] = tonumber(found[at] or 0) or 0 end
  return found, names
end

-- The window at `now`, without what counts no more. Where the server's clock went back a little,
-- its last second goes on; where it went back further, the window is void.
local function open_window(key, now)
  local second = math.floor(now)
  local stored = redis.call('HMGET', key, 'total', 'from', 'last')
  local window = { key = key, total = tonumber(stored[1] or 0) or 0,
                   from = tonumber(stored[2] or 0) or 0, last = tonumber(stored[3] or 0) or 0 }
  local oldest = second - COUNTS + 1
  if window.last < oldest or window.last > second + COUNTS then
    if stored[1] then redis.call('DEL', key) end
    window.total, window.from, window.last = 0, oldest, 0
  elseif window.from < oldest then
    local old, names = amounts(key, window.from, oldest - 1)
    for at = 1, #old do window.total = window.total - old[at] end
    redis.call('HDEL', key, unpack(names))
    redis.call('HSET', key, 'total', integer(window.total), 'from', integer(oldest))
    window.from = oldest
  end
  window.second = math.max(second, window.last)
  return window
end

local function add(window, second, amount)
  redis.call('HINCRBY', window.key, integer(second), integer(amount))
  window.total = window.total + amount
  if second > window.last then window.last = second end
  redis.call('HSET', window.key, 'total', integer(window.total), 'from', integer(window.from),
             'last', integer(window.last))
  redis.call('EXPIRE', window.key, COUNTS + 1)
end
