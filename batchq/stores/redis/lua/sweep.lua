-- Removes blocks of lives that are over, some at a time; tells whether more are left.

local MOST = 256
local first = redis.call('LINDEX', KEYS[1] .. ':garbage', 0)
if not first then
  return 0
end
local life = cmsgpack.unpack(first)
local keys = {}
local stop = math.min(life[2] + MOST - 1, life[3])
for n = life[2], stop do
  keys[#keys + 1] = KEYS[1] .. ':b:' .. life[1] .. ':' .. string.format('%.0f', n)
end
if #keys > 0 then
  redis.call('UNLINK', unpack(keys))
end
if stop >= life[3] then
  redis.call('LPOP', KEYS[1] .. ':garbage')
else
  life[2] = stop + 1
  redis.call('LSET', KEYS[1] .. ':garbage', 0, cmsgpack.pack(life))
end
return redis.call('LLEN', KEYS[1] .. ':garbage')
