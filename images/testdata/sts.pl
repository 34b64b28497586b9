# What Sts.pm obliges itself to; limits_test.go runs this with a directory.
use strict;
use warnings;
use Sts;

my ($dir) = @ARGV;
my $failed = 0;
my $now = 1_700_000_000;
my (%dns, %web, $fetches);

sub expect {
	my ($what, $got, $want) = @_;
	return if $got eq $want;
	print "$what: got $got, want $want\n";
	$failed = 1;
}

sub look {
	my ($domain) = @_;
	return Sts::look({
		dir => $dir, now => $now,
		ask => sub {
			my ($name, $type) = @_;
			my $answer = $dns{"$name $type"} // [0];
			die "no answer\n" if !ref $answer;
			my ($secure, @records) = @$answer;
			return { secure => $secure, records => \@records };
		},
		fetch => sub {
			$fetches++;
			return $web{$_[0]} // die "no such page\n";
		},
	}, $domain);
}

sub publish {
	my ($domain, $id, $text) = @_;
	$dns{"_mta-sts.$domain TXT"} = [0, "v=STSv1; id=$id;"];
	$web{"mta-sts.$domain"} = $text;
}

my $enforce = "version: STSv1\r\nmode: enforce\r\nmx: Mail.a.example\r\nmx: *.b.example\r\nmax_age: 604800\r\n";
my $secure = 'OK secure match=mail.a.example:.b.example servername=hostname policy_type=sts policy_domain=a.example '
	. 'mx_host_pattern=mail.a.example mx_host_pattern=*.b.example';

expect('nothing published', look('a.example'), 'NOTFOUND ');
publish('a.example', 1, $enforce);
expect('enforce', look('A.example'), $secure);
expect('a parent', look('.a.example'), 'NOTFOUND ');
expect('a smarthost', look('[a.example]:587'), 'NOTFOUND ');
expect('a path', look('../a.example'), 'NOTFOUND ');
expect('a single label', look('example'), 'NOTFOUND ');

# It holds without DNS and web, until it ends.
$fetches = 0;
expect('again', look('a.example'), $secure);
expect('fetches of a fresh policy', $fetches, 0);
$now += 90_000;
look('a.example');
expect('fetches after a day', $fetches, 1);
$web{'mta-sts.a.example'} = undef;
for my $silent ([0], 'no answer', [0, 'v=STSv1; id=1', 'v=STSv1; id=2'], [0, 'v=STSv2; id=3;'], [0, 'v=STSv1; id=9;']) {
	$dns{'_mta-sts.a.example TXT'} = $silent;
	expect('silenced', look('a.example'), $secure);
}
$now += 604_800;
expect('ended', look('a.example'), 'NOTFOUND ');

# A new id brings the new policy at once; what is no policy does not end the old.
publish('a.example', 1, $enforce);
expect('back', look('a.example'), $secure);
publish('a.example', 2, "version: STSv1\nmode: enforce\nmax_age: 604800\n");
expect('no mx', look('a.example'), $secure);
publish('a.example', 3, $enforce =~ s/enforce/testing/r);
expect('testing', look('a.example'), 'NOTFOUND ');
publish('a.example', 4, "version: STSv1\nmode: none\nmax_age: 604800\n");
expect('none', look('a.example'), 'NOTFOUND ');
publish('a.example', 5, $enforce);
expect('enforce after none', look('a.example'), $secure);

for my $bad ('', 'mode: enforce', $enforce =~ s/STSv1/STSv2/r, $enforce =~ s/enforce/force/r, $enforce =~ s/max_age: 604800/max_age: soon/r,
	$enforce =~ s/mx: Mail.a.example/mx: mail.a.example x=y/r, $enforce =~ s/mx: Mail.a.example/mx: *.*.example/r, '<html>') {
	expect("policy $bad", Sts::parse($bad) ? 1 : 0, 0);
}
expect('a long life', Sts::parse($enforce =~ s/604800/9999999999/r)->{max_age}, Sts::LONGEST);
expect('unknown keys', Sts::parse("x-new: 1\nmode: testing\n$enforce")->{mode}, 'testing');

# What is published for domains of our own.
{
	my $file = '../clientconfig/testdata/mta-sts.example.org/.well-known/mta-sts.txt';
	open my $policy, '<', $file or die "$file: $!\n";
	publish('example.org', 1, join '', <$policy>);
	expect('our own policy', look('example.org'), 'OK secure match=mail.example.org servername=hostname policy_type=sts '
		. 'policy_domain=example.org mx_host_pattern=mail.example.org');
	expect('its life', (Sts::parse($web{'mta-sts.example.org'}) // {})->{max_age} // '', 7 * 24 * 60 * 60);
}

# DANE decides where there is any, and the DNS has to say whether there is.
$dns{'a.example MX'} = [1, 'mail.a.example', 'other.a.example'];
$dns{'_25._tcp.other.a.example TLSA'} = [1, { usage => 3 }];
expect('DANE', look('a.example'), 'OK dane-only');
$dns{'_25._tcp.other.a.example TLSA'} = [0, { usage => 3 }];
expect('TLSA that nobody vouches for', look('a.example'), $secure);
$dns{'_25._tcp.other.a.example TLSA'} = [1, { usage => 1 }];
expect('TLSA that is not for mail', look('a.example'), $secure);
$dns{'_25._tcp.other.a.example TLSA'} = 'no answer';
expect('TLSA not known', look('a.example'), 'TEMP the DNS does not say whether there are TLSA records');
$dns{'a.example MX'} = 'no answer';
expect('MX not known', look('a.example'), 'TEMP the DNS does not say whether there are TLSA records');


# What web servers answer.
my $head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n";
for my $c (
	["until the end", "$head\r\nabc", 'abc'],
	["with its length", "${head}Content-Length: 3\r\n\r\nabcd", 'abc'],
	["in chunks", "${head}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n", 'abc'],
	["cut short", "${head}Content-Length: 4\r\n\r\nabc", ''],
	["chunks cut short", "${head}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\nc", ''],
	["chunks without an end", "${head}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", ''],
	["a head alone", $head, ''],
	["nothing", '', ''],
	["moved", "HTTP/1.1 301 Moved\r\nLocation: https://b.example/\r\nContent-Type: text/plain\r\n\r\nabc", ''],
	["a page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nabc", ''],
) {
	my ($what, $answer, $want) = @$c;
	expect($what, eval { Sts::page($answer) } // '', $want);
}

exit $failed;
