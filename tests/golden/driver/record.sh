#!/bin/bash
# Records wire/tests/golden/*.bin from the real Flume and Spark classes (JDK 17, Maven; about 10 s, 30 s with an empty
# local repository). Everything listens on ports of the kernel's choice on 127.0.0.1 and ends with its JVM.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
golden=$root/wire/tests/golden
work=${1:-$(mktemp -d)}
mkdir -p "$work" "$golden"
cp -r "$here"/. "$work"
cd "$work"
mvn -q -B -T2 org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath \
    -DincludeScope=runtime -Dmdep.outputFile=classpath.txt

record() { # module, main class, prefix, versions
    local module=$1 main=$2 prefix=$3 versions=$4 classpath
    classpath=$(cat "$module/classpath.txt")
    mkdir -p "$module/classes"
    javac -nowarn -proc:none -cp "$classpath" -d "$module/classes" Tee.java "$main.java"
    rm -f "$golden/$prefix".*
    timeout 60 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx256m -Djava.io.tmpdir="$work" \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$module/classes:$classpath" "$main" "$golden" "$prefix"
    local recorded what
    for recorded in "$golden/$prefix".*.bin "$golden/$prefix".protocol.json; do
        what="one Netty frame, as it passed between real peers on loopback"
        [ "${recorded##*.}" = bin ] || what="the protocol's text, as the real class gives it"
        cat >"${recorded%.*}.txt" <<TXT
$(basename "$recorded"): $what.
versions: $versions; $(java -version 2>&1 | head -1)
command: tests/golden/driver/record.sh, driver class $main
sha256: $(sha256sum "$recorded" | cut -d' ' -f1)
TXT
    done
}

record spark SparkDriver spark-2.4.7 \
    "spark-streaming-flume-sink_2.11 2.4.7 (SparkSink and its generated client), avro and avro-ipc 1.8.2, netty 3.10.6.Final, flume-ng-core 1.9.0 (memory channel)"
record flume FlumeDriver flume-1.11.0 \
    "flume-ng-sdk 1.11.0 (NettyAvroRpcClient), avro-ipc-netty 1.11 (NettyServer)"
ls -l "$golden"
