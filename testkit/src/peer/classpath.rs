//! Class paths of the peers, as Maven resolves the poms in `testkit/peers/`.
//!
//! # Layout
//! ```text
//! <target directory>/peers/
//!   lock                        held while something below is made
//!   poms                        the poms that were resolved: another text is resolved again
//!   <child>.classpath           jars in the order of their dependencies, parted by colons
//!   classes/<class path>/<driver>/   see `driver.rs`
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use super::{jdk, peers_dir};

/// What a peer is run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassPath {
    /// Apache Flume 1.11.0.
    Flume111,
    /// Apache Flume 1.9.0.
    Flume19,
    /// Flume 1.11.0 with its HDFS sink and the client of Hadoop 3.3.6.
    Flume111WithHdfsSink,
    /// Flume 1.11.0 with the Spark sink 2.4.7 behind: in front, its Avro breaks Flume's source.
    Flume111WithSparkSink,
    /// Flume 1.9.0 with the Spark sink 2.4.7 in front: behind, Flume's Avro breaks the sink.
    Flume19WithSparkSink,
    /// Flume 1.9.0 with the Spark sink 1.6.1 for Scala 2.10 in front.
    Flume19WithOldSparkSink,
    /// The servers and the client of HDFS 3.4.3.
    Hdfs,
    /// The Spark sink 2.4.7 alone: its protocol's classes.
    SparkSink,
    /// Spark Streaming 2.4.8 with its Flume receivers.
    Spark,
}

/// Pauses between attempts to fetch.
const PAUSES: &[Duration] = &[Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(20)];
const GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath";

// === impl ClassPath ===

impl ClassPath {
    /// Folders of `testkit/peers/`, in the order in which their jars are searched.
    fn children(self) -> &'static [&'static str] {
        match self {
            Self::Flume111 => &["flume-1.11"],
            Self::Flume19 => &["flume-1.9"],
            Self::Flume111WithHdfsSink => &["flume-1.11", "hadoop-3.3"],
            Self::Flume111WithSparkSink => &["flume-1.11", "spark-sink-2.11"],
            Self::Flume19WithSparkSink => &["spark-sink-2.11", "flume-1.9"],
            Self::Flume19WithOldSparkSink => &["spark-sink-2.10", "flume-1.9"],
            Self::Hdfs => &["hdfs"],
            Self::SparkSink => &["spark-sink-2.11"],
            Self::Spark => &["spark-2.4"],
        }
    }

    /// A name for a folder.
    pub(super) fn name(self) -> String {
        self.children().join("+")
    }

    /// The jars, fetched now if they are not there.
    #[track_caller]
    pub fn jars(self) -> String {
        let _lock = lock();
        let dir = peers_dir();
        if !is_resolved(&dir) {
            resolve(&dir);
        }
        let jars = self.children().iter().map(|child| jars_of(&dir, child).expect("resolved"));
        jars.collect::<Vec<_>>().join(":")
    }
}

/// Keeps other tests from making the same things, until it is dropped.
pub(super) fn lock() -> File {
    let dir = peers_dir();
    fs::create_dir_all(&dir).unwrap();
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).unwrap();
    file.lock().unwrap();
    file
}

/// `testkit/peers`, or something in it.
pub(super) fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// The folders that hold a pom.
fn children() -> Vec<String> {
    let folders = fs::read_dir(sources("")).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|folder| folder.path().join("pom.xml").is_file());
    let mut names: Vec<String> = folders.map(|folder| folder.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All poms in one text.
fn poms() -> String {
    let files = children().into_iter().map(|child| sources(&child).join("pom.xml"));
    std::iter::once(sources("pom.xml")).chain(files).map(|pom| fs::read_to_string(pom).unwrap()).collect()
}

fn jars_of(dir: &Path, child: &str) -> Option<String> {
    fs::read_to_string(dir.join(format!("{child}.classpath"))).ok().map(|jars| jars.trim().to_owned())
}

/// Whether the poms are those that were resolved, and what was fetched is still there.
fn is_resolved(dir: &Path) -> bool {
    let same = fs::read_to_string(dir.join("poms")).is_ok_and(|resolved| resolved == poms());
    let there = |child: &String| {
        jars_of(dir, child).is_some_and(|jars| !jars.is_empty() && jars.split(':').all(|jar| Path::new(jar).is_file()))
    };
    same && children().iter().all(there)
}

#[track_caller]
fn resolve(dir: &Path) {
    let mut pauses = PAUSES.iter();
    loop {
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-T2", "-f"]).arg(sources("pom.xml")).arg(format!("-Dpeers.out={}", dir.display()));
        // What could not be fetched a moment ago is asked for again.
        maven.args(["-U", GOAL]).env("JAVA_HOME", jdk::home());
        let output = maven.output().unwrap_or_else(|error| {
            panic!("mvn: {error}; it fetches the peers, install it: apt-get install maven openjdk-17-jdk-headless")
        });
        if output.status.success() {
            break;
        }
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let pause = pauses.next().unwrap_or_else(|| panic!("mvn cannot fetch the peers: {}\n{told}", output.status));
        eprintln!("mvn cannot fetch the peers; again in {pause:?}:\n{told}");
        sleep(*pause); // sleeps: the network may be back by then
    }
    fs::write(dir.join("poms"), poms()).unwrap();
}
