//! A certificate authority of a test's own.

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use std::{fs, path::Path};

/// Whose word counts for those who have its certificate.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = key();
        let mut builder = begun(name, &key);
        builder.set_issuer_name(&named(name)).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Authority { certificate: builder.build(), key }
    }

    /// Writes down its certificate.
    pub fn publish(&self, path: &Path) {
        fs::write(path, self.certificate.to_pem().unwrap()).unwrap();
    }

    /// Writes down a key and a certificate for these hosts, names and addresses, in one file; the key is locked with a
    /// password, where one is given.
    pub fn issue(&self, name: &str, hosts: &[&str], password: Option<&str>, path: &Path) {
        let key = key();
        let mut builder = begun(name, &key);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        if !hosts.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for host in hosts {
                if host.parse::<std::net::IpAddr>().is_ok() {
                    names.ip(host)
                } else {
                    names.dns(host)
                };
            }
            let names = names.build(&builder.x509v3_context(Some(&self.certificate), None)).unwrap();
            builder.append_extension(names).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        let mut pem = match password {
            Some(password) => {
                let cipher = openssl::symm::Cipher::aes_256_cbc();
                key.private_key_to_pem_pkcs8_passphrase(cipher, password.as_bytes()).unwrap()
            }
            None => key.private_key_to_pem_pkcs8().unwrap(),
        };
        pem.extend(builder.build().to_pem().unwrap());
        pem.extend(self.certificate.to_pem().unwrap());
        fs::write(path, pem).unwrap();
    }
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn named(name: &str) -> openssl::x509::X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_text("CN", name).unwrap();
    builder.build()
}

fn begun(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(fastrand::u32(1..)).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&named(name)).unwrap();
    builder.set_pubkey(key).unwrap();
    // Not before yesterday: the broker's clock is ours, to the second.
    let yesterday = Asn1Time::from_unix(jiff::Timestamp::now().as_second() - 86_400).unwrap();
    builder.set_not_before(&yesterday).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(30).unwrap()).unwrap();
    builder
}
