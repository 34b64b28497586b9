-- Rules of our own. What they know of this stack is in mailstack.conf.
local rspamd_util = require 'rspamd_util'

local stack = rspamd_config:get_all_opt('mailstack')

-- The probe's mail -----------------------------------------------------------
--
-- It proves that mail arrives, so no threshold may keep it. It is known by where it
-- goes: Postfix takes mail for that mailbox at one address only, which nobody else
-- knows, and from the probe itself after its login. There is nothing to be had by
-- it, as this mail goes nowhere else.

local function is_probe(rcpt)
  local user = rcpt.user:lower()
  return rcpt.domain:lower() == stack.hostname
    and (user == stack.probe or user:sub(1, #stack.probe + 1) == stack.probe .. '+')
end

rspamd_config:register_symbol {
  name = 'MAILSTACK_PROBE',
  type = 'prefilter',
  priority = 10,
  callback = function(task)
    local rcpts = task:get_recipients('smtp') or {}
    for _, rcpt in ipairs(rcpts) do
      if not is_probe(rcpt) then return end
    end
    if #rcpts > 0 then
      task:set_pre_result('no action', 'the probe', 'mailstack')
    end
  end,
}

-- Unsolicited mail for tests --------------------------------------------------
--
-- Rspamd itself would refuse it; here it is marked, which can then be seen in the
-- user's mailbox. https://rspamd.com/doc/other/gtube_patterns.html

local gtube = 'XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X'
local longest = 4096

rspamd_config:register_symbol {
  name = 'MAILSTACK_GTUBE',
  type = 'prefilter',
  priority = 9,
  callback = function(task)
    if not stack.marks then return end
    for _, part in ipairs(task:get_text_parts() or {}) do
      if part:get_length() <= longest and tostring(part:get_content()):find(gtube, 1, true) then
        task:set_pre_result('add header', 'test of the filter', 'mailstack')
        return
      end
    end
  end,
}

-- Hidden addresses -------------------------------------------------------------
--
-- An address in a private network is that of the bridge's gateway, which hides who
-- the client is, or of somebody whom the public DNS knows nothing of. Either way it
-- says nothing for or against a message.

local private = rspamd_config:radix_from_ucl({
  '127.0.0.0/8', '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '169.254.0.0/16',
  '100.64.0.0/10', '::1/128', 'fc00::/7', 'fe80::/10',
})

local function hidden(task)
  local ip = task:get_ip()
  return not (ip and ip:is_valid()) or private:get_key(ip)
end

local function known(task) return not hidden(task) end

-- Postfix asks no name server for the name of a client (smtpd_peername_lookup), so
-- Rspamd does. To ask for a private one takes seconds where such questions are
-- dropped.
rspamd_config:add_condition('RDNS_CHECK', known)

-- SPF would fail nearly every message, with every sender that publishes it.
rspamd_config:add_condition('SPF_CHECK', known)

-- aligned says whether a signature that holds is of the domain in From:, so that
-- DMARC passes without SPF, also where that wants the very domain. Where it is not, SPF
-- might have made it pass, and nobody can know: then there is no result.
local function aligned(task)
  local from = ((task:get_from('mime') or {})[1] or {}).domain
  local trace = ((task:get_symbol('DKIM_TRACE') or {})[1] or {}).options
  for _, signature in ipairs(from and trace or {}) do
    local domain = signature:match('^(.+):%+$')
    if domain and domain:lower() == from:lower() then
      return true
    end
  end
  return false
end

rspamd_config:register_symbol {
  name = 'MAILSTACK_HIDDEN',
  type = 'normal',
  group = 'policies',
  callback = function(task)
    if known(task) or task:get_user() then return end
    task:insert_result('R_SPF_NEUTRAL', 1.0)
    if aligned(task) then
      -- What dmarc.lua counts: that SPF and DKIM have both been looked at.
      task:get_mempool():set_variable('dmarc_checks', 2.0)
    end
  end,
}
rspamd_config:register_dependency('MAILSTACK_HIDDEN', 'DKIM_TRACE')
rspamd_config:register_dependency('DMARC_CHECK', 'MAILSTACK_HIDDEN')

-- DMARC ------------------------------------------------------------------------
--
-- A domain says what becomes of mail in its name that is not its own (RFC 7489):
-- refused while whoever hands it over still waits, or marked. Points have no part in
-- that. A name server that does not answer is no failure: Rspamd has another symbol
-- for that.
--
-- A forwarder that is trusted with it may say that the mail was its sender's when it
-- had it (ARC, RFC 8617).

local policies = {
  DMARC_POLICY_REJECT = { action = 'reject', words = 'DMARC: this is no mail of %s, which asks to have such mail refused' },
  DMARC_POLICY_QUARANTINE = { action = 'add header', words = 'DMARC: this is no mail of %s' },
}

local function passed_before(task)
  local sealed = task:cache_get('arc_trusted_aar')
  for _, result in ipairs(sealed and sealed.ar or {}) do
    if result.dmarc == 'pass' then return true end
  end
  return false
end

rspamd_config:register_symbol {
  name = 'MAILSTACK_DMARC',
  type = 'postfilter',
  callback = function(task)
    for symbol, policy in pairs(policies) do
      if task:has_symbol(symbol) and not passed_before(task) then
        local from = (task:get_from('mime') or {})[1] or {}
        task:set_pre_result(policy.action, policy.words:format(from.domain or '?'), 'mailstack', nil, nil, 'least')
      end
    end
  end,
}

-- Memory -------------------------------------------------------------------------
--
-- The compiled list of public suffixes is a file of 47 MB that is mapped. The main
-- process reads all of it once, for its checksum, and never again; those that scan
-- read what they need. So what it has mapped is given back: it is a copy of the file.

local ffi = require 'ffi'
ffi.cdef [[
  int madvise(void *addr, size_t length, int advice);
  int kill(int pid, int signal);
]]

rspamd_config:add_post_init(function()
  local MADV_DONTNEED = 4 -- <asm-generic/mman-common.h>
  for line in io.lines('/proc/self/maps') do
    local first, last = line:match('^(%x+)%-(%x+) r%-%-s .*%.hsmp%.unser$')
    if first then
      local addr, length = tonumber(first, 16), tonumber(last, 16) - tonumber(first, 16)
      ffi.C.madvise(ffi.cast('void *', ffi.cast('uintptr_t', addr)), length, MADV_DONTNEED)
    end
  end
end)

-- Rspamd starts a process that compiles expressions, whatever disable_hyperscan says,
-- and has the others load them: 20 MB, and seconds of a processor. No setting is
-- against it, but a process that ends by this signal is not started again.
rspamd_config:add_on_load(function(_, loop, worker)
  if worker:get_name() ~= 'rspamd_proxy' then return end
  local SIGUSR2 = 12
  local tries = 100
  rspamd_config:add_periodic(loop, 0.1, function()
    for _, file in ipairs(rspamd_util.glob('/proc/[0-9]*/cmdline')) do
      local cmdline = io.open(file)
      if cmdline and cmdline:read('*a'):find('^rspamd: hs_helper process') then
        ffi.C.kill(tonumber(file:match('%d+')), SIGUSR2)
        tries = 0
      end
      if cmdline then cmdline:close() end
    end
    tries = tries - 1
    return tries > 0
  end)
end)

-- What Sieve makes ---------------------------------------------------------------
--
-- Vacations, notifications and rejections come by a socket of Postfix's own, whose
-- name it says (master.cf), and are as good as mail of somebody who signed in: Postfix
-- has compared their From with whose script it is. What is redirected there is not, and
-- its first lines say so, which no script can write.
rspamd_config:register_symbol {
  name = 'MAILSTACK_SIEVE',
  type = 'prefilter',
  priority = 10,
  callback = function(task)
    local daemon = task:get_request_header('MTA-Name')
    if daemon == nil or tostring(daemon) ~= 'sieve' then
      return
    end
    local names = {}
    for line in tostring(task:get_raw_headers()):gmatch('[^\r\n]+') do
      local name = line:match('^([^%s:]+)%s*:')
      if name ~= nil then
        names[#names + 1] = name:lower()
        if #names == 2 then
          break
        end
      end
    end
    if not (names[1] == 'x-sieve' and names[2] == 'x-sieve-redirected-from') then
      task:set_user('sieve')
    end
  end,
}
