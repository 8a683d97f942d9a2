//! TLS for listeners and clients, from the keys of a component's configuration.
//!
//! Key and certificates come as PEM (key and chain in one file) or PKCS12; which of them is seen from the file. Java's own
//! JKS format is refused with the command that converts it.
//!
//! # Source
//! Flume's keys (`org.apache.flume.FlumeException` texts apart): `ssl`, `keystore`, `truststore`, `exclude-protocols` and their
//! kin. As Flume, clients check the chain and not the host name, and servers ask for no client certificate.

mod ec;

use std::path::Path;
use std::sync::Arc;

use millstream_core::{Kind, OptionSpec, Options, Result, optional, unset};
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
    version,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Options of a component that peers connect to.
pub const SERVER_OPTIONS: [OptionSpec; 8] = [
    optional("ssl", Kind::Bool, "false", "TLS."),
    unset("keystore", Kind::Path, "File with the private key and its certificates: PEM or PKCS12."),
    unset("keystore-password", Kind::Text, "Password of a PKCS12 keystore."),
    optional("keystore-type", Kind::Text, "JKS", "Seen from the file; JKS itself must be converted to PKCS12."),
    optional("exclude-protocols", Kind::List, "SSLv3", "Versions that are not offered, such as TLSv1.2."),
    unset("include-protocols", Kind::List, "The only versions offered: TLSv1.2, TLSv1.3."),
    optional("exclude-cipher-suites", Kind::List, "", "Cipher suites that are not offered, under Java's names."),
    unset("include-cipher-suites", Kind::List, "The only cipher suites offered, under Java's names."),
];

/// Options of a component that connects to a peer.
pub const CLIENT_OPTIONS: [OptionSpec; 9] = [
    optional("ssl", Kind::Bool, "false", "TLS."),
    optional("trust-all-certs", Kind::Bool, "false", "Accepts any server: for tests only."),
    unset("truststore", Kind::Path, "File with the trusted certificates: PEM or PKCS12; the system's unless given."),
    unset("truststore-password", Kind::Text, "Password of a PKCS12 truststore."),
    optional("truststore-type", Kind::Text, "JKS", "Seen from the file; JKS itself must be converted to PKCS12."),
    optional("exclude-protocols", Kind::List, "SSLv3", "Versions that are not offered, such as TLSv1.2."),
    unset("include-protocols", Kind::List, "The only versions offered: TLSv1.2, TLSv1.3."),
    optional("exclude-cipher-suites", Kind::List, "", "Cipher suites that are not offered, under Java's names."),
    unset("include-cipher-suites", Kind::List, "The only cipher suites offered, under Java's names."),
];

/// What a listener shakes hands with; `None` without `ssl`.
///
/// # Errors
/// `Config` at the key whose file or value cannot be used.
pub fn acceptor(options: &Options) -> Result<Option<TlsAcceptor>> {
    if !options.bool("ssl")? {
        return Ok(None);
    }
    // What needs no file is looked at first.
    let (provider, versions) = (provider(options)?, versions(options)?);
    let file = options.path("keystore").map_err(|_| {
        options
            .refuse("keystore", "missing; with ssl = true, expected a file with the private key and its certificates")
    })?;
    let identity = Identity::read(&file, options.find("keystore-password").unwrap_or_default());
    let Identity { key, chain } = identity.map_err(|problem| options.refuse("keystore", problem))?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| options.refuse("include-protocols", error))?;
    let config = builder.with_no_client_auth().with_single_cert(chain, key);
    let config = config.map_err(|error| {
        let remedy = "make one with keytool -keyalg RSA, or -keyalg EC on the curve secp256r1 or secp384r1";
        options.refuse("keystore", format_args!("{}: {error}; {remedy}", file.display()))
    })?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// What a client shakes hands with; `None` without `ssl`.
///
/// # Errors
/// `Config` at the key whose file or value cannot be used.
pub fn connector(options: &Options) -> Result<Option<TlsConnector>> {
    if !options.bool("ssl")? {
        return Ok(None);
    }
    let provider = provider(options)?;
    let trusted = if options.bool("trust-all-certs")? { None } else { Some(Trusted::from_options(options)?) };
    let trust = Arc::new(Trust { trusted, provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(options)?)
        .map_err(|error| options.refuse("include-protocols", error))?;
    let config = builder.dangerous().with_custom_certificate_verifier(trust).with_no_client_auth();
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

/// A private key and the certificates that go with it.
struct Identity {
    key: PrivateKeyDer<'static>,
    chain: Vec<CertificateDer<'static>>,
}

// === impl Identity ===

impl Identity {
    fn read(file: &Path, password: &str) -> Result<Self, String> {
        let bytes = read(file)?;
        if is_pem(&bytes) {
            let key = PrivateKeyDer::from_pem_slice(&bytes);
            let key = key.map_err(|error| format!("{}: no private key in PEM form: {error}", file.display()))?;
            return Ok(Self { key, chain: pem_certificates(file, &bytes)? });
        }
        let store = pkcs12(file, &bytes, password)?;
        let (_, chain) =
            store.private_key_chain().ok_or_else(|| format!("{}: no private key in it", file.display()))?;
        let certificates = chain.certs().iter().map(|certificate| certificate.as_der().to_vec().into());
        let certificates: Vec<CertificateDer<'static>> = certificates.collect();
        let key = chain.key().as_der();
        let completed = certificates.first().and_then(|own| ec::completed(key, own));
        let key = PrivateKeyDer::try_from(completed.unwrap_or_else(|| key.to_vec()));
        let key = key.map_err(|error| format!("{}: the private key cannot be used: {error}", file.display()))?;
        Ok(Self { key, chain: certificates })
    }
}

// === reading files ===

impl Trusted {
    fn from_options(options: &Options) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let Some(file) = options.find("truststore") else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(Self { roots, certificates: Vec::new() });
        };
        let password = options.find("truststore-password").unwrap_or_default();
        let certificates = trusted(Path::new(file), password).map_err(|error| options.refuse("truststore", error))?;
        let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        match added {
            0 => Err(options.refuse("truststore", format_args!("{file}: no certificate in it that can be trusted"))),
            _ => Ok(Self { roots, certificates }),
        }
    }
}

fn trusted(file: &Path, password: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(file)?;
    if is_pem(&bytes) {
        return pem_certificates(file, &bytes);
    }
    let store = pkcs12(file, &bytes, password)?;
    let certificates = store.entries().flat_map(|(_, entry)| match entry {
        KeyStoreEntry::Certificate(certificate) => vec![certificate.as_der().to_vec().into()],
        KeyStoreEntry::PrivateKeyChain(chain) => {
            chain.certs().iter().map(|certificate| certificate.as_der().to_vec().into()).collect()
        }
        KeyStoreEntry::Secret(_) => Vec::new(),
    });
    Ok(certificates.collect())
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| {
        format!(
            "expected a file of PEM or PKCS12 that this user may read, got {:?}: {error}",
            file.display().to_string()
        )
    })
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(PEM_MARK.len()).any(|window| window == PEM_MARK)
}

fn pem_certificates(file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{}: no certificate in PEM form in it", file.display())),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

fn pkcs12(file: &Path, bytes: &[u8], password: &str) -> Result<KeyStore, String> {
    let shown = file.display();
    if bytes.starts_with(&JKS_MAGIC) || bytes.starts_with(&JCEKS_MAGIC) {
        return Err(format!(
            "{shown} is a Java keystore (JKS); convert it: keytool -importkeystore -srckeystore {shown} -destkeystore {shown}.p12 -deststoretype PKCS12"
        ));
    }
    // Java marks a trusted certificate with an attribute of its own; files of other tools lack it.
    KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Relaxed)
        .map_err(|error| format!("{shown}: neither PEM nor a PKCS12 file that the password opens: {error}"))
}

// === versions and suites ===

fn versions(options: &Options) -> Result<Vec<&'static SupportedProtocolVersion>> {
    const ALL: [(&str, &SupportedProtocolVersion); 2] = [("TLSv1.2", &version::TLS12), ("TLSv1.3", &version::TLS13)];
    let (included, excluded) = (options.list("include-protocols"), options.list("exclude-protocols"));
    let offered = ALL.iter().filter(|(name, _)| is_offered(name, &included, &excluded)).map(|(_, version)| *version);
    let offered: Vec<_> = offered.collect();
    if offered.is_empty() {
        let key = if included.is_empty() { "exclude-protocols" } else { "include-protocols" };
        let given = options.find(key).unwrap_or_default();
        let problem = format_args!("expected to offer TLSv1.2, TLSv1.3 or both, got {given:?}: nothing is left");
        return Err(options.refuse(key, problem));
    }
    Ok(offered)
}

fn provider(options: &Options) -> Result<Arc<CryptoProvider>> {
    let mut provider = ring::default_provider();
    let (included, excluded) = (options.list("include-cipher-suites"), options.list("exclude-cipher-suites"));
    // Java writes TLS_AES_128_GCM_SHA256 where this library says TLS13_AES_128_GCM_SHA256.
    let java_name = |suite: &str| suite.replacen("TLS13_", "TLS_", 1);
    provider
        .cipher_suites
        .retain(|suite| suite.suite().as_str().is_some_and(|name| is_offered(&java_name(name), &included, &excluded)));
    if provider.cipher_suites.is_empty() {
        let key = if included.is_empty() { "exclude-cipher-suites" } else { "include-cipher-suites" };
        let known = ring::default_provider();
        let known: Vec<String> =
            known.cipher_suites.iter().filter_map(|suite| suite.suite().as_str().map(java_name)).collect();
        let given = options.find(key).unwrap_or_default();
        let problem = format_args!("expected to offer some of {}, got {given:?}: nothing is left", known.join(" "));
        return Err(options.refuse(key, problem));
    }
    Ok(Arc::new(provider))
}

fn is_offered(name: &str, included: &[&str], excluded: &[&str]) -> bool {
    (included.is_empty() || included.contains(&name)) && !excluded.contains(&name)
}

// === trust ===

/// What is in a truststore.
#[derive(Debug)]
struct Trusted {
    roots: RootCertStore,
    /// A server's own certificate may be trusted as it is, whoever signed it.
    certificates: Vec<CertificateDer<'static>>,
}

/// Checks the server's chain and not its name, as Flume's clients do; where nothing is said of trust, not even that.
#[derive(Debug)]
struct Trust {
    trusted: Option<Trusted>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        if let Some(Trusted { roots, certificates }) = &self.trusted
            && !certificates.contains(end_entity)
        {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// How a PEM section begins.
const PEM_MARK: &[u8] = b"-----BEGIN ";
const JKS_MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const JCEKS_MAGIC: [u8; 4] = [0xce, 0xce, 0xce, 0xce];

#[cfg(test)]
mod tests;
