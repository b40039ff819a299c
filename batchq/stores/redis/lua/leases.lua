-- Acknowledges, releases or extends leases; tells those that are unknown.

if A.pin and (not L or L.id ~= A.pin) then
  return reply({ r = 'replaced' })
end
if A.op then
  local before = recall()
  if before then
    return reply(before)
  end
end

let_pass()
local answer = { r = 'done', id = L and L.id, lost = {} }
for _, id in ipairs(A.ids) do
  local name = 'L' .. id
  local hold = L and get_hold(name)
  if not hold then
    answer.lost[#answer.lost + 1] = id
  elseif A.verb == 'ack' then
    done_with(name, hold)
  elseif A.verb == 'release' then
    put_back(name, hold, hold.t)
  else
    call('ZADD', DUE, int(now + A.seconds), name)
    touch()
  end
end
local some = #answer.lost < #A.ids
if #answer.lost == 0 then
  answer.lost = nil
end
if A.op and some then
  remember(answer)
end
return reply(answer)
