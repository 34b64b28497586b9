# What Addresses.pm is obliged to: field, and the addresses in it or "!" and a reason.
use strict;
use warnings;
use Addresses;

my $failed = 0;
for (
	['me@a.example'],
	[' Me@A.Example ', 'me@a.example'],
	['<me@a.example>', 'me@a.example'],
	['John Q. Public <me@a.example>', 'me@a.example'],
	['"Public, John" <me@a.example>', 'me@a.example'],
	["J\xc3\xb6rg <me\@a.example>", 'me@a.example'],
	['=?utf-8?q?J=C3=B6rg?= <me@a.example>', 'me@a.example'],
	['"boss@b.example" <me@a.example>', 'me@a.example'],
	['(a name) me@a.example (boss@b.example)', 'me@a.example'],
	['me@a.example (a (nested \) one))', 'me@a.example'],
	["Me\r\n\t<me\@a.example>", 'me@a.example'],
	["Me\n <me\@a.example>", 'me@a.example'],
	['"me"@a.example', 'me@a.example'],
	['"m\e"@a.example', 'me@a.example'],
	['a@a.example, B <b@a.example>', 'a@a.example b@a.example'],
	[', a@a.example,,', 'a@a.example'],
	['Us: a@a.example, B <b@a.example>;', 'a@a.example b@a.example'],
	['Us: a@a.example;, c@a.example', 'a@a.example c@a.example'],
	['me+tag@a.example', 'me+tag@a.example'],
	['boss@b.example <me@a.example>', 'boss@b.example me@a.example'],
	['me@xn--bcher-kva.example', 'me@xn--bcher-kva.example'],
	# None, or none that everybody reads alike.
	['', '!no address'],
	['   ', '!no address'],
	['<>', '!an address that is not one'],
	['me', '!an address that is not one'],
	['undisclosed:;', '!no address'],
	['Us: me@a.example', '!an open group'],
	['Us: Them: me@a.example;;', '!a group in a group'],
	[': me@a.example;', '!a group without a name'],
	['me@a.example; boss@b.example', '!a semicolon without a group'],
	['<me@a.example> <boss@b.example>', '!several angle brackets'],
	['<me@a.example> boss@b.example', '!something behind an address'],
	['<<me@a.example>>', '!several angle brackets'],
	['<me@a.example', '!an open angle bracket'],
	['<me@a.example, boss@b.example>', '!an address that is not one'],
	['<@b.example:me@a.example>', '!an address that is not one'],
	['me@a.example boss@b.example', '!a gap in an address'],
	['me (x) @a.example', '!a gap in an address'],
	['me@a.example@b.example', '!an address that is not one'],
	['"boss@b.example,"@a.example', '!an address in quotation marks'],
	['"a b"@a.example', '!an address in other letters'],
	["b\xc3\xb6ss\@a.example", '!an address in other letters'],
	["me\@b\xc3\xbccher.example", '!a domain that is not one'],
	['=?utf-8?q?boss?=@a.example', '!an address in other letters'],
	['=?utf-8?q?boss=40b.example?=', '!an address that is not one'],
	['=?utf-8?q?Boss_=3Cboss=40b.example=3E?=', '!an address that is not one'],
	['me@[127.0.0.1]', '!an address in brackets'],
	['[x] <me@a.example>', '!brackets in a name'],
	['me@a.example.', '!a domain that is not one'],
	['me@a..example', '!a domain that is not one'],
	['.me@a.example', '!an address that is not one'],
	['(open me@a.example', '!an open comment'],
	['me@a.example)', '!a stray )'],
	['"me@a.example', '!a stray "'],
	['me\@a.example', '!a stray \\'],
	["me\0\@a.example", '!a control character'],
	["me\@a.example\rboss\@b.example", '!a control character'],
	["me\@a.example\nboss\@b.example", '!a control character'],
	[join(',', ('me@a.example') x 51), '!too many addresses'],
	[join(',', ('me@a.example') x 50), join ' ', ('me@a.example') x 50],
) {
	my ($field, $want) = @$_;
	$want //= $field;
	my ($found, $reason) = Addresses::of($field);
	my $got = $reason ? "!$reason" : "@$found";
	next if $got eq $want;
	printf "%s is read as %s, want %s\n", $field, $got, $want;
	$failed = 1;
}
# Hostile ones cost as much as their length, of the processor's time: a fraction of a
# second each, where the square of it would be many.
for ('(', '"', '<', '"\\', 'a@', ':', ';', ',', '(()', "a\n ", '.', '[') {
	my $before = (times)[0];
	Addresses::of($_ x (100_000 / length));
	my $took = (times)[0] - $before;
	next if $took < 5;
	printf "100 KB of %s take %.1f s\n", $_, $took;
	$failed = 1;
}
exit $failed;
