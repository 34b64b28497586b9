# What waits in the queue of Postfix, and whether that runs. Reads, changes
# nothing: stopped, Postfix lets root look into the queue all the same.
#
#   $@  the words before a program where Postfix is: nothing, or docker exec NAME
if "$@" postfix status >/dev/null 2>&1 </dev/null; then echo running; else echo stopped; fi
"$@" postqueue -j </dev/null
