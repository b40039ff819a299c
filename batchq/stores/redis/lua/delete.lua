-- Ends a life with all it holds; its record is kept for a time.

local before = recall()
if before then
  return reply(before)
end
if A.pin and (not L or L.id ~= A.pin) then
  return reply({ r = 'replaced' })
end
if not L then
  return reply({ r = 'none' })
end

let_pass()
local producers = base .. ':record:' .. L.id .. ':producers'
if A.kc > 0 then
  local life = {
    id = L.id, lines = L.lines, bytes = L.bytes, closed = L.closed,
    drained = is_drained(), gone = now + A.kc,
  }
  local keep = int(math.ceil(A.kc / 1000))
  call('SET', base .. ':record:' .. L.id, cmsgpack.pack(life), 'PX', keep)
  if L.np > 0 then
    call('RENAME', PRODUCERS, producers)
    call('PEXPIRE', producers, keep)
  end
else
  call('UNLINK', PRODUCERS)
end
local answer = { r = 'done', id = L.id }
end_life()
event.deleted = true
remember(answer)
return reply(answer)
