#!/bin/sh
# Puts files with the lines of hellospark.txt into a spool directory.
#
#   echo2file.sh [directory [files [seconds between two]]]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
spool=${1:-tutorial/spool}
files=${2:-10}
pause=${3:-1}

file=0
while [ "$file" -lt "$files" ]; do
    file=$((file + 1))
    # A name that was never used: one that is completed already cannot be completed again.
    name=hello-$(date +%s)-$$-$file.txt
    # Nobody reads a file that begins with a dot; renamed, it is whole at once.
    cat "$here/hellospark.txt" >"$spool/.$name"
    mv "$spool/.$name" "$spool/$name"
    echo "$spool/$name"
    sleep "$pause"
done
