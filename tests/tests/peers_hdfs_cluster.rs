//! The hdfs sink on a cluster of HDFS 3.4.3, what it wrote read by Hadoop's own `hdfs dfs`.
//!
//! Peers: HDFS 3.4.3
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream_testkit::peer::{Hdfs, Kerberos, site};
use millstream_tests::{Process, millstream};
use tempfile::TempDir;

/// Where `examples/spool2hdfs.properties` runs, its files on a cluster.
struct Spool {
    dir: TempDir,
    /// Where it looks for the configuration of clusters.
    hadoop_conf: Option<PathBuf>,
    /// Where it looks for the realm of Kerberos.
    realm: Option<PathBuf>,
}

// === impl Spool ===

impl Spool {
    fn new() -> Self {
        let spool = Self { dir: tempfile::tempdir().unwrap(), hadoop_conf: None, realm: None };
        fs::create_dir_all(spool.path("tutorial/spool")).unwrap();
        spool
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the agent over what it left; its files go below `/events` of the cluster.
    fn start(&self, cluster: &str, more: &[(&str, &str)]) -> Process {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/spool2hdfs.properties");
        let mut command = Command::new(millstream());
        command.args(["agent", "--name", "agent", "--conf-file"]).arg(example);
        command.arg("-Dagent.sources.spool.pollDelay=20");
        command.arg(format!("-Dagent.sinks.files.hdfs.path={cluster}/events/%Y-%m-%d/%H"));
        let sink = [("hdfs.idleTimeout", "1"), ("hdfs.retryInterval", "1")];
        for (key, value) in sink.iter().chain(more) {
            command.arg(format!("-Dagent.sinks.files.{key}={value}"));
        }
        command.current_dir(self.dir.path()).env_remove("RUST_LOG");
        command.env_remove("HADOOP_CONF_DIR").env_remove("HADOOP_HOME");
        if let Some(conf) = &self.hadoop_conf {
            command.env("HADOOP_CONF_DIR", conf);
        }
        if let Some(realm) = &self.realm {
            // A ticket that somebody else has must not be what opens the door.
            command.env("KRB5_CONFIG", realm).env("KRB5CCNAME", self.path("no-ticket"));
        }
        Process::spawn(command)
    }

    /// Puts a file with lines of these numbers into the spool.
    fn put(&self, name: &str, lines: Range<u32>) {
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        fs::write(self.path("new"), text).unwrap();
        fs::hard_link(self.path("new"), self.path("tutorial/spool").join(name)).unwrap();
        fs::remove_file(self.path("new")).unwrap();
    }

    fn is_read(&self, name: &str) -> bool {
        self.path("tutorial/spool").join(format!("{name}.COMPLETED")).exists()
    }
}

/// Lines of all files below `/events`, as `hdfs dfs` shows them when it is told to.
fn lines(hdfs: &Hdfs, command: &str) -> Vec<String> {
    let files = hdfs.files("/events");
    let mut arguments = vec![command];
    arguments.extend(files.iter().map(String::as_str));
    if files.is_empty() { Vec::new() } else { hdfs.shell(&arguments).lines().map(str::to_owned).collect() }
}

/// Whether there are files, and each is complete.
fn all_complete(hdfs: &Hdfs) -> bool {
    let files = hdfs.files("/events");
    !files.is_empty() && files.iter().all(|file| !file.ends_with(".tmp"))
}

/// Numbers that these lines hold, each the whole line; sorted.
fn numbers(lines: &[String]) -> Vec<u32> {
    let mut numbers: Vec<u32> = lines.iter().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// Runs the example until a thousand lines are in complete files, stops it, and gives what `hdfs dfs` shows.
#[track_caller]
fn written(hdfs: &Hdfs, spool: &Spool, cluster: &str, more: &[(&str, &str)], command: &str) -> Vec<String> {
    spool.put("one", 0..1000);
    let agent = spool.start(cluster, more);
    agent.until_true("the file is read", || spool.is_read("one"));
    agent.until_true("files are complete", || all_complete(hdfs));
    agent.stop().expect_code(0);
    lines(hdfs, command)
}

#[test]
fn lines_of_a_spool_are_in_complete_files() {
    let (hdfs, spool) = (Hdfs::start(), Spool::new());
    let lines = written(&hdfs, &spool, &hdfs.url(), &[], "-cat");
    assert_eq!(numbers(&lines), (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_file_in_use_shows_what_was_delivered_and_is_complete_after_a_stop() {
    let (hdfs, spool) = (Hdfs::start(), Spool::new());
    spool.put("one", 0..10);
    let agent = spool.start(&hdfs.url(), &[("hdfs.idleTimeout", "0"), ("hdfs.rollInterval", "0")]);
    agent.until_true("a reader sees the lines", || lines(&hdfs, "-cat").len() == 10);
    assert!(!all_complete(&hdfs), "it is in use");
    agent.stop().expect_code(0);
    assert!(all_complete(&hdfs), "{:?}", hdfs.files("/events"));
    assert_eq!(numbers(&lines(&hdfs, "-cat")), (0..10).collect::<Vec<_>>());
}

#[test]
fn compressed_streams_are_read_by_hadoops_codec() {
    let (hdfs, spool) = (Hdfs::start(), Spool::new());
    let more = [("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", "gzip"), ("hdfs.fileSuffix", ".gz")];
    let lines = written(&hdfs, &spool, &hdfs.url(), &more, "-text");
    assert_eq!(numbers(&lines), (0..1000).collect::<Vec<_>>());
}

#[test]
fn sequence_files_are_read_by_hadoops_reader() {
    let (hdfs, spool) = (Hdfs::start(), Spool::new());
    let more = [("hdfs.fileType", "SequenceFile"), ("hdfs.writeFormat", "Text"), ("hdfs.fileSuffix", ".seq")];
    let lines = written(&hdfs, &spool, &hdfs.url(), &more, "-text");
    // The time of the event, a tab, the line.
    let bodies: Vec<String> = lines.iter().map(|line| line.split_once('\t').unwrap().1.to_owned()).collect();
    assert_eq!(numbers(&bodies), (0..1000).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line.split_once('\t').unwrap().0.parse::<u64>().is_ok()), "{lines:?}");
}

#[test]
fn a_name_service_of_hadoops_configuration_leads_to_its_name_node() {
    let (hdfs, mut spool) = (Hdfs::start(), Spool::new());
    // The first is down, as one of two may be.
    let rpc = format!("127.0.0.1:{}", hdfs.port());
    let down = format!("127.0.0.1:{}", millstream_testkit::peer::free_port());
    let text = site(&[
        ("dfs.nameservices", "mill"),
        ("dfs.ha.namenodes.mill", "nn1,nn2"),
        ("dfs.namenode.rpc-address.mill.nn1", &down),
        ("dfs.namenode.rpc-address.mill.nn2", &rpc),
    ]);
    fs::write(spool.path("hdfs-site.xml"), text).unwrap();
    spool.hadoop_conf = Some(spool.dir.path().to_owned());
    let lines = written(&hdfs, &spool, "hdfs://mill", &[], "-cat");
    assert_eq!(numbers(&lines), (0..1000).collect::<Vec<_>>());
}

/// A cluster with Kerberos, and a spool whose agent finds both.
fn secured(protection: &str) -> (Hdfs, Spool) {
    let (hdfs, mut spool) = (Hdfs::start_secured(protection), Spool::new());
    spool.hadoop_conf = Some(hdfs.conf());
    spool.realm = hdfs.kerberos().map(Kerberos::config);
    (hdfs, spool)
}

/// The keys of the sink with which it logs in as somebody who is known.
fn logged_in(hdfs: &Hdfs) -> [(&'static str, String); 2] {
    let kerberos = hdfs.kerberos().unwrap();
    let keytab = kerberos.keytab("flume").display().to_string();
    [("hdfs.kerberosPrincipal", kerberos.full_name("flume")), ("hdfs.kerberosKeytab", keytab)]
}

#[track_caller]
fn a_secured_cluster_takes_lines(protection: &str) {
    let (hdfs, spool) = secured(protection);
    let login = logged_in(&hdfs);
    let login: Vec<_> = login.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let lines = written(&hdfs, &spool, &hdfs.url(), &login, "-cat");
    assert_eq!(numbers(&lines), (0..1000).collect::<Vec<_>>());
    let files = hdfs.files("/events");
    let owner = hdfs.shell(&["-stat", "%u", &files[0]]);
    assert_eq!(owner.trim(), "flume", "who has the key, not who runs the agent");
}

#[test]
fn a_cluster_with_kerberos_takes_lines_of_who_has_a_key() {
    a_secured_cluster_takes_lines("authentication");
}

#[test]
fn a_cluster_that_encrypts_everything_takes_lines_of_who_has_a_key() {
    a_secured_cluster_takes_lines("privacy");
}

#[test]
fn without_a_key_a_secured_cluster_is_asked_again_until_there_is_one_and_nothing_is_lost() {
    let (hdfs, spool) = secured("authentication");
    spool.put("one", 0..10);
    let agent = spool.start(&hdfs.url(), &[]);
    agent.until("delivery failed");
    agent.stop();
    assert_eq!(hdfs.files("/events"), [""; 0], "nothing was written");
    let login = logged_in(&hdfs);
    let login: Vec<_> = login.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let agent = spool.start(&hdfs.url(), &login);
    agent.until_true("files are complete", || all_complete(&hdfs));
    agent.stop().expect_code(0);
    assert_eq!(numbers(&lines(&hdfs, "-cat")), (0..10).collect::<Vec<_>>());
}

/// Sends lines in small transactions; in the middle of them `fault` happens, and `repair` when the source has read
/// everything that there is. Every line must be in a complete file then; some may be there again.
#[track_caller]
fn nothing_is_lost(fault: fn(&mut Hdfs), repair: fn(&mut Hdfs)) {
    let (mut hdfs, spool) = (Hdfs::start(), Spool::new());
    // Each transaction waits for the disk: enough of them to be in the middle of, and no more.
    spool.put("one", 0..6_000);
    let agent = spool.start(&hdfs.url(), &[("hdfs.batchSize", "10"), ("hdfs.callTimeout", "5000")]);
    agent.until_true("a reader sees lines", || lines(&hdfs, "-cat").len() >= 100);
    fault(&mut hdfs);
    spool.put("two", 6_000..7_000);
    agent.until_true("the source goes on", || spool.is_read("two"));
    agent.until("delivery failed");
    repair(&mut hdfs);
    let wanted: BTreeSet<u32> = (0..7_000).collect();
    let arrived = || numbers(&lines(&hdfs, "-cat"));
    agent.until_true("every line is in a complete file", || {
        all_complete(&hdfs) && arrived().into_iter().collect::<BTreeSet<_>>() == wanted
    });
    agent.stop().expect_code(0);
    let repeated = arrived().len() - wanted.len();
    println!("{repeated} lines came again");
    assert!(repeated <= 10, "one transaction, and no more: {repeated}");
}

#[test]
fn no_line_is_lost_when_the_data_node_dies_and_comes_back() {
    nothing_is_lost(Hdfs::kill_data_node, Hdfs::start_data_node);
}

#[test]
fn no_line_is_lost_when_the_name_node_dies_and_comes_back() {
    nothing_is_lost(Hdfs::kill_name_node, Hdfs::start_name_node);
}
