//! Whom an image is for: host keys, as the documents that carry them.

use uvsim_model::crypto::{KeyError, PrivateKey, PublicKey};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Error as DerError};

/// A host key, read from a host key document (an X.509 certificate) or from a private key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// The host key.
    pub key: PublicKey,
    /// Its private half, if that was what the file held.
    pub private: Option<PrivateKey>,
    /// Certificates behind the first one, which are not looked at.
    pub ignored: usize,
}

/// A file that holds no host key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecipientError {
    /// Nothing at all.
    #[error("the file is empty")]
    Empty,
    /// Neither PEM nor DER.
    #[error("neither a host key document (an X.509 certificate, PEM or DER) nor a P-521 private key (PKCS#8 PEM)")]
    Unknown,
    /// It begins like a certificate.
    #[error("not an X.509 certificate: {0}")]
    Certificate(DerError),
    /// The key is of another kind.
    #[error("its key is of kind {0}, host keys are elliptic-curve keys ({EC_KEY})")]
    Algorithm(ObjectIdentifier),
    /// The key is on another curve.
    #[error("its key is on the curve {}, host keys are on P-521 ({P521})", .0.map_or("without a name".into(), |oid| oid.to_string()))]
    Curve(Option<ObjectIdentifier>),
    /// A public key by itself.
    #[error("a bare public key: a host key document (an X.509 certificate) or the private key is wanted")]
    BarePublic,
    /// A certificate where the private key is needed.
    #[error("a certificate: the private host key is wanted (PKCS#8 PEM)")]
    NotPrivate,
    /// A private key under a password.
    #[error("the private key is encrypted: `openssl pkey -in KEY -out NEW` decrypts it")]
    Encrypted,
    /// A private key in an older form.
    #[error("a private key, but not in PKCS#8 form: `openssl pkcs8 -topk8 -nocrypt -in KEY -out NEW` converts it")]
    OldForm,
    /// A private key of another kind or curve, or a damaged one.
    #[error(
        "a private key, but not of P-521 (`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521`), or damaged"
    )]
    OtherPrivate,
    /// The key itself.
    #[error("{0}")]
    Key(#[from] KeyError),
}

const EC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----";
/// A DER sequence with a length of two bytes, as every certificate is.
const SEQUENCE: [u8; 2] = [0x30, 0x82];

impl Recipient {
    /// Reads a host key document in PEM or DER form, or a private key in PEM form. Who has signed a
    /// certificate, and for how long, is not checked: that is for those who trust it.
    ///
    /// # Errors
    /// [`RecipientError`].
    pub fn read(bytes: &[u8]) -> Result<Self, RecipientError> {
        if let Some(start) = find(bytes, CERTIFICATE) {
            let chain = Certificate::load_pem_chain(&bytes[start..]).map_err(RecipientError::Certificate)?;
            let first = chain.first().ok_or(RecipientError::Unknown)?;
            return Ok(Self { key: host_key(first)?, private: None, ignored: chain.len() - 1 });
        }
        if bytes.starts_with(&SEQUENCE) {
            let certificate = Certificate::from_der(bytes).map_err(RecipientError::Certificate)?;
            return Ok(Self { key: host_key(&certificate)?, private: None, ignored: 0 });
        }
        let text = core::str::from_utf8(bytes).map_err(|_| RecipientError::Unknown)?;
        if !text.contains(PRIVATE_KEY) {
            return Err(no_key(text));
        }
        let private = PrivateKey::from_pem(text).map_err(|error| match error {
            KeyError::NotPem => RecipientError::OtherPrivate,
            other => other.into(),
        })?;
        Ok(Self { key: private.public().clone(), private: Some(private), ignored: 0 })
    }

    /// Reads a private key in PEM form.
    ///
    /// # Errors
    /// [`RecipientError`].
    pub fn read_private(bytes: &[u8]) -> Result<PrivateKey, RecipientError> {
        Self::read(bytes)?.private.ok_or(RecipientError::NotPrivate)
    }
}

/// What people take for a key, told apart so that they learn what to do.
fn no_key(text: &str) -> RecipientError {
    let has = |label: &str| text.contains(&format!("-----BEGIN {label}-----"));
    let encrypted_by_its_form = has("EC PRIVATE KEY") && text.contains("Proc-Type: 4,ENCRYPTED");
    match () {
        () if text.trim().is_empty() => RecipientError::Empty,
        () if has("PUBLIC KEY") => RecipientError::BarePublic,
        () if has("ENCRYPTED PRIVATE KEY") || encrypted_by_its_form => RecipientError::Encrypted,
        () if has("EC PRIVATE KEY") => RecipientError::OldForm,
        () if has("RSA PRIVATE KEY") || has("DSA PRIVATE KEY") => RecipientError::OtherPrivate,
        () => RecipientError::Unknown,
    }
}

fn host_key(certificate: &Certificate) -> Result<PublicKey, RecipientError> {
    let info = certificate.tbs_certificate().subject_public_key_info();
    if info.algorithm.oid != EC_KEY {
        return Err(RecipientError::Algorithm(info.algorithm.oid));
    }
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.decode_as().ok());
    if curve != Some(P521) {
        return Err(RecipientError::Curve(curve));
    }
    Ok(PublicKey::from_sec1(info.subject_public_key.raw_bytes())?)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
