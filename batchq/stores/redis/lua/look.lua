-- Sees to what fell due, and tells how things are.
-- A.whole: the statistics; A.producer: and a producer's state.

if not A.whole then
  return reply({ r = 'look' })
end
if A.pin and (not L or L.id ~= A.pin) then
  return reply({ r = 'replaced' })
end
if not L then
  return reply({ r = 'none' })
end
local packed = A.producer and call('HGET', PRODUCERS, A.producer)
return reply({
  r = 'stats',
  rb = L.rb, ll = L.ll, nl = L.nl, np = L.np,
  digest = L.closed and L.closed.digest,
  unterminated = L.closed and L.closed.unterminated,
  producer = packed and cmsgpack.unpack(packed),
})
