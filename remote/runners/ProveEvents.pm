package ProveEvents;

# Writes what prove learns, as it learns it, to the file that AUTOMATION_REPORT names: a plugin of App::Prove (`-PProveEvents`).
#
# The report is of events, one JSON object on a line (docs/runners.md). A test is a file, as prove counts them; what it says of its own
# tests decides how it came out, and what failed of it is told.
#
# AUTOMATION_TEST_TIMEOUT is how many seconds a file may take; it is ended by `timeout` of coreutils then.

use strict;
use warnings;

sub load {
    my ($class, $prove) = @_;
    $prove->{app_prove}->harness('ProveEvents::Harness');
    $INC{'ProveEvents/Harness.pm'} = __FILE__;
    return 1;
}

package ProveEvents::Harness;

use strict;
use warnings;
use TAP::Harness ();
use Time::HiRes qw(time);

our @ISA = ('TAP::Harness');

# The most bytes of a failure that are told.
my $cap = 64 << 10;
my ($report, $limit) = ($ENV{AUTOMATION_REPORT}, $ENV{AUTOMATION_TEST_TIMEOUT});

# Tests may start prove too.
delete @ENV{qw(AUTOMATION_REPORT AUTOMATION_TESTS)};

sub new {
    my ($class, @arguments) = @_;
    my $self = $class->SUPER::new(@arguments);
    open my $events, '>>', $report or die "cannot write $report: $!\n";
    $events->autoflush(1);
    my %said;
    $self->callback(parser_args => sub { limit_time(@_) }) if $limit;
    $self->callback(
        made_parser => sub {
            my ($parser, $test) = @_;
            my $name = $test->[0];
            write_event($events, event => 'start', test => $name, at => 0 + sprintf('%.3f', time));
            $said{$name} = '';
            $parser->callback(ALL => sub {
                my $result = shift;
                my $line = $result->as_string;
                my $tells = $result->is_test ? !$result->is_ok : $result->is_comment || $result->is_bailout || $result->is_unknown;
                $said{$name} .= "$line\n" if $tells && length $said{$name} < $cap;
            });
        });
    $self->callback(
        after_test => sub {
            my ($test, $parser) = @_;
            my ($outcome, $reason) = judge($parser);
            my ($name, $said) = ($test->[0], delete $said{ $test->[0] });
            write_event($events, event => 'detail', test => $name, text => $said) if $outcome ne 'passed' && length $said;
            my $seconds = 0 + sprintf('%.3f', $parser->end_time - $parser->start_time);
            write_event($events, event => 'finish', test => $name, outcome => $outcome, seconds => $seconds, reason => $reason);
        });
    # A test that bails out ends prove before this.
    $self->callback(after_runtests => sub { write_event($events, event => 'end') });
    return $self;
}

# Runs the file under `timeout`, with the switches that its first line asks for: prove looks at that line only where it starts perl itself.
sub limit_time {
    my ($arguments) = @_;
    my $file = $arguments->{source};
    return if !defined $file || $arguments->{exec};
    my @switches = @{ $arguments->{switches} || [] };
    open my $text, '<', $file or return;
    my $first = <$text> // '';
    close $text;
    push @switches, "-$1" if $first =~ /^#!.*\bperl.*\s-\w*([Tt])/;
    push @switches, map { "-I$_" } @{ $arguments->{lib} || [] };
    my @program = $first =~ /^#!/ && $first !~ /\bperl/ && -x $file ? ($file =~ m{/} ? $file : "./$file") : ($^X, @switches, $file);
    $arguments->{exec} = ['timeout', '-k', '5', $limit, @program];
    delete $arguments->{source};
    return;
}

# The outcome of a file, and why.
sub judge {
    my ($parser) = @_;
    my $wait = $parser->wait // 0;
    my $status = $wait >> 8;
    # `timeout` ends with 124 then, and by signal 9 itself, or with 137, where it had to send that. A file may end so by itself, sooner.
    my $ended = $status == 124 || $status == 137 || ($wait & 127) == 9;
    return ('timed_out', "timed out after $limit s") if $limit && $ended && $parser->end_time - $parser->start_time >= $limit;
    my @why;
    push @why, 'ended by signal ' . ($wait & 127) if $wait & 127;
    my @failed = $parser->failed;
    push @why, sprintf('%d of %d failed', scalar @failed, $parser->tests_run) if @failed;
    push @why, $parser->parse_errors;
    push @why, "exit status $status" if !@why && $status;
    return ('failed', join '; ', @why) if @why || $parser->has_problems;
    my $skipped = $parser->skip_all;
    return ('skipped', $skipped eq '1' ? undef : $skipped) if $skipped;
    return ('passed', undef);
}

sub write_event {
    my ($events, @fields) = @_;
    my @written;
    while (my ($key, $value) = splice @fields, 0, 2) {
        push @written, qq("$key":) . ($key =~ /^(?:at|seconds)$/ ? $value : defined $value ? quote($value) : 'null');
    }
    print {$events} '{', join(',', @written), "}\n";
    return;
}

# A text as JSON. What comes is bytes: those that are not UTF-8 become question marks.
sub quote {
    my ($text) = @_;
    utf8::encode($text) if utf8::is_utf8($text);
    my $copy = $text;
    $text =~ tr/\x80-\xff/?/ unless utf8::decode($copy);
    $text =~ s/(["\\])/\\$1/g;
    $text =~ s/([\x00-\x1f\x7f])/sprintf '\\u%04x', ord $1/ge;
    return qq("$text");
}

1;
