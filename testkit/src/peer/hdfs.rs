//! A cluster of HDFS: one NameNode and one DataNode.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use super::PATIENCE;
use super::classpath::ClassPath;
use super::driver::{Jvm, java};
use super::place::Place;
use super::process::Peer;

/// A cluster. Its directory stays as long as this value, whichever of the two runs.
#[derive(Debug)]
pub struct Hdfs {
    name_node: Option<Peer>,
    data_node: Option<Peer>,
    /// Gone last, with what they wrote.
    place: Place,
}

const NAME_NODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATA_NODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";
const SHELL: &str = "org.apache.hadoop.fs.FsShell";
const LOG: &str = "log4j.rootLogger=INFO,out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
                   log4j.appender.out.target=System.err\n\
                   log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
                   log4j.appender.out.layout.ConversionPattern=%d{HH:mm:ss,SSS} %p %c{1}: %m%n\n";
/// The bean that tells how the NameNode is.
const STATE: &str = "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState";

// === impl Hdfs ===

impl Hdfs {
    /// Starts an empty one, and waits until files can be written.
    #[track_caller]
    pub fn start() -> Self {
        let mut place = Place::default();
        let (rpc, http) = (place.port("rpc"), place.port("http"));
        let conf = place.path("conf");
        // The servers look for their web pages on the class path.
        fs::create_dir_all(conf.join("webapps/hdfs")).unwrap();
        fs::create_dir_all(conf.join("webapps/datanode")).unwrap();
        fs::write(conf.join("log4j.properties"), LOG).unwrap();
        let site = site(&[
            ("fs.defaultFS", &format!("hdfs://127.0.0.1:{rpc}")),
            ("dfs.namenode.rpc-address", &format!("127.0.0.1:{rpc}")),
            ("dfs.namenode.http-address", &format!("127.0.0.1:{http}")),
            ("dfs.datanode.address", "127.0.0.1:0"),
            ("dfs.datanode.ipc.address", "127.0.0.1:0"),
            ("dfs.datanode.http.address", "127.0.0.1:0"),
            ("dfs.datanode.hostname", "127.0.0.1"),
            ("hadoop.tmp.dir", &place.path("hdfs").display().to_string()),
            ("dfs.replication", "1"),
            ("dfs.permissions.enabled", "false"),
            ("dfs.namenode.safemode.extension", "0"),
            // A DataNode learns by them that it shall recover a block.
            ("dfs.heartbeat.interval", "1"),
        ]);
        // Both: the defaults of the second are read after the first.
        fs::write(conf.join("core-site.xml"), &site).unwrap();
        fs::write(conf.join("hdfs-site.xml"), &site).unwrap();
        let mut hdfs = Self { name_node: None, data_node: None, place };
        let begun = Instant::now();
        let mut format = hdfs.java(NAME_NODE);
        format.args(["-format", "-nonInteractive"]);
        Peer::start("format", hdfs.place.dir(), &format).succeeds();
        hdfs.name_node = Some(hdfs.launch("namenode", NAME_NODE));
        hdfs.start_data_node();
        hdfs.until_writable();
        println!("hdfs ready after {:?}", begun.elapsed());
        hdfs
    }

    /// Starts the NameNode over what it left, and waits until files can be written.
    #[track_caller]
    pub fn start_name_node(&mut self) {
        assert!(self.name_node.is_none(), "it runs");
        self.name_node = Some(self.launch("namenode", NAME_NODE));
        self.until_writable();
    }

    /// Starts the DataNode over what it left, and waits until the NameNode knows it.
    #[track_caller]
    pub fn start_data_node(&mut self) {
        assert!(self.data_node.is_none(), "it runs");
        let mut peer = self.launch("datanode", DATA_NODE);
        peer.until_log("successfully registered with NN");
        self.data_node = Some(peer);
    }

    /// Kills the NameNode with -9.
    pub fn kill_name_node(&mut self) {
        self.name_node.take().expect("it runs").kill();
    }

    /// Kills the DataNode with -9.
    pub fn kill_data_node(&mut self) {
        self.data_node.take().expect("it runs").kill();
    }

    /// `hdfs://host:port`.
    pub fn url(&self) -> String {
        format!("hdfs://127.0.0.1:{}", self.place.chosen_port("rpc"))
    }

    /// The port of that.
    pub fn port(&self) -> u16 {
        self.place.chosen_port("rpc")
    }

    /// What Hadoop's own `hdfs dfs` writes when it is called so.
    #[track_caller]
    pub fn shell(&self, arguments: &[&str]) -> String {
        let output = self.java(SHELL).args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "hdfs dfs {arguments:?}: {}\n{told}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Paths of the files below a directory, by WebHDFS; none where there is no such directory.
    pub fn files(&self, dir: &str) -> Vec<String> {
        let list = self.get(&format!("/webhdfs/v1{dir}?op=LISTSTATUS")).unwrap_or_default();
        let value = |entry: &str, key: &str| {
            let (_, rest) = entry.split_once(&format!("\"{key}\":\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let mut files = Vec::new();
        // One object for each entry; names of tests hold no braces.
        for entry in list.split('{') {
            let Some(name) = value(entry, "pathSuffix") else { continue };
            let path = format!("{dir}/{name}");
            match value(entry, "type").as_deref() {
                Some("DIRECTORY") => files.extend(self.files(&path)),
                _ => files.push(path),
            }
        }
        files
    }

    #[track_caller]
    fn until_writable(&mut self) {
        let port = self.place.chosen_port("http");
        let name_node = self.name_node.as_mut().expect("it runs");
        name_node.until("a DataNode, and no safe mode", || {
            let state = get(port, STATE).unwrap_or_default();
            state.contains("\"NumLiveDataNodes\" : 1,") && state.contains("\"FSState\" : \"Operational\"")
        });
    }

    fn get(&self, path: &str) -> Option<String> {
        get(self.place.chosen_port("http"), path)
    }

    fn java(&self, main: &str) -> Command {
        let conf = self.place.path("conf");
        let mut command =
            java(Jvm::QuickStart, self.place.dir(), &format!("{}:{}", conf.display(), ClassPath::Hdfs.jars()), main);
        // What its web server says about each class helps nobody.
        command.env("JDK_JAVA_OPTIONS", "-Djava.util.logging.config.file=/dev/null");
        command
    }

    #[track_caller]
    fn launch(&self, name: &str, main: &str) -> Peer {
        Peer::start(name, self.place.dir(), &self.java(main))
    }
}

/// A configuration file of Hadoop.
pub fn site(properties: &[(&str, &str)]) -> String {
    let property =
        |(key, value): &(&str, &str)| format!("<property><name>{key}</name><value>{value}</value></property>\n");
    format!("<configuration>\n{}</configuration>\n", properties.iter().map(property).collect::<String>())
}

/// The answer of a web server of this machine, if it is a good one.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
}
