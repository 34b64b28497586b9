-- What guesses.lua obliges itself to; guesses_test.go runs this with the directory
-- of the module and the name of a file that is not there yet.
local directory, path = ...
package.path = directory .. "/?.lua"
local Guesses = require("guesses")

local LIMIT <const> = 20
local failed = false

local function expect(what, got, want)
  if got ~= want then
    print(string.format("%s: got %s, want %s", what, tostring(got), tostring(want)))
    failed = true
  end
end

local clock, told
local file
local function fresh(limit)
  if file ~= nil then
    file:close()
  end
  file = assert(io.open(path, "w+b"))
  file:setvbuf("no")
  clock, told = 1000000, {}
  return Guesses.new(function() return file end, 0x5bd1e9955bd1e995, limit or LIMIT, { ["probe@example.org"] = true },
    function() return clock end, function(name, till) told[#told + 1] = name .. " " .. math.floor(till - clock) end)
end

-- try is one attempt with its verdict: "wrong", "good" or, untried, "refused".
local right = {}
local function try(g, account, place, password)
  if not g:admit(account, place, password) then
    return "refused"
  end
  local verdict = right[account] == password and "good" or "wrong"
  g:verdict(verdict, account, place, password)
  return verdict
end

local function count(n, attempt)
  local counts = { wrong = 0, good = 0, refused = 0 }
  for i = 1, n do
    local result = attempt(i)
    counts[result] = counts[result] + 1
  end
  return counts
end

local ALICE <const>, BOB <const>, HOME <const>, ELSEWHERE <const> = "alice@example.org", "bob@example.org", "192.0.2.1", "198.51.100.7"
right[ALICE], right[BOB] = "right", "right"

do -- As many as the limit are tried, then none, and one is told who and till when.
  local g = fresh()
  expect("guesses tried", count(100, function(i) return try(g, ALICE, "", "guess" .. i) end).wrong, LIMIT)
  expect("told", table.concat(told, ","), ALICE .. " 1800")
  local list = g:list()
  expect("list", #list .. " " .. list[1].name .. " " .. list[1].refused .. " " .. math.floor(list[1].till - list[1].since), "1 " .. ALICE .. " 80 1800")
  expect("another account of the same place", try(g, BOB, "", "right"), "good")
  expect("another account's wrong password", try(g, BOB, "", "x"), "wrong")
  clock = clock + 1801
  expect("list after half an hour", #g:list(), 0)
  expect("guesses tried in the second half hour", count(100, function(i) return try(g, ALICE, "", "later" .. i) end).wrong, LIMIT // 2)
end

do -- The same wrong password is no guess, be it for ever.
  local g = fresh()
  expect("old password", count(1000, function() clock = clock + 1 return try(g, ALICE, "", "old") end).wrong, 1000)
  expect("the owner", try(g, ALICE, "", "right"), "good")
end

do -- What has worked works at once, while others guess.
  local g = fresh()
  expect("before", try(g, ALICE, "", "right"), "good")
  expect("owner among guesses", count(500, function(i)
    clock = clock + 0.5
    try(g, ALICE, "", "guess" .. i)
    return try(g, ALICE, "", i % 10 == 0 and "right" or "more" .. i)
  end).good, 50)
end

do -- Where the address is known, only the owner's own address counts as such.
  local g = fresh()
  expect("at home", try(g, ALICE, HOME, "right"), "good")
  for i = 1, 100 do
    try(g, ALICE, "203.0.113." .. i, "guess" .. i)
  end
  expect("at home, held back", try(g, ALICE, HOME, "right"), "good")
  expect("elsewhere, held back", try(g, ALICE, ELSEWHERE, "right"), "refused")
  expect("wrong at home, held back", try(g, ALICE, HOME, "typo"), "refused")
end

do -- Whoever comes again is tried, once a minute, and is then as at home.
  local g = fresh()
  count(100, function(i) return try(g, ALICE, "", "guess" .. i) end)
  expect("first time", try(g, ALICE, ELSEWHERE, "right"), "refused")
  clock = clock + 2
  expect("too soon", try(g, ALICE, ELSEWHERE, "right"), "refused")
  clock = clock + 3
  expect("again", try(g, ALICE, ELSEWHERE, "right"), "good")
  expect("from then on", try(g, ALICE, ELSEWHERE, "right"), "good")
  clock = clock + 60
  expect("guesses that come again", count(50, function(i) return try(g, ALICE, "", "guess" .. i + 50) end).wrong, 1)
end

do -- An address that guesses at many accounts is held back, and nobody else.
  local g = fresh()
  expect("at home", try(g, ALICE, HOME, "right"), "good")
  expect("sprayed", count(100, function(i) return try(g, "user" .. i .. "@example.org", HOME, "summer") end).wrong, LIMIT)
  expect("held back", g:list()[1].name, HOME)
  expect("who has signed in from there", try(g, ALICE, HOME, "right"), "good")
  expect("who has not", try(g, BOB, HOME, "right"), "refused")
  expect("from elsewhere", try(g, BOB, ELSEWHERE, "right"), "good")
  expect("from nowhere", count(200, function(i) return try(g, "user" .. i + 100 .. "@example.org", "", "summer") end).wrong, 200)
end

do -- Of many at the same time no more are under way than the limit.
  local g = fresh()
  local admitted = 0
  for i = 1, 100 do
    admitted = admitted + (g:admit(ALICE, "", "guess" .. i) and 1 or 0)
  end
  expect("under way", admitted, LIMIT)
end

do -- Of many at the same time from one address, at as many accounts, neither: five
  -- times the limit. An office that comes back at once is no more than that.
  local g = fresh()
  local function begin(n, round)
    return count(n, function(i)
      return g:admit(round .. i .. "@example.org", HOME, "summer") and "good" or "refused"
    end).good
  end
  local function finish(n, round, verdict)
    for i = 1, n do
      g:verdict(verdict, round .. i .. "@example.org", HOME, "summer")
    end
  end
  expect("under way from an address", begin(1000, "a"), 5 * LIMIT)
  expect("under way from elsewhere", g:admit(ALICE, ELSEWHERE, "right"), true)
  expect("under way from nowhere", count(200, function(i) return g:admit("n" .. i .. "@example.org", "", "x") and "good" or "refused" end).good, 200)
  finish(5 * LIMIT, "a", "good")
  expect("when all were right", begin(1000, "b"), 5 * LIMIT)
  finish(5 * LIMIT, "b", "none")
  expect("when none could be compared", begin(1000, "c"), 5 * LIMIT)
  expect("held back", #g:list(), 0)
  clock = clock + 60
  expect("when no verdict came", begin(1000, "d"), 5 * LIMIT)
  finish(5 * LIMIT, "d", "wrong")
  expect("held back for them", g:list()[1].name, HOME)
  expect("when all were wrong", begin(1000, "e"), 0)
end

do -- Who insists from an address that is held back itself leaves every other turn to
  -- an owner who is elsewhere.
  local g = fresh()
  count(100, function(i) return try(g, ALICE, HOME, "guess" .. i) end)
  local taken, wrong = nil, 0
  for second = 1, 600 do
    clock = clock + 1
    for _ = 1, 2 do -- each comes again, so that one is always due
      wrong = wrong + (try(g, ALICE, HOME, "guess" .. 21 + second // 8) == "wrong" and 1 or 0)
    end
    if second % 20 == 0 and second > 20 and try(g, ALICE, ELSEWHERE, "right") == "good" then
      taken = taken or second
    end
  end
  expect("the owner gets in", taken ~= nil and taken <= 120, true)
  expect("who insists has a turn", wrong > 0 and wrong <= 6, true)
end

do -- An attempt without a verdict costs nobody anything.
  local g = fresh()
  for i = 1, 100 do
    expect("admitted", g:admit(ALICE, HOME, "guess" .. i), true)
    g:verdict("none", ALICE, HOME, "guess" .. i)
  end
  expect("held back", #g:list(), 0)
end

do -- The probe, and a limit of 0.
  local g = fresh()
  expect("probe", count(100, function(i) return try(g, "probe@example.org", "", "guess" .. i) end).wrong, 100)
  g = fresh(0)
  expect("no limit", count(100, function(i) return try(g, ALICE, HOME, "guess" .. i) end).wrong, 100)
end

do -- A flood of guesses at a password that works: so many are looked at, no more.
  local g = fresh()
  try(g, ALICE, "", "right")
  count(LIMIT, function(i) return try(g, ALICE, "", "guess" .. i) end)
  local results = count(2000, function() return try(g, ALICE, "", "right") end)
  expect("looked at, at once", results.good, 600)
  clock = clock + 3
  expect("looked at in 3 s", count(2000, function() return try(g, ALICE, "", "right") end).good, 30)
end

do -- Release.
  local g = fresh()
  try(g, ALICE, HOME, "right")
  count(100, function(i) return try(g, ALICE, "", "guess" .. i) end)
  expect("release", g:release(ALICE), true)
  expect("list", #g:list(), 0)
  expect("released twice", g:release(ALICE), false)
  expect("from anywhere", try(g, ALICE, ELSEWHERE, "right"), "good")
  count(100, function(i) return try(g, BOB, ELSEWHERE, "guess" .. i) end)
  expect("release of an address", g:release(ELSEWHERE), true)
  expect("its account", #g:list(), 1)
  expect("its account", g:release(BOB), true)
end

do -- More names and addresses than there is room for take no more room, and set
  -- nobody free who is held back.
  local g = fresh()
  local memory
  for i = 1, 80000 do
    local account = "user" .. i .. "@example.org"
    local place = string.format("10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255)
    g:admit(account, place, "x")
    g:verdict("wrong", account, place, "x")
    if i == 1000 then
      count(100, function(n) return try(g, ALICE, "", "guess" .. n) end)
    elseif i == 10000 then
      collectgarbage()
      memory = collectgarbage("count")
    end
  end
  collectgarbage()
  expect("memory grew", collectgarbage("count") - memory > 100, false)
  expect("file grew", file:seek("end") > 5 * 1024 * 1024, false)
  expect("set free", try(g, ALICE, "", "another"), "refused")
end

os.exit(not failed)
