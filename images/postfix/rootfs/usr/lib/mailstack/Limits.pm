# Limits: how much each account has sent lately, and whether it may send more.
#
# Counts are kept for each period of SLOT seconds, so an account never sends more
# in any hour than it may in an hour, and a slot's time later at the most it may
# send again.
#
# What an account's Sieve scripts send has the same limits, and counts for itself: it
# is others who make them send, and they must not be able to keep the owner from
# writing.
#
# What happened is in files of a day each, a line for each event, in a directory of
# the queue's volume: a restart forgets nothing. Whoever asks reads what has been
# added since he last did, so that several processes, during a reload, count as
# one. Nothing is synced: a power cut may forget seconds.
package Limits;
use strict;
use warnings;

use constant SLOT => 300;
use constant DAY  => 86400;
# Of an account that goes on trying, refusals are noted once in so many seconds.
use constant NOTE => 60;
# Before the name of an account, which holds no space, where its scripts are meant.
use constant SIEVE => 'sieve ';

# load reads the configuration, "limit WHAT SECONDS MAXIMUM" and "unlimited
# ACCOUNT" in lines, for counts in DIRECTORY. NOW tells the time, for tests.
sub load {
	my ($configuration, $directory, $now) = @_;
	my $self = bless {
		dir => $directory, now => $now // sub { time }, limits => [], unlimited => {},
		read => {}, sent => {}, refused => {}, pending => {},
	};
	open my $file, '<', $configuration or die "$configuration: $!\n";
	while (<$file>) {
		if (/^limit (messages|recipients) (\d+) ([1-9]\d*)$/) {
			push @{$self->{limits}}, { what => $1, seconds => $2, most => $3 };
		} elsif (/^unlimited (\S+)$/) {
			$self->{unlimited}{$1} = 1;
		}
	}
	return $self;
}

# ask says whether an account, or its scripts, may send a message to so many
# recipients now, and counts it; or why not.
sub ask {
	my ($self, $account, $recipients, $by_sieve) = @_;
	return '' if $self->{unlimited}{$account} || !@{$self->{limits}};
	$self->catch_up();
	my $who = ($by_sieve ? SIEVE : '') . $account;
	my ($limit, $until) = $self->over($who, $recipients);
	if (!$limit) {
		$self->note('sent', $recipients, 1, $who);
		return '';
	}
	my $pending = $self->{pending}{$who} //= { noted => 0, count => 0 };
	$pending->{count}++;
	my $now = $self->{now}->();
	if ($now - $pending->{noted} >= NOTE) {
		$self->note('refused', $recipients, $pending->{count}, $who);
		@$pending{qw(noted count)} = ($now, 0);
	}
	return 'One message may have ' . text($limit) . ' here, and this has ' . $recipients . ': send it in parts'
		if $limit->{what} eq 'recipients' && $recipients > $limit->{most};
	my $minutes = int(($until - $now + 59) / 60);
	return ($by_sieve ? "Scripts of $account have sent as much as they may, " : "$account has sent as much as it may, ")
		. text($limit) . "; try again in $minutes minutes";
}

# held lists the accounts whose last message was refused and would be still; one
# that was too large by itself, if it were as large as may be.
sub held {
	my ($self) = @_;
	$self->catch_up();
	my @held;
	for my $who (sort keys %{$self->{refused}}) {
		my $refused = $self->{refused}{$who};
		my ($by_sieve, $account) = $who =~ /^(${\SIEVE})?(.*)/;
		next if $self->{unlimited}{$account};
		my ($largest) = sort { $a <=> $b } $refused->{recipients}, map { $_->{what} eq 'recipients' ? $_->{most} : () } @{$self->{limits}};
		my ($limit, $until) = $self->over($who, $largest);
		next if !$limit;
		push @held, {
			account => $account, since => $refused->{since}, until => $until,
			refused => $refused->{count}, limit => text($limit) . ($by_sieve ? ' by Sieve' : ''),
		};
	}
	return @held;
}

# release forgets what an account and its scripts have sent, and says whether they
# were refused any.
sub release {
	my ($self, $account) = @_;
	my $was = grep { $_->{account} eq $account } $self->held();
	$self->note('released', 0, 0, $_) for $account, SIEVE . $account;
	return $was;
}

# over returns the limit that a message would pass, and when it would not any more.
# Of several it is the one that lasts longest. A message that is too large by
# itself passes its limit always.
sub over {
	my ($self, $account, $recipients) = @_;
	my $slot = $self->slot();
	my $sent = $self->{sent}{$account} // {};
	my ($over, $until);
	for my $limit (@{$self->{limits}}) {
		my $i = $limit->{what} eq 'messages' ? 0 : 1;
		my $more = (1, $recipients)[$i];
		my $room = $limit->{most} - $more;
		# The slot that has begun so long ago counts too.
		my $first = $slot - $limit->{seconds} / SLOT;
		my $last;    # the newest slot that has to have passed
		for (sort { $b <=> $a } grep { $_ >= $first } keys %$sent) {
			$room -= $sent->{$_}[$i];
			$last //= $_ if $room < 0;
		}
		next if $room >= 0;
		my $then = (($last // $slot) + 1) * SLOT + $limit->{seconds};
		($over, $until) = ($limit, $then) if !$over || $then > $until;
	}
	return ($over, $until);
}

sub text {
	my ($limit) = @_;
	return "$limit->{most} $limit->{what} " . ($limit->{seconds} == DAY ? 'a day' : 'an hour');
}

sub slot { int($_[0]{now}->() / SLOT) }

# note adds an event to the file of today, and counts it.
sub note {
	my ($self, $kind, $recipients, $count, $account) = @_;
	my $now = $self->{now}->();
	my $path = "$self->{dir}/" . int($now / DAY);
	open my $file, '>>', $path or die "$path: $!\n";
	my $line = "$kind $now $recipients $count $account\n";
	(syswrite($file, $line) // 0) == length $line or die "write $path: $!\n";
	$self->catch_up();
}

# catch_up reads what has been added to the files, and forgets and removes what is
# older than it is asked for.
sub catch_up {
	my ($self) = @_;
	my $today = int($self->{now}->() / DAY);
	for my $day ($today - 2 .. $today) {
		my $path = "$self->{dir}/$day";
		my $from = $self->{read}{$day} // 0;
		next if (-s $path // 0) <= $from;
		open my $file, '<', $path or die "$path: $!\n";
		seek $file, $from, 0;
		while (my $line = <$file>) {
			last if $line !~ /\n\z/;    # not all written yet
			$from += length $line;
			$self->count($1, $2, $3, $4, $5) if $line =~ /^(\w+) (\d+) (\d+) (\d+) (.+)\n/;
		}
		$self->{read}{$day} = $from;
	}
	my $slot = $self->slot();
	return if ($self->{tidied} // 0) == $slot;
	$self->{tidied} = $slot;
	my $old = $slot - DAY / SLOT;
	for my $account (keys %{$self->{sent}}) {
		my $sent = $self->{sent}{$account};
		delete @$sent{grep { $_ < $old } keys %$sent};
		delete $self->{sent}{$account} if !%$sent;
	}
	for my $account (keys %{$self->{refused}}) {
		delete $self->{refused}{$account} if $self->{refused}{$account}{last} < $old * SLOT;
	}
	opendir my $dir, $self->{dir} or die "$self->{dir}: $!\n";
	unlink "$self->{dir}/$_" for grep { /^\d+$/ && $_ < $today - 2 } readdir $dir;
}

sub count {
	my ($self, $kind, $when, $recipients, $count, $account) = @_;
	if ($kind eq 'sent') {
		my $sent = $self->{sent}{$account}{int($when / SLOT)} //= [0, 0];
		$sent->[0] += $count;
		$sent->[1] += $recipients;
		delete $self->{refused}{$account};    # it can send
	} elsif ($kind eq 'refused') {
		my $refused = $self->{refused}{$account};
		# After an hour without one it is a new trouble.
		$refused = $self->{refused}{$account} = { since => $when, count => 0 }
			if !$refused || $when - $refused->{last} > 3600;
		$refused->{count} += $count;
		@$refused{qw(last recipients)} = ($when, $recipients);
	} elsif ($kind eq 'released') {
		delete $self->{$_}{$account} for qw(sent refused);
	}
}

1;
