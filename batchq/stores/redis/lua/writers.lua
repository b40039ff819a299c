-- What pushes and closes share.

local function new_life()
  garbage = call('EXISTS', GARBAGE) == 1 or nil
  return {
    id = A.new, bid = A.new, ver = 0, lines = 0, bytes = 0,
    fo = 0, fp = 0, fb = 1, -- where the lines begin that were never handed out
    rl = 0, rb = 0, stored = 0, -- ready lines, their bytes, all bytes that are held
    nr = 0, nl = 0, ll = 0, ng = 0, np = 0, -- runs, leases, their lines, lines on their way, producers
    lo = 1, hi = 0, -- blocks
    kc = A.kc,
  }
end

-- Counts a batch for its producer; gives the producer's state after it.
local function enter(known, lines, size, offset, position)
  if not known then
    L.np = L.np + 1
  end
  local after = {
    e = A.epoch, s = A.seq,
    l = lines + (known and known.l or 0), b = size + (known and known.b or 0),
    op = A.op, o = offset, p = position,
  }
  call('HSET', PRODUCERS, A.producer, cmsgpack.pack(after))
  event.producer = { A.producer, A.epoch, A.seq }
  return after
end
