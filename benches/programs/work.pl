# A program that grows: records in hashes and arrays, a long text, word counts, a graph.
use strict;
use warnings;

my $state = 1;

sub random_below {
    my ($n) = @_;
    $state = ( $state * 69069 + 1 ) & 0xffffffff;
    return ( $state >> 8 ) % $n;
}

my ( @records, %by_name );
for my $k ( 1 .. 45_000 ) {
    my $record = {
        id   => $k,
        name => 'name-' . random_below(9973),
        tags => [ map { 't' . random_below(31) } 1 .. random_below(5) ],
        text => 'x' x random_below(120),
    };
    push @records, $record;
    push @{ $by_name{ $record->{name} } }, $record;
}
my $page = '';
$page .= join( ';', $_->{name}, join( '+', @{ $_->{tags} } ), $_->{text} ) . "\n" for @records;
my ( %words, $count );
for my $word ( split /[;\n]+/, $page ) { $words{$word}++; $count++ }
my @graph = map { [] } 1 .. 40_000;
push @{ $graph[ random_below(40_000) ] }, random_below(40_000) for 1 .. 120_000;
my ( %seen, @stack );
@stack = (0);
while (@stack) {
    my $node = pop @stack;
    push @stack, @{ $graph[$node] } unless $seen{$node}++;
}
( my $other = $page ) =~ s/name-(\d+)/$1-name/g;
my @sorted = sort { $a->{name} cmp $b->{name} || $a->{id} <=> $b->{id} } @records;
print length($page), " $count ", scalar( keys %words ), ' ', scalar( keys %seen ), ' ',
  length($other), " $sorted[0]{id}\n";
