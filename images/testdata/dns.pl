# What Dns.pm reads answers as; limits_test.go runs this.
use strict;
use warnings;
use Dns;

my $failed = 0;

sub expect {
	my ($what, $got, $want) = @_;
	return if $got eq $want;
	print "$what: got $got, want $want\n";
	$failed = 1;
}

# answer makes one to a question for a.example with records of [type, data]; their
# name points at the question's.
sub answer {
	my ($flags, @records) = @_;
	my $text = pack('n6', 1, 0x8180 | $flags, 1, scalar @records, 0, 0) . "\1a\7EXAMPLE\0" . pack 'n2', 15, 1;
	$text .= pack('nnnNn', 0xc00c, $_->[0], 1, 60, length $_->[1]) . $_->[1] for @records;
	return $text;
}

my $mx = answer(0x20, [15, pack('n', 10) . "\2mx\xc0\x0c"], [5, "\1x\0"], [15, pack('n', 20) . "\2MX\1b\7example\0"]);
expect('exchangers', join(' ', @{Dns::parse($mx, 'MX')->{records}}), 'mx.a.example mx.b.example');
expect('validated', Dns::parse($mx, 'MX')->{secure}, 1);
my $txt = answer(0, [16, "\10v=STSv1;\5 id=1"]);
expect('text in parts', join(' ', @{Dns::parse($txt, 'TXT')->{records}}), 'v=STSv1; id=1');
expect('not validated', Dns::parse($txt, 'TXT')->{secure}, 0);
expect('a key', Dns::parse(answer(0x20, [52, "\3\1\1" . 'x' x 32]), 'TLSA')->{records}[0]{usage}, 3);
expect('no such name', scalar @{Dns::parse(answer(3), 'MX')->{records}}, 0);
expect('a failure', eval { Dns::parse(answer(2), 'MX') } ? 'an answer' : $@, "the resolver answers with error 2\n");
expect('circles', eval { Dns::parse(answer(0, [15, pack('n', 10) . "\xc0\x29"]), 'MX') } ? 'an answer' : $@, "a name goes in circles\n");
for my $length (0 .. length($mx) - 1) {
	eval { local $SIG{__WARN__} = sub { die @_ }; Dns::parse(substr($mx, 0, $length), 'MX') };    # and comes to an end
}

exit $failed;
