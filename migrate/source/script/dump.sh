# Rows of tables as XML. Reads, changes nothing, locks nothing.
#
#   $1 $2 $3 $4  user, host, port, socket; or ''
#   $5  password, or ''
#   $6  file with all that, or ''
#   $7… arguments of the program
user=$1
host=$2
port=$3
socket=$4
password=$5
file=$6
shift 6
program=$(command -v mariadb-dump || command -v mysqldump) || {
	echo "neither mariadb-dump nor mysqldump is installed there" >&2
	exit 127
}
if [ -n "$port" ]; then set -- "--port=$port" "$@"; fi
if [ -n "$host" ]; then set -- "--host=$host" "$@"; fi
if [ -n "$socket" ]; then set -- "--socket=$socket" "$@"; fi
# Newer clients of MariaDB insist on TLS, which a server on the same host need not
# have. Others do not know the option.
case $host in
'' | 127.* | ::1) if [ -n "$user" ]; then set -- --loose-skip-ssl-verify-server-cert "$@"; fi ;;
esac
# The user's own file would come before the password in the environment.
if [ -n "$user" ]; then set -- --no-defaults "--user=$user" "$@"; fi
if [ -n "$file" ]; then set -- "--defaults-file=$file" "$@"; fi
if [ -n "$password" ]; then
	MYSQL_PWD=$password
	export MYSQL_PWD
fi
exec "$program" "$@"
