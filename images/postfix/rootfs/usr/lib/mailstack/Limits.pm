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
# What an account sends from one of its addresses can have a limit too, within its own:
# what runs wild under one address leaves it the others.
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
# Between it and the address, where what it sends from that is meant.
use constant AS => ' as ';

# load reads the configuration, "limit WHAT SECONDS MAXIMUM", for one address
# "sender-limit WHAT SECONDS MAXIMUM" and "unlimited ACCOUNT" in lines, for counts in
# DIRECTORY. NOW tells the time, for tests.
sub load {
	my ($configuration, $directory, $now) = @_;
	my $self = bless {
		dir => $directory, now => $now // sub { time }, limits => [], sender_limits => [], unlimited => {},
		read => {}, sent => {}, refused => {}, pending => {},
	};
	open my $file, '<', $configuration or die "$configuration: $!\n";
	while (my $line = <$file>) {
		if ($line =~ /^(sender-)?limit (messages|recipients) (\d+) ([1-9]\d*)$/) {
			push @{$self->{$1 ? 'sender_limits' : 'limits'}}, { what => $2, seconds => $3, most => $4 };
		} elsif ($line =~ /^unlimited (\S+)$/) {
			$self->{unlimited}{$1} = 1;
		}
	}
	return $self;
}

# ask says whether an account, or its scripts, may send a message to so many
# recipients now, and counts it; or why not. SENDER is the address that it sends from.
sub ask {
	my ($self, $account, $recipients, $by_sieve, $sender) = @_;
	return '' if $self->{unlimited}{$account};
	my @who = @{$self->{limits}} ? ($by_sieve ? SIEVE : '') . $account : ();
	push @who, $account . AS . plain($sender) if @{$self->{sender_limits}} && ($sender // '') ne '';
	return '' if !@who;
	$self->catch_up();
	for (@who) {
		my ($limit, $until) = $self->over($_, $recipients);
		return $self->refuse($_, $recipients, $limit, $until) if $limit;
	}
	$self->note('sent', $recipients, 1, @who);
	return '';
}

# plain is an address without a tag or a dot at its end, which smtpd takes off to see
# whose it is; and fit for a line: a catch-all's may be any bytes.
sub plain { lc($_[0]) =~ s/\+.*(?=@)//sr =~ s/\.\z//r =~ s/[^ -~]/?/gr }

# refuse notes that a message would pass a limit, and says so.
sub refuse {
	my ($self, $who, $recipients, $limit, $until) = @_;
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
	my ($account, $by_sieve, $sender) = parts($who);
	return ($by_sieve ? "Scripts of $account have sent as much as they may, " : "$account has sent as much as it may, ")
		. text($limit) . ($sender ? AS . $sender : '') . "; try again in $minutes minutes";
}

# parts takes apart under which name something is counted.
sub parts {
	my ($by_sieve, $account, $sender) = $_[0] =~ /^(${\SIEVE})?(\S+)(?:${\AS}(.*))?$/;
	return ($account, $by_sieve, $sender);
}

# held lists the accounts whose last message was refused and would be still; one
# that was too large by itself, if it were as large as may be.
sub held {
	my ($self) = @_;
	$self->catch_up();
	my @held;
	for my $who (sort keys %{$self->{refused}}) {
		my $refused = $self->{refused}{$who};
		my ($account, $by_sieve, $sender) = parts($who);
		next if $self->{unlimited}{$account};
		my ($largest) = sort { $a <=> $b } $refused->{recipients}, map { $_->{what} eq 'recipients' ? $_->{most} : () } @{$self->limits($who)};
		my ($limit, $until) = $self->over($who, $largest);
		next if !$limit;
		push @held, {
			account => $account, since => $refused->{since}, until => $until, refused => $refused->{count},
			limit => text($limit) . ($by_sieve ? ' by Sieve' : $sender ? AS . $sender : ''),
		};
	}
	return @held;
}

# release forgets what an account and its scripts have sent, and says whether they
# were refused any.
sub release {
	my ($self, $account) = @_;
	my $was = grep { $_->{account} eq $account } $self->held();
	$self->note('released', 0, 0, grep { (parts($_))[0] eq $account } keys %{ { %{$self->{sent}}, %{$self->{refused}} } });
	return $was;
}

# limits are those of a name under which something is counted.
sub limits { $_[0]{$_[1] =~ AS ? 'sender_limits' : 'limits'} }

# over returns the limit that a message would pass, and when it would not any more.
# Of several it is the one that lasts longest. A message that is too large by
# itself passes its limit always.
sub over {
	my ($self, $who, $recipients) = @_;
	my $slot = $self->slot();
	my $sent = $self->{sent}{$who} // {};
	my ($over, $until);
	for my $limit (@{$self->limits($who)}) {
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

# note adds an event, of one or several, to the file of today in one piece, and counts
# it.
sub note {
	my ($self, $kind, $recipients, $count, @who) = @_;
	my $now = $self->{now}->();
	my $path = "$self->{dir}/" . int($now / DAY);
	open my $file, '>>', $path or die "$path: $!\n";
	my $lines = join '', map { "$kind $now $recipients $count $_\n" } @who;
	(syswrite($file, $lines) // 0) == length $lines or die "write $path: $!\n";
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
	for my $who (keys %{$self->{sent}}) {
		my $sent = $self->{sent}{$who};
		delete @$sent{grep { $_ < $old } keys %$sent};
		delete $self->{sent}{$who} if !%$sent;
	}
	for my $who (keys %{$self->{refused}}) {
		delete $self->{refused}{$who} if $self->{refused}{$who}{last} < $old * SLOT;
	}
	opendir my $dir, $self->{dir} or die "$self->{dir}: $!\n";
	unlink "$self->{dir}/$_" for grep { /^\d+$/ && $_ < $today - 2 } readdir $dir;
}

sub count {
	my ($self, $kind, $when, $recipients, $count, $who) = @_;
	if ($kind eq 'sent') {
		my $sent = $self->{sent}{$who}{int($when / SLOT)} //= [0, 0];
		$sent->[0] += $count;
		$sent->[1] += $recipients;
		delete $self->{refused}{$who};    # it can send
	} elsif ($kind eq 'refused') {
		my $refused = $self->{refused}{$who};
		# After an hour without one it is a new trouble.
		$refused = $self->{refused}{$who} = { since => $when, count => 0 }
			if !$refused || $when - $refused->{last} > 3600;
		$refused->{count} += $count;
		@$refused{qw(last recipients)} = ($when, $recipients);
	} elsif ($kind eq 'released') {
		delete $self->{$_}{$who} for qw(sent refused);
	}
}

1;
