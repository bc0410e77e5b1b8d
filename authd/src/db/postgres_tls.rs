//! TLS to PostgreSQL by libpq's `sslmode`: the driver implements `disable`, `prefer` and `require`. `verify-ca` and
//! `verify-full` are implemented here, because the driver does not know them.
//!
//! As in libpq, `prefer` and `require` encrypt without verifying the server, unless `sslrootcert` names a CA.
//! Across a network use `verify-full`.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::der::oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;

/// What to verify in the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    Nothing,
    Issuer,
    IssuerAndName,
}

/// The TLS part of a `postgres://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub verify: Verify,
    /// If absent, the authorities of this machine.
    pub root_file: Option<String>,
}

impl Tls {
    /// The driver's connector; reads the root certificates.
    pub fn connector(&self) -> Result<MakeRustlsConnect, String> {
        if self.verify != Verify::Nothing && self.root_file.is_none() {
            // The connector uses the process' provider; an earlier call has installed the same one.
            rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
            let native = MakeRustlsConnect::with_native_certs();
            return native.map(|(connector, _)| connector).map_err(|_| {
                "this machine has no CA certificates: install ca-certificates, or name a file by sslrootcert".into()
            });
        }
        let verifier = self.verifier()?;
        let config = ClientConfig::builder_with_provider(verifier.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }

    /// Verifies by the root certificates of the file; not at all without one.
    fn verifier(&self) -> Result<Verifier, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (roots, inner) = match (self.verify, &self.root_file) {
            (Verify::Nothing, _) | (_, None) => (Vec::new(), None),
            (_, Some(file)) => {
                let (roots, store) = read_roots(file)?;
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone());
                (roots, Some(verifier.build().map_err(|error| format!("sslrootcert {file}: {error}"))?))
            }
        };
        Ok(Verifier { verify: self.verify, roots, inner, provider })
    }
}

/// The certificates of a PEM file, and what verifies by them.
fn read_roots(file: &str) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("sslrootcert {file}: {error}");
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))?;
    let roots = certificates.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(&error))?;
    for root in &roots {
        store.add(root.clone()).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() { Err(format!("sslrootcert {file} has no certificate in PEM")) } else { Ok((roots, store)) }
}

/// Always checks the signatures of the handshake, and the certificate as far as `verify` says.
#[derive(Debug)]
struct Verifier {
    verify: Verify,
    roots: Vec<CertificateDer<'static>>,
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        // A certificate that is itself a root is trusted as it is, as in OpenSSL. One made by `openssl req -x509` says
        // that it is a CA, which webpki refuses for a server.
        let checked = if self.roots.contains(end_entity) {
            check_validity(end_entity, now)?;
            ParsedCertificate::try_from(end_entity).and_then(|parsed| verify_server_name(&parsed, server_name))
        } else {
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map(drop)
        };
        match checked {
            // webpki checks the name last: a wrong name means that the chain is valid.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verify == Verify::Issuer || has_common_name(end_entity, &server_name.to_str()) => {}
            checked => checked?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<x509_cert::Certificate, rustls::Error> {
    x509_cert::Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let validity = parse(certificate)?.tbs_certificate.validity;
    let seconds = now.as_secs();
    if seconds < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if seconds > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Whether a certificate without names of the server (subjectAltName) has this one as its common name. libpq accepts
/// that, and the self-signed certificate of PostgreSQL's manual is one.
fn has_common_name(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(certificate) = parse(certificate) else { return false };
    let certificate = certificate.tbs_certificate;
    let mut extensions = certificate.extensions.iter().flatten();
    if extensions.any(|extension| extension.extn_id == ID_CE_SUBJECT_ALT_NAME) {
        return false;
    }
    let attributes = certificate.subject.0.iter().flat_map(|name| name.0.iter());
    let mut names = attributes.filter(|attribute| attribute.oid == CN).map(|attribute| attribute.value.value());
    names.any(|found| found.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl req -x509 -subj /CN=Db.example.test`, as in PostgreSQL's manual: a CA, without other names.
    const COMMON_NAME: &str = "\
-----BEGIN CERTIFICATE-----
MIIBiTCCAS+gAwIBAgIUbpecYKvoiGcp6cG9O9wCO1Al58MwCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPRGIuZXhhbXBsZS50ZXN0MB4XDTI2MTEyNjE3NDM0MFoXDTM2
MTEyMzE3NDM0MFowGjEYMBYGA1UEAwwPRGIuZXhhbXBsZS50ZXN0MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEyORk3ab8j92DEChDNP+6/DgdYZFKpWfqC9uxjyR+
GbkiKhH2GgT36bAagZoBqZuOBdsKGhUJ8sQOfvnuKpQh+qNTMFEwHQYDVR0OBBYE
FOvhF8X0WzZMTtLJYHo0Doy2rL7MMB8GA1UdIwQYMBaAFOvhF8X0WzZMTtLJYHo0
Doy2rL7MMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgEYldadwz
draQm3MgG0HvSNl9ECp/gG4vw0Sy0x87LZwCIQDAWDuU0Jy4V/inHHZcHDSClcV3
3ZqPk5AZBU9ODByPYA==
-----END CERTIFICATE-----
";
    /// The same with `-subj /CN=other.example.test -addext subjectAltName=DNS:db.example.test`.
    const ALTERNATIVE_NAME: &str = "\
-----BEGIN CERTIFICATE-----
MIIBqzCCAVGgAwIBAgIUcJtq5qi8YouRne6Q509WVvtNoxgwCgYIKoZIzj0EAwIw
HTEbMBkGA1UEAwwSb3RoZXIuZXhhbXBsZS50ZXN0MB4XDTI2MTEyNjE3NDM0MFoX
DTM2MTEyMzE3NDM0MFowHTEbMBkGA1UEAwwSb3RoZXIuZXhhbXBsZS50ZXN0MFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEfAe0TTruKSIGHXzQiUT318uGIDRIpmvX
L086xBpG2ZpmUcVKEVs0DSkWJTN1gCgkDSIA1/YPylNSFk7yce8fhaNvMG0wHQYD
VR0OBBYEFH35mPKOqVpV+sNFzx919YsFGHPiMB8GA1UdIwQYMBaAFH35mPKOqVpV
+sNFzx919YsFGHPiMA8GA1UdEwEB/wQFMAMBAf8wGgYDVR0RBBMwEYIPZGIuZXhh
bXBsZS50ZXN0MAoGCCqGSM49BAMCA0gAMEUCIH3jyw4QAHEZlN2HkPmDuIill9Kg
bJDxYYHNxbBsrEEiAiEAteF5zBhlP4/NkcAE1qevMm6lNugViB8L7QQdwhfwWEE=
-----END CERTIFICATE-----
";
    /// Both are valid from there for ten years.
    const MADE: u64 = 1_795_715_020;

    fn verify(tls: &Tls, pem: &str, name: &'static str, at: u64) -> Result<(), rustls::Error> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let name = ServerName::try_from(name).unwrap();
        let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
        tls.verifier().unwrap().verify_server_cert(&certificate, &[], &name, &[], time).map(drop)
    }

    #[test]
    fn a_self_signed_certificate_is_trusted_where_it_is_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let of = |pem: &str, verify| {
            let file = folder.path().join("root.pem");
            std::fs::write(&file, pem).unwrap();
            Tls { verify, root_file: Some(file.to_str().unwrap().to_owned()) }
        };
        let now = MADE + 60;
        for (root, presented, name, is_good) in [
            (COMMON_NAME, COMMON_NAME, "db.example.test", true),
            (COMMON_NAME, COMMON_NAME, "DB.example.test", true),
            (COMMON_NAME, COMMON_NAME, "other.example.test", false),
            (COMMON_NAME, COMMON_NAME, "127.0.0.1", false),
            (ALTERNATIVE_NAME, ALTERNATIVE_NAME, "db.example.test", true),
            (ALTERNATIVE_NAME, ALTERNATIVE_NAME, "other.example.test", false),
            (COMMON_NAME, ALTERNATIVE_NAME, "db.example.test", false),
        ] {
            let full = verify(&of(root, Verify::IssuerAndName), presented, name, now);
            assert_eq!(full.is_ok(), is_good, "{name}: {full:?}");
            let issuer = verify(&of(root, Verify::Issuer), presented, name, now);
            assert_eq!(issuer.is_ok(), root == presented, "{name}: {issuer:?}");
        }
        for outside in [MADE - 86_400, MADE + 11 * 365 * 86_400] {
            assert!(verify(&of(COMMON_NAME, Verify::Issuer), COMMON_NAME, "db.example.test", outside).is_err());
        }
    }

    #[test]
    fn a_ca_that_is_missing_is_told_at_the_start() {
        let tls = Tls { verify: Verify::IssuerAndName, root_file: Some("/nowhere.pem".into()) };
        assert!(tls.connector().err().unwrap().contains("/nowhere.pem"));
    }
}
