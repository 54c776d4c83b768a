#!/usr/bin/perl
# Runs a command for ssm-command.sh, away from the agent, and keeps how it ended: a shell alone cannot tell a signal from a status
# above 128.
#
#   perl -e TEXT -- FOLDER UID GID COMMAND...
#
# TEXT       of this file, which travels with ssm-command.sh: no file of ours is on the machine
# FOLDER     of the command: its line is in the file `line`; `out`, `err` and `status`, the wait status, are made
# UID, GID   of the user whom the command's pipes belong to, as they do over SSH
# COMMAND    becomes that user, if need be, and starts the user's shell, which is given the line, or is a login shell where that is empty
#
# Standard input is the command's.
use strict;

my ($folder, $uid, $gid, @command) = @ARGV;
for ([\*STDOUT, "out"], [\*STDERR, "err"]) {
    my ($stream, $name) = @$_;
    my $writer = open $stream, "|-";
    defined $writer or die;
    if (!$writer) {
        open STDOUT, ">", "$folder/$name" or die;
        exec "cat" or die;
    }
    chown $uid, $gid, $stream;
}
open my $line, "<", "$folder/line" or die;
my $text = do { local $/; <$line> };
push @command, defined $text && length $text ? ("-c", $text) : "-l";
system { $command[0] } @command;
my $status = $?;
close STDOUT;
close STDERR;
open my $kept, ">", "$folder/status.new" or die;
print $kept $status;
close $kept or die;
rename "$folder/status.new", "$folder/status" or die;
