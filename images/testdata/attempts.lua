-- What attempts.lua makes of a client's address and of a user name;
-- guesses_test.go runs this with the directory of the module.
local directory = ...
package.path = directory .. "/?.lua"
local Attempts = require("attempts")
local failed = false

local function expect(what, got, want)
  if got ~= want then
    print(string.format("%s: got %s, want %s", what, tostring(got), tostring(want)))
    failed = true
  end
end

-- The files that the host and the start of the container write.
local files = {
  ["/run/mailstack-gateways"] = "172.18.0.1\nfd00:18::1\n",
  ["/run/mailstack/config/guesses"] = "limit 20\nexempt Mailstack-Probe@mail.example.org\nshared 198.51.100.0/25\nshared 2001:db8:5::/48\nshared 203.0.113.9\n",
  ["/run/mailstack-guesses.key"] = "0123456789abcdef0123456789abcdef",
}
io.open = function(path)
  return files[path] and { read = function() return files[path] end, close = function() end } or nil, path
end

local limit, exempt = Attempts.load()
expect("limit", limit, 20)
expect("exempt", exempt["mailstack-probe@mail.example.org"], true)

for address, want in pairs({
  ["192.0.2.1"] = "192.0.2.1",
  ["::ffff:192.0.2.1"] = "192.0.2.1",
  ["::ffff:c000:201"] = "192.0.2.1",
  ["2001:db8:1:2:3:4:5:6"] = "2001:db8:1:2::/64",
  ["2001:db8:1:2::9"] = "2001:db8:1:2::/64",
  ["2001:db8::9"] = "2001:db8:0:0::/64",
  ["fd00:18:0:0:1::1"] = "fd00:18:0:0::/64",
  -- Everybody's: loopback, the gateways in every notation, what is shared.
  ["127.0.0.1"] = "", ["127.255.0.9"] = "", ["::1"] = "", ["0:0:0:0:0:0:0:1"] = "", ["::ffff:127.0.0.1"] = "",
  ["172.18.0.1"] = "", ["::ffff:172.18.0.1"] = "", ["::ffff:ac12:1"] = "", ["fd00:18::1"] = "", ["fd00:18:0:0:0:0:0:1"] = "",
  ["198.51.100.127"] = "", ["2001:db8:5:ffff::1"] = "", ["203.0.113.9"] = "",
  -- And what is beside that.
  ["172.18.0.2"] = "172.18.0.2", ["198.51.100.128"] = "198.51.100.128", ["2001:db8:6::1"] = "2001:db8:6:0::/64", ["203.0.113.8"] = "203.0.113.8",
  -- No addresses.
  [""] = "", ["x"] = "", ["1.2.3"] = "", ["2001:db8::1::2:3"] = "", ["1:2:3:4:5:6:7"] = "", ["1:2:3:4:5:6:7:8:9"] = "", ["g::1"] = "", ["12345::1"] = "",
}) do
  expect("place of " .. address, Attempts.place(address), want)
end
expect("place of nobody", Attempts.place(nil), "")

for user, want in pairs({
  ["alice@example.org"] = "alice@example.org", ["Alice@EXAMPLE.org"] = "alice@example.org", ["o'neil+x@example.org"] = "o'neil+x@example.org",
  [""] = "", ["alice"] = "", ["a@b@c"] = "", [".a@b"] = "", ["../a@b"] = "", ["a b@c"] = "", ["a@-"] = "a@-", ["a@" .. ("b"):rep(319)] = "", ["192.0.2.1"] = "",
}) do
  local account, place, digest = Attempts.of({
    user = user, remote_ip = "192.0.2.1",
    var_expand = function(_, template) return (template:find(files["/run/mailstack-guesses.key"], 1, true)) and "digest" or "" end,
  })
  expect("account of " .. user, account, want)
  expect("place", place, "192.0.2.1")
  expect("digest", digest, "digest")
end

os.exit(not failed)
