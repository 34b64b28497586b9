# What Limits.pm obliges itself to; limits_test.go runs this with a directory.
use strict;
use warnings;
use Limits;

my ($scratch) = @ARGV;
my $failed = 0;
my $clock;
my $worlds = 0;

sub expect {
	my ($what, $got, $want) = @_;
	return if $got eq $want;
	print "$what: got $got, want $want\n";
	$failed = 1;
}

# fresh makes an empty world with a configuration: messages and recipients an hour
# and a day, and messages an hour from one address.
my ($configuration, $directory);
sub fresh {
	my ($mh, $md, $rh, $rd, $smh) = @_;
	$clock = 20_000 * 86400 + 12 * 3600;
	$directory = "$scratch/" . ++$worlds;
	mkdir $directory or die;
	$configuration = "$directory.conf";
	open my $file, '>', $configuration or die;
	print $file "limit messages 3600 $mh\nlimit messages 86400 $md\nlimit recipients 3600 $rh\nlimit recipients 86400 $rd\nsender-limit messages 3600 " . ($smh // 0) . "\nunlimited probe\@x\n";
	close $file;
	return again();
}

# again is a process that starts.
sub again { Limits::load($configuration, $directory, sub { $clock }) }

sub held { join ' ', map { "$_->{account}:$_->{refused}" } $_[0]->held() }

{
	my $l = fresh(3, 100, 100, 100);
	expect("message $_", $l->ask('ann@x', 1), '') for 1 .. 3;
	expect('nobody is held before one is refused', held($l), '');
	expect('one more', $l->ask('ann@x', 1), 'ann@x has sent as much as it may, 3 messages an hour; try again in 65 minutes');
	expect('another account', $l->ask('bob@x', 1), '');
	expect('held', held($l), 'ann@x:1');
	$clock += 3600;
	expect('an hour later', $l->ask('ann@x', 1) ne '', 1);
	$clock += 300;
	expect('the slot has passed', $l->ask('ann@x', 1), '');
	expect('nobody is held', held($l), '');
}

{
	my $l = fresh(100, 100, 10, 15);
	expect('recipients', $l->ask('ann@x', 10), '');
	expect('eleven', $l->ask('ann@x', 1) =~ /10 recipients an hour; try again in 65 minutes$/, 1);
	expect('none of it was counted', $l->ask('bob@x', 10), '');
	$clock += 2 * 3600;
	expect('the day', $l->ask('ann@x', 6) =~ /15 recipients a day; try again in 1325 minutes$/, 1);
	expect('what is left of the day', $l->ask('ann@x', 5), '');
	expect('a large message', $l->ask('cid@x', 11), 'One message may have 10 recipients an hour here, and this has 11: send it in parts');
	expect('whose sender is free to send smaller ones', held($l) =~ /cid/ || 0, 0);
	expect('as he is', $l->ask('cid@x', 10), '');
	expect('and he is not held', held($l) =~ /cid/ || 0, 0);
	expect('the probe', $l->ask('probe@x', 1000), '') for 1 .. 20;
	$clock += 86400 + 600;
	expect('the next day', $l->ask('ann@x', 10), '');
}

{
	# A restart forgets nothing, and several processes count as one.
	my $l = fresh(4, 100, 100, 100);
	my $other = again();
	expect('before', $_->ask('ann@x', 1), '') for $l, $other, $l;
	my $new = again();
	expect('the fourth', $new->ask('ann@x', 1), '');
	expect('the fifth', $_->ask('ann@x', 1) ne '', 1) for $l, $other, $new, again();
	expect('held for all', held(again()), 'ann@x:4');
	expect('release', again()->release('ann@x') ? 1 : 0, 1);
	expect('nothing to release', again()->release('bob@x') ? 1 : 0, 0);
	expect('after it', $l->ask('ann@x', 1), '');
	expect('nobody is held', held($l), '');
}

{
	# Over midnight, and old files go.
	my $l = fresh(2, 3, 100, 100);
	$clock += 12 * 3600 - 60;
	expect('before midnight', $l->ask('ann@x', 1), '') for 1 .. 2;
	$clock += 120;
	expect('after it', again()->ask('ann@x', 1) ne '', 1);
	$clock += 3900;
	expect('an hour later', again()->ask('ann@x', 1), '');
	expect('that was the third of the day', again()->ask('ann@x', 1) =~ /3 messages a day/, 1);
	$clock += 5 * 86400;
	expect('days later', again()->ask('ann@x', 1), '');
	opendir my $dir, $directory or die;
	expect('files', join(' ', sort grep { /\d/ } readdir $dir), int($clock / 86400));
}

{
	# Who goes on trying fills no disk.
	my $l = fresh(1, 100, 100, 100);
	$l->ask('ann@x', 1) for 1 .. 1000;
	expect('size', -s "$directory/" . int($clock / 86400) < 200, 1);
	$clock += 60;
	$l->ask('ann@x', 1);
	expect('all of it is counted', held($l), 'ann@x:1000');
}

{
	# Scripts have the same limits, and count for themselves.
	my $l = fresh(2, 100, 10, 100);
	expect('by Sieve', $_->ask('ann@x', 1, 1), '') for $l, again();
	expect('one more by Sieve', again()->ask('ann@x', 1, 1), 'Scripts of ann@x have sent as much as they may, 2 messages an hour; try again in 65 minutes');
	expect('another one\'s script', $l->ask('bob@x', 3, 1), '');
	expect('with many recipients', $l->ask('bob@x', 8, 1) ne '', 1);
	expect('the owner writes', $l->ask('ann@x', 1), '') for 1 .. 2;
	expect('as much as he may', $l->ask('ann@x', 1) ne '', 1);
	expect('of whom there are no limits', $l->ask('probe@x', 1, 1), '') for 1 .. 3;
	expect('held', join(' ', map { "$_->{account}:$_->{limit}" } again()->held()),
		'ann@x:2 messages an hour ann@x:2 messages an hour by Sieve bob@x:10 recipients an hour by Sieve');
	expect('release', again()->release('ann@x') ? 1 : 0, 1);
	expect('both ways are open', $l->ask('ann@x', 1, $_), '') for 0, 1;
	expect('held after it', held($l), 'bob@x:1');
}

{
	# From one address only a part of what the account may send.
	my $l = fresh(4, 100, 100, 100, 2);
	my $ask = sub { again()->ask('ann@x', 1, 0, @_) };
	expect('from an alias', $ask->($_), '') for 'sales@x', 'Sales+tag@X';
	expect('one more', $ask->('sales@x'), 'ann@x has sent as much as it may, 2 messages an hour as sales@x; try again in 65 minutes');
	expect('with a tag', $ask->('sales+other@x') ne '', 1);
	expect('with a dot at its end', $ask->('sales@x.') ne '', 1);
	expect('another account from it', $l->ask('bob@x', 1, 0, 'sales@x'), '');
	expect('by a script', $l->ask('ann@x', 1, 1), '');
	expect('from its own address', $ask->('ann@x'), '');
	expect('which makes the alias no freer', join(' ', map { "$_->{account}:$_->{limit}:$_->{refused}" } again()->held()), 'ann@x:2 messages an hour as sales@x:3');
	expect('from any', $ask->("\"a\tb\"\@x"), '');
	expect('what the account may', $ask->('info@x'), 'ann@x has sent as much as it may, 4 messages an hour; try again in 65 minutes');
	expect('held for both', scalar(again()->held()), 2);
	expect('release', again()->release('ann@x') ? 1 : 0, 1);
	expect('nobody is held', held($l), '');
	expect('the alias is free', $ask->('sales@x'), '') for 1 .. 2;
	expect('as before', $ask->('sales@x') ne '', 1);
	expect('an account without limits', $l->ask('probe@x', 1, 0, 'sales@x'), '') for 1 .. 5;
	$clock += 3900;
	expect('an hour later', $ask->('sales@x'), '');
}

{
	# Without limits of accounts.
	my $l = fresh(0, 0, 0, 0, 1);
	expect('from an alias', $l->ask('ann@x', 1000, 0, 'sales@x'), '');
	expect('one more', $l->ask('ann@x', 1, 0, 'sales@x') ne '', 1);
	expect('from another', $l->ask('ann@x', 1, 0, 'info@x'), '');
	expect('by scripts', $l->ask('ann@x', 1, 1), '') for 1 .. 3;
}

{
	# 0 is no limit.
	my $l = fresh(0, 0, 0, 0);
	expect('without limits', $l->ask('ann@x', 1000), '') for 1 .. 10;
}

exit $failed;
