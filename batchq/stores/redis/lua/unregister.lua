-- Removes the name of a queue, unless it was noted for another life since.
-- ARGV: name, life.

local noted = redis.call('HGET', KEYS[1], ARGV[1])
if noted and string.sub(noted, 1, #ARGV[2] + 1) == ARGV[2] .. ' ' then
  return redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
