-- KEYS: leases of scopes. ARGV: the id of a request that has ended.
for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end
return {}
