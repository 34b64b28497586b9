# A user has moved or copied a message out of Junk: the filter learns that it is
# none. Into Trash it goes whatever it is, and below Junk it stays what it was.
require ["vnd.dovecot.pipe", "copy", "imapsieve", "environment"];

if allof (size :under 1M, not environment :matches "imap.mailbox" ["Trash", "Trash/*", "Junk", "Junk/*"]) {
    pipe :copy "learn" ["ham"];
}
