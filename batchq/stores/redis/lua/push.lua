-- Appends a batch, or says why not. `A.probe`: says whether it would, and has no lines.

local known = nil
if A.producer then
  local packed = L and call('HGET', PRODUCERS, A.producer)
  known = packed and cmsgpack.unpack(packed)
else
  local before = recall()
  if before then
    return reply(before)
  end
end

if A.pin and (not L or L.id ~= A.pin) then
  local life = A.producer and record(A.pin)
  local packed = life and call('HGET', base .. ':record:' .. A.pin .. ':producers', A.producer)
  local had = packed and cmsgpack.unpack(packed)
  if had and had.e == A.epoch and A.seq <= had.s then
    return reply({ r = 'duplicate', id = life.id, producer = had })
  end
  return reply({ r = 'replaced' })
end

local expected = 0
if known then
  if A.epoch < known.e then
    return reply({ r = 'stale', epoch = known.e })
  end
  if A.epoch == known.e then
    if A.seq <= known.s then
      if A.seq == known.s and known.op == A.op then
        return reply({ r = 'pushed', offset = known.o, position = known.p, producer = known })
      end
      return reply({ r = 'duplicate', id = L.id, producer = known })
    end
    expected = known.s + 1
  end
end

if L and L.closed then
  return reply({ r = 'closed' })
end
if A.producer and A.seq > expected then
  return reply({ r = 'ahead', expected = expected })
end

if A.size > 0 then
  local stored = L and L.stored or 0
  if A.size > A.qb then
    return reply({ r = 'too large' })
  end
  if A.behind or stored + A.size > A.qb then
    if L and not L.refused then
      L.refused = true
      touch()
    end
    return reply({ r = 'full', stored = stored })
  end
end
if A.producer and not known and (L and L.np or 0) >= A.mp then
  return reply({ r = 'producers' })
end
if A.probe then
  return reply({ r = 'go' })
end
if not L then
  if not A.new then
    return reply({ r = 'create' })
  end
  L = new_life()
end

local offset, position = L.lines, L.bytes
touch()
if A.lines > 0 then
  local block = L.hi > 0 and get_block(L.hi)
  if block and block[4] - block[2] + A.size <= JOIN_BELOW then
    call('APPEND', block_key(L.hi), ARGV[2])
    block[3] = block[3] + A.lines
    block[4] = block[4] + A.size
    block[5] = block[5] + A.lines
  else
    L.hi = L.hi + 1
    call('SET', block_key(L.hi), ARGV[2])
    block = { offset, position, offset + A.lines, position + A.size, A.lines }
  end
  put_block(L.hi, block)
  L.lines = L.lines + A.lines
  L.bytes = L.bytes + A.size
  L.rl = L.rl + A.lines
  L.rb = L.rb + A.size
  L.stored = L.stored + A.size
end

local answer = { r = 'pushed', offset = offset, position = position }
if A.producer then
  answer.producer = enter(known, A.lines, A.size, offset, position)
else
  answer.id = L.id
  remember(answer)
end
return reply(answer)
