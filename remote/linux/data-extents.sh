#!/bin/sh
# Says where a sparse file has data: a line `START END` for each part, in bytes and in order, the end not included.
#
#   data-extents.sh PATH
#
# Exit codes: 0 all printed (nothing at all: it is one hole); 1 something failed; 3 it is not sparse, or nobody here can tell.
size=$(stat -L -c %s -- "$1") && taken=$(($(stat -L -c %b -- "$1") * $(stat -L -c %B -- "$1"))) || exit 1
[ "$taken" -lt "$size" ] && command -v perl >/dev/null || exit 3
# Perl, because no other usual program asks the kernel: 3 and 4 are SEEK_DATA and SEEK_HOLE of Linux.
exec perl -e '
    open(my $file, "<", $ARGV[0]) or exit 1;
    my ($size, $at) = (-s $file, 0);
    while ($at < $size) {
        my $start = sysseek($file, $at, 3);
        unless (defined $start) { exit($!{ENXIO} ? 0 : 3); }
        my $end = sysseek($file, $start, 4);
        exit 1 unless defined $end;
        printf "%d %d\n", $start, $end;
        $at = $end;
    }
' -- "$1"
