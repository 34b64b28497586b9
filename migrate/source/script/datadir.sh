# What is left of a database server that does not run. Reads, changes nothing.
#
#   $1  begins the line before each part
#   $2  the data directory
mark=$1
dir=$2
say() { printf '\n%s %s\n' "$mark" "$*"; }

if [ ! -d "$dir" ]; then
	say missing
elif ! cd "$dir" 2>/dev/null || [ ! -r . ]; then
	say closed
else
	say names
	ls -A | head -c 65536
	for file in mariadb_upgrade_info mysql_upgrade_info; do
		if [ -f $file ]; then
			say "file $file"
			head -c 100 $file
		fi
	done
	# Bytes 16 to 47 of a redo log name the program that made it (LOG_HEADER_CREATOR
	# of InnoDB's log0log.h).
	for file in ib_logfile0 '#innodb_redo'/'#ib_redo'*; do
		case $file in
		*_tmp) continue ;; # a spare one of MySQL, with nothing in it
		esac
		if [ -f "$file" ] && [ ! -L "$file" ]; then
			say redo
			head -c 48 "$file" | tail -c +17 | tr -d '\000'
			break
		fi
	done
	say size
	# Without binary logs, which are not copied.
	{
		du -sk .
		du -sk ./*-bin.[0-9]* ./binlog.[0-9]*
	} 2>/dev/null | awk 'NR == 1 { all = $1; next } { all -= $1 } END { printf "%.0f\n", all }'
	# A server that has one of these open; one in a container knows it by another
	# path. Without the right to look at other processes there are the locks that it
	# takes: "1: POSIX ADVISORY WRITE 812 08:01:393245 0 EOF" (proc(5)).
	for file in ibdata1 aria_log_control mysql.ibd; do
		if [ -f "$file" ]; then
			inode=$(ls -i "$file" | awk '{ print $1 }')
			{
				find -L /proc/[0-9]*/fd -maxdepth 1 -samefile "$file" 2>/dev/null | cut -d / -f 3
				awk -v inode="$inode" 'split($6, at, ":") == 3 && at[3] == inode { print $5 }' /proc/locks 2>/dev/null
			} | sort -u | while read -r process; do
				name=$(cat "/proc/$process/comm" 2>/dev/null)
				case $name in
				mariadbd | mysqld)
					say open
					echo "$name"
					;;
				esac
			done
		fi
	done
fi
say end
