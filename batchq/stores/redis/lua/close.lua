-- Closes the queue, or says why not.

local known = nil
if A.producer then
  local packed = L and call('HGET', PRODUCERS, A.producer)
  known = packed and cmsgpack.unpack(packed)
end

if A.pin and (not L or L.id ~= A.pin) then
  local life = A.producer and record(A.pin)
  local packed = life and call('HGET', base .. ':record:' .. A.pin .. ':producers', A.producer)
  local had = packed and cmsgpack.unpack(packed)
  if had and had.e == A.epoch and A.seq <= had.s and life.closed then
    return reply(end_of(life, had))
  end
  return reply({ r = 'replaced' })
end

local expected = 0
if known then
  if A.epoch < known.e then
    return reply({ r = 'stale', epoch = known.e })
  end
  if A.epoch == known.e then
    expected = known.s + 1
    if A.seq <= known.s then
      if L.closed then
        return reply(end_of(L, known))
      end
      return reply({ r = 'gap', expected = expected })
    end
  end
end

if L and L.closed then
  return reply(end_of(L))
end
if A.producer and A.seq > expected then
  return reply({ r = 'ahead', expected = expected })
end
local lines, bytes = L and L.lines or 0, L and L.bytes or 0
if A.lines and A.lines ~= lines then
  return reply({ r = 'differ', what = 'lines', counted = lines })
end
if A.bytes and A.bytes ~= bytes then
  return reply({ r = 'differ', what = 'bytes', counted = bytes })
end
if A.producer and not known and (L and L.np or 0) >= A.mp then
  return reply({ r = 'producers' })
end
if not L then
  if not A.new then
    return reply({ r = 'create' })
  end
  L = new_life()
end

touch()
L.closed = { digest = A.digest, unterminated = A.unterminated }
L.kc = A.kc
let_pass()
local producer = A.producer and enter(known, 0, 0, L.lines, L.bytes)
note_drained()
return reply(end_of(L, producer))
