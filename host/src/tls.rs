//! What is trusted of others: one answer for everything in this process that speaks TLS and is not librdkafka.

use openssl::{
    error::ErrorStack,
    ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVersion},
};

/// A connector that trusts what the system trusts, or what SSL_CERT_FILE and SSL_CERT_DIR say.
pub(crate) fn trusting() -> Result<SslConnectorBuilder, ErrorStack> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    let found = openssl_probe::probe();
    let is_text = |path: &std::path::PathBuf| path.to_str().is_some(); // others would be a panic there
    if let Some(file) = found.cert_file.filter(is_text) {
        connector.load_verify_locations(Some(&file), None)?;
    }
    for folder in found.cert_dir.into_iter().filter(is_text) {
        connector.load_verify_locations(None, Some(&folder))?;
    }
    Ok(connector)
}
