-- Runs before all that a script reads or writes.
--
-- While a cluster moves a slot, keys of it that are not here any more, or not yet, can't be
-- accessed; Redis raises an error at the first one, when a script may have written to others.
-- Two keys that never exist are refused on both sides for as long as the slot is on its way:
-- one alone would be taken for a new one where the slot is going to.
redis.call('EXISTS', KEYS[1] .. ':?', KEYS[1] .. ':??')
