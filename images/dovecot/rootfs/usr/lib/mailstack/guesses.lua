-- Guesses: which attempts at a password are tried, and which have to wait.
--
-- What counts is different wrong passwords: a telephone that tries yesterday's
-- one every minute guesses nothing. An account, or an address, that has had
-- "limit" of them within an hour is held back until half of them are forgotten,
-- half an hour if no more come. Meanwhile
--
-- - a password that has worked before from the same place is tried as always: it is
--   what the owner's programs send. A place is the client's address, or "" where
--   that is not known. All who share "" would know by that if they have guessed
--   right, so of such attempts only LOOKS are taken at once, and then PER_SECOND;
-- - any other is refused untried, which is not "wrong": the client is told to try
--   again later. One that comes again is tried, once in TRICKLE seconds. Programs
--   that guess do not repeat themselves; people do, and their programs.
--
-- A name that is no account's is held back like one that is. What is remembered is
-- in a file of some megabytes that does not grow, names in clear only of those that
-- are held back, passwords as keyed digests.
--
-- Nothing here knows of Dovecot; see gate.lua.

local Hashfile <const> = require("hashfile")

local Guesses <const> = {}
Guesses.__index = Guesses

local HOUR <const> = 3600
local TRICKLE <const> = 60
local AGAIN <const> = 5  -- seconds after which an attempt is one that comes again
local LOST <const> = 60  -- after which no verdict is expected any more
-- From one address five times as many passwords as the limit are tried at the same
-- time: everybody in an office comes back at once after a restart.
local UNDER_WAY <const> = 5
local LOOKS <const> = 600
local PER_SECOND <const> = 10

-- What is known of a password that was tried, beside when.
local WRONG <const>, AWAITED <const>, REFUSED <const> = 1, 2, 3

-- new: open() returns the file, seed is a random number for it. limit is the
-- number of wrong passwords within an hour, exempt a set of accounts that are never
-- counted, now() the time in seconds, and on_hold(name, till) is called when
-- somebody is held back.
function Guesses.new(open, seed, limit, exempt, now, on_hold)
  local self = setmetatable({ limit = limit, exempt = exempt, now = now, on_hold = on_hold }, Guesses)
  local at = 0
  local function has(name, buckets, values, size)
    self[name], at = Hashfile.new(open, seed, at, buckets, values, size)
  end
  -- Of a name, an account's or an address: the time at which all its wrong
  -- passwords are forgotten. Each moves it HOUR/limit seconds into the future.
  has("clear", 8192, "d", 16)
  -- Of a name that is held back: that time, since when, how many were refused, when
  -- one was tried that came again, looks and when they were counted, the name.
  has("held", 512, "ddI4dddz", 384)
  -- Of "account TAB digest": when, what is known of it, the account's tag.
  has("tried", 4096, "dBi8", 32)
  -- Of "account TAB digest TAB place", if it was right: when, the account's tag.
  has("known", 4096, "di8", 24)
  -- Of an address: since when attempts are counted, how many have no verdict yet.
  has("busy", 512, "dI4", 20)
  return self
end

-- hold returns the record of a name that is held back.
function Guesses:hold(name)
  local clear, since, refused, trickled, looks, looked = self.held:get(name)
  if clear == nil then
    return nil
  end
  if clear - self.now() <= HOUR / 2 then
    self.held:drop(name)
    self.clear:put(name, clear)
    return nil
  end
  return { name = name, clear = clear, since = since, refused = refused, trickled = trickled, looks = looks, looked = looked }
end

function Guesses:keep(h)
  self.held:put(h.name, h.clear, h.since, math.min(h.refused, 0xffffffff), h.trickled, h.looks, h.looked, h.name)
end

function Guesses:charge(name)
  if name == "" then
    return
  end
  local now = self.now()
  local h, each = self:hold(name), HOUR / self.limit
  local clear = math.max(now, h and h.clear or self.clear:get(name) or 0) + each
  if h ~= nil then
    h.clear = math.min(clear, now + 2 * HOUR)
    self:keep(h)
  elseif clear - now < HOUR - each + 0.001 then -- fewer than the limit are not forgotten
    self.clear:put(name, clear)
  else
    self.clear:drop(name)
    self:keep({ name = name, clear = clear, since = now, refused = 0, trickled = 0, looks = 0, looked = now })
    self.on_hold(name, clear - HOUR / 2)
  end
end

-- refund takes back a charge for what was no guess.
function Guesses:refund(name)
  local h = self:hold(name)
  if h ~= nil then
    h.clear = h.clear - HOUR / self.limit
    self:keep(h)
    return
  end
  local clear = self.clear:get(name)
  if clear ~= nil then
    self.clear:put(name, clear - HOUR / self.limit)
  end
end

-- flooded says whether more attempts come than may be looked at.
function Guesses:flooded(h)
  local now = self.now()
  h.looks = math.max(0, h.looks - (now - h.looked) * PER_SECOND)
  h.looked = now
  local full = h.looks >= LOOKS
  if not full then
    h.looks = h.looks + 1
  end
  self:keep(h)
  return full
end

-- admit says whether this attempt is tried; then verdict is to be called. account
-- is "" for a name that no account can have.
function Guesses:admit(account, place, digest)
  if self.limit == 0 or self.exempt[account] then
    return true
  end
  local key = account .. "\t" .. digest
  local known = self.known:get(key .. "\t" .. place) ~= nil
  if known and place ~= "" then
    return true
  end
  local holds = { account ~= "" and self:hold(account) or nil }
  if place ~= "" then
    holds[#holds + 1] = self:hold(place)
  elseif holds[1] ~= nil and self:flooded(holds[1]) then
    known = false
  end
  if known then
    return true
  elseif #holds > 0 then
    return self:trickle(account, place, key, holds)
  end
  return self:await(account, place, key)
end

-- await counts an attempt before it is known whether it is wrong: of many that
-- come at the same time no more than the limit are tried at an account, and no more
-- than UNDER_WAY allows from an address. An address is charged for wrong ones only.
function Guesses:await(account, place, key)
  local _, state = self.tried:get(key)
  if state ~= nil and state ~= REFUSED then
    return true
  end
  if place ~= "" then
    local since, number = self:underWay(place)
    if number >= UNDER_WAY * self.limit then
      return false
    end
    self.busy:put(place, since, number + 1)
  end
  self:charge(account)
  self.tried:put(key, self.now(), AWAITED, self.tried:tag(account))
  return true
end

-- underWay is since when attempts from an address are counted, and how many of them
-- are under way. Verdicts may get lost: the count begins anew each minute.
function Guesses:underWay(place)
  local now = self.now()
  local since, number = self.busy:get(place)
  if since == nil or now - since >= LOST then
    return now, 0
  end
  return since, number
end

function Guesses:trickle(account, place, key, holds)
  local now = self.now()
  local at, state = self.tried:get(key)
  local again = state == REFUSED and now - at >= AGAIN or state == AWAITED and now - at >= LOST
  for _, h in ipairs(holds) do
    -- An address that is held back too has every other turn only: who insists from
    -- one does not take all of them from the owner elsewhere.
    again = again and now - h.trickled >= (#holds == 2 and h.name == place and 2 or 1) * TRICKLE
  end
  for _, h in ipairs(holds) do
    if again then
      h.trickled = now
    else
      h.refused = h.refused + 1
    end
    self:keep(h)
  end
  if again then
    self.tried:drop(key)
    return self:await(account, place, key)
  elseif state == nil then
    self.tried:put(key, now, REFUSED, self.tried:tag(account))
  end
  return false
end

-- verdict says what came of an attempt: "good", "wrong", or "none" if the
-- password could not be compared.
function Guesses:verdict(verdict, account, place, digest)
  if self.limit == 0 or self.exempt[account] then
    return
  end
  local key = account .. "\t" .. digest
  local _, state = self.tried:get(key)
  if state == AWAITED and place ~= "" then
    local since, number = self:underWay(place)
    self.busy:put(place, since, math.max(0, number - 1))
  end
  if verdict == "wrong" then
    self.known:drop(key .. "\t" .. place)
    if state ~= WRONG then
      if state ~= AWAITED then
        self:charge(account)
      end
      self:charge(place)
      self.tried:put(key, self.now(), WRONG, self.tried:tag(account))
    end
    return
  end
  if state == AWAITED then
    self:refund(account)
  end
  if state == AWAITED or verdict == "good" then
    self.tried:drop(key)
  end
  if verdict == "good" then
    self.known:put(key .. "\t" .. place, self.now(), self.known:tag(account))
  end
end

-- list returns who is held back: { name, since, till, refused }, in no order.
function Guesses:list()
  local list, now = {}, self.now()
  self.held:each(function(clear, since, refused, _, _, _, name)
    if clear - now > HOUR / 2 then
      list[#list + 1] = { name = name, since = since, till = clear - HOUR / 2, refused = refused }
    end
  end)
  return list
end

-- release forgets all about a name, and says whether it was held back.
function Guesses:release(name)
  local was = self:hold(name) ~= nil
  self.held:drop(name)
  self.clear:drop(name)
  local tag = self.tried:tag(name)
  self.tried:each(function(_, _, of) return of == tag end)
  self.known:each(function(_, of) return of == tag end)
  return was
end

return Guesses
