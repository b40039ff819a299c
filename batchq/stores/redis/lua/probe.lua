-- A write that needs no memory and does nothing: a replica refuses it.

return redis.call('HDEL', KEYS[1] .. ':', '')
