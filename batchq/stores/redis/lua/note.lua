-- Notes the name of a queue that is there, however many there are: a failover may have lost it.
-- ARGV: name, life, seconds since the epoch.

local noted = redis.call('HGET', KEYS[1], ARGV[1])
if not noted or string.sub(noted, 1, #ARGV[2] + 1) ~= ARGV[2] .. ' ' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
end
return 1
