//! Which authorities vouch for a server: those of the image, of `SSL_CERT_FILE` and `SSL_CERT_DIR`, or, where an image
//! has none (`FROM scratch`), Mozilla's list as it is embedded in the binary.

use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{StoreError, StoreErrorKind};

/// An idle connection is closed before the server does it: S3 waits about 20 s.
const IDLE: std::time::Duration = std::time::Duration::from_secs(15);

/// A client for plain connections, which reads no certificates at all.
pub(super) fn plain_client() -> SharedHttpClient {
    Builder::new().pool_idle_timeout(IDLE).build_http()
}

/// A client for TLS and plain connections.
pub(super) fn tls_client() -> Result<SharedHttpClient, StoreError> {
    let trust = if rustls_native_certs::load_native_certs().certs.is_empty() {
        for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            if std::env::var_os(variable).is_some() {
                tracing::warn!("{variable} names no readable certificates: the embedded list is used");
            }
        }
        TrustStore::empty().with_pem_certificate(embedded())
    } else {
        TrustStore::default()
    };
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| StoreError::new(StoreErrorKind::Settings, "connect", format!("no TLS: {error}")))?;
    Ok(Builder::new()
        .pool_idle_timeout(IDLE)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(context)
        .build_https())
}

/// The embedded list in the form that the client takes.
fn embedded() -> Vec<u8> {
    let mut pem = Vec::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            pem.extend_from_slice(line);
            pem.push(b'\n');
        }
        pem.extend_from_slice(b"-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_list_holds_the_authorities_of_aws() {
        let pem = String::from_utf8(embedded()).unwrap();
        assert!(pem.matches("BEGIN CERTIFICATE").count() > 100);
        // "Amazon Root CA 1" stands in its certificate as plain text; base64 of the file hides it, so count DER.
        assert!(
            webpki_root_certs::TLS_SERVER_ROOT_CERTS
                .iter()
                .any(|der| { der.as_ref().windows(16).any(|text| text == b"Amazon Root CA 1") })
        );
    }
}
