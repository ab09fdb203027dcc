//! What is written, read again as a client program would that trusts nothing.

use std::fs;
use std::path::PathBuf;

use p521::ecdsa::signature::Verifier;
use p521::ecdsa::{DerSignature, VerifyingKey};
use uvsim_model::config::MachineConfig;
use uvsim_model::crypto::PrivateKey;
use x509_cert::certificate::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::BitString;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, DecodePem, Encode};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};

use super::*;
use crate::image::Recipient;

/// The files of a host key, parsed.
#[derive(PartialEq, Debug)]
struct Parsed {
    /// Host-key document, signing service, intermediate CA, root CA.
    chain: Vec<Certificate>,
    /// Of the three that sign, in the same order.
    lists: Vec<CertificateList>,
}

const CERTIFICATES: [&str; 4] = ["host-key.crt", "signing-service.crt", "intermediate-ca.crt", "root-ca.crt"];
const LISTS: [&str; 3] = ["signing-service.crl", "intermediate-ca.crl", "root-ca.crl"];

fn key() -> PrivateKey {
    MachineConfig::default().host_keys().host
}

fn files(seed: u64, period: Period, form: Form) -> Vec<HostKeyFile> {
    Authority::new(seed, period).unwrap().files(Role::Host, &key(), form).unwrap()
}

fn usual() -> Vec<HostKeyFile> {
    files(1, Period::usual(), Form::Pem)
}

fn content<'a>(files: &'a [HostKeyFile], name: &str) -> &'a [u8] {
    &files.iter().find(|file| file.name == name).expect("it is among them").content
}

fn parsed(files: &[HostKeyFile]) -> Parsed {
    Parsed {
        chain: CERTIFICATES.map(|name| Certificate::from_pem(content(files, name)).unwrap()).into(),
        lists: LISTS.map(|name| CertificateList::from_pem(content(files, name)).unwrap()).into(),
    }
}

fn signed_by(issuer: &Certificate, message: &[u8], signature: &BitString) -> bool {
    let key = issuer.tbs_certificate().subject_public_key_info().subject_public_key.as_bytes().unwrap();
    let signature = DerSignature::from_bytes(signature.as_bytes().unwrap()).unwrap();
    VerifyingKey::from_sec1_bytes(key).unwrap().verify(message, &signature).is_ok()
}

#[test]
fn each_is_signed_by_the_next_and_the_root_by_itself() {
    let Parsed { chain, lists } = parsed(&usual());
    let issuer_of = |number: usize| (number + 1).min(3);
    for (number, certificate) in chain.iter().enumerate() {
        let own = certificate.tbs_certificate();
        for (other, issuer) in chain.iter().enumerate() {
            let signed = signed_by(issuer, &own.to_der().unwrap(), certificate.signature());
            assert_eq!(signed, other == issuer_of(number), "{number} by {other}");
        }
        let issuer = chain[issuer_of(number)].tbs_certificate();
        assert_eq!(own.issuer(), issuer.subject());
        let (_, named) = own.get_extension::<AuthorityKeyIdentifier>().unwrap().unwrap();
        let (_, wanted) = issuer.get_extension::<SubjectKeyIdentifier>().unwrap().unwrap();
        assert_eq!(named.key_identifier, Some(wanted.0));
        assert_eq!(own.signature(), certificate.signature_algorithm());
    }
    let mut numbers: Vec<_> = chain.iter().map(|one| one.tbs_certificate().serial_number().clone()).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), 4, "serial numbers differ");
    for (list, issuer) in lists.iter().zip(&chain[1..]) {
        assert!(signed_by(issuer, &list.tbs_cert_list.to_der().unwrap(), &list.signature));
        assert_eq!(&list.tbs_cert_list.issuer, issuer.tbs_certificate().subject());
        assert_eq!(list.tbs_cert_list.revoked_certificates, None);
        let extensions = list.tbs_cert_list.crl_extensions.as_ref().unwrap();
        let named = extensions.iter().find(|one| one.extn_id == AuthorityKeyIdentifier::OID).unwrap();
        let named = AuthorityKeyIdentifier::from_der(named.extn_value.as_bytes()).unwrap();
        let (_, wanted) = issuer.tbs_certificate().get_extension::<SubjectKeyIdentifier>().unwrap().unwrap();
        assert_eq!(named.key_identifier, Some(wanted.0), "a list names the key that signs it");
    }
}

#[test]
fn every_subject_says_that_it_is_simulated_and_insecure() {
    for role in [Role::Host, Role::Backup] {
        let authority = Authority::new(u64::MAX, Period::usual()).unwrap();
        let document = authority.certify(role, key().public()).unwrap();
        let mut chain = parsed(&files(u64::MAX, Period::usual(), Form::Pem)).chain;
        chain.push(document);
        for certificate in chain {
            let subject = certificate.tbs_certificate().subject();
            let marked = |part: &x509_cert::attr::AttributeTypeAndValue| {
                let text = String::from_utf8(part.value.value().to_vec()).unwrap();
                // Longer parts break the rules for names (RFC 5280, appendix A).
                assert!(text.len() <= 64, "{text}");
                text.contains(MARK)
            };
            assert!(subject.iter().filter(|part| marked(part)).count() == 1, "{subject}");
        }
    }
}

/// Client programs know the certificate of the signing service by these six parts of its subject.
#[test]
fn the_signing_service_and_nothing_else_has_the_subject_that_is_looked_for() {
    let corporation = "International Business Machines Corporation";
    let wanted = [
        ("2.5.4.6", "US"),
        ("2.5.4.8", "New York"),
        ("2.5.4.7", "Poughkeepsie"),
        ("2.5.4.10", corporation),
        ("2.5.4.3", corporation),
    ];
    let found = parsed(&usual()).chain.into_iter().map(|certificate| {
        let parts: Vec<_> = certificate.tbs_certificate().subject().iter().cloned().collect();
        let has = |oid: &str, fits: &dyn Fn(&[u8]) -> bool| {
            parts.iter().any(|part| part.oid.to_string() == oid && fits(part.value.value()))
        };
        parts.len() == 6
            && wanted.iter().all(|(oid, text)| has(oid, &|value| value == text.as_bytes()))
            && has("2.5.4.11", &|value| value.ends_with(b"Key Signing Service"))
    });
    assert_eq!(found.collect::<Vec<_>>(), [false, true, false, false]);
}

#[test]
fn what_each_is_for() {
    let authority = KeyUsages::KeyCertSign | KeyUsages::CRLSign;
    let wanted = [
        (KeyUsages::KeyAgreement.into(), None, false),
        (KeyUsages::DigitalSignature.into(), Some((true, false)), true),
        (authority, Some((true, true)), false),
        (authority, Some((true, true)), false),
    ];
    let found: Vec<_> = parsed(&usual()).chain.iter().map(extensions).collect();
    assert_eq!(found, wanted);
}

/// Key usage, which is critical; basic constraints, (critical, is an authority); has extended usages.
fn extensions(certificate: &Certificate) -> (x509_cert::der::flagset::FlagSet<KeyUsages>, Option<(bool, bool)>, bool) {
    let own = certificate.tbs_certificate();
    let (critical, usage) = own.get_extension::<KeyUsage>().unwrap().unwrap();
    assert!(critical);
    let basic = own.get_extension::<BasicConstraints>().unwrap();
    let extended = own.get_extension::<ExtendedKeyUsage>().unwrap();
    (usage.0, basic.map(|(critical, basic)| (critical, basic.ca)), extended.is_some())
}

#[test]
fn dates_are_fixed_unless_they_are_given() {
    let dates = |files: &[HostKeyFile]| {
        let Parsed { chain, lists } = parsed(files);
        let mut dates: Vec<[String; 2]> = chain
            .iter()
            .map(|one| *one.tbs_certificate().validity())
            .map(|validity| [validity.not_before.to_string(), validity.not_after.to_string()])
            .collect();
        dates.extend(lists.iter().map(|list| {
            let list = &list.tbs_cert_list;
            [list.this_update.to_string(), list.next_update.unwrap().to_string()]
        }));
        dates.dedup();
        assert_eq!(dates.len(), 1, "all have the same");
        dates.remove(0)
    };
    assert_eq!(dates(&usual()), ["2020-01-01T00:00:00Z", "2119-12-31T23:59:59Z"]);
    let short = Period::new("2049-12-31", "2050-01-01").unwrap();
    assert_eq!(dates(&files(1, short, Form::Pem)), ["2049-12-31T00:00:00Z", "2050-01-01T23:59:59Z"]);
    let far = Period::new("1970-01-01", "9999-12-31").unwrap();
    assert_eq!(dates(&files(1, far, Form::Pem)), ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]);
}

#[test]
fn days_that_are_none() {
    for text in ["", "2020", "2020-1-1", "2020-13-01", "2021-02-29", "1969-12-31", "20200101", "2020-01-01T", "٢٠٢٠-٠١"]
    {
        let wanted = Err(PeriodError::Day(text.to_owned()));
        assert_eq!(Period::new(text, "2119-12-31"), wanted);
        assert_eq!(Period::new("1970-01-01", text), wanted);
    }
    assert!(Period::new("2020-02-29", "2020-02-29").is_ok(), "one day is a period");
    let error = Period::new("2020-02-29", "2020-02-28").unwrap_err().to_string();
    assert_eq!(error, "the last day, 2020-02-28, is before the first, 2020-02-29");
}

#[test]
fn equal_arguments_give_equal_files_and_other_seeds_other_authorities() {
    assert_eq!(usual(), usual());
    let (one, two) = (parsed(&usual()), parsed(&files(2, Period::usual(), Form::Pem)));
    for (one, two) in one.chain.iter().zip(&two.chain) {
        assert_ne!(one.signature(), two.signature());
    }
    assert_ne!(one.chain[3].tbs_certificate().subject(), two.chain[3].tbs_certificate().subject());
    let serial = |parsed: &Parsed| parsed.chain[0].tbs_certificate().serial_number().clone();
    assert_eq!(serial(&one), serial(&two), "that of the document belongs to the key");
}

/// Documents are handed around: they must outlive the versions of the libraries.
#[test]
fn the_document_of_seed_1_is_frozen() {
    insta::assert_snapshot!(String::from_utf8(content(&usual(), "host-key.crt").to_vec()).unwrap());
}

#[test]
fn both_forms_say_the_same() {
    let (pem, der) = (usual(), files(1, Period::usual(), Form::Der));
    let again = Parsed {
        chain: CERTIFICATES.map(|name| Certificate::from_der(content(&der, name)).unwrap()).into(),
        lists: LISTS.map(|name| CertificateList::from_der(content(&der, name)).unwrap()).into(),
    };
    assert_eq!(again, parsed(&pem));
    assert_eq!(content(&pem, "host-key.pem"), content(&der, "host-key.pem"), "private keys are always PEM");
    let text = std::str::from_utf8(content(&pem, "host-key.pem")).unwrap();
    assert_eq!(PrivateKey::from_pem(text), Ok(key()));
    let private: Vec<_> = pem.iter().filter(|file| file.private).map(|file| file.name).collect();
    assert_eq!(private, ["host-key.pem"]);
}

#[test]
fn the_key_comes_back_out_of_the_document() {
    let (pem, der) = (usual(), files(1, Period::usual(), Form::Der));
    for files in [&pem, &der] {
        assert_eq!(Recipient::read(content(files, "host-key.crt")).unwrap().key, *key().public());
    }
}

/// A folder of its own, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("uvsim-hostkey-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn placed<'a>(folder: &std::path::Path, files: &'a [HostKeyFile]) -> Vec<(PathBuf, &'a HostKeyFile)> {
    files.iter().map(|file| (folder.join(file.name), file)).collect()
}

#[test]
fn nothing_is_replaced_that_is_different() {
    let folder = Folder::new("replace");
    let (one, two) = (usual(), files(2, Period::usual(), Form::Pem));
    let (one, two) = (placed(&folder.0.join("new"), &one), placed(&folder.0.join("new"), &two));
    assert!(save(&one, false).unwrap().iter().all(|saved| *saved == Saved::Written));
    assert!(save(&one, false).unwrap().iter().all(|saved| *saved == Saved::Same));
    fs::remove_file(&one[7].0).unwrap();
    let refused = save(&two, false).unwrap_err();
    assert!(matches!(&refused, SaveError::Exists(path) if *path == two[0].0), "{refused}");
    assert!(!two[7].0.exists(), "nothing is written if one is in the way");
    let saved = save(&two, true).unwrap();
    assert_eq!(saved[1], Saved::Same, "the private key is the same");
    assert!(two.iter().all(|(path, file)| fs::read(path).unwrap() == *file.content));
    fs::remove_file(&two[0].0).unwrap();
    fs::create_dir(&two[0].0).unwrap();
    assert!(matches!(save(&two, true), Err(SaveError::Refused { .. })), "a folder in the way");
}

#[cfg(unix)]
#[test]
fn the_private_key_is_for_its_owner_and_links_are_not_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::new("owner");
    let files = usual();
    let placed = placed(&folder.0, &files);
    let elsewhere = folder.0.join("elsewhere");
    symlink(&elsewhere, &placed[1].0).unwrap();
    assert!(matches!(save(&placed, false), Err(SaveError::Exists(_))), "a link that leads nowhere");
    save(&placed, true).unwrap();
    assert!(!elsewhere.exists());
    let mode = |number: usize| fs::symlink_metadata(&placed[number].0).unwrap().permissions().mode();
    assert_eq!(mode(1) & 0o777, 0o600);
    assert_eq!(mode(0) & 0o600, 0o600);
}
