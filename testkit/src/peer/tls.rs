//! Keys and certificates as users of Flume make them, by Java's own `keytool`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::jdk;

/// A key for `localhost` and 127.0.0.1, and a store that trusts it; both PKCS12, with the same password.
#[derive(Debug)]
pub struct Keys {
    /// Key and certificate of the server.
    pub keystore: PathBuf,
    /// The certificate, for clients.
    pub truststore: PathBuf,
}

// === impl Keys ===

impl Keys {
    /// Of both files.
    pub const PASSWORD: &str = "millstream";

    /// Makes them in `dir`.
    #[track_caller]
    pub fn make(dir: &Path) -> Self {
        let keys = Self { keystore: dir.join("server.p12"), truststore: dir.join("trust.p12") };
        let (certificate, alias) = (dir.join("server.crt"), ["-alias", "server"]);
        let names = ["-dname", "CN=localhost", "-ext", "SAN=dns:localhost,ip:127.0.0.1"];
        let key = ["-genkeypair", "-keyalg", "RSA", "-validity", "30"];
        keytool(&keys.keystore, |keytool| keytool.args(key).args(alias).args(names));
        keytool(&keys.keystore, |keytool| keytool.args(["-exportcert", "-rfc", "-file"]).arg(&certificate).args(alias));
        keytool(&keys.truststore, |keytool| {
            keytool.args(["-importcert", "-noprompt", "-file"]).arg(&certificate).args(alias)
        });
        keys
    }
}

#[track_caller]
fn keytool(store: &Path, what: impl FnOnce(&mut Command) -> &mut Command) {
    let mut keytool = Command::new(jdk::home().join("bin/keytool"));
    what(&mut keytool).arg("-keystore").arg(store);
    keytool.args(["-storetype", "PKCS12", "-storepass", Keys::PASSWORD]);
    let output = keytool.output().unwrap();
    let told = || [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success(), "keytool: {}", String::from_utf8_lossy(&told()));
}
