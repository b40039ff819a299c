-- Notes a life that is over; gives those whose records are too many, the oldest first.
-- ARGV: name and life, seconds since the epoch, seconds to keep, limit.

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2] - ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[3]) + 1)
local many = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
local gone = {}
if many > 0 then
  gone = redis.call('ZRANGE', KEYS[1], 0, math.min(many, 64) - 1)
  redis.call('ZREM', KEYS[1], unpack(gone))
end
return gone
