-- Passwords and mailboxes for Dovecot, from MariaDB, one query per lookup.
--
-- Why not "passdb sql": its connection pool multiplies the delay between two
-- attempts to reconnect by five, up to half an hour, and keeps a lookup waiting
-- for 60 seconds when it has no connection (src/lib-sql/driver-sqlpool.c, both
-- constants). A login during an outage has to get its temporary failure within
-- five seconds, and one after the outage has to work. Here each worker has one
-- connection while it is busy, and a lookup that finds it dead asks over a new one.
--
-- It runs in the auth-worker processes, several at once, as the user dovecot.

local SOCKET <const> = "/socket/mysql/mysqld.sock"
local SECRET <const> = "/run/mailstack/secret/database"
local MAIL <const> = "/var/vmail"

-- A server that takes the connection and then says nothing (stopped, or stuck
-- on its disk) costs this many seconds.
local CONNECT_SECONDS <const> = 2

-- A connection that was not used for this long is not used again: opening one
-- costs more than a query does, and the less it is needed the less that matters.
local KEEP_SECONDS <const> = 10

-- One that falls silent later, in the middle of a query, for which luasql has no
-- timeout, costs the worker: SIGALRM ends it, the login gets its temporary
-- failure, and another worker takes its place.
local LOOKUP_SECONDS <const> = 3

-- A worker that has just waited that long fails its next lookups at once, so
-- that a queue of logins does not add up the waits.
local REST_SECONDS <const> = 1

-- At most this many workers compute a hash at the same time: ARGON2ID takes 19 MB
-- each, and a flood of guesses must not use up the container's memory. A worker
-- belongs to one of the slots, a byte of this file that it locks meanwhile.
local SLOTS <const> = 4
local SLOTS_FILE <const> = "/run/mailstack-hashing"

-- What is compared with the password for an account that does not exist. It costs
-- what a new account's hash costs, so that the time of a refusal does not tell
-- which accounts there are.
local NOBODY <const> = "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$SRTEEPVFi93giSBtaFlxvA$k944ph3GH2byRvbfOX/SRNVis3WA1BZEdDLhie179GQ"

-- The reason in the log of what an account has to wait for.
local MOVING <const> = "the account is being moved here"

package.path = "/usr/lib/mailstack/?.lua;" .. package.path
local Attempts <const> = require("attempts")
local split <const> = Attempts.split

local auth = dovecot.auth
local password
local rest_until = 0
local kept, kept_since -- a connection, and when it was last used
local slots -- file descriptor of SLOTS_FILE

-- Reads the secret while the process is still root. Both auth and auth-worker
-- come through here when they start.
function script_init()
  local file, err = io.open(SECRET)
  if file == nil then
    error("read database password: " .. err)
  end
  password = file:read("l")
  file:close()
  if password == nil or password == "" or password:find("[{}]") then
    error("read database password: " .. SECRET .. " is empty or holds a brace")
  end
  Attempts.load()
  return 0
end

-- What a connection is made of is one string because that is the only way to
-- hand the client library a timeout through luasql. Braces quote a value.
local function connect()
  local luasql = require("luasql.mysql")
  local options = string.format(
    "socket={%s};user={dovecot};password={%s};database={mail};connect-timeout=%d;" ..
    "default-character-set=utf8mb4;init-command={SET max_statement_time=%d}",
    SOCKET, password, CONNECT_SECONDS, CONNECT_SECONDS)
  return luasql.mysql():connect("", nil, nil, options)
end

-- ask sends one query over a connection and returns its rows, or nil and what
-- went wrong.
local function ask(connection, build)
  local function quote(text)
    return "'" .. connection:escape(text) .. "'"
  end
  local cursor, problem = connection:execute(build(quote))
  if cursor == nil then
    return nil, problem
  end
  local found = {}
  if type(cursor) == "number" then -- rows that a statement changed
    return found
  end
  local row = cursor:fetch({}, "a")
  while row do
    found[#found + 1] = row
    row = cursor:fetch({}, "a")
  end
  cursor:close()
  return found
end

-- asked_again is ask over the connection that is kept, and where that gives no
-- answer, over a new one. Every query may be asked twice.
local function asked_again(build)
  if kept ~= nil then
    local ok, rows = false, nil
    if os.time() - kept_since < KEEP_SECONDS then
      ok, rows = pcall(ask, kept, build)
    end
    if ok and rows ~= nil then
      kept_since = os.time()
      return rows
    end
    kept:close()
    kept = nil
  end
  local began = os.time()
  local connection, err = connect()
  if connection == nil then
    if os.time() - began >= CONNECT_SECONDS then
      rest_until = os.time() + REST_SECONDS
    end
    return nil, err
  end
  local ok, rows, failure = pcall(ask, connection, build)
  if ok and rows ~= nil then
    kept, kept_since = connection, os.time()
    return rows
  end
  connection:close()
  return nil, ok and failure or rows
end

-- Runs one query, made by build(quote), and returns its rows, or nil and what
-- went wrong. No row is an empty table: it says "there is no such thing", and
-- only a server that has answered may say so.
local function query(build)
  if os.time() < rest_until then
    return nil, "the database did not answer a moment ago"
  end
  local alarm, signal = require("posix.unistd").alarm, require("posix.signal")
  signal.signal(signal.SIGALRM, signal.SIG_DFL) -- Dovecot ignores it
  alarm(LOOKUP_SECONDS)
  local rows, err = asked_again(build)
  alarm(0)
  return rows, err
end

-- mailbox returns what Dovecot needs to know of an account's mail store. uid
-- and gid are the same for everybody and stand in the configuration.
local function mailbox(address, quota_bytes, prefix)
  local localpart, domain = split(address)
  return {
    [prefix .. "home"] = MAIL .. "/" .. domain .. "/" .. localpart,
    [prefix .. "quota_storage_size"] = quota_bytes .. "B",
  }
end

-- verify compares a password with a hash, in this worker's turn.
local function verify(request, hash, given)
  local fcntl, unistd = require("posix.fcntl"), require("posix.unistd")
  if slots == nil then
    local fd, err = fcntl.open(SLOTS_FILE, fcntl.O_RDWR)
    if fd == nil then
      error("open " .. err)
    end
    slots = fd
  end
  local slot = { l_whence = unistd.SEEK_SET, l_start = unistd.getpid() % SLOTS, l_len = 1 }
  slot.l_type = fcntl.F_WRLCK
  fcntl.fcntl(slots, fcntl.F_SETLKW, slot)
  local verified, problem = request:password_verify(hash, given)
  slot.l_type = fcntl.F_UNLCK
  fcntl.fcntl(slots, fcntl.F_SETLK, slot)
  return verified, problem
end

-- Schemes that can be guessed in little time; accounts that came from another
-- host may have one until their owner logs in.
local WEAK <const> = {
  ["MD5-CRYPT"] = true, ["DES-CRYPT"] = true, ["MD5"] = true, ["PLAIN-MD5"] = true, ["LDAP-MD5"] = true, ["SMD5"] = true,
}

-- strengthen gives an account with a weak hash a strong one of the password that
-- was just verified. That it cannot be done now is no reason to refuse a login.
local function strengthen(request, address, weak, given)
  local name = weak:match("^{([%w-]+)[.%w]*}")
  if name == nil or not WEAK[name:upper()] then
    return
  end
  local salt, alphabet = {}, "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
  local random = io.open("/dev/urandom", "rb")
  if random == nil then
    return request:log_error("make a salt: /dev/urandom cannot be opened")
  end
  for i = 1, 16 do
    local at = random:read(1):byte() % #alphabet + 1
    salt[i] = alphabet:sub(at, at)
  end
  random:close()
  local strong = require("posix.unistd").crypt(given, "$6$rounds=20000$" .. table.concat(salt))
  local rows, err = nil, "crypt(3) does not know SHA512-CRYPT"
  if strong ~= nil and strong:sub(1, 3) == "$6$" then
    rows, err = query(function(quote)
      return "CALL rehash(" .. quote(address) .. ", " .. quote(weak) .. ", " .. quote("{SHA512-CRYPT}" .. strong) .. ")"
    end)
  end
  if rows == nil then
    request:log_error("make the hash a strong one: " .. tostring(err))
  end
end

-- The protocol is part of the key because Postfix gets another user name than
-- the rest, the client's address because the gate wants to know of each from where
-- a password has worked. The account comes first: "doveadm auth cache flush"
-- compares it.
function auth_passdb_get_cache_key()
  return "%{user}\t%{protocol}\t%{remote_ip}"
end

-- check checks a password. Because the hash is not handed back, Dovecot caches a
-- fast digest of the password that was right, in memory, and a slow hash is paid
-- for once per password instead of once per login.
local function check(request, given)
  local address = request.user
  if split(address) == nil then
    return auth.PASSDB_RESULT_USER_UNKNOWN, "no such account"
  end
  local rows, err = query(function(quote)
    return "SELECT password, generation, quota_bytes, enabled, moving FROM account WHERE address = " .. quote(address)
  end)
  if rows == nil then
    return auth.PASSDB_RESULT_INTERNAL_FAILURE, err
  end
  local account = rows[1]
  if account == nil or account.password == nil then
    verify(request, NOBODY, given)
    return auth.PASSDB_RESULT_USER_UNKNOWN, "no such account"
  end
  -- The mail of an account that is being brought over from another host is only
  -- a copy yet. Its owner has to wait; the move itself has a password of its own.
  if account.moving ~= "" then
    if verify(request, account.moving, given) ~= 1 then
      return auth.PASSDB_RESULT_INTERNAL_FAILURE, MOVING
    end
    return auth.PASSDB_RESULT_OK, mailbox(address, account.quota_bytes, "userdb_")
  end
  local verified, problem = verify(request, account.password, given)
  if verified < 0 or (problem or ""):find("^Unknown scheme") then
    request:log_error("the stored hash is of no use: " .. tostring(problem))
    return auth.PASSDB_RESULT_SCHEME_NOT_AVAILABLE, "unusable hash"
  end
  if verified == 0 then
    return auth.PASSDB_RESULT_PASSWORD_MISMATCH, "wrong password"
  end
  -- Only who knows the password learns that the account is disabled.
  if account.enabled ~= "1" then
    return auth.PASSDB_RESULT_USER_DISABLED, "account is disabled"
  end
  strengthen(request, address, account.password, given)
  if request.protocol == "smtp" then
    -- The generation grows with every change of the account. Postfix compares
    -- it at each message and ends a submission session that is out of date.
    return auth.PASSDB_RESULT_OK, { user = address .. "#" .. account.generation }
  end
  return auth.PASSDB_RESULT_OK, mailbox(address, account.quota_bytes, "userdb_")
end

-- auth_password_verify tells the gate what came of the attempt that it let pass.
-- That it cannot be told is no reason to refuse a login.
function auth_password_verify(request, given)
  local result, detail = check(request, given)
  local verdict = "none"
  if result == auth.PASSDB_RESULT_OK then
    verdict = "good"
  elseif result == auth.PASSDB_RESULT_PASSWORD_MISMATCH or result == auth.PASSDB_RESULT_USER_UNKNOWN then
    verdict = "wrong"
  end
  local ok, err = pcall(function()
    Attempts.report(verdict, Attempts.of(request))
  end)
  if not ok then
    request:log_error("tell the gate of an attempt: " .. tostring(err))
  end
  return result, detail
end

-- follow is the query that quota-status needs: Postfix asks at RCPT, before it
-- expands aliases, and a full mailbox behind an alias has to be refused there
-- too. It walks from an address over aliases (and where there is none, the
-- domain's catch-all) as long as each has exactly one target, to an account.
-- With several targets there is no single answer, and none is given.
local function follow(address)
  local function only_target(of)
    return "(SELECT IF(COUNT(*) = 1, REGEXP_REPLACE(MAX(target), '[+][^@]*@', '@'), '') " ..
      "FROM alias WHERE alias.address = " .. of .. " HAVING COUNT(*) > 0)"
  end
  return "WITH RECURSIVE hop (address, depth) AS (" ..
    "SELECT CAST(" .. address .. " AS CHAR(320) CHARACTER SET utf8mb4) COLLATE utf8mb4_bin, 0 UNION ALL " ..
    "SELECT CAST(COALESCE(" .. only_target("hop.address") .. ", " ..
    only_target("CONCAT('@', SUBSTRING_INDEX(hop.address, '@', -1))") .. ", '') AS CHAR(320) CHARACTER SET utf8mb4) " ..
    "COLLATE utf8mb4_bin, depth + 1 " ..
    "FROM hop WHERE depth < 8 AND hop.address <> '' " ..
    "AND NOT EXISTS (SELECT 1 FROM account WHERE account.address = hop.address)) " ..
    "SELECT account.address, account.quota_bytes, account.moving FROM hop JOIN account ON account.address = hop.address LIMIT 1"
end

-- What LMTP was told of an account is remembered (userdb_use_cache), until it
-- changes: "doveadm auth cache flush" compares the address.
function auth_userdb_get_cache_key()
  return "%{user}"
end

-- auth_userdb_lookup finds the mailbox for LMTP, quota-status and doveadm (a
-- login brings it along). A disabled account still takes mail in, all of it into
-- INBOX.
function auth_userdb_lookup(request)
  local address = request.user
  if split(address) == nil then
    return auth.USERDB_RESULT_USER_UNKNOWN, "no such account"
  end
  local rows, err = query(function(quote)
    if request.protocol == "quota-status" then
      return follow(quote(address))
    end
    return "SELECT address, quota_bytes, enabled, moving FROM account WHERE address = " .. quote(address)
  end)
  if rows == nil then
    return auth.USERDB_RESULT_INTERNAL_FAILURE, err
  end
  local account = rows[1]
  if account == nil or split(account.address) == nil then
    return auth.USERDB_RESULT_USER_UNKNOWN, "no such account"
  end
  -- Mail waits for the end of a move where it is, at its sender's or in the queue.
  if account.moving ~= "" and request.protocol ~= "doveadm" then
    return auth.USERDB_RESULT_INTERNAL_FAILURE, MOVING
  end
  local fields = mailbox(account.address, account.quota_bytes, "")
  if account.address ~= address then
    fields.user = account.address
  end
  -- Who cannot sign in sends nothing, by Sieve neither: a redirect that a thief
  -- left behind ends with the account.
  if account.enabled == "0" then
    fields.active_script = ".disabled"
  end
  return auth.USERDB_RESULT_OK, fields
end

-- auth_userdb_iterate lists every account, for doveadm -A.
function auth_userdb_iterate()
  local rows, err = query(function()
    return "SELECT address FROM account ORDER BY address"
  end)
  if rows == nil then
    error(err)
  end
  local addresses = {}
  for _, row in ipairs(rows) do
    addresses[#addresses + 1] = row.address
  end
  return addresses
end
