# The files in which docker-mailserver keeps accounts. Reads, changes nothing.
#
#   $1  begins the line before each file
#   $2  the directory
mark=$1
dir=$2
say() { printf '\n%s %s\n' "$mark" "$*"; }
for file in postfix-accounts.cf dovecot-quotas.cf postfix-virtual.cf postfix-regexp.cf postfix-aliases.cf; do
	if [ -f "$dir/$file" ]; then
		say "file $file"
		head -c 16777216 "$dir/$file"
	fi
done
say end
