-- The gate: a passdb that knows no password and stands before the one that does,
-- and before its cache. It lets an attempt pass or refuses it for now; who has to
-- wait is decided in guesses.lua.
--
-- It runs in the process auth itself, of which there is one, so that nobody else
-- writes what is remembered at the same time. It costs a successful login a
-- few dozen microseconds and asks nobody. A restart of the container forgets
-- everything.

package.path = "/usr/lib/mailstack/?.lua;" .. package.path
local Attempts <const> = require("attempts")
local Guesses <const> = require("guesses")

local MEMORY <const> = "/run/mailstack-guesses"
local ANSWER <const> = "/run/mailstack-guesses.answer"

local auth = dovecot.auth
local guesses

local memory

-- open returns the file, which belongs to the user that this process becomes when
-- it has read its configuration.
local function open()
  if memory == nil then
    memory = assert(io.open(MEMORY, "r+b"))
    memory:setvbuf("no")
  end
  return memory
end

function script_init()
  local limit, exempt = Attempts.load()
  local seed = tonumber(Attempts.key():sub(1, 16), 16)
  guesses = Guesses.new(open, seed, limit, exempt, os.time, function(name, till)
    dovecot.i_warning(string.format("%s is held back until %s UTC: %d different wrong passwords within an hour",
      name, os.date("!%H:%M:%S", math.floor(till)), limit))
  end)
  return 0
end

local function listen()
  Attempts.reports(function(...) guesses:verdict(...) end)
end

-- What goes wrong here keeps nobody out.
function auth_password_verify(request)
  local ok, admitted = pcall(function()
    listen()
    return guesses:admit(Attempts.of(request))
  end)
  if not ok then
    request:log_error("decide whether to try a password: " .. tostring(admitted))
  elseif not admitted then
    return auth.PASSDB_RESULT_INTERNAL_FAILURE, "held back, password not tried"
  end
  return auth.PASSDB_RESULT_NEXT, nil
end

-- For mailstack-guesses, which only root in this container can be: the sockets for
-- lookups without a password are nobody else's. The user name is the command, in
-- letters that a user name may have, and the answer is written to a file, as there
-- may be thousands of names.
function auth_passdb_lookup(request)
  if request.protocol ~= "guesses" then
    return auth.PASSDB_RESULT_NEXT, nil
  end
  listen()
  local answer = {}
  local hex = request.user:match("^release%.(%x+)$")
  if hex ~= nil then
    local name = hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end)
    answer[1] = guesses:release(name) and "released" or "not held back"
  else
    for _, held in ipairs(guesses:list()) do
      answer[#answer + 1] = string.format("%s %d %d %d", held.name, held.since // 1, held.till // 1, held.refused)
    end
  end
  local file = assert(io.open(ANSWER, "w"))
  file:write(table.concat(answer, "\n"), #answer > 0 and "\n" or "")
  file:close()
  return auth.PASSDB_RESULT_OK, { nopassword = "y" }
end
