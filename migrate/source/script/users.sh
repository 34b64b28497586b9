# Where Dovecot itself says that accounts have their mail. Reads, changes
# nothing.
#
#   $1  begins the line before each part, which is numbered
#   $2… user names
mark=$1
shift
say() { printf '\n%s %s\n' "$mark" "$*"; }

# A database that is away makes each answer take a minute.
limit=
if command -v timeout >/dev/null 2>&1; then limit='timeout 20'; fi

number=0
failures=0
for user; do
	say "user $number"
	number=$((number + 1))
	# Without -f: all fields, one a line, a tab between name and value.
	answer=$($limit doveadm user "$user" 2>/dev/null </dev/null)
	status=$?
	printf '%s\n' "$answer" | head -c 8192
	say "status $status"
	case $status in
	0 | 67) failures=0 ;; # 67: EX_NOUSER, no such user
	*) failures=$((failures + 1)) ;;
	esac
	# Dovecot is down: the rest would fail as well.
	if [ $failures -ge 5 ]; then break; fi
done
say end
