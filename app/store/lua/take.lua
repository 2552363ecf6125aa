-- KEYS: one for each check. ARGV: the time ('' for the server's), the request's id, its lease in
-- seconds, then kind, limit and amount of each check.
-- Returns: the check that is refused (0: none), the wait, the time, then for each check what is
-- used and when nothing is used any more, all but the first as text. A wait of -1 is for ever.
local now = seconds_now(ARGV[1])
local request, lease = ARGV[2], tonumber(ARGV[3])
local RETRY_CONCURRENT = 1

local function wait_for_window(window, over)
  local counted = amounts(window.key, window.from, window.last)
  for at = 1, #counted do
    over = over - counted[at]
    if over <= 0 then return window.from + at - 1 + COUNTS - now end
  end
  return -1
end

local function wait_for_place(limit, amount)
  return amount > limit and -1 or RETRY_CONCURRENT
end

local function longer(wait, than) return than ~= -1 and (wait == -1 or wait > than) end

local windows, used, refused, longest = {}, {}, 0, 0
for at, key in ipairs(KEYS) do
  local kind, limit, amount = ARGV[3 * at + 1], tonumber(ARGV[3 * at + 2]), tonumber(ARGV[3 * at + 3])
  if kind == 'concurrent' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    used[at] = redis.call('ZCARD', key)
  else
    windows[at] = open_window(key, now)
    used[at] = windows[at].total
  end
  local over = used[at] + amount - limit
  if over > 0 then
    local wait = windows[at] and wait_for_window(windows[at], over)
                 or wait_for_place(limit, amount)
    if refused == 0 or longer(wait, longest) then refused, longest = at, wait end
  end
end

local function lease_place(key)
  redis.call('ZADD', key, now + lease, request)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  redis.call('EXPIRE', key, math.ceil(tonumber(last[2]) - now) + 1)
  return redis.call('ZCARD', key)
end

if refused == 0 then
  for at, key in ipairs(KEYS) do
    local amount = tonumber(ARGV[3 * at + 3])
    if not windows[at] then
      used[at] = lease_place(key)
    else
      add(windows[at], windows[at].second, amount)
      used[at] = windows[at].total
    end
  end
end

local answer = { refused, string.format('%.6f', longest), string.format('%.6f', now) }
for at = 1, #KEYS do
  local window = windows[at]
  local reset = window and window.total > 0 and window.last + COUNTS - now or 0
  answer[#answer + 1] = integer(used[at])
  answer[#answer + 1] = string.format('%.6f', reset)
end
return answer
