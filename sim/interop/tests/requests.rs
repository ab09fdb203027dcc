//! Requests of the client library. uvsim has no commands for them yet; what they share with a header is the key
//! slot, so a slot is taken out of a request and put into a header, and the machine opens that.

mod customer;

use customer::{Folder, Maker, open, private_key};
use s390_pv::attest::{AttestationFlags, AttestationMeasAlg, AttestationRequest, AttestationVersion};
use s390_pv::request::{BootHdrTags, ReqEncrCtx, Request, SymKeyType};
use s390_pv::secret::{AddSecretFlags, AddSecretRequest, AddSecretVersion, GuestSecret};
use uvsim::hostkey::{Form, Period};
use uvsim_model::config::MachineConfig;
use uvsim_model::crypto::SeHeader;

/// The flags of Maker::new.
const SUPPORTED: u64 = 0xe0;

#[test]
fn the_slot_of_an_attestation_request_opens() {
    let folder = Folder::with_documents("attest", 1, Period::usual(), Form::Pem);
    let version = AttestationVersion::One;
    let mut request =
        AttestationRequest::new(version, AttestationMeasAlg::HmacSha512, AttestationFlags::default()).unwrap();
    request.add_hostkey(folder.host_key());
    opens(&request);
}

#[test]
fn the_slot_of_an_add_secret_request_opens() {
    let folder = Folder::with_documents("secret", 1, Period::usual(), Form::Pem);
    let tags = BootHdrTags::new([1; 64], [2; 64], [3; 64], [4; 16]);
    let secret = GuestSecret::association("name", None).unwrap();
    let mut request = AddSecretRequest::new(AddSecretVersion::One, secret, tags, AddSecretFlags::default());
    request.add_hostkey(folder.host_key());
    opens(&request);
}

#[track_caller]
fn opens(request: &impl Request) {
    let keys = MachineConfig::default().host_keys();
    let context = ReqEncrCtx::random(SymKeyType::Aes256Gcm).unwrap();
    let bytes = request.encrypt(&context).unwrap();
    let at = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what).expect("it is in the request");
    let coordinates = context.key_coords().unwrap();
    let (customer, slot) = (at(coordinates.as_ref()), at(&keys.host.hash().0));
    assert_eq!(slot, customer + 160, "the slots follow the customer key");
    let maker = Maker { protection: context.prot_key().clone(), ..Maker::new() };
    let header = maker.header(coordinates.as_ref(), &bytes[slot..slot + 80], &[]);
    let parsed = SeHeader::parse(&header).unwrap();
    let (secrets, with) = parsed.open(&keys, SUPPORTED).expect("the slot gives the protection key");
    assert_eq!((with.key, with.backup), (keys.host.hash(), false));
    assert_eq!(*secrets.image_key(), maker.image_key);
    assert_eq!(open(&header, &private_key(&keys.host)).unwrap()[..32], secrets.communication_key()[..]);
    // Another machine finds no slot, another slot does not unwrap.
    let other = MachineConfig { seed: 2, ..MachineConfig::default() }.host_keys();
    assert!(parsed.open(&other, SUPPORTED).is_err());
    let mut changed = bytes[slot..slot + 80].to_vec();
    changed[40] ^= 1;
    let header = maker.header(coordinates.as_ref(), &changed, &[]);
    assert!(SeHeader::parse(&header).unwrap().open(&keys, SUPPORTED).is_err());
}
