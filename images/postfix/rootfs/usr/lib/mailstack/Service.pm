# Service: what a program needs to be run by Postfix's master(8) like a daemon of
# Postfix's own, and to talk to several sockets at once.
#
# master starts a service as root when somebody connects to its socket, with two
# file descriptors (src/master/master_spawn.c): 6 is the listening socket, 5 a
# pipe whose other end closes when the process is to go, because of a reload.
# Should it die, master starts another one at the next connection.
#
# perl-base is all that this needs.
package Service;
use strict;
use warnings;
use Fcntl qw(F_GETFL F_SETFL O_NONBLOCK);
use Socket qw(AF_UNIX SOCK_STREAM SOCK_NONBLOCK pack_sockaddr_un);

use constant STATUS_FD => 5;
use constant LISTEN_FD => 6;
use constant CHUNK     => 65536;

my $name;
my %open;    # connections by file descriptor
# What select waits for, a bit for each file descriptor: kept, as many connections
# are idle and few have something to say.
my ($readers, $writers) = ('', '');

# start becomes the owner of the queue, who may read it and use its sockets. NAME
# is for the log; master leaves no stderr that anybody reads.
sub start {
	($name) = @_;
	$SIG{__DIE__} = $SIG{__WARN__} = sub { report('warn', @_) if !$^S };
	$SIG{PIPE} = 'IGNORE';
	my ($uid, $gid) = (getpwnam 'postfix')[2, 3] or die "no user postfix\n";
	$( = $gid;
	$) = "$gid $gid";
	$< = $> = $uid;
	die "still root\n" if $< != $uid || $> != $uid;
}

# report logs one line; $! is as before.
sub report {
	my ($level, $text) = @_;
	local ($!, $?);
	system '/usr/sbin/postlog', '-t', "postfix/$name", '-p', $level, $text;
}

# serve calls on->{accept} with each new connection, and on->{round} after all
# that could be done at once is done: four times a second while that returns
# "soon". It returns when that returns "exit"; when there was no connection for
# on->{idle} seconds, if that is set; and after a reload, when the last connection
# has ended. For the next connection master starts a new process.
sub serve {
	my (%on) = @_;
	open my $status, '<&=', STATUS_FD or die "status pipe: $!\n";
	open my $listen, '+<&=', LISTEN_FD or die "socket: $!\n";
	unblock($listen);
	vec($readers, $_, 1) = 1 for STATUS_FD, LISTEN_FD;
	my ($next, $used) = ('', time);
	while (1) {
		my ($readable, $writable) = ($readers, $writers);
		my $wait = $next eq 'soon' ? 0.25 : %open ? undef : $on{idle};
		if (select($readable, $writable, undef, $wait) < 0) {
			$readable = $writable = '';
		}
		if ($status && vec $readable, STATUS_FD, 1) {
			$status = $listen = undef;
			vec($_, STATUS_FD, 1) = vec($_, LISTEN_FD, 1) = 0 for $readers, $readable;
		}
		my $arrived = $listen && vec $readable, LISTEN_FD, 1;
		# One may have ended meanwhile, and its number be a new one's: to look at one
		# that has nothing to say is no harm.
		$open{$_} && receive($open{$_}) for numbers($readable);
		$open{$_} && flush($open{$_}) for numbers($writable);
		if ($arrived) {
			while (accept my $fh, $listen) { unblock($fh); $on{accept}->($fh) }
		}
		$next = $on{round}->();
		$used = time if %open || $next eq 'soon';
		return if $next eq 'exit' || !$listen && !%open;
		return if $on{idle} && time - $used >= $on{idle};
	}
}

# watch makes a connection of a file handle: a hash with what the caller put into
# OF, whose {data} is called with the connection and what came in, and whose
# {end} when the other side has hung up.
sub watch {
	my ($fh, %of) = @_;
	vec($readers, fileno $fh, 1) = 1;
	return $open{fileno $fh} = { %of, fh => $fh, out => '' };
}

# call connects to a socket without waiting. undef: $! says why. EAGAIN is a
# server that accepts nobody and whose queue is full.
sub call {
	my ($path) = @_;
	socket my $fh, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0 or return;
	connect $fh, pack_sockaddr_un($path) or return;
	return $fh;
}

sub send_to {
	my ($connection, $bytes) = @_;
	$connection->{out} .= $bytes;
	flush($connection);
}

# drop ends a connection; {end} is not called.
sub drop {
	my ($connection) = @_;
	my $fh = delete $connection->{fh} or return;
	delete $open{fileno $fh};
	vec($_, fileno $fh, 1) = 0 for $readers, $writers;
	close $fh;
}

sub receive {
	my ($connection) = @_;
	my $n = sysread $connection->{fh}, my $bytes, CHUNK;
	return if !defined $n && ($!{EAGAIN} || $!{EINTR});
	return $connection->{data}->($connection, $bytes) if $n;
	$connection->{end}->($connection);
	drop($connection);
}

# flush writes what the other side takes. Of one that hung up receive will hear.
sub flush {
	my ($connection) = @_;
	return if !$connection->{fh} || $connection->{out} eq '';
	my $n = syswrite $connection->{fh}, $connection->{out};
	substr $connection->{out}, 0, $n, '' if $n;
	vec($writers, fileno $connection->{fh}, 1) = length $connection->{out} ? 1 : 0;
}

# numbers are those of the bits that are set.
sub numbers {
	my $bits = unpack 'b*', $_[0];
	my @set;
	my $i = -1;
	push @set, $i while ($i = index $bits, '1', $i + 1) >= 0;
	return @set;
}

sub unblock {
	my ($fh) = @_;
	fcntl $fh, F_SETFL, fcntl($fh, F_GETFL, 0) | O_NONBLOCK or die "fcntl: $!\n";
}

1;
