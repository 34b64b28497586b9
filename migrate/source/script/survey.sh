# What is in the places where mail may be. Reads, changes nothing.
#
#   $1  begins the line before each part, which is numbered
#   $2… five for each place: the Maildir, its control directory, the active
#       Sieve script, the directory of scripts, and the directory below which
#       the script has to be; or ''
mark=$1
shift
say() { printf '\n%s %s\n' "$mark" "$*"; }

# list prints size and name of each file below the working directory. -printf is
# GNU's, -ls BSD's too, and BusyBox may have neither.
list() {
	if find . -prune -printf '' >/dev/null 2>&1; then
		find . -type f -printf '%s %p\n' 2>/dev/null
	elif find . -prune -ls >/dev/null 2>&1; then
		find . -type f -ls 2>/dev/null | awk '$3 ~ /^-/ { print $7 " " substr($0, index($0, " ./") + 1) }'
	else
		find . -type f -exec stat -c '%s %n' {} + 2>/dev/null
	fi
}

# count adds them up: files, bytes, messages, those in folders of either layout,
# and those whose size is not the one that Dovecot wrote into the name (,S=):
# they are compressed or encrypted, and their first bytes say which.
count() {
	awk '
		$1 ~ /^[0-9]+$/ {
			files++
			bytes += $1
			path = substr($0, length($1) + 2)
			n = split(path, part, "/") # ./cur/x, ./.Folder/cur/x, ./Folder/cur/x
			if (n < 3 || (part[n - 1] != "cur" && part[n - 1] != "new")) next
			messages++
			if (n > 3 && substr(part[2], 1, 1) == ".") dotted++
			else if (n > 3) plain++
			if (match(part[n], /,S=[0-9]+/) && substr(part[n], RSTART + 3, RLENGTH - 3) != $1)
				if (++odd <= 8) print "odd " path
		}
		END { printf "count %.0f %.0f %.0f %.0f %.0f %.0f\n", files, bytes, messages, dotted, plain, odd }' |
		while read -r word rest; do
			case $word in
			odd)
				# A name may hold a line feed: this need not be what find found.
				if [ -f "$rest" ] && [ ! -L "$rest" ]; then
					printf 'magic %s\n' "$(head -c 8 "$rest" 2>/dev/null | od -An -tx1 | tr -d ' \n')"
				fi
				;;
			*) printf '%s %s\n' "$word" "$rest" ;;
			esac
		done
}

number=0
while [ $# -ge 5 ]; do
	maildir=$1
	control=$2
	sieve=$3
	scripts=$4
	below=$5
	shift 5
	say "place $number"
	number=$((number + 1))
	if [ ! -e "$maildir" ]; then
		echo "state absent"
	elif [ ! -d "$maildir" ]; then
		echo "state file"
	elif [ ! -r "$maildir" ] || [ ! -x "$maildir" ]; then
		echo "state closed"
	elif [ ! -d "$maildir/cur" ] && [ ! -d "$maildir/new" ]; then
		if [ -d "$maildir/mailboxes" ] || [ -d "$maildir/storage" ]; then
			echo "state dbox"
		elif [ -z "$(find "$maildir/." ! -name . -prune -type f ! -name 'dovecot*' ! -name maildirsize ! -name '.*' 2>/dev/null | head -n 1)" ]; then
			# Nothing was delivered yet; Dovecot has looked.
			echo "state empty"
		else
			echo "state other"
		fi
	else
		echo "state maildir"
		# Through the link, if it is one.
		real=$(cd -P "$maildir" 2>/dev/null && pwd -P)
		printf 'real %s\n' "$real"
		ls -ldn "$maildir/" 2>/dev/null | awk 'NR == 1 { print "owner " $3 " " $4 }'
		if [ -f "${control:-$maildir}/subscriptions" ]; then echo "subscriptions"; fi
		(cd -P "$maildir" && list | count) | head -c 65536
	fi
	# A script may be a link, to one of the same account.
	if [ -n "$sieve" ] && [ -f "$sieve" ]; then
		target=$(readlink -f "$sieve" 2>/dev/null)
		base=$(readlink -f "$below" 2>/dev/null)
		case $target in
		"$base"/*) printf 'sieve %s\n' "$target" ;;
		*) printf 'sieve-outside %s\n' "$target" ;;
		esac
	fi
	if [ -n "$scripts" ] && [ -d "$scripts" ] && [ ! -L "$scripts" ]; then
		printf 'scripts %s\n' "$(cd -P "$scripts" 2>/dev/null && pwd -P)"
	fi
done
say end
