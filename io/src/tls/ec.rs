//! Keys on elliptic curves without their public halves, as Java's keytool writes them: the certificate has it.
//!
//! # Source
//! RFC 5915 (where the public half is optional) and RFC 5958; `ring` wants it.

use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{Decode, Encode};
use pkcs8::spki::SubjectPublicKeyInfoRef;
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use sec1::EcPrivateKey;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::ParsedCertificate;

/// The key with the public half of its certificate; `None` for one that has it, or is of another kind.
pub(super) fn completed(key: &[u8], certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let info = PrivateKeyInfoRef::try_from(key).ok()?;
    if info.algorithm.oid != EC_PUBLIC_KEY {
        return None;
    }
    let half = EcPrivateKey::from_der(info.private_key.as_bytes()).ok().filter(|key| key.public_key.is_none())?;
    let public = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
    let public = SubjectPublicKeyInfoRef::from_der(&public).ok()?;
    let whole = EcPrivateKey { public_key: Some(public.subject_public_key.as_bytes()?), ..half }.to_der().ok()?;
    PrivateKeyInfoRef::new(info.algorithm, OctetStringRef::new(&whole).ok()?).to_der().ok()
}

/// `id-ecPublicKey`.
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
