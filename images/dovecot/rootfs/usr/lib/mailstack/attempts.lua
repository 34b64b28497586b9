-- Attempts: the names by which gate.lua, in the process auth, and auth.lua, in its
-- workers, know an attempt to log in, and how the workers' verdicts get to the gate:
-- through a pipe, which the gate reads whenever it is asked. There are never more of
-- them than attempts under way.

local CONFIG <const> = "/run/mailstack/config/guesses"
local GATEWAYS <const> = "/run/mailstack-gateways"
local KEY <const> = "/run/mailstack-guesses.key"
local PIPE <const> = "/run/mailstack-guesses.pipe"

local Attempts <const> = {}
local hidden = {}          -- networks whose addresses say nothing about the client
local template             -- of the digest of a password
local pipe

-- bytes turns an address into a string of 4 or 16 bytes; nil if it is none. An
-- IPv4 address in IPv6 notation is an IPv4 address.
local function bytes(address)
  local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if a ~= nil then
    return string.pack("BBBB", tonumber(a), tonumber(b), tonumber(c), tonumber(d))
  end
  local head, v4 = address:match("^(.*:)(%d+%.%d+%.%d+%.%d+)$")
  if v4 ~= nil then
    a, b = string.unpack(">I2I2", bytes(v4))
    address = string.format("%s%x:%x", head, a, b)
  end
  if address:find("[^%x:]") or address:find("::.*::") then
    return nil
  end
  local groups, gap = {}, nil
  for group in (address:gsub("::", ":x:") .. ":"):gmatch("([^:]*):") do
    if group == "x" then
      gap = #groups + 1
    elseif group ~= "" then
      local value = tonumber(group, 16)
      if value == nil or value > 0xffff then
        return nil
      end
      groups[#groups + 1] = value
    end
  end
  while gap ~= nil and #groups < 8 do
    table.insert(groups, gap, 0)
  end
  if #groups ~= 8 then
    return nil
  end
  local all = string.pack((">" .. ("I2"):rep(8)), table.unpack(groups))
  if all:sub(1, 12) == ("\0"):rep(10) .. "\xff\xff" then
    return all:sub(13)
  end
  return all
end

local function within(address, network)
  local whole, bits = network.bits // 8, network.bits % 8
  return #address == #network.base and address:sub(1, whole) == network.base:sub(1, whole)
    and (bits == 0 or (address:byte(whole + 1) ~ network.base:byte(whole + 1)) >> (8 - bits) == 0)
end

-- hide takes an address or "address/bits".
local function hide(text)
  local address, bits = text:match("^([^/]+)/?(%d*)$")
  local base = bytes(address or "")
  if base == nil then
    error("no address: " .. text)
  end
  hidden[#hidden + 1] = { base = base, bits = math.min(tonumber(bits) or #base * 8, #base * 8) }
end

local function read(path)
  local file, err = io.open(path)
  if file == nil then
    error("read " .. err)
  end
  local text = file:read("a")
  file:close()
  return text
end

-- load reads what the host and the start of the container have written. Returns
-- the limit and the set of exempt accounts.
function Attempts.load()
  hidden = {}
  hide("127.0.0.0/8")
  hide("::1")
  for gateway in read(GATEWAYS):gmatch("%S+") do
    hide(gateway)
  end
  local limit, exempt = 0, {}
  for key, value in read(CONFIG):gmatch("(%S+) (%S+)\n") do
    if key == "limit" then
      limit = tonumber(value)
    elseif key == "exempt" then
      exempt[value:lower()] = true
    elseif key == "shared" then
      hide(value)
    end
  end
  return limit, exempt
end

-- place is where a client is: its address, of IPv6 the /64, as that is what one
-- customer gets; "" where the address is not the client's own.
function Attempts.place(address)
  local b = address ~= nil and bytes(address) or nil
  if b == nil then
    return ""
  end
  for _, network in ipairs(hidden) do
    if within(b, network) then
      return ""
    end
  end
  if #b == 4 then
    return string.format("%d.%d.%d.%d", b:byte(1, 4))
  end
  return string.format("%x:%x:%x:%x::/64", string.unpack(">I2I2I2I2", b))
end

-- split returns local part and domain of an address that an account can have,
-- or nil. Everything stored is ASCII (domains as A-labels), and both parts
-- become names of directories, so a slash, a leading dot, a space, a control
-- character or a byte above 127 is nobody's and is not worth a query.
function Attempts.split(address)
  local localpart, domain = address:match("^([%w!#$&'*+=?^_`{|}~-][%w!#$&'*+=?^_`{|}~.-]*)@([%w-][%w.-]*)$")
  if localpart == nil or #address > 320 then
    return nil
  end
  return localpart, domain
end

-- account is the name if it can be one's. Others are refused without the work of a
-- hash: remembered, they would fill the table of those who are held back in seconds.
local function account(user)
  user = (user or ""):lower()
  return Attempts.split(user) ~= nil and user or ""
end

-- key is random and new at each start of the container, in hexadecimal digits.
function Attempts.key()
  return read(KEY):match("^%x+")
end

-- of names an attempt: account, place, and a digest of the password that nobody
-- can make who does not know the key of this run.
function Attempts.of(request)
  if template == nil then
    template = "%{password | sha256(salt='" .. Attempts.key() .. "') | hexlify | substr(0, 16)}"
  end
  return account(request.user), Attempts.place(request.remote_ip), request:var_expand(template)
end

local function open()
  if pipe == nil then
    local fcntl = require("posix.fcntl")
    -- Reading and writing: so it never ends, and nobody waits for the other side.
    pipe = assert(fcntl.open(PIPE, fcntl.O_RDWR | fcntl.O_NONBLOCK))
  end
  return pipe
end

-- A verdict on an attempt has always this length, and so is written and read whole,
-- whoever reads the next one.
local LENGTH <const> = 512

-- report sends a verdict to the gate. What a full pipe does not take is lost, and
-- the gate waits for it no longer than a minute.
function Attempts.report(verdict, account, place, digest)
  local message = string.pack("<s1s2s1s1", verdict, account, place, digest)
  require("posix.unistd").write(open(), message .. ("\0"):rep(LENGTH - #message))
end

-- reports calls each(verdict, account, place, digest) for what has come.
function Attempts.reports(each)
  local unistd = require("posix.unistd")
  local all = unistd.read(open(), 8 * LENGTH)
  while all ~= nil and all ~= "" do
    for at = 1, #all, LENGTH do
      each(string.unpack("<s1s2s1s1", all, at))
    end
    all = unistd.read(open(), 8 * LENGTH)
  end
end

return Attempts
