# Addresses: reads the addresses in a header field such as From (RFC 5322, section
# 3.4; RFC 6854 for groups), strictly: what mail programs could read in more than one
# way has no addresses, but a reason why it cannot be read.
package Addresses;
use strict;
use warnings;

use constant MOST => 50;    # addresses in a field

my $ATOM = qr/[A-Za-z0-9!#\$%&'*+\-\/=?^_`{|}~\x80-\xff]+/;

# of returns an array of addresses, in lower case and without quotes, and an empty
# reason; or an empty one and the reason.
sub of {
	my ($value) = @_;
	my @found;
	my $reason = read_list(\@found, tokens($value));
	$reason ||= 'no address' if !@found;
	$reason ||= 'too many addresses' if @found > MOST;
	return $reason ? ([], $reason) : (\@found, '');
}

# A token is [kind, text, gap]: kind is a special character, or "word" for an atom,
# "quoted" for what was between quotation marks, "literal" for what is in brackets;
# gap says that white space or a comment stands before it. What is no token is one of
# the kind "bad", whose text says why.
sub tokens {
	my ($value) = @_;
	$value =~ s/\r?\n(?=[ \t])//g;    # folded
	return ['bad', 'a control character'] if $value =~ /[\x00-\x08\x0a-\x1f\x7f]/;
	my (@tokens, $gap);
	for ($value) {
		while (!/\G\z/gc) {
			if (/\G[ \t]+/gc) { $gap = 1; next }
			if (/\G\(/gc) {
				return ['bad', 'an open comment'] if !comment(\$value);
				$gap = 1;
				next;
			}
			my $token =
			    /\G($ATOM)/gc                     ? ['word', $1]
			  : /\G"((?:[^"\\]|\\.)*)"/gcs        ? ['quoted', $1 =~ s/\\(.)/$1/gsr]
			  : /\G(\[[^\[\]\\]*\])/gc            ? ['literal', $1]
			  : /\G([<>:;@,.])/gc                 ? [$1, $1]
			  : /\G(.)/gcs                        ? ['bad', "a stray $1"]
			  :                                     die;
			push @tokens, [@$token, $gap];
			return $token if $token->[0] eq 'bad';
			$gap = 0;
		}
	}
	return @tokens;
}

# comment passes over the rest of a comment, with those inside it.
sub comment {
	my ($value) = @_;
	for (my $depth = 1; $depth;) {
		$$value =~ /\G(?:[^()\\]|\\.)*([()])/gcs or return 0;
		$depth += $1 eq '(' ? 1 : -1;
	}
	return 1;
}

# read_list reads what commas separate into FOUND, groups too, and returns why it
# cannot; '' for nothing.
sub read_list {
	my ($found, @tokens) = @_;
	my ($in_group, $inside, @part) = (0, 0);
	for my $token (@tokens, [',', '', 0]) {
		my $kind = $token->[0];
		return $token->[1] if $kind eq 'bad';
		$inside = $kind eq '<' if $kind =~ /^[<>]$/;
		if ($kind eq ':' && !$inside) {
			return 'a group in a group' if $in_group;
			return 'a group without a name' if !@part || grep { $_->[0] !~ /^(?:word|quoted|\.)$/ } @part;
			($in_group, @part) = (1);
			next;
		}
		if (($kind eq ',' || $kind eq ';') && !$inside) {
			my $reason = @part ? mailbox($found, @part) : '';
			return $reason if $reason;
			return 'a semicolon without a group' if $kind eq ';' && !$in_group;
			$in_group = 0 if $kind eq ';';
			@part = ();
			next;
		}
		push @part, $token;
	}
	return 'an open group' if $in_group;
	return @part ? 'an open angle bracket' : '';
}

# mailbox reads one address, perhaps with a name before it. A name in which somebody
# could read an address has to be one.
sub mailbox {
	my ($found, @part) = @_;
	my @name;
	push @name, shift @part while @part && $part[0][0] ne '<';
	return address($found, @name) if !@part;
	return 'something behind an address' if $part[-1][0] ne '>';
	return 'several angle brackets' if 2 != grep { $_->[0] =~ /^[<>]$/ } @part;
	if (grep { $_->[0] eq '@' } @name) {
		my $reason = address($found, @name);
		return $reason if $reason;
	} elsif (grep { $_->[0] eq 'literal' } @name) {
		return 'brackets in a name';
	}
	@part = @part[1 .. $#part - 1];
	$part[0][2] = 0 if @part;
	return address($found, @part);
}

# address reads local-part "@" domain, without white space or comments inside.
sub address {
	my ($found, @part) = @_;
	my $text = '';
	for my $i (0 .. $#part) {
		my ($kind, $content, $gap) = @{ $part[$i] };
		return 'a gap in an address' if $i && $gap;
		return 'an address in brackets' if $kind eq 'literal';
		return 'an address that is not one' if $kind !~ /^(?:word|quoted|[.@])$/;
		return 'an address in quotation marks' if $kind eq 'quoted' && $content !~ /^[^@]+$/;
		$text .= $content;
	}
	my ($local, $domain) = $text =~ /^([^@]+)@([^@]+)$/ or return 'an address that is not one';
	# What an account or an alias can be called, and no encoded word (RFC 2047), which
	# some programs decode here too.
	return 'an address in other letters' if $local !~ /^[A-Za-z0-9!#\$%&'*+\-\/=?^_`{|}~.]+$/ || $local =~ /=\?/;
	return 'an address that is not one' if $local =~ /^\.|\.\.|\.$/;
	return 'a domain that is not one' if $domain !~ /^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*$/;
	push @$found, lc $text;
	return '';
}

1;
