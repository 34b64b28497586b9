# Sts: the MTA-STS policies of other domains (RFC 8461), and what Postfix has to know
# of them: a TLS policy as smtp_tls_policy_maps has it.
#
# A policy that was fetched is kept in a file, and holds for as long as it says,
# whatever becomes of the domain's DNS and web server meanwhile: who can forge or
# silence these must not be able to end it. A first fetch that fails is no policy.
package Sts;
use strict;
use warnings;

use constant PATH => '/.well-known/mta-sts.txt';
# Section 3.2: a year at most; the file's size is our own limit.
use constant LONGEST => 31_557_600;
use constant OCTETS  => 65_536;
# After so many seconds a policy that still holds is fetched again.
use constant REFRESH => 86_400;

# look returns the answer for a destination: "OK POLICY", "NOTFOUND " or "TEMP WHY".
# In its surroundings are {dir}, of the files; {ask}, as Dns::ask; {fetch}, which
# returns what a host's web server has as PATH, or dies; {now}, the time.
sub look {
	my ($in, $destination) = @_;
	# Parent domains (".example.org") have no policy, nor has "[host]:port".
	my $domain = lc $destination;
	return 'NOTFOUND ' if $domain !~ /^(?=.{1,253}\z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+\z/;
	my $policy = policy($in, $domain) or return 'NOTFOUND ';
	return 'NOTFOUND ' if $policy->{mode} ne 'enforce';
	my $dane = eval { dane($in, $domain) };
	return 'TEMP the DNS does not say whether there are TLSA records' if !defined $dane;
	return 'OK dane-only' if $dane;
	return join ' ', 'OK secure', 'match=' . join(':', map { s/^\*//r } @{$policy->{mx}}), 'servername=hostname',
		'policy_type=sts', "policy_domain=$domain", map { "mx_host_pattern=$_" } @{$policy->{mx}};
}

# policy is the one that holds for a domain; undef: none does.
sub policy {
	my ($in, $domain) = @_;
	my $kept = kept($in, $domain);
	my $id = eval { id($in->{ask}->("_mta-sts.$domain", 'TXT')->{records}) };
	my $fresh = $kept && $in->{now} - $kept->{fetched} < REFRESH && 2 * ($in->{now} - $kept->{fetched}) < $kept->{max_age};
	return $kept if !defined $id || $fresh && $id eq $kept->{id};
	my $text = eval { $in->{fetch}->("mta-sts.$domain") };
	my $policy = defined $text ? parse($text) : undef;
	return $kept if !$policy;
	keep($in, $domain, $id, $text);
	return $policy;
}

# id is what the record says (section 3.1). Not one record is none.
sub id {
	my ($records) = @_;
	my @records = grep { /^v=STSv1[ \t]*;/ } @$records;
	return if @records != 1;
	return $records[0] =~ /;[ \t]*id=([A-Za-z0-9]{1,32})[ \t]*(?:;|\z)/ ? $1 : undef;
}

# parse reads a policy (section 3.2). Of a key that is there twice the first counts,
# unknown ones do not.
sub parse {
	my ($text) = @_;
	my (%of, @mx);
	for (split /\r?\n/, $text) {
		my ($key, $value) = /^([A-Za-z0-9][A-Za-z0-9_.-]{0,31}):[ \t]*(.*?)[ \t]*$/ or next;
		if ($key eq 'mx') { push @mx, lc $value } else { $of{$key} //= $value }
	}
	return if ($of{version} // '') ne 'STSv1' || ($of{mode} // '') !~ /^(?:enforce|testing|none)\z/;
	return if ($of{max_age} // '') !~ /^\d{1,10}\z/;
	return if grep { !/^(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\z/ } @mx;
	return if !@mx && $of{mode} ne 'none';
	return { mode => $of{mode}, max_age => $of{max_age} > LONGEST ? LONGEST : $of{max_age}, mx => \@mx };
}

# request is what a web server is asked, a line each.
sub request {
	my ($host) = @_;
	return 'GET ' . PATH . ' HTTP/1.1', "Host: $host", 'User-Agent: mailstack', 'Accept: text/plain', 'Connection: close', '';
}

# page takes the text out of a web server's answer (RFC 9112). Only a whole one is
# one: who is on the way may end the connection.
sub page {
	my ($answer) = @_;
	my ($head, $body) = split /\r\n\r\n/, $answer, 2;
	die "no whole answer\n" if !defined $body;
	my ($status, @fields) = split /\r\n/, $head;
	die "answered $status\n" if $status !~ m{^HTTP/1\.[01] 200\b};
	my %of = map { /^([^:]+):[ \t]*(.*?)[ \t]*\z/ ? (lc $1 => lc $2) : () } @fields;
	die "not plain text\n" if ($of{'content-type'} // '') !~ m{^text/plain(?:[ \t]*;|\z)};
	if (($of{'transfer-encoding'} // '') eq 'chunked') {
		my $text = '';
		while ($body =~ s/^([0-9a-f]{1,6})(?:[ \t]*;[^\r\n]*)?\r\n//i) {
			my $n = hex $1;
			return $text if !$n;
			last if length $body < $n + 2;
			$text .= substr $body, 0, $n + 2, '';
			substr $text, -2, 2, '';
		}
		die "no whole answer\n";
	}
	my $length = $of{'content-length'} // length $body;
	die "no whole answer\n" if $length !~ /^\d{1,6}\z/ || length $body < $length;
	return substr $body, 0, $length;
}

# dane says whether the domain's mail servers have keys in the DNS that are vouched
# for. Then these decide (section 2), and what has none gets nothing.
sub dane {
	my ($in, $domain) = @_;
	my $mx = $in->{ask}->($domain, 'MX');
	return 0 if !$mx->{secure};
	for my $host (@{$mx->{records}}) {
		my $tlsa = $in->{ask}->("_25._tcp.$host", 'TLSA');
		return 1 if $tlsa->{secure} && grep { $_->{usage} == 2 || $_->{usage} == 3 } @{$tlsa->{records}};
	}
	return 0;
}

# kept is the policy in a domain's file, if it still holds: a line with its id and
# when it was fetched, and the text.
sub kept {
	my ($in, $domain) = @_;
	open my $file, '<', "$in->{dir}/$domain" or return;
	local $/;
	my ($id, $fetched, $text) = (<$file> // '') =~ /^(\w+) (\d+)\n(.*)\z/s or return;
	my $policy = parse($text) or return;
	return if $in->{now} >= $fetched + $policy->{max_age} || $fetched > $in->{now} + REFRESH;
	@$policy{qw(id fetched)} = ($id, $fetched);
	return $policy;
}

sub keep {
	my ($in, $domain, $id, $text) = @_;
	my $new = "$in->{dir}/.$domain.$$";
	# One that cannot be kept counts for this once.
	open my $file, '>', $new or return;
	print $file "$id $in->{now}\n$text" and close $file and rename $new, "$in->{dir}/$domain" or unlink $new;
}

1;
