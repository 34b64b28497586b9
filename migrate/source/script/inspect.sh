# What this mail server is. Reads, changes nothing.
#
#   $1  a word that no output has by chance: begins the line before each part
#   $2  bytes of a part that are sent
#   $3  the container that Dovecot runs in, if it is known
mark=$1
limit=$2
box=$3

have() { command -v "$1" >/dev/null 2>&1; }
say() { printf '\n%s %s\n' "$mark" "$*"; }
part() {
	say "$1"
	shift
	"$@" 2>&1 </dev/null | head -c "$limit"
}

part uid id -u
part uname uname -sr
part os cat /etc/os-release
if have rsync; then part rsync rsync --version; fi
for program in mariadb-dump mysqldump mariadb mysql psql timeout; do
	if have $program; then say "have $program"; fi
done
for file in /etc/mysql/debian.cnf /etc/iredmail-release /opt/mailcow-dockerized/mailcow.conf /opt/vimbadmin \
	/etc/mailstack/mailstack.toml /var/lib/mailstack/stack-id /etc/postfixadmin /etc/mail-in-a-box /etc/mailname; do
	if [ -e $file ]; then say "exists $file"; fi
done
say processes
{ ps -A -o comm= || cat /proc/[0-9]*/comm; } 2>/dev/null | sort -u | head -c "$limit"
part disks df -Pk

# Containers. What runs Dovecot is asked from inside.
engine=
for program in docker podman; do
	if have $program && $program ps -q >/dev/null 2>&1 </dev/null; then
		engine=$program
		break
	fi
done
if [ -n "$box" ] && [ -z "$engine" ]; then
	say no-engine
	exit
fi
running() { $engine inspect --format '{{.State.Running}}' "$1" 2>/dev/null </dev/null; }
# within runs a program in a container. In one that is stopped nothing can be run:
# there it is another one of the same image that sees the same files, and goes.
within() {
	name=$1
	shift
	if [ -z "$name" ]; then
		"$@"
	elif [ "$(running "$name")" != false ]; then
		$engine exec "$name" "$@"
	else
		$engine run --rm --network none --volumes-from "$name:ro" "$($engine inspect --format '{{.Image}}' "$name" </dev/null)" "$@"
	fi
}
inbox() { within "$box" "$@"; }
if [ -n "$engine" ]; then
	say "containers $engine"
	{
		$engine ps -q </dev/null | head -n 200
		# One that is named may be stopped by now.
		if [ -n "$box" ] && [ "$(running "$box")" = false ]; then echo "$box"; fi
	} | while read -r id; do
		$engine inspect --format \
			'{"name":{{json .Name}},"image":{{json .Config.Image}},"labels":{{json .Config.Labels}},"mounts":{{json .Mounts}}}' \
			"$id" 2>/dev/null </dev/null
	done | head -c "$limit"
	if [ -z "$box" ] && ! have doveconf; then
		boxes=$($engine ps --format '{{.Names}} {{.Image}}' 2>/dev/null </dev/null |
			grep -iE 'docker-mailserver|dovecot' | cut -d ' ' -f 1 | head -n 20)
		say boxes
		echo "$boxes"
		if [ "$(echo "$boxes" | wc -l)" = 1 ]; then box=$boxes; fi
	fi
fi
say "box $box"
# Another mailstack's Postfix has a container of its own.
mta=$box
if [ -n "$box" ]; then
	stack=$($engine inspect --format '{{index .Config.Labels "mailstack.stack"}}' "$box" 2>/dev/null </dev/null)
	if [ -n "$stack" ]; then
		mta=$($engine ps -a --filter "label=mailstack.stack=$stack" --filter label=mailstack.service=postfix --format '{{.Names}}' </dev/null | head -n 1)
		mta=${mta:-$box}
	fi
fi
say "mta-box $mta"
inmta() { within "$mta" "$@"; }

if inbox doveconf -h dovecot_config_version >/dev/null 2>&1 </dev/null || inbox dovecot --version >/dev/null 2>&1 </dev/null; then
	part dovecot inbox dovecot --version
	part doveconf inbox doveconf -n
fi
if inmta postconf mail_version >/dev/null 2>&1 </dev/null; then
	part postfix inmta postconf -h mail_version
	part postconf inmta postconf -n
	say queue
	inmta postqueue -p 2>&1 </dev/null | tail -n 1 | head -c 200
elif have exim4 || have exim; then
	say exim
	{ exim4 -bpc || exim -bpc; } 2>/dev/null </dev/null | head -c 200
fi

# Where accounts are: the database connections of Dovecot and Postfix, with
# their passwords. Dovecot 2.4 has them in the one configuration, which holds
# private keys too: only these blocks of it.
say sql
inbox doveconf -nP 2>/dev/null </dev/null | awk '/^(mysql|pgsql|sqlite) .*[{]/ { on = 1 } on { print } /^[}]/ { on = 0 }' | head -c "$limit"
{
	inbox doveconf -n 2>/dev/null </dev/null | sed -n 's/^ *args *= *//p' | tr ' ' '\n' | sed 's/^.*=//'
	inbox postconf -n 2>/dev/null </dev/null | tr -s ' ,' '\n' | sed -n 's/^\(proxy:\)\{0,1\}mysql://p'
	echo /etc/dovecot/dovecot-sql.conf.ext
	echo /etc/dovecot/dovecot-sql.conf
	echo /etc/dovecot/dovecot-mysql.conf
} | grep '^/' | sort -u | head -n 60 | while read -r file; do
	if inbox grep -qE '^[[:space:]]*(connect|dbname)[[:space:]]*=' "$file" 2>/dev/null </dev/null; then
		say "file $file"
		inbox head -c 65536 "$file" 2>/dev/null </dev/null
	fi
done

# docker-mailserver has files instead: where its container sees them, or where
# its compose.yaml and its guide put them.
dms=/tmp/docker-mailserver
if inbox test -f $dms/postfix-accounts.cf 2>/dev/null </dev/null; then
	say "files inside $dms"
else
	for home in /opt /srv /root /home/*; do
		for dir in "$home"/docker-mailserver/docker-data/dms/config "$home"/docker-data/dms/config "$home"/docker-mailserver/config; do
			if [ -f "$dir/postfix-accounts.cf" ]; then say "files outside $dir"; fi
		done
	done
fi

say dkim
for dir in /etc/opendkim /etc/dkimkeys /var/lib/rspamd/dkim /etc/rspamd/dkim /var/lib/dkim /etc/mail/dkim \
	$dms/opendkim $dms/rspamd/dkim; do
	inbox find "$dir" -type f 2>/dev/null </dev/null
done | grep -E '[.](private|key|pem)$' | head -n 200
say end
