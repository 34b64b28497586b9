-- What auth.lua makes of passwords and what that costs; auth_test.go runs this with
-- the directory of the module and the beginning that the hash of an account has
-- that is new. There is neither a database nor Dovecot.
local directory, costs = ...
package.path = directory .. "/?.lua"
local failed = false

local function expect(what, got, want)
  if got ~= want then
    print(string.format("%s: got %s, want %s", what, tostring(got), tostring(want)))
    failed = true
  end
end

-- What the host and the start of the container write, and the C modules.
local files = {
  ["/run/mailstack/secret/database"] = { l = "secret" },
  ["/run/mailstack-gateways"] = { a = "" }, ["/run/mailstack/config/guesses"] = { a = "limit 20\n" },
  ["/run/mailstack-guesses.key"] = { a = "0123456789abcdef" },
}
io.open = function(path)
  return files[path] and { read = function(_, format) return files[path][format] end, close = function() end } or nil, path
end
local verdict
local unistd = {
  SEEK_SET = 0, alarm = function() end, getpid = function() return 7 end,
  write = function(_, message) verdict = string.unpack("<s1", message) end,
}
local locked
package.preload["posix.fcntl"] = function()
  return {
    O_RDWR = 1, O_NONBLOCK = 2, F_WRLCK = "lock", F_UNLCK = "unlock", F_SETLKW = 3, F_SETLK = 4,
    open = function() return 3 end, fcntl = function(_, _, slot) locked = slot.l_type == "lock" end,
  }
end
package.preload["posix.unistd"] = function() return unistd end
package.preload["posix.signal"] = function() return { signal = function() end } end

-- The database, which is away where there are no accounts.
local accounts
package.preload["luasql.mysql"] = function()
  local connection = { escape = function(_, text) return text end, close = function() end }
  function connection:execute(query)
    if accounts == nil then
      return nil, "away"
    end
    local row = accounts[query:match("address = '(.*)'$")]
    return { fetch = function() local once = row; row = nil; return once end, close = function() end }
  end
  return { mysql = function() return { connect = function() return connection end } end }
end

dovecot = { auth = {
  PASSDB_RESULT_OK = "ok", PASSDB_RESULT_USER_UNKNOWN = "unknown", PASSDB_RESULT_PASSWORD_MISMATCH = "mismatch",
  PASSDB_RESULT_USER_DISABLED = "disabled", PASSDB_RESULT_INTERNAL_FAILURE = "later", PASSDB_RESULT_SCHEME_NOT_AVAILABLE = "no scheme",
} }
dofile(directory .. "/auth.lua")
script_init()

-- try is one attempt: what comes of it, what the gate is told, and the hashes that
-- the password was compared with, in the worker's turn.
local function try(user, given)
  local compared = {}
  verdict = nil
  local result = auth_password_verify({
    user = user, protocol = "imap", remote_ip = "192.0.2.1",
    var_expand = function() return "digest" end,
    log_error = function(_, text) expect("error in the log", text, nil) end,
    password_verify = function(_, hash, password)
      expect("compared in turn", locked, true)
      compared[#compared + 1] = hash
      return hash == costs .. password and 1 or 0
    end,
  }, given)
  expect("turn is over", locked or false, false)
  return result, verdict, compared
end

local function account(password, enabled, moving)
  return { password = password, generation = "1", quota_bytes = "0", enabled = enabled, moving = moving }
end

accounts = {
  ["alice@example.org"] = account(costs .. "right", "1", ""),
  ["off@example.org"] = account(costs .. "right", "0", ""),
  ["new@example.org"] = account(nil, "1", ""),
  ["moving@example.org"] = account(costs .. "right", "1", costs .. "move"),
}

-- Every address costs one hash of the same kind, whoever has it: an answer that came
-- sooner or later would tell which accounts there are.
for _, c in ipairs({
  { "alice@example.org", "wrong", "mismatch", "wrong" }, { "alice@example.org", "right", "ok", "good" },
  { "off@example.org", "wrong", "mismatch", "wrong" }, { "off@example.org", "right", "disabled", "none" },
  { "new@example.org", "wrong", "unknown", "wrong" },
  { "nobody@example.org", "wrong", "unknown", "wrong" }, { "x@nowhere.example", "right", "unknown", "wrong" },
  { "moving@example.org", "right", "later", "none" }, { "moving@example.org", "move", "ok", "good" },
}) do
  local user, given, result, told = table.unpack(c)
  local what = user .. " with " .. given
  local got, verdict, compared = try(user, given)
  expect(what, got, result)
  expect(what .. ", the gate is told", verdict, told)
  expect(what .. ", hashes", #compared, 1)
  expect(what .. ", costs", (compared[1] or ""):sub(1, #costs), costs)
end

-- Who is no address is nobody's account, and costs nothing.
expect("no address", #select(3, try("nobody", "wrong")), 0)

-- Without an answer of the database nobody knows what to compare with.
accounts = nil
for _, user in ipairs({ "alice@example.org", "nobody@example.org" }) do
  local got, verdict, compared = try(user, "wrong")
  expect(user .. " without a database", got, "later")
  expect(user .. " without a database, the gate is told", verdict, "none")
  expect(user .. " without a database, hashes", #compared, 0)
end

os.exit(not failed)
