#!/bin/sh
# Starts the agent of sparksink.properties in the current directory. Further arguments are the agent's, for example
# -Dagent.sinks.spark.port=41415.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# The program: on PATH, or as cargo built it last.
built=${CARGO_TARGET_DIR:-$here/../target}
program=$(command -v millstream || ls -t "$built"/*/millstream 2>/dev/null | head -n 1)
if [ -z "$program" ]; then
    echo "$0: no millstream on PATH nor in $built; build it: cargo build --release -p millstream-cli" >&2
    exit 127
fi

mkdir -p tutorial/spool
exec "$program" agent --name agent --conf "$here" --conf-file "$here/sparksink.properties" "$@"
