//! TLS to PostgreSQL by libpq's `sslmode`: the driver implements `disable`, `prefer` and `require`. `verify-ca` and
//! `verify-full` are implemented here, because the driver does not know them.
//!
//! As in libpq, `prefer` and `require` encrypt without verifying the server, unless `sslrootcert` names a CA.
//! Across a network use `verify-full`.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use shared::wire::percent_decode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DbError;

/// What to verify in the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verify {
    Nothing,
    Issuer,
    IssuerAndName,
}

/// The TLS part of a `postgres://` URL.
#[derive(Debug, PartialEq, Eq)]
pub struct Tls {
    verify: Verify,
    root_file: Option<String>,
}

impl Tls {
    /// Removes the parameters that the driver would refuse, and returns the URL that it accepts.
    pub fn from_url(url: &str) -> Result<(String, Self), DbError> {
        let mut tls = Self { verify: Verify::Nothing, root_file: None };
        let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), tls)) };
        let mut kept = Vec::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("sslmode", mode @ ("verify-full" | "verify-ca"))) => {
                    tls.verify = if mode == "verify-full" { Verify::IssuerAndName } else { Verify::Issuer };
                    kept.push("sslmode=require");
                }
                Some(("sslrootcert", path)) => {
                    // `+` stays, as it does in libpq.
                    let path = percent_decode(path, false).map_err(|error| refuse(&format!("sslrootcert: {error}")))?;
                    tls.root_file = Some(path.into_owned());
                }
                _ => kept.push(pair),
            }
        }
        if tls.verify == Verify::Nothing && tls.root_file.is_some() {
            // As in libpq, a named CA is verified.
            tls.verify = Verify::Issuer;
        }
        let url = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
        Ok((url, tls))
    }

    /// The driver's connector.
    pub fn connector(&self) -> Result<MakeRustlsConnect, DbError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let inner = match (self.verify, &self.root_file) {
            (Verify::Nothing, _) => None,
            (Verify::Issuer, None) => return Err(refuse("sslmode=verify-ca needs sslrootcert=FILE")),
            (Verify::IssuerAndName, None) => {
                // The connector uses the process' provider; an earlier call has installed the same one.
                rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
                let native = MakeRustlsConnect::with_native_certs();
                return native.map(|(connector, _)| connector).map_err(|_| {
                    refuse(
                        "this machine has no CA certificates: install ca-certificates, or name a file by sslrootcert",
                    )
                });
            }
            (_, Some(file)) => {
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(file)?), provider.clone());
                Some(verifier.build().map_err(|error| DbError::Defect(error.into()))?)
            }
        };
        let verifier = Verifier { verify: self.verify, inner, provider: provider.clone() };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| DbError::Defect(error.into()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }
}

fn roots(file: &str) -> Result<RootCertStore, DbError> {
    let unreadable = |error: &dyn std::fmt::Display| refuse(&format!("sslrootcert {file}: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
        roots.add(certificate.map_err(|error| unreadable(&error))?).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() { Err(refuse(&format!("sslrootcert {file} has no certificate"))) } else { Ok(roots) }
}

fn refuse(message: &str) -> DbError {
    DbError::Defect(format!("DATABASE_URL: {message}").into())
}

/// Always checks the signatures of the handshake, and the certificate as far as `verify` says.
#[derive(Debug)]
struct Verifier {
    verify: Verify,
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
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // webpki checks the name last: a wrong name means that the chain is valid.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verify == Verify::Issuer => Ok(ServerCertVerified::assertion()),
            checked => checked,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_keeps_what_the_driver_knows() {
        let tls = |verify, root: Option<&str>| Tls { verify, root_file: root.map(str::to_owned) };
        for (url, driver, expected) in [
            ("postgres://h/d", "postgres://h/d", tls(Verify::Nothing, None)),
            ("postgres://h/d?sslmode=disable", "postgres://h/d?sslmode=disable", tls(Verify::Nothing, None)),
            ("postgres://h/d?sslmode=verify-full", "postgres://h/d?sslmode=require", tls(Verify::IssuerAndName, None)),
            (
                "postgres://h/d?sslrootcert=%2Fa%20b.pem&connect_timeout=3",
                "postgres://h/d?connect_timeout=3",
                tls(Verify::Issuer, Some("/a b.pem")),
            ),
            (
                "postgres://h/d?sslrootcert=/ca&sslmode=verify-ca",
                "postgres://h/d?sslmode=require",
                tls(Verify::Issuer, Some("/ca")),
            ),
        ] {
            assert_eq!(Tls::from_url(url).unwrap(), (driver.to_owned(), expected), "{url}");
        }
        assert!(Tls::from_url("postgres://h/d?sslrootcert=%4").is_err());
    }

    #[test]
    fn a_ca_that_is_missing_is_told_at_the_start() {
        let (_, tls) = Tls::from_url("postgres://h/d?sslmode=verify-full&sslrootcert=/nowhere.pem").unwrap();
        assert!(tls.connector().err().unwrap().to_string().contains("/nowhere.pem"));
    }
}
