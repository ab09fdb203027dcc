//! A certification authority that vouches for the host keys of simulated machines.

use core::str::FromStr;
use p521::ecdsa::signature::Signer;
use p521::ecdsa::{DerSignature, SigningKey};
use uvsim_model::crypto::{PrivateKey, PublicKey};
use uvsim_model::seed::{Purpose, Seed, SeedStream};
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{self, Builder, CertificateBuilder};
use x509_cert::certificate::{Certificate, TbsCertificate, Version};
use x509_cert::crl::{CertificateList, TbsCertList};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::referenced::OwnedToRef;
use x509_cert::der::{self, DateTime, Encode};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlNumber, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{
    DynSignatureAlgorithmIdentifier, SignatureBitStringEncoding, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
};
use x509_cert::time::{Time, Validity};

use super::Role;

/// A key signing service, the authority that vouches for it, and the root of both.
///
/// Equal seeds and periods give equal bytes: keys and serial numbers come from the seed, signatures are
/// deterministic (RFC 6979), and no clock is asked. Everybody who knows the seed knows the keys.
#[derive(Debug)]
pub struct Authority {
    pub(super) root: Issuer,
    pub(super) intermediate: Issuer,
    pub(super) service: Issuer,
    period: Period,
}

/// The days on which certificates and revocation lists are valid, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    first: DateTime,
    last: DateTime,
}

/// Days that are no period.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeriodError {
    /// Not a day.
    #[error("`{0}` is not a day from 1970-01-01 to 9999-12-31, written YYYY-MM-DD")]
    Day(String),
    /// The wrong way round.
    #[error("the last day, {last}, is before the first, {first}")]
    Order {
        /// First day.
        first: String,
        /// Last day.
        last: String,
    },
}

/// A certificate or a list cannot be encoded or signed.
#[derive(Debug, thiserror::Error)]
#[error("a certificate cannot be made: {0}")]
pub struct CertificateError(#[from] builder::Error);

/// Somebody who signs.
pub(super) struct Issuer {
    pub(super) certificate: Certificate,
    /// Nothing is revoked in it.
    pub(super) revocations: CertificateList,
    signer: SigningKey,
}

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Authority,
    Service,
    HostKey,
}

/// Subject, issuer and use of a certificate: all that extensions depend on.
struct Profile {
    subject: Name,
    issuer: Name,
    purpose: Use,
}

/// Sub-streams of the host keys of a seed: 0 and 1 are those of the machine.
const ROOT: u32 = 2;
const INTERMEDIATE: u32 = 3;
const SERVICE: u32 = 4;

/// By this subject client programs find the certificate of the service among those that they are given. They
/// compare all six parts, but only the end of the organizational unit: there is room for the mark.
const SERVICE_NAME: &str = "OU=uvsim (simulated\\, insecure) IBM Z Host Key Signing Service,L=Poughkeepsie,ST=New York,\
                            CN=International Business Machines Corporation,\
                            O=International Business Machines Corporation,C=US";

/// Code signing (RFC 5280, 4.2.1.12): what the certificates of real key signing services are issued for.
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");

impl Authority {
    /// The authority of a seed.
    ///
    /// # Errors
    /// None that is known of.
    pub fn new(seed: u64, period: Period) -> Result<Self, CertificateError> {
        let stream = |number| Seed(seed).substream(Purpose::HostKeys, number);
        let own = |what: &str| name(&format!("CN=uvsim {what} CA (simulated\\, insecure),OU=seed {seed},O=uvsim"));
        let root = Issuer::make(stream(ROOT), own("root")?, None, Use::Authority, period)?;
        let intermediate =
            Issuer::make(stream(INTERMEDIATE), own("intermediate")?, Some(&root), Use::Authority, period)?;
        let service = Issuer::make(stream(SERVICE), name(SERVICE_NAME)?, Some(&intermediate), Use::Service, period)?;
        Ok(Self { root, intermediate, service, period })
    }

    /// The host-key document for a key. Its serial number begins the hash of the key.
    ///
    /// # Errors
    /// None that is known of.
    pub fn certify(&self, role: Role, key: &PublicKey) -> Result<Certificate, CertificateError> {
        let what = match role {
            Role::Host => "Host key",
            Role::Backup => "Backup host key",
        };
        let subject = name(&format!("CN={what} of a uvsim machine (simulated\\, insecure),OU={what},O=uvsim"))?;
        let profile = Profile { subject, issuer: self.service.subject().clone(), purpose: Use::HostKey };
        let point = p521::PublicKey::from_sec1_bytes(&key.to_sec1()).map_err(|_| unusable())?;
        let subject_key = SubjectPublicKeyInfoOwned::from_key(&point).map_err(builder::Error::from)?;
        let mut number = [0; 16];
        number.copy_from_slice(&key.hash().0[..16]);
        sign(profile, serial(number)?, self.period, subject_key, &self.service.signer)
    }
}

impl Period {
    /// 1 January 2020 to 31 December 2119: outputs must not depend on the day on which they are made.
    #[must_use]
    pub fn usual() -> Self {
        Self::new("2020-01-01", "2119-12-31").expect("both are days, in this order")
    }

    /// From the start of the first day to the end of the last, days written as YYYY-MM-DD.
    ///
    /// # Errors
    /// Not a day; the wrong way round.
    pub fn new(first: &str, last: &str) -> Result<Self, PeriodError> {
        let day = |text: &str, time: &str| {
            let shape = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            let moment = shape.then(|| DateTime::from_str(&format!("{text}T{time}Z")).ok()).flatten();
            moment.ok_or_else(|| PeriodError::Day(text.to_owned()))
        };
        let period = Self { first: day(first, "00:00:00")?, last: day(last, "23:59:59")? };
        if period.last < period.first {
            return Err(PeriodError::Order { first: first.to_owned(), last: last.to_owned() });
        }
        Ok(period)
    }
}

impl Issuer {
    /// Draws the key, then the serial number, and has itself certified, by itself where there is no issuer.
    fn make(
        mut stream: SeedStream,
        subject: Name,
        issuer: Option<&Self>,
        purpose: Use,
        period: Period,
    ) -> Result<Self, CertificateError> {
        let key = PrivateKey::generate(&mut stream);
        let signer = SigningKey::from_slice(key.to_scalar().as_slice()).map_err(builder::Error::from)?;
        let mut number = [0; 16];
        stream.fill(&mut number);
        let issuer_name = issuer.map_or(&subject, Self::subject).clone();
        let profile = Profile { subject, issuer: issuer_name, purpose };
        let own_key = SubjectPublicKeyInfoOwned::from_key(signer.verifying_key()).map_err(builder::Error::from)?;
        let certificate =
            sign(profile, serial(number)?, period, own_key, issuer.map_or(&signer, |issuer| &issuer.signer))?;
        let revocations = nothing_revoked(&certificate, &signer, period)?;
        Ok(Self { certificate, revocations, signer })
    }

    fn subject(&self) -> &Name {
        self.certificate.tbs_certificate().subject()
    }
}

impl core::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Issuer").field(&format_args!("{}", self.subject())).finish()
    }
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let mut all = Vec::new();
        let mut add = |extension: &dyn Fn(&[Extension]) -> der::Result<Extension>| {
            let extension = extension(&all)?;
            all.push(extension);
            der::Result::Ok(())
        };
        let subject = &self.subject;
        let usage = match self.purpose {
            Use::Authority => KeyUsages::KeyCertSign | KeyUsages::CRLSign,
            Use::Service => KeyUsages::DigitalSignature.into(),
            Use::HostKey => KeyUsages::KeyAgreement.into(),
        };
        if self.purpose != Use::HostKey {
            let basic = BasicConstraints { ca: self.purpose == Use::Authority, path_len_constraint: None };
            add(&|all| basic.to_extension(subject, all))?;
        }
        add(&|all| KeyUsage(usage).to_extension(subject, all))?;
        if self.purpose == Use::Service {
            add(&|all| ExtendedKeyUsage(vec![CODE_SIGNING]).to_extension(subject, all))?;
        }
        let authority = AuthorityKeyIdentifier::try_from(issuer_key)?;
        add(&|all| authority.to_extension(subject, all))?;
        let own = SubjectKeyIdentifier::try_from(key)?;
        add(&|all| own.to_extension(subject, all))?;
        Ok(all)
    }
}

fn sign(
    profile: Profile,
    number: SerialNumber,
    period: Period,
    key: SubjectPublicKeyInfoOwned,
    signer: &SigningKey,
) -> Result<Certificate, CertificateError> {
    let validity = Validity::new(time(period.first), time(period.last));
    Ok(CertificateBuilder::new(profile, number, validity, key)?.build::<_, DerSignature>(signer)?)
}

/// The revocation list of an issuer. Not by the builder of the library: that names the key of the issuer's
/// issuer in it, so that client programs take it for the list of somebody else.
fn nothing_revoked(
    issuer: &Certificate,
    signer: &SigningKey,
    period: Period,
) -> Result<CertificateList, CertificateError> {
    let subject = issuer.tbs_certificate().subject();
    let algorithm = signer.signature_algorithm_identifier().map_err(builder::Error::from)?;
    let key = AuthorityKeyIdentifier::try_from(issuer.tbs_certificate().subject_public_key_info().owned_to_ref());
    let mut extensions = vec![key.and_then(|key| key.to_extension(subject, &[])).map_err(asn1)?];
    let number = CrlNumber::try_from(1u8).and_then(|number| number.to_extension(subject, &extensions));
    extensions.push(number.map_err(asn1)?);
    let list = TbsCertList {
        version: Version::V2,
        signature: algorithm.clone(),
        issuer: subject.clone(),
        this_update: time(period.first),
        next_update: Some(time(period.last)),
        revoked_certificates: None,
        crl_extensions: Some(extensions),
    };
    let signature: DerSignature = signer.try_sign(&list.to_der().map_err(asn1)?).map_err(builder::Error::from)?;
    let signature = signature.to_bitstring().map_err(asn1)?;
    Ok(CertificateList { tbs_cert_list: list, signature_algorithm: algorithm, signature })
}

/// A positive number of at most 16 bytes: never zero, never with the sign bit.
fn serial(mut number: [u8; 16]) -> Result<SerialNumber, CertificateError> {
    number[0] = number[0] & 0x7f | 0x40;
    SerialNumber::new(&number).map_err(asn1)
}

/// As certificates want it: two digits for the year until 2049 (RFC 5280, 4.1.2.5).
fn time(moment: DateTime) -> Time {
    Time::from(moment)
}

fn name(text: &str) -> Result<Name, CertificateError> {
    Name::from_str(text).map_err(asn1)
}

fn asn1(error: der::Error) -> CertificateError {
    CertificateError(error.into())
}

fn unusable() -> CertificateError {
    asn1(der::ErrorKind::Failed.into())
}
