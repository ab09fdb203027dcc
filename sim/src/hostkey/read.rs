//! Reading a host-key document.

use uvsim_model::crypto::{KeyError, PublicKey};
use x509_cert::certificate::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, DecodePem};

/// Why there is no host key in it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DocumentError {
    /// No certificate.
    #[error("it is no X.509 certificate, neither in PEM nor in DER form: {0}")]
    NoCertificate(String),
    /// Nothing that could be one.
    #[error("it holds no certificate (`-----BEGIN CERTIFICATE-----`)")]
    Empty,
    /// Which one?
    #[error("it holds {0} certificates: a host-key document is one")]
    Several(usize),
    /// Another kind of key.
    #[error("its key is not one of the curve P-521: {0}")]
    OtherKey(String),
    /// Not a point.
    #[error("its key is none: {0}")]
    Key(KeyError),
}

/// The host key in an X.509 certificate in PEM or DER form. Nothing is verified: who signed it, and when it is
/// valid, matters to those who send secrets there.
///
/// # Errors
/// Not exactly one certificate; a key that is not of the curve P-521.
pub fn public_key(document: &[u8]) -> Result<PublicKey, DocumentError> {
    let certificate = certificate(document)?;
    let info = certificate.tbs_certificate().subject_public_key_info();
    let curve = info.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    if info.algorithm.oid != EC_KEY || curve != Some(P521) {
        let curve = curve.map(|curve| format!(" {curve}")).unwrap_or_default();
        return Err(DocumentError::OtherKey(format!("algorithm {}{curve}", info.algorithm.oid)));
    }
    let bytes = info.subject_public_key.as_bytes().unwrap_or_default();
    PublicKey::from_sec1(bytes).map_err(DocumentError::Key)
}

/// Keys of elliptic curves (RFC 5480).
const EC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp521r1.
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
/// First byte of a certificate in DER form: it is a sequence.
const SEQUENCE: u8 = 0x30;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

fn certificate(document: &[u8]) -> Result<Certificate, DocumentError> {
    let none = |error: x509_cert::der::Error| DocumentError::NoCertificate(error.to_string());
    if document.first() == Some(&SEQUENCE) {
        return Certificate::from_der(document).map_err(none);
    }
    let blocks = blocks(document);
    match blocks[..] {
        [] => Err(DocumentError::Empty),
        [block] => Certificate::from_pem(block).map_err(none),
        _ => Err(DocumentError::Several(blocks.len())),
    }
}

/// The certificates of a text in PEM form, from boundary to boundary; what else stands there is for people.
fn blocks(mut text: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((_, rest)) = split(text, BEGIN) {
        let Some((_, after)) = split(rest, END) else { break };
        all.push(&rest[..rest.len() - after.len() + END.len()]);
        text = &after[END.len()..];
    }
    all
}

/// What stands before a word, and the word with all that follows.
fn split<'a>(text: &'a [u8], word: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let start = text.windows(word.len()).position(|window| window == word)?;
    Some(text.split_at(start))
}
