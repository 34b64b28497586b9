# The queue of Postfix. Reads, changes nothing: stopped, Postfix lets root look into
# the queue all the same.
#
#   $1 $2  the engine and the container that Postfix is in, or ''
#   $3     "alone" where that container runs nothing else: stopped, it is Postfix
#   $4     "list", or the ID of a message whose content is wanted
engine=$1
box=$2
alone=$3
message=$4
running=
if [ -n "$alone" ] && [ "$($engine inspect --format '{{.State.Running}}' "$box" </dev/null)" != true ]; then
	# Another container of the same image that sees the same queue, and goes.
	image=$($engine inspect --format '{{.Image}}' "$box" </dev/null)
	within() { $engine run --rm --network none --volumes-from "$box:ro" "$image" "$@" </dev/null; }
elif [ -n "$box" ]; then
	within() { $engine exec "$box" "$@" </dev/null; }
	running=$alone
else
	within() { "$@" </dev/null; }
fi
if [ "$message" != list ]; then
	within postcat -bh -q "$message"
	exit
fi
if [ -z "$alone" ] && within postfix status >/dev/null 2>&1; then running=yes; fi
if [ -n "$running" ]; then echo running; else echo stopped; fi
within postqueue -j
