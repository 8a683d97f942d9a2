#!/bin/sh
# Makes the vectors of this directory anew with the real java.util.Properties. Recorded with OpenJDK 17.0.15.
set -eu
cd "$(dirname "$0")"
rm -f -- hand-*.properties hand-*.expected random-*.properties random-*.expected
java Golden.java .
