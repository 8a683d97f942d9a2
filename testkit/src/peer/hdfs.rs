//! A cluster of HDFS: one NameNode and one DataNode, with Kerberos or without.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::PATIENCE;
use super::classpath::ClassPath;
use super::driver::{Jvm, java};
use super::kerberos::Kerberos;
use super::place::Place;
use super::process::Peer;

/// A cluster. Its directory stays as long as this value, whichever of the two runs.
#[derive(Debug)]
pub struct Hdfs {
    name_node: Option<Peer>,
    data_node: Option<Peer>,
    /// Whom it trusts, if it does not trust everybody; and the ticket of its administrator.
    secured: Option<(Kerberos, PathBuf)>,
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
/// Who the servers are, and their web pages.
const SERVER: &str = "hdfs/localhost";
const WEB: &str = "HTTP/localhost";
/// The bean that tells how the NameNode is.
const STATE: &str = "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState";

// === impl Hdfs ===

impl Hdfs {
    /// Starts an empty one that trusts everybody, and waits until files can be written.
    #[track_caller]
    pub fn start() -> Self {
        Self::begin(None, &[])
    }

    /// Starts an empty one that trusts whom Kerberos knows; `protection` of what is sent: authentication, integrity, privacy.
    #[track_caller]
    pub fn start_secured(protection: &str) -> Self {
        let kerberos = Kerberos::start();
        let (server, web) = (kerberos.keytab(SERVER), kerberos.keytab(WEB));
        let ticket = kerberos.ticket(SERVER, &server);
        let (server_name, web_name) = (kerberos.full_name(SERVER), kerberos.full_name(WEB));
        let (server, web) = (server.display().to_string(), web.display().to_string());
        let security = [
            ("hadoop.security.authentication", "kerberos"),
            ("hadoop.security.authorization", "true"),
            ("hadoop.rpc.protection", protection),
            ("dfs.data.transfer.protection", protection),
            ("dfs.block.access.token.enable", "true"),
            ("dfs.namenode.kerberos.principal", &server_name),
            ("dfs.namenode.keytab.file", &server),
            ("dfs.datanode.kerberos.principal", &server_name),
            ("dfs.datanode.keytab.file", &server),
            ("dfs.web.authentication.kerberos.principal", &web_name),
            ("dfs.web.authentication.kerberos.keytab", &web),
            // Else it wants ports that only root may open, or TLS for every page.
            ("ignore.secure.ports.for.testing", "true"),
        ];
        Self::begin(Some((kerberos, ticket)), &security)
    }

    #[track_caller]
    fn begin(secured: Option<(Kerberos, PathBuf)>, security: &[(&str, &str)]) -> Self {
        let mut place = Place::default();
        let (rpc, http) = (place.port("rpc"), place.port("http"));
        let conf = place.path("conf");
        // The servers look for their web pages on the class path.
        fs::create_dir_all(conf.join("webapps/hdfs")).unwrap();
        fs::create_dir_all(conf.join("webapps/datanode")).unwrap();
        fs::write(conf.join("log4j.properties"), LOG).unwrap();
        // Keys are of hosts by their names.
        let host = if secured.is_some() { "localhost" } else { "127.0.0.1" };
        let any_port = format!("{host}:0");
        let properties = [
            ("fs.defaultFS", &*format!("hdfs://{host}:{rpc}")),
            ("dfs.namenode.rpc-address", &format!("{host}:{rpc}")),
            ("dfs.namenode.http-address", &format!("{host}:{http}")),
            ("dfs.datanode.address", &any_port),
            ("dfs.datanode.ipc.address", &any_port),
            ("dfs.datanode.http.address", &any_port),
            ("dfs.datanode.hostname", host),
            ("hadoop.tmp.dir", &place.path("hdfs").display().to_string()),
            ("dfs.replication", "1"),
            ("dfs.permissions.enabled", "false"),
            ("dfs.namenode.safemode.extension", "0"),
            // A DataNode learns by them that it shall recover a block.
            ("dfs.heartbeat.interval", "1"),
        ];
        let site = site(&[&properties, security].concat());
        // Both: the defaults of the second are read after the first.
        fs::write(conf.join("core-site.xml"), &site).unwrap();
        fs::write(conf.join("hdfs-site.xml"), &site).unwrap();
        let mut hdfs = Self { name_node: None, data_node: None, secured, place };
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
        let host = if self.secured.is_some() { "localhost" } else { "127.0.0.1" };
        format!("hdfs://{host}:{}", self.place.chosen_port("rpc"))
    }

    /// Where its configuration is, for `HADOOP_CONF_DIR`.
    pub fn conf(&self) -> PathBuf {
        self.place.path("conf")
    }

    /// Whom it trusts, if it does not trust everybody.
    pub fn kerberos(&self) -> Option<&Kerberos> {
        self.secured.as_ref().map(|(kerberos, _)| kerberos)
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

    /// Paths of the files below a directory; none where there is no such directory.
    pub fn files(&self, dir: &str) -> Vec<String> {
        match self.secured {
            Some(_) => self.files_by_shell(dir),
            None => self.files_by_web(dir),
        }
    }

    /// By Hadoop's own client, as the pages of a secured one ask for more than we have.
    fn files_by_shell(&self, dir: &str) -> Vec<String> {
        let output = self.java(SHELL).args(["-ls", "-R", dir]).output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        // Directories begin with a d; the path stands last.
        let files = listed.lines().filter(|line| line.starts_with('-'));
        files.filter_map(|line| Some(line[line.find(dir)?..].to_owned())).collect()
    }

    /// By WebHDFS.
    fn files_by_web(&self, dir: &str) -> Vec<String> {
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
                Some("DIRECTORY") => files.extend(self.files_by_web(&path)),
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
        let mut options = "-Djava.util.logging.config.file=/dev/null".to_owned();
        if let Some((kerberos, ticket)) = &self.secured {
            options += &format!(" -Djava.security.krb5.conf={}", kerberos.config().display());
            command.env("KRB5CCNAME", ticket);
        }
        command.env("JDK_JAVA_OPTIONS", options);
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
