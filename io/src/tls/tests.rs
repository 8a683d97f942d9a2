#![allow(clippy::unwrap_used, reason = "tests")]
use std::path::PathBuf;

use millstream_core::Setting;
use p12_keystore::{Certificate, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A directory with a key and its certificate in every form.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["somewhere.else".into()]).unwrap();
        std::fs::write(dir.path().join("server.pem"), signing_key.serialize_pem() + &cert.pem()).unwrap();
        std::fs::write(dir.path().join("trust.pem"), cert.pem()).unwrap();
        let certificate = Certificate::from_der(cert.der()).unwrap();
        let key = PrivateKey::from_der(&signing_key.serialize_der()).unwrap();
        let mut server = KeyStore::new();
        let chain = PrivateKeyChain::new("1", key, [certificate.clone()]);
        server.add_entry("server", KeyStoreEntry::PrivateKeyChain(chain));
        std::fs::write(dir.path().join("server.p12"), server.writer("secret").write().unwrap()).unwrap();
        let mut trust = KeyStore::new();
        trust.add_entry("server", KeyStoreEntry::Certificate(certificate));
        std::fs::write(dir.path().join("trust.p12"), trust.writer("secret").write().unwrap()).unwrap();
        std::fs::write(dir.path().join("old.jks"), [&JKS_MAGIC[..], b"rest"].concat()).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn options(&self, specs: &[OptionSpec], settings: &[(&str, &str)]) -> Options {
        let settings = settings.iter().map(|(key, value)| Setting {
            key: (*key).into(),
            value: match key.ends_with("store") {
                true => self.path(value).display().to_string(),
                false => (*value).into(),
            },
            place: format!("f.conf:1: {key}"),
        });
        Options::parse("a1.sources.r1", specs, &[], settings).unwrap().0
    }

    fn acceptor(&self, settings: &[(&str, &str)]) -> Result<Option<TlsAcceptor>> {
        acceptor(&self.options(&SERVER_OPTIONS, settings))
    }

    fn connector(&self, settings: &[(&str, &str)]) -> Result<Option<TlsConnector>> {
        connector(&self.options(&CLIENT_OPTIONS, settings))
    }
}

/// What the server hears, over a pipe.
async fn exchange(acceptor: TlsAcceptor, connector: TlsConnector) -> std::io::Result<String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let client = async {
        let mut stream = connector.connect("any.name".try_into().unwrap(), near).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        // The server answers the handshake as it reads: until then it needs the pipe.
        std::io::Result::Ok(stream)
    };
    let server = async {
        let mut heard = [0; 5];
        acceptor.accept(far).await?.read_exact(&mut heard).await?;
        Ok(String::from_utf8_lossy(&heard).into_owned())
    };
    let (sent, heard) = tokio::join!(client, server);
    sent.and(heard)
}

const PEM: &[(&str, &str)] = &[("ssl", "true"), ("keystore", "server.pem")];
const PKCS12: &[(&str, &str)] = &[("ssl", "true"), ("keystore", "server.p12"), ("keystore-password", "secret")];

#[tokio::test]
async fn pem_and_pkcs12_speak_to_each_other_and_the_host_name_does_not_matter() {
    let files = Files::new();
    let trusts: [&[(&str, &str)]; 3] = [
        &[("ssl", "true"), ("truststore", "trust.pem")],
        &[("ssl", "TRUE"), ("truststore", "trust.p12"), ("truststore-password", "secret")],
        &[("ssl", "true"), ("trust-all-certs", "true")],
    ];
    for keys in [PEM, PKCS12] {
        for trust in trusts {
            let acceptor = files.acceptor(keys).unwrap().unwrap();
            let connector = files.connector(trust).unwrap().unwrap();
            assert_eq!(exchange(acceptor, connector).await.unwrap(), "hello", "{keys:?} {trust:?}");
        }
    }
}

/// Made as `tests/golden/tls/README.md` says.
#[tokio::test]
async fn keys_that_javas_keytool_made_on_elliptic_curves_are_completed_from_their_certificates() {
    let files = Files::new();
    for curve in ["secp256r1.p12", "secp384r1.p12"] {
        let made = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tls").join(curve);
        std::fs::copy(made, files.path(curve)).unwrap();
        let acceptor = files.acceptor(&[("ssl", "true"), ("keystore", curve), ("keystore-password", "secret")]);
        let trust = [("ssl", "true"), ("truststore", curve), ("truststore-password", "secret")];
        let connector = files.connector(&trust).unwrap().unwrap();
        assert_eq!(exchange(acceptor.unwrap().unwrap(), connector).await.unwrap(), "hello", "{curve}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_refused() {
    let (files, others) = (Files::new(), Files::new());
    for trust in [&[("ssl", "true"), ("truststore", "trust.pem")][..], &[("ssl", "true")]] {
        let acceptor = files.acceptor(PEM).unwrap().unwrap();
        let error = exchange(acceptor, others.connector(trust).unwrap().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
    }
}

#[tokio::test]
async fn versions_that_do_not_meet_are_refused() {
    let files = Files::new();
    let old = [PEM, &[("include-protocols", "TLSv1.2")]].concat();
    let new = [("ssl", "true"), ("trust-all-certs", "true"), ("exclude-protocols", "SSLv3 TLSv1.2")];
    let acceptor = files.acceptor(&old).unwrap().unwrap();
    assert!(exchange(acceptor, files.connector(&new).unwrap().unwrap()).await.is_err());
    let acceptor = files.acceptor(&old).unwrap().unwrap();
    assert!(exchange(acceptor, files.connector(&new[..2]).unwrap().unwrap()).await.is_ok());
}

#[test]
fn without_ssl_there_is_no_tls() {
    let files = Files::new();
    assert!(files.acceptor(&[("keystore", "server.pem")]).unwrap().is_none());
    assert!(files.connector(&[]).unwrap().is_none());
}

#[test]
fn what_cannot_be_used_is_refused_at_its_key_with_the_remedy() {
    let files = Files::new();
    let refused = |settings: &[(&str, &str)], texts: &[&str]| {
        let settings = [&[("ssl", "true")], settings].concat();
        let error = files.acceptor(&settings).err().map_or("accepted".to_owned(), |error| error.to_string());
        texts.iter().for_each(|text| assert!(error.contains(text), "{error}"));
    };
    refused(&[], &["a1.sources.r1.keystore: missing"]);
    refused(&[("keystore", "absent.pem")], &["f.conf:1: keystore: expected a file of PEM or PKCS12", "absent.pem"]);
    refused(&[("keystore", "trust.pem")], &["no private key"]);
    refused(&[("keystore", "old.jks")], &["keytool -importkeystore -srckeystore", "-deststoretype PKCS12"]);
    refused(&[("keystore", "server.p12"), ("keystore-password", "wrong")], &["neither PEM nor a PKCS12 file"]);
    refused(&[("keystore", "server.pem"), ("include-protocols", "TLSv1")], &["include-protocols", "TLSv1.3"]);
    refused(&[("keystore", "server.pem"), ("include-cipher-suites", "X")], &["TLS_AES_128_GCM_SHA256"]);
}
