-- Notes the name of a queue that is about to be created, unless there are too many.
-- ARGV: name, life, limit, seconds since the epoch. Gives 1, or 0 where there are too many.

if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0
    and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[4])
return 1
