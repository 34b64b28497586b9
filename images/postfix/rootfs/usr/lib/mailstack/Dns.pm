# Dns: asks the resolver of this container, and whether it vouches for the answer.
# Answers are waited for; where that is too long, ask in a process of your own.
package Dns;
use strict;
use warnings;
use Errno ();    # for %!
use Socket qw(AF_INET AF_INET6 SOCK_DGRAM SOCK_STREAM SOCK_NONBLOCK inet_pton pack_sockaddr_in pack_sockaddr_in6);

use constant PORT => 53;
use constant TYPES => { NS => 2, MX => 15, TXT => 16, TLSA => 52 };
# Seconds for an answer, and questions.
use constant PATIENCE => 3;
use constant TRIES    => 2;

# ask returns the answer to a question: {secure}, whether the resolver has validated
# it (DNSSEC; the AD bit, RFC 4035 section 3.2.3), and {records}, which are empty
# where there is no such name or record. It dies where there is no answer.
sub ask {
	my ($name, $type, $patience) = @_;
	# RD and AD; the question, class IN; OPT (RFC 6891) with 1232 octets and DO.
	my $labels = join '', map { pack 'C/a*', $_ } grep { length } split /\./, $name;
	my $id = int rand 65536;
	my $question = pack('n6', $id, 0x0120, 1, 0, 0, 1) . $labels . pack('Cnn', 0, TYPES->{$type}, 1) . pack('CnnNn', 0, 41, 1232, 0x8000, 0);
	for (1 .. TRIES) {
		my $answer = exchange(SOCK_DGRAM, $question, $patience // PATIENCE) // next;
		# TC: all of it is to be had by TCP.
		$answer = exchange(SOCK_STREAM, $question, $patience // PATIENCE) // next if unpack('x2n', $answer) & 0x0200;
		return parse($answer, $type);
	}
	die "$name $type: no answer\n";
}

sub exchange {
	my ($kind, $question, $patience) = @_;
	my $socket = dial($kind, $patience) or return;
	my $stream = $kind == SOCK_STREAM;
	syswrite $socket, $stream ? pack('n/a*', $question) : $question or return;
	my $answer = '';
	my $end = time + $patience;
	while (ready($socket, undef, $patience) && time <= $end) {
		my $n = sysread $socket, $answer, 65536, $stream ? length $answer : 0;
		return if !$n;
		return substr $answer, 2 if $stream && length $answer >= 2 && length $answer >= 2 + unpack 'n', $answer;
		# Another's answer, or one to a question of before, is none.
		return $answer if !$stream && length $answer >= 12 && substr($answer, 0, 2) eq substr $question, 0, 2;
	}
	return;
}

sub dial {
	my ($kind, $patience) = @_;
	open my $file, '<', '/etc/resolv.conf' or die "/etc/resolv.conf: $!\n";
	my ($server) = map { /^nameserver\s+(\S+)/ ? $1 : () } <$file>;
	die "/etc/resolv.conf names no server\n" if !defined $server;
	my $family = $server =~ /:/ ? AF_INET6 : AF_INET;
	my $address = inet_pton($family, $server) or die "$server: not an address\n";
	socket my $socket, $family, $kind | SOCK_NONBLOCK, 0 or die "socket: $!\n";
	connect $socket, $family == AF_INET ? pack_sockaddr_in(PORT, $address) : pack_sockaddr_in6(PORT, $address)
		or $!{EINPROGRESS} && ready(undef, $socket, $patience)
		or return;
	return $socket;
}

# ready waits until there is something to read, or room to write.
sub ready {
	my ($reads, $writes, $patience) = @_;
	my ($readable, $writable) = map { my $bits = ''; vec($bits, fileno $_, 1) = 1 if $_; $bits } $reads, $writes;
	return select($readable, $writable, undef, $patience) > 0;
}

# parse takes an answer apart: records of one type, decoded.
sub parse {
	my ($answer, $type) = @_;
	my (undef, $flags, $questions, $answers) = unpack 'n4', $answer;
	my $error = $flags & 15;
	die "the resolver answers with error $error\n" if $error && $error != 3;    # 3: there is no such name
	my $at = 12;
	for (1 .. $questions) { name($answer, \$at); $at += 4 }
	my @records;
	for (1 .. $answers) {
		name($answer, \$at);
		my ($kind, undef, undef, $length) = unpack 'nnNn', substr $answer, $at, 10;
		$at += 10;
		push @records, decode($answer, $at, $length, $type) if $kind == TYPES->{$type};
		$at += $length;
	}
	return { secure => $flags & 0x0020 ? 1 : 0, records => \@records };
}

sub decode {
	my ($answer, $at, $length, $type) = @_;
	my $data = substr $answer, $at, $length;
	return join '', unpack '(C/a*)*', $data if $type eq 'TXT';
	return { usage => (unpack 'C', $data) } if $type eq 'TLSA';
	$at += 2 if $type eq 'MX';
	return name($answer, \$at);
}

# name reads a name, in small letters and without a dot at the end, and moves on
# behind it.
sub name {
	my ($answer, $at) = @_;
	my @labels;
	my $from = $$at;
	my $jumps = 0;
	while (1) {
		die "a name is cut short\n" if $from >= length $answer;
		my $n = ord substr $answer, $from, 1;
		if ($n >= 0xc0) {
			die "a name goes in circles\n" if ++$jumps > 50;
			$$at = $from + 2 if $jumps == 1;
			$from = unpack('n', substr $answer, $from, 2) & 0x3fff;
			next;
		}
		$from++;
		last if !$n;
		push @labels, lc substr $answer, $from, $n;
		$from += $n;
	}
	$$at = $from if !$jumps;
	return join '.', @labels;
}

1;
