//! Host-key documents of uvsim, before the verifier of the client programs.

mod customer;

use customer::Folder;
use openssl::x509::X509;
use s390_pv::request::{CertVerifier, HkdVerifier};
use s390_pv::{Error, HkdVerifyErrorType};
use std::fs;
use std::path::PathBuf;
use uvsim::hostkey::{Form, Period};

const CERTIFICATES: [&str; 2] = ["signing-service.crt", "intermediate-ca.crt"];
const LISTS: [&str; 3] = ["signing-service.crl", "intermediate-ca.crl", "root-ca.crl"];
const ROOT: &str = "root-ca.crt";

fn usual(name: &str) -> Folder {
    Folder::with_documents(name, 1, Period::usual(), Form::Pem)
}

fn paths(folder: &Folder, names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| folder.path(name)).collect()
}

/// The verifier of `pvimg create --offline` with these files.
fn verifier(folder: &Folder, certificates: &[&str], lists: &[&str], root: PathBuf) -> Result<CertVerifier, Error> {
    CertVerifier::new(&paths(folder, certificates), &paths(folder, lists), Some(root), true)
}

fn document(folder: &Folder, name: &str) -> X509 {
    s390_pv::misc::read_certs(fs::read(folder.path(name)).unwrap()).unwrap().remove(0)
}

fn all(folder: &Folder) -> CertVerifier {
    verifier(folder, &CERTIFICATES, &LISTS, folder.path(ROOT)).expect("the chain leads to the root")
}

#[test]
fn documents_are_accepted_in_both_forms() {
    for (name, form) in [("pem", Form::Pem), ("der", Form::Der)] {
        let folder = Folder::with_documents(name, 1, Period::usual(), form);
        let verifier = all(&folder);
        for name in ["host-key.crt", "backup-host-key.crt"] {
            verifier.verify(&document(&folder, name)).unwrap_or_else(|error| panic!("{name} {form:?}: {error}"));
        }
    }
}

#[test]
fn a_document_with_a_changed_byte_is_refused() {
    let folder = Folder::with_documents("changed", 1, Period::usual(), Form::Der);
    let verifier = all(&folder);
    let good = fs::read(folder.path("host-key.crt")).unwrap();
    let (mut refused, mut unreadable) = (0, 0);
    // Every bit of it would do; a sample keeps the test short.
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        match X509::from_der(&bad) {
            Ok(document) => {
                assert!(verifier.verify(&document).is_err(), "byte {at:#x}");
                refused += 1;
            }
            Err(_) => unreadable += 1,
        }
    }
    assert!(refused > 80 && unreadable > 0, "{refused} refused, {unreadable} unreadable");
    assert!(verifier.verify(&X509::from_der(&good).unwrap()).is_ok());
}

#[test]
fn a_changed_key_is_a_broken_signature() {
    let folder = Folder::with_documents("key", 1, Period::usual(), Form::Der);
    let mut bytes = fs::read(folder.path("host-key.crt")).unwrap();
    let subject = bytes.windows(6).rposition(|window| window == b"Host k").unwrap();
    bytes[subject] = b'h';
    let error = all(&folder).verify(&X509::from_der(&bytes).unwrap()).unwrap_err();
    assert!(matches!(error, Error::HkdVerify(HkdVerifyErrorType::Signature)), "{error}");
}

#[test]
fn another_root_or_another_service_is_refused() {
    let (one, two) = (usual("one"), Folder::with_documents("two", 2, Period::usual(), Form::Pem));
    let error = verifier(&one, &CERTIFICATES, &LISTS, two.path(ROOT)).unwrap_err();
    assert!(matches!(error, Error::HkdVerify(HkdVerifyErrorType::IbmSignInvalid(..))), "{error}");
    let error = all(&one).verify(&document(&two, "host-key.crt")).unwrap_err();
    assert!(matches!(error, Error::HkdVerify(HkdVerifyErrorType::Akid)), "{error}");
    assert!(all(&two).verify(&document(&two, "host-key.crt")).is_ok());
}

#[test]
fn every_certificate_and_every_list_is_needed() {
    let folder = usual("needed");
    let root = || folder.path(ROOT);
    let invalid = |result: Result<CertVerifier, Error>| {
        let error = result.expect_err("something is missing");
        assert!(matches!(error, Error::HkdVerify(HkdVerifyErrorType::IbmSignInvalid(..))), "{error}");
    };
    invalid(verifier(&folder, &CERTIFICATES[..1], &LISTS, root()));
    let error = verifier(&folder, &CERTIFICATES[1..], &LISTS, root()).unwrap_err();
    assert!(matches!(error, Error::HkdVerify(HkdVerifyErrorType::NoIbmSignKey)), "{error}");
    invalid(verifier(&folder, &CERTIFICATES, &[LISTS[0], LISTS[1]], root()));
    invalid(verifier(&folder, &CERTIFICATES, &[LISTS[0], LISTS[2]], root()));
    // The chain of the service stands without its own list, the document does not.
    let unlisted = verifier(&folder, &CERTIFICATES, &LISTS[1..], root()).expect("the chain is whole");
    let error = unlisted.verify(&document(&folder, "host-key.crt")).unwrap_err();
    assert!(matches!(error, Error::HkdVerify(HkdVerifyErrorType::NoCrl)), "{error}");
}

#[test]
fn a_period_that_is_over_or_to_come() {
    for (name, first, last) in [("over", "2020-01-01", "2020-12-31"), ("to-come", "2999-01-01", "2999-12-31")] {
        let folder = Folder::with_documents(name, 1, Period::new(first, last).unwrap(), Form::Pem);
        let error = verifier(&folder, &CERTIFICATES, &LISTS, folder.path(ROOT)).expect_err("it is not valid now");
        assert!(matches!(error, Error::HkdVerify(HkdVerifyErrorType::IbmSignInvalid(..))), "{name}: {error}");
        // The same authority, in its time, has not made this document for today.
        let now = usual(&format!("{name}-now"));
        let error = all(&now).verify(&document(&folder, "host-key.crt")).unwrap_err();
        let fits = match &error {
            Error::HkdVerify(HkdVerifyErrorType::AfterValidity) => name == "over",
            Error::HkdVerify(HkdVerifyErrorType::BeforeValidity) => name == "to-come",
            _ => false,
        };
        assert!(fits, "{name}: {error}");
    }
}
