# A user has moved or copied a message into Junk: the filter learns that it is spam.
require ["vnd.dovecot.pipe", "copy"];

if size :under 1M {
    pipe :copy "learn" ["spam"];
}
