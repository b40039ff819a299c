-- Takes a batch, or says why there is none.
--
-- Where a batch ends within a block only the server can tell where a line ends: it gets
-- the bytes ('cut'), and comes again with the place (`A.cut`). A place between two lines
-- never changes within a life, so all there is to compare is where the batch begins.
--
-- A.peek   gives the lines and takes nothing.
-- A.over   the wait is over: what there is, if `A.partial`.
-- A.full   calls of this server wait for room.
-- A.win    bytes to give at least for a cut.

local lost = nil
if A.ack then
  let_pass()
  local before = recall()
  if before then
    lost = before.lost
  else
    lost = {}
    local some = false
    for _, id in ipairs(A.ack) do
      local hold = L and (not A.pin or L.id == A.pin) and get_hold('L' .. id)
      if hold then
        done_with('L' .. id, hold)
        some = true
      else
        lost[#lost + 1] = id
      end
    end
    if some then
      remember({ lost = lost })
    end
  end
  if #lost == 0 then
    lost = nil
  end
end

local function answer(header, pieces)
  header.lost = lost
  return reply(header, pieces)
end

if A.pin and (not L or L.id ~= A.pin) then
  local life = record(A.pin)
  if life and life.drained then
    return answer(end_of(life))
  end
  return answer({ r = 'replaced' })
end
if not L then
  return answer({ r = 'wait' })
end

local MOST_OPS = 8 -- calls of which one lease is remembered that they were given it
local pieces = {}

-- Adds bytes of a block to the answer.
local function give(n, block, position, stop)
  if position == block[2] and stop == block[4] then
    pieces[#pieces + 1] = call('GET', block_key(n))
  elseif stop > position then
    pieces[#pieces + 1] =
      call('GETRANGE', block_key(n), int(position - block[2]), int(stop - block[2] - 1))
  end
end

-- Adds the bytes from a run's start on, up to a position.
local function give_run(run, stop)
  local position, n = run[2], run[3]
  while position < stop do
    local block = get_block(n)
    if block and block[4] > position then
      local upto = math.min(block[4], stop)
      give(n, block, position, upto)
      position = upto
    end
    n = n + 1
    if n > L.hi + 1 then
      return
    end
  end
end

local function given(hold)
  local deliveries = 0
  for _, run in ipairs(hold.runs) do
    deliveries = math.max(deliveries, run[6])
  end
  local first = hold.runs[1]
  return answer({
    r = 'lines',
    id = L.id,
    offset = first[1],
    position = first[2],
    n = hold.n,
    b = hold.b,
    ready = L.rl,
    deliveries = deliveries + hold.t,
  }, pieces)
end

local name = A.lease and ('L' .. A.lid) or ('G' .. A.op)
local again = get_hold(name)
if again then
  if not position_of(again.ops, A.op) then
    again.t = again.t + 1
    again.ops[#again.ops + 1] = A.op
    if #again.ops > MOST_OPS then
      table.remove(again.ops, 1)
    end
    put_hold(name, again)
    call('ZADD', DUE, int(now + A.lease), name)
    touch()
  end
  for _, run in ipairs(again.runs) do
    give_run(run, run[5])
  end
  return given(again)
end

if call('EXISTS', op_key(A.op) .. ':void') == 1 then
  return answer({ r = 'wait' })
end
local run = first_run()
if not run then
  if is_drained() then
    return answer(end_of(L))
  end
  return answer({ r = 'wait' })
end
local enough = run.n >= A.min or run.b >= A.mb or not run.grow
if not enough and not (A.over and A.partial) then
  return answer({ r = 'wait' })
end
if A.lease and L.nl >= A.ml then
  return answer({ r = 'too many leases' })
end

-- How far the batch goes.

local stop, stop_position, stop_block
local cut = A.cut
if cut and cut.life == L.id and cut.start == run[1] and cut.offset <= run[4] then
  stop, stop_position, stop_block = cut.offset, cut.position, cut.block
  give_run(run, cut.from)
else
  local lines_left = A.max or run.n
  local bytes_left = A.mb
  local wanted = math.min(A.min, run.n)
  local n, blocks = run[3], 0
  stop, stop_position = run[1], run[2]
  while stop < run[4] and lines_left > 0 do
    if bytes_left <= 0 and blocks > 0 then
      break
    end
    local block = get_block(n)
    if block and block[3] > stop then
      local upto = math.min(block[3], run[4])
      local upto_position = math.min(block[4], run[5])
      local fresh, size = upto - stop, upto_position - stop_position
      if fresh <= lines_left and size <= bytes_left then
        give(n, block, stop_position, upto_position)
        stop, stop_position = upto, upto_position
        lines_left, bytes_left = lines_left - fresh, bytes_left - size
        blocks = blocks + 1
      else
        -- A batch that is large as it is ends with the block: cutting costs another call.
        local large = bytes_left * 2 <= A.mb or (A.max and lines_left * 2 <= A.max)
        if blocks > 0 and large and stop - run[1] >= wanted then
          break
        end
        local window = math.min(bytes_left, math.ceil(size / fresh * lines_left * 1.25) + 256)
        window = math.min(size, math.max(window, A.win or 0))
        pieces = {}
        give(n, block, stop_position, stop_position + window)
        return answer({
          r = 'cut',
          id = L.id,
          start = run[1],
          offset = stop,
          position = stop_position,
          block = n,
          first = blocks == 0,
          lines_left = lines_left,
          bytes_left = bytes_left,
          whole = window == size,
        }, pieces)
      end
    end
    if stop < run[4] then
      n = n + 1
      if n > L.hi then
        break
      end
    end
  end
  stop_block = n
end

if A.peek then
  return answer({
    r = 'peek', id = L.id, start = run[1], offset = run[1], position = run[2], block = run[3],
    stop = stop, stop_position = stop_position, stop_block = stop_block,
  }, pieces)
end

-- Takes them.

let_pass()
local hold = {
  runs = {}, t = 1, ops = { A.op }, n = stop - run[1], b = stop_position - run[2],
}
while L.nr > 0 do
  local packed = call('ZRANGE', RUNS, 0, 0)[1]
  local piece = cmsgpack.unpack(packed)
  if piece[1] >= stop then
    break
  end
  call('ZREM', RUNS, packed)
  L.nr = L.nr - 1
  if piece[4] > stop then
    local rest = { stop, stop_position, stop_block, piece[4], piece[5], piece[6] }
    call('ZADD', RUNS, int(stop), cmsgpack.pack(rest))
    L.nr = L.nr + 1
    piece[4], piece[5] = stop, stop_position
  end
  hold.runs[#hold.runs + 1] = piece
end
if L.fo < stop then
  hold.runs[#hold.runs + 1] = { L.fo, L.fp, L.fb, stop, stop_position, 0 }
  L.fo, L.fp, L.fb = stop, stop_position, stop_block
end
L.rl = L.rl - hold.n
L.rb = L.rb - hold.b
put_hold(name, hold)
if A.lease then
  L.nl = L.nl + 1
  L.ll = L.ll + hold.n
  call('ZADD', DUE, int(now + A.lease), name)
  touch()
  event.lease = A.lid
else
  L.ng = L.ng + 1
  call('ZADD', DUE, int(now + A.keep * 1000), name)
  touch()
end
return given(hold)
