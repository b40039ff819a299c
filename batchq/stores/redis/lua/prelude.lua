-- Runs before every verb: arguments, time, the life, and what fell due.
--
-- KEYS[1]  the queue's base key, with the queue's name as hash tag; all other keys of the
--          queue begin with it, so that they are in the same slot of a cluster.
-- ARGV[1]  a msgpack map of arguments, `A`; ARGV[2] lines, in a push.
--
-- Offsets count lines, positions count bytes, times are microseconds: all are integers
-- below 2^53, and `..` would round them, so that they are made text by `int` alone.
-- A run is { offset, position, block, end offset, end position, deliveries }.
-- A block is { offset, position, end offset, end position, lines that are not done with }.

local A = cmsgpack.unpack(ARGV[1])
local base = KEYS[1]
local call = redis.call

local META = base
local BLOCKS = base .. ':blocks'
local RUNS = base .. ':runs'
local HOLDS = base .. ':holds'
local DUE = base .. ':due'
local PRODUCERS = base .. ':producers'
local GARBAGE = base .. ':garbage'

local JOIN_BELOW = 65536 -- bytes up to which small pushes are joined to one block
local MOST_DUE = 64 -- deadlines that one call sees to
local QUIET = 300000 -- microseconds
local MOST_GENS = 8 -- failovers that a life remembers
local RUNS_AT_ONCE = 64 -- pieces of a run of ready lines that are read at once

local function int(number)
  return string.format('%.0f', number)
end

local now = A.now
if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- A copy of this call that was held up on its way: its caller has long repeated it.
if A.till and now > A.till then
  return { cmsgpack.pack({ r = 'late', now = now }) }
end

local L = nil -- the current life
local dirty = false -- it has to be written
local event = nil -- what other servers have to be told
local ended = nil -- the id of a life that is over by now
local reborn = false
local garbage = nil -- lines of lives that are over are left

local function let_pass()
  call('HDEL', META .. ':', '')
end

local function touch()
  dirty = true
  event = event or {}
end

local function block_key(n)
  return base .. ':b:' .. L.bid .. ':' .. int(n)
end

local function get_block(n)
  local packed = call('HGET', BLOCKS, int(n))
  return packed and cmsgpack.unpack(packed)
end

local function put_block(n, block)
  call('HSET', BLOCKS, int(n), cmsgpack.pack(block))
end

local function op_key(op)
  return base .. ':op:' .. op
end

-- Is done with lines for good; blocks of which no line is left go.
local function drop(run)
  local offset, n = run[1], run[3]
  while offset < run[4] do
    local block = get_block(n)
    if block and block[3] > offset then
      local stop = math.min(block[3], run[4])
      block[5] = block[5] - (stop - offset)
      offset = stop
      if block[5] <= 0 then
        call('HDEL', BLOCKS, int(n))
        call('UNLINK', block_key(n))
        if n == L.lo then
          L.lo = n + 1 -- no block below it is left; above it some may be missing
        end
      else
        put_block(n, block)
      end
    end
    if n > L.hi then
      error('batchq: lines without a block')
    end
    n = n + 1
  end
end

local function add_run(run)
  local fore = call('ZREVRANGEBYSCORE', RUNS, int(run[1]), '-inf', 'LIMIT', 0, 1)[1]
  local fore_run = fore and cmsgpack.unpack(fore)
  if fore_run and fore_run[4] == run[1] and fore_run[6] == run[6] then
    call('ZREM', RUNS, fore)
    L.nr = L.nr - 1
    run = { fore_run[1], fore_run[2], fore_run[3], run[4], run[5], run[6] }
  end
  local next = call('ZRANGEBYSCORE', RUNS, int(run[4]), int(run[4]))[1]
  local next_run = next and cmsgpack.unpack(next)
  if next_run and next_run[6] == run[6] then
    call('ZREM', RUNS, next)
    L.nr = L.nr - 1
    run = { run[1], run[2], run[3], next_run[4], next_run[5], run[6] }
  end
  call('ZADD', RUNS, int(run[1]), cmsgpack.pack(run))
  L.nr = L.nr + 1
end

-- Holds: lines that are out. 'L' and a lease's id; 'G' and a call's id for lines that are
-- given for good, and are kept until it is known that the answer has arrived.

local function get_hold(name)
  local packed = call('HGET', HOLDS, name)
  return packed and cmsgpack.unpack(packed)
end

local function put_hold(name, hold)
  call('HSET', HOLDS, name, cmsgpack.pack(hold))
end

local function position_of(list, item)
  for at, other in ipairs(list) do
    if other == item then
      return at
    end
  end
end

local function forget_hold(name, hold)
  call('HDEL', HOLDS, name)
  call('ZREM', DUE, name)
  if string.sub(name, 1, 1) == 'L' then
    L.nl = L.nl - 1
    L.ll = L.ll - hold.n
  else
    L.ng = L.ng - 1
  end
  dirty = true
end


local function put_back(name, hold, times)
  forget_hold(name, hold)
  for _, run in ipairs(hold.runs) do
    run[6] = run[6] + times
    add_run(run)
  end
  L.rl = L.rl + hold.n
  L.rb = L.rb + hold.b
  touch()
end

local function is_drained()
  return L.closed and L.rl == 0 and L.nl == 0 and L.ng == 0
end

local function note_drained()
  if is_drained() and not L.x then
    L.x = true
    call('ZADD', DUE, int(now + L.kc), 'X')
    touch()
  end
end

-- Is done with the lines of a hold.
local function done_with(name, hold)
  forget_hold(name, hold)
  for _, run in ipairs(hold.runs) do
    drop(run)
  end
  L.stored = L.stored - hold.b
  L.refused = nil
  note_drained()
  touch()
end

-- Removes all of a life; its blocks are left to be swept, some at a time.
local function end_life()
  if call('HLEN', BLOCKS) > 0 then
    call('RPUSH', GARBAGE, cmsgpack.pack({ L.bid, L.lo, L.hi }))
  end
  call('UNLINK', META, BLOCKS, RUNS, HOLDS, DUE)
  ended = L.id
  L = nil
  dirty = false
  event = event or {}
  event.ended = ended
end

local function see_to_due()
  local due = call('ZRANGEBYSCORE', DUE, '-inf', int(now), 'LIMIT', 0, MOST_DUE)
  for _, name in ipairs(due) do
    if name == 'X' then
      end_life()
      call('UNLINK', PRODUCERS)
      return
    else
      local hold = get_hold(name)
      if not hold then
        call('ZREM', DUE, name)
      elseif string.sub(name, 1, 1) == 'L' then
        put_back(name, hold, hold.t)
      else
        done_with(name, hold)
      end
    end
  end
end

-- What is remembered of a call, so that a repetition of it has the same answer.

local function recall()
  local packed = call('GET', op_key(A.op))
  return packed and cmsgpack.unpack(packed)
end

local function remember(what)
  call('SET', op_key(A.op), cmsgpack.pack(what), 'PX', A.keep)
end

local function is_full()
  return A.full or L.refused or L.stored >= A.qb
end

-- The consecutive lines that start at the lowest ready one, or nil.
local function first_run()
  local run, at = nil, 0
  while at < L.nr do
    for _, packed in ipairs(call('ZRANGE', RUNS, at, at + RUNS_AT_ONCE - 1)) do
      local piece = cmsgpack.unpack(packed)
      if not run then
        run = { piece[1], piece[2], piece[3], piece[4], piece[5] }
      elseif piece[1] == run[4] then
        run[4], run[5] = piece[4], piece[5]
      else
        at = L.nr
        break
      end
    end
    at = at + RUNS_AT_ONCE
  end
  if not run then
    if L.fo == L.lines then
      return nil
    end
    run = { L.fo, L.fp, L.fb, L.lines, L.bytes }
  elseif run[4] == L.fo then
    run[4], run[5] = L.lines, L.bytes
  end
  run.n = run[4] - run[1]
  run.b = run[5] - run[2]
  run.grow = run[4] == L.lines and not L.closed and not is_full()
  return run
end

local function state()
  local s = { now = now, ended = ended, reborn = reborn or nil }
  if not L then
    return s
  end
  local run = first_run()
  s.life, s.ver, s.gen, s.lines, s.bytes = L.id, L.ver, L.gen, L.lines, L.bytes
  s.rl, s.stored, s.ng = L.rl, L.stored, L.ng
  s.closed = L.closed and true or nil
  s.drained = is_drained() or nil
  s.refused = L.refused
  if run then
    s.n, s.b, s.grow = run.n, run.b, run.grow
  end
  local first = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
  if first[1] then
    s.due = math.max(0, tonumber(first[2]) - now)
  end
  return s
end

-- Which Redis this is: another after a failover, and after a restart. Asked for when the
-- life was not written for a while: a failover takes longer than that.
local function this_redis()
  local server = string.match(call('INFO', 'server'), 'run_id:(%x+)') or ''
  local replication = string.match(call('INFO', 'replication'), 'master_replid:(%x+)') or ''
  return string.sub(server, 1, 16) .. string.sub(replication, 1, 16)
end

-- Writes the life, tells the others, and makes the answer: a header, and lines.
local function reply(header, pieces)
  if dirty and L then
    L.ver = L.ver + 1
    L.at = now
    L.gen = L.gen or this_redis()
    call('SET', META, cmsgpack.pack(L))
  end
  header.s = state()
  header.garbage = garbage
  if event then
    event.from = A.from
    event.s = header.s
    header.told = call('PUBLISH', base, cmsgpack.pack(event))
  end
  local answer = { cmsgpack.pack(header) }
  for _, piece in ipairs(pieces or {}) do
    answer[#answer + 1] = piece
  end
  return answer
end

local function end_of(life, producer)
  return {
    r = 'end',
    id = life.id,
    lines = life.lines,
    bytes = life.bytes,
    digest = life.closed and life.closed.digest,
    unterminated = life.closed and life.closed.unterminated,
    producer = producer,
  }
end

-- The record of a life of this name that is over, or nil.
local function record(id)
  local packed = call('GET', base .. ':record:' .. id)
  local life = packed and cmsgpack.unpack(packed)
  if life and now < life.gone then
    return life
  end
end

-- What Redis refuses for want of memory it refuses unless the script has written before.
-- So a push begins with a write that needs memory (and does nothing), and what makes room
-- begins with one that doesn't.
if A.size and not A.probe then
  call('SETRANGE', META .. ':', 0, '')
elseif A.void then
  let_pass()
end

local packed_life = call('GET', META)
if packed_life then
  L = cmsgpack.unpack(packed_life)
end

-- A life whose changes a server was told of and that are not there: Redis has lost them.
-- What is left goes on as another life, so that no offset is given twice in one.
if L then
  if not L.at or now < L.at or now - L.at > QUIET then
    local gen = this_redis()
    if L.gen ~= gen then
      L.gens = L.gens or {}
      L.gens[#L.gens + 1] = { L.gen or '', L.ver }
      if #L.gens > MOST_GENS then
        table.remove(L.gens, 1)
      end
      L.gen = gen
      dirty = true
    end
  end
  local seen = A.seen
  if seen and seen[1] == L.id then
    local least = L.ver
    if seen[3] ~= L.gen then
      for _, gen in ipairs(L.gens or {}) do
        if gen[1] == seen[3] then
          least = gen[2]
        end
      end
    end
    if least < seen[2] then
      L.id = A.fresh
      reborn = true
      touch()
    end
  end
end

-- Calls whose answers have arrived: what was kept to repeat them may go.
if A.done then
  local keys = {}
  for _, op in ipairs(A.done) do
    keys[#keys + 1] = op_key(op)
    local hold = L and L.ng > 0 and get_hold('G' .. op)
    if hold then
      done_with('G' .. op, hold)
    end
  end
  call('UNLINK', unpack(keys))
end

-- Pulls whose lines nobody wants: it is as if they had not been taken, and a copy that is
-- still on its way takes none. A lease that was given to a retry, too, holds on.
for _, void in ipairs(A.void or {}) do
  local op, lease = void[1], void[2]
  local name = lease and ('L' .. lease) or ('G' .. op)
  local hold = L and get_hold(name)
  local at = hold and position_of(hold.ops, op)
  if at then
    table.remove(hold.ops, at)
    hold.t = hold.t - 1
    if hold.t == 0 then
      put_back(name, hold, 0)
    else
      put_hold(name, hold)
    end
  end
  if void[3] then
    call('SET', op_key(op) .. ':void', 1, 'PX', A.keep)
  else
    call('UNLINK', op_key(op))
  end
end

if L then
  see_to_due()
end
