//! A realm of Kerberos: MIT's key distribution centre, and keys of who is known to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::place::Place;
use super::process::Peer;

/// A running realm. Ended when dropped, and what it wrote is removed.
#[derive(Debug)]
pub struct Kerberos {
    _kdc: Peer,
    place: Place,
}

/// How the realm is called.
const REALM: &str = "EXAMPLE.COM";

// === impl Kerberos ===

impl Kerberos {
    /// Starts an empty one.
    #[track_caller]
    pub fn start() -> Self {
        let mut place = Place::default();
        let (port, dir) = (place.port("kdc"), place.dir().display().to_string());
        // Names are those of the configuration: no resolver is asked what it thinks of them.
        let client = format!(
            "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_canonicalize_hostname = false\n \
             rdns = false\n udp_preference_limit = 1\n[realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n"
        );
        let server = format!(
            "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n {REALM} = {{\n  \
             database_name = {dir}/principal\n  key_stash_file = {dir}/stash\n  acl_file = {dir}/acl\n }}\n[logging]\n \
             kdc = STDERR\n"
        );
        fs::write(place.path("krb5.conf"), client).unwrap();
        fs::write(place.path("kdc.conf"), server).unwrap();
        let create = tool(place.dir(), "kdb5_util", &["create", "-s", "-r", REALM, "-P", "master"]);
        Peer::start("kdb5_util", place.dir(), &create).succeeds();
        let mut kdc = Peer::start("krb5kdc", place.dir(), &tool(place.dir(), "krb5kdc", &["-n"]));
        if let Err(why) = kdc.listens(port) {
            panic!("krb5kdc does not listen: {why}\n{}", kdc.log_tail());
        }
        Self { _kdc: kdc, place }
    }

    /// Makes somebody known, `name` or `service/host`, and gives a file with the key.
    #[track_caller]
    pub fn keytab(&self, name: &str) -> PathBuf {
        let keytab = self.place.path(&format!("{}.keytab", name.replace('/', "-")));
        for query in [format!("addprinc -randkey {name}"), format!("ktadd -k {} {name}", keytab.display())] {
            let command = tool(self.place.dir(), "kadmin.local", &["-q", &query]);
            Peer::start("kadmin", self.place.dir(), &command).succeeds();
        }
        assert!(keytab.exists(), "kadmin.local wrote no key of {name}");
        keytab
    }

    /// Logs somebody in; gives the file with the ticket, for `KRB5CCNAME`.
    #[track_caller]
    pub fn ticket(&self, name: &str, keytab: &Path) -> PathBuf {
        let cache = self.place.path("tickets");
        let (cache_text, keytab) = (cache.display().to_string(), keytab.display().to_string());
        let command = tool(self.place.dir(), "kinit", &["-c", &cache_text, "-k", "-t", &keytab, name]);
        Peer::start("kinit", self.place.dir(), &command).succeeds();
        cache
    }

    /// `name@REALM`.
    pub fn full_name(&self, name: &str) -> String {
        format!("{name}@{REALM}")
    }

    /// What `KRB5_CONFIG` must name for a program to find the realm.
    pub fn config(&self) -> PathBuf {
        self.place.path("krb5.conf")
    }
}

/// A program of MIT's Kerberos; servers are not on everybody's path.
fn tool(dir: &Path, name: &str, arguments: &[&str]) -> Command {
    let of_admins = Path::new("/usr/sbin").join(name);
    let mut command = if of_admins.exists() { Command::new(of_admins) } else { Command::new(name) };
    command.args(arguments).env("KRB5_CONFIG", dir.join("krb5.conf")).env("KRB5_KDC_PROFILE", dir.join("kdc.conf"));
    command.env("KRB5CCNAME", dir.join("tickets"));
    command
}
