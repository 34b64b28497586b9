-- Room: a userdb and a passdb that know no account and stand before those that do.
-- While the disk of the mail is all but full, LMTP takes no mail: it waits in the
-- queue. With next to nothing left no mail program gets in either.
--
-- Where Dovecot cannot make a file, or finish one, it forgets a part of its
-- indexes without a word and goes on (mail_index_move_to_memory in
-- src/lib-index/mail-index.c). The message is saved, whole, but the index does not
-- know that its UID is taken, and the next message to that mailbox may get the same
-- one (maildir_uidlist_refresh_fast_init): IMAP then cuts the first message to the
-- size of the second, and says OK; and a mail program that flags, moves or deletes by
-- UID may meet another message than the one it was shown. Seen with 2.4.1.
--
-- It runs in the process auth itself, and costs a delivery, or a login, one system
-- call.

local MAIL <const> = "/var/vmail"

-- mailstack-room has found the disk full, and has yet to see that all is well again.
local FULL <const> = "/run/mailstack-full"

-- What has to be free. For LMTP more than all deliveries that have been let pass can
-- take: 50 processes with a message, a lock and three files of indexes each. Others
-- may take the rest. For mail programs, which can also make room, less: the same as
-- in mailstack-room, which ends their open sessions.
local DELIVERY <const> = { bytes = 64 << 20, files = 1000 }
local READER <const> = { bytes = 8 << 20, files = 100 }

local auth = dovecot.auth

-- short says what the disk lacks, nil if nothing.
local function short(need)
  if require("posix.unistd").access(FULL) then
    return "the disk of the mail is, or was, full"
  end
  local disk, err = require("posix.sys.statvfs").statvfs(MAIL)
  if disk == nil then
    return "look at the disk of the mail: " .. err
  end
  local free = disk.f_bavail * disk.f_frsize
  if free < need.bytes then
    return string.format("the disk of the mail is nearly full: %d bytes free, %d are needed", free, need.bytes)
  end
  -- Some file systems have no fixed number of inodes, and say 0.
  if disk.f_files > 0 and disk.f_favail < need.files then
    return string.format("the disk of the mail is nearly full: %d inodes free, %d are needed", disk.f_favail, need.files)
  end
end

function auth_userdb_lookup(request)
  local lack = request.protocol == "lmtp" and short(DELIVERY)
  if lack then
    return auth.USERDB_RESULT_INTERNAL_FAILURE, lack
  end
  return auth.USERDB_RESULT_USER_UNKNOWN, ""
end

-- Another userdb lists the accounts.
function auth_userdb_iterate()
  return {}
end

-- Submission writes nothing here, and ManageSieve nothing that has a UID.
function auth_password_verify(request)
  local lack = (request.protocol == "imap" or request.protocol == "pop3") and short(READER)
  if lack then
    return auth.PASSDB_RESULT_INTERNAL_FAILURE, lack
  end
  return auth.PASSDB_RESULT_NEXT, nil
end

function auth_passdb_lookup()
  return auth.PASSDB_RESULT_NEXT, nil
end
