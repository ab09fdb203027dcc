//! What is written, read again with another parser in mind: a client program that trusts nothing.

use std::fs;
use std::path::{Path, PathBuf};

use p521::ecdsa::signature::Verifier;
use p521::ecdsa::{DerSignature, VerifyingKey};
use uvsim_model::config::MachineConfig;
use uvsim_model::crypto::PrivateKey;
use x509_cert::certificate::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::BitString;
use x509_cert::der::{Decode, DecodePem, Encode};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};

use super::*;

/// The files of a host key, parsed.
struct Parsed {
    /// Host-key document, signing service, intermediate CA, root CA.
    chain: Vec<Certificate>,
    /// Of the three that sign, in the same order.
    lists: Vec<CertificateList>,
}

impl Parsed {
    fn of(files: &[HostKeyFile]) -> Self {
        let pem = |name: &str| &files.iter().find(|file| file.name == name).expect("it is among them").content;
        let certificates = ["host-key.crt", "signing-service.crt", "intermediate-ca.crt", "root-ca.crt"];
        let lists = ["signing-service.crl", "intermediate-ca.crl", "root-ca.crl"];
        Self {
            chain: certificates.map(|name| Certificate::from_pem(pem(name)).unwrap()).into(),
            lists: lists.map(|name| CertificateList::from_pem(pem(name)).unwrap()).into(),
        }
    }
}

fn key() -> PrivateKey {
    MachineConfig::default().host_keys().host
}

fn files(seed: u64) -> Vec<HostKeyFile> {
    Authority::new(seed, Period::usual()).unwrap().files(Role::Host, &key(), Form::Pem).unwrap()
}

fn signed_by(issuer: &Certificate, message: &[u8], signature: &BitString) -> bool {
    let key = issuer.tbs_certificate().subject_public_key_info().subject_public_key.as_bytes().unwrap();
    let signature = DerSignature::from_bytes(signature.as_bytes().unwrap()).unwrap();
    VerifyingKey::from_sec1_bytes(key).unwrap().verify(message, &signature).is_ok()
}

fn certifies(issuer: &Certificate, subject: &Certificate) -> bool {
    signed_by(issuer, &subject.tbs_certificate().to_der().unwrap(), subject.signature())
}

#[test]
fn each_is_signed_by_the_next_and_the_root_by_itself() {
    let Parsed { chain, .. } = Parsed::of(&files(1));
    for (number, certificate) in chain.iter().enumerate() {
        for (other, issuer) in chain.iter().enumerate() {
            assert_eq!(certifies(issuer, certificate), other == (number + 1).min(3), "{number} by {other}");
        }
        let issuer = chain[(number + 1).min(3)].tbs_certificate();
        let own = certificate.tbs_certificate();
        assert_eq!(own.issuer(), issuer.subject());
        let (_, named) = own.get_extension::<AuthorityKeyIdentifier>().unwrap().unwrap();
        let (_, wanted) = issuer.get_extension::<SubjectKeyIdentifier>().unwrap().unwrap();
        assert_eq!(named.key_identifier, Some(wanted.0));
        assert_eq!(own.signature(), certificate.signature_algorithm());
    }
}

#[test]
fn what_each_is_for() {
    let Parsed { chain, .. } = Parsed::of(&files(1));
    let authority = KeyUsages::KeyCertSign | KeyUsages::CRLSign;
    let wanted = [KeyUsages::KeyAgreement.into(), KeyUsages::DigitalSignature.into(), authority, authority];
    for (number, (certificate, wanted)) in chain.iter().zip(wanted).enumerate() {
        let tbs = certificate.tbs_certificate();
        let (critical, usage) = tbs.get_extension::<KeyUsage>().unwrap().unwrap();
        assert_eq!((critical, usage.0), (true, wanted), "{number}");
        let basic = tbs.get_extension::<BasicConstraints>().unwrap();
        assert_eq!(basic.map(|(critical, basic)| (critical, basic.ca)), [None, Some((true, false))][number.min(1)].or(basic_of(number)).filter(|_| number > 0).map(|_| (true, number > 1)));
        assert_eq!(tbs.get_extension::<ExtendedKeyUsage>().unwrap().is_some(), number == 1);
    }
}
