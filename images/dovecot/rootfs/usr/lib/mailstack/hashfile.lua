-- A hash table of fixed size in a file, for the several Lua states of a process:
-- Dovecot gives each passdb one for each protocol that its configuration has a
-- block for. Whoever fills it with names makes it no larger.
--
-- A key has its place in one bucket. Where a bucket is full, the entry with the
-- smallest number goes: the first value of an entry, a time or what else says how
-- much it is worth.

local Hashfile <const> = {}
Hashfile.__index = Hashfile

local WAYS <const> = 8 -- entries in a bucket
local MULTIPLIER <const> = 0x9e3779b97f4a7c15

-- new: offset is where the table begins in the file, values the format of an
-- entry's values (string.pack), the first of which is a double ("d"), size the
-- length of an entry. Returns the table and where it ends. open() returns the file;
-- seed is a random number, so that nobody can aim at a bucket.
function Hashfile.new(open, seed, offset, buckets, values, size)
  local self = setmetatable({
    open = open, seed = seed, offset = offset, buckets = buckets,
    format = "<i8" .. values, size = size,
  }, Hashfile)
  return self, offset + buckets * WAYS * size
end

-- tag is what an entry's key is known by; 0 is an entry that is free.
function Hashfile:tag(key)
  local h = self.seed ~ #key
  key = key .. ("\0"):rep(-#key % 8)
  for at = 1, #key, 8 do
    h = (h ~ string.unpack("<i8", key, at)) * MULTIPLIER
    h = h ~ (h >> 29)
  end
  return h ~= 0 and h or 1
end

-- read returns so many buckets; what is not in the file yet is free.
function Hashfile:read(bucket, number)
  local length = number * WAYS * self.size
  local file = self.open()
  file:seek("set", self.offset + bucket * WAYS * self.size)
  local bytes = file:read(length) or ""
  return bytes .. ("\0"):rep(length - #bytes)
end

function Hashfile:write(bucket, way, bytes)
  local file = self.open()
  file:seek("set", self.offset + (bucket * WAYS + way) * self.size)
  file:write(bytes .. ("\0"):rep(self.size - #bytes))
end

-- find returns the bucket of a key, its tag, and, if it is there, its way and its
-- values; else the way that it is to take.
function Hashfile:find(key)
  local tag = self:tag(key)
  local bucket = (tag >> 8) % self.buckets
  local bytes, free, least = self:read(bucket, 1), 0, math.huge
  for way = 0, WAYS - 1 do
    local found, rank = string.unpack("<i8d", bytes, way * self.size + 1)
    if found == tag then
      return bucket, tag, way, table.pack(select(2, string.unpack(self.format, bytes, way * self.size + 1)))
    elseif found == 0 then
      rank = -math.huge
    end
    if rank < least then
      free, least = way, rank
    end
  end
  return bucket, tag, free, nil
end

-- get returns an entry's values, or nothing.
function Hashfile:get(key)
  local _, _, _, values = self:find(key)
  if values ~= nil then
    return table.unpack(values, 1, values.n - 1) -- the last is where unpack stopped
  end
end

function Hashfile:put(key, ...)
  local bucket, tag, way = self:find(key)
  self:write(bucket, way, string.pack(self.format, tag, ...))
end

function Hashfile:drop(key)
  local bucket, _, way, values = self:find(key)
  if values ~= nil then
    self:write(bucket, way, "")
  end
end

-- each calls visit(values...) for every entry; those for which it returns true are
-- dropped.
function Hashfile:each(visit)
  local many = 64
  for bucket = 0, self.buckets - 1, many do
    local bytes = self:read(bucket, many)
    for way = 0, bytes:find("[^\0]") and many * WAYS - 1 or -1 do
      local at = way * self.size + 1
      if string.unpack("<i8", bytes, at) ~= 0 and visit(select(2, string.unpack(self.format, bytes, at))) then
        self:write(bucket, way, "")
      end
    end
  end
end

return Hashfile
