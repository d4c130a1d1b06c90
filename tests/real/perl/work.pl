# Hashes, regexes, string growth, closures, sorting, and forked children: deterministic output.
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use List::Util qw(sum reduce shuffle);

my $state = 12345;

sub random_below {
    my ($n) = @_;
    $state = ( $state * 1103515245 + 12345 ) & 0x7fffffff;
    return int( $state / 65536 ) % $n;
}

# A text, its word counts, and every kind of substitution.
my @words = map { join '', map { chr( 97 + random_below(26) ) } 1 .. 2 + random_below(9) } 1 .. 3000;
my $text = '';
$text .= $words[ random_below(3000) ] . ( $_ % 11 ? ' ' : "\n" ) for 1 .. 120_000;
my %count;
$count{$1}++ while $text =~ /(\w+)/g;
my @top = ( sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count )[ 0 .. 9 ];
print "top @top\n";
( my $other = $text ) =~ s/\b(\w)(\w*)/\U$1\E$2/g;
$other =~ tr/a-y/b-z/;
$other =~ s/(\w+) (\w+)/$2 $1/g;
print "text ", length $text, " ", md5_hex($text), " ", md5_hex($other), "\n";

# Trees of hashes and arrays, made and dropped.
sub tree {
    my ($depth) = @_;
    return { leaf => 'x' x random_below(200) } if $depth == 0;
    return { map { ( "k$_" => [ tree( $depth - 1 ), random_below(1000) ] ) } 1 .. 4 };
}

sub weigh {
    my ($node) = @_;
    return length $node->{leaf} if exists $node->{leaf};
    return sum map { weigh( $_->[0] ) + $_->[1] } values %$node;
}
print "tree ", join( ',', map { weigh( tree(6) ) } 1 .. 4 ), "\n";

# Closures, and strings that grow one byte at a time.
my @counters = map { my $n = $_; sub { $n += shift } } 1 .. 5000;
$_->(3) for @counters;
print "closures ", sum( map { $_->(0) } @counters ), "\n";
my @growing = ('') x 300;
for my $round ( 1 .. 1500 ) { $growing[ $round * $_ % 300 ] .= chr( 65 + $_ % 26 ) for 1 .. 40 }
print "growing ", md5_hex( join '|', @growing ), "\n";
my $big = '';
$big .= $big . "block $_ " for 1 .. 19;
print "doubling ", length $big, " ", md5_hex($big), "\n";

# Numeric and string sorts of a large list.
my @numbers = map { random_below(32768) * 32768 + random_below(32768) } 1 .. 100_000;
print "sort ", md5_hex( join ',', sort { $a <=> $b } @numbers ), ' ', md5_hex( join ',', reverse sort @numbers ), "\n";

# Children that allocate after fork and report through a pipe.
for my $child ( 1 .. 6 ) {
    pipe my $read, my $write or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if ( !$pid ) {
        close $read;
        my %own = map { ( $_ => "$child-$_" x 5 ) } 1 .. 3000;
        print {$write} md5_hex( join ',', map { $own{$_} } sort { $a <=> $b } keys %own ), "\n";
        close $write;
        exit $child;
    }
    close $write;
    chomp( my $line = <$read> );
    waitpid $pid, 0;
    print "child $child $line ", $? >> 8, "\n";
}
