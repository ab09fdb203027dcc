//! SE headers: the client library makes them and uvsim starts from them; uvsim makes them and the client
//! library opens them.

mod customer;
#[path = "../../../model/tests/support/mod.rs"]
mod support;

use customer::{Folder, Maker, PlainPage, digests, open, private_key, xts};
use openssl::symm::Mode;
use s390_pv::request::{BootHdrTags, EcPubKeyCoord, SeImgMetaData};
use std::io::Cursor;
use support::{Answer, DONE, Guest, Host};
use uvsim::hostkey::{Form, Period};
use uvsim::image::{Component, ImageKeys, ImagePlan, Placed, Recipe, Recipient, SeImage};
use uvsim_model::Machine;
use uvsim_model::address::PageIndex;
use uvsim_model::config::MachineConfig;
use uvsim_model::crypto::SeHeader;
use uvsim_model::seed::{Purpose, Seed};
use uvsim_model::uvc::Command;

const SEED: u64 = 1234;

fn config() -> MachineConfig {
    MachineConfig { seed: SEED, ..support::config() }
}

fn documents(name: &str) -> Folder {
    Folder::with_documents(name, SEED, Period::usual(), Form::Pem)
}

/// Two components: guest 0x3000 and 0x4000, guest 0x9000.
fn pages() -> Vec<PlainPage> {
    let page = |address: u64, tweak| (address, tweak, core::array::from_fn(|at| (at as u64 * 13 + address) as u8));
    vec![
        page(0x3000, [0x0028_1122_3344_5566, 0]),
        page(0x4000, [0x0028_1122_3344_5566, 0x1000]),
        page(0x9000, [0x0046_aabb_ccdd_eeff, 0]),
    ]
}

fn set_parameters(host: &mut Host<'_>, guest: &Guest, header: &[u8]) -> Answer {
    let at = host.allocate(0x2000);
    host.store(at, header);
    host.call(Command::SetSecConfParams, &[(0x18, 8, guest.handle), (0x20, 8, at), (0x28, 4, header.len() as u64)])
}

fn unpack(host: &mut Host<'_>, guest: &Guest, (address, tweak, bytes): &PlainPage) -> Answer {
    let frame = host.frame();
    host.store(frame.address().0, bytes);
    host.map(guest, PageIndex(address >> 12), frame);
    host.call(
        Command::UnpackImg,
        &[(0x18, 8, guest.handle), (0x20, 8, *address), (0x28, 8, tweak[0]), (0x30, 8, tweak[1])],
    )
}

fn verify(host: &mut Host<'_>, guest: &Guest) -> Answer {
    host.call(Command::VerifyImg, &[(0x18, 8, guest.handle)])
}

#[test]
fn the_document_names_the_key_of_the_machine() {
    let folder = documents("names");
    let coordinates = EcPubKeyCoord::try_from(folder.host_key()).unwrap();
    let machine = Machine::new(config()).unwrap();
    assert_eq!(coordinates.sha256().unwrap()[..], machine.host_public_key().hash().0);
    assert_eq!(coordinates.as_ref(), machine.host_public_key().coordinates());
}

#[test]
fn an_image_of_the_client_library_starts() {
    let folder = documents("starts");
    let backup = customer::public_key(&folder.path("backup-host-key.crt"));
    let foreign = s390_pv::request::gen_ec_key(openssl::nid::Nid::SECP521R1).unwrap();
    let foreign = customer::key_at(EcPubKeyCoord::try_from(foreign).unwrap().as_ref());
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let backup_allowed = 1 << 1;
    for (hosts, flags) in
        [(vec![folder.host_key()], 0), (vec![foreign.clone(), folder.host_key()], 0), (vec![backup], backup_allowed)]
    {
        let mut maker = Maker::new();
        maker.flags |= flags;
        let (header, sealed) = maker.image(&hosts, &pages());
        let guest = host.create(1);
        assert_eq!(set_parameters(&mut host, &guest, &header), DONE);
        for page in &sealed {
            assert_eq!(unpack(&mut host, &guest, page), DONE);
        }
        assert_eq!(verify(&mut host, &guest), DONE);
        assert_eq!(host.set_state(&guest, 5), DONE);
        for page in 0..2 {
            host.resident(&guest, PageIndex(page));
        }
        for (address, _, plain) in pages() {
            assert_eq!(host.guest_load(&guest, address, 4096).unwrap(), plain, "guest {address:#x}");
        }
    }
}

#[test]
fn an_image_of_the_client_library_that_has_been_changed_does_not() {
    let folder = documents("changed");
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let (header, sealed) = Maker::new().image(&[folder.host_key()], &pages());
    let guest = host.create(1);
    for at in [0x14, 0x30, 0x38 + 7, 0xe0, 0x19f, 0x1c0, 0x1f0, header.len() - 1] {
        let mut changed = header.clone();
        changed[at] ^= if at == 0x3f { 0x20 } else { 1 };
        let answer = set_parameters(&mut host, &guest, &changed);
        assert_eq!((answer.cc, answer.rc == 1), (1, false), "byte {at:#x}: {answer:?}");
    }
    assert_eq!(set_parameters(&mut host, &guest, &header), DONE);
    for (number, page) in sealed.iter().enumerate() {
        let mut page = *page;
        page.2[7] ^= u8::from(number == 1);
        assert_eq!(unpack(&mut host, &guest, &page), DONE);
    }
    assert_eq!(verify(&mut host, &guest), Answer { cc: 1, rc: 0x102, rrc: 0x1b });
}

#[test]
fn an_image_for_another_machine_does_not_start() {
    let folder = Folder::with_documents("other", SEED + 1, Period::usual(), Form::Pem);
    let (header, _) = Maker::new().image(&[folder.host_key()], &pages());
    let machine = Machine::new(config()).unwrap();
    let mut host = Host::ready(&machine);
    let guest = host.create(1);
    assert_eq!(set_parameters(&mut host, &guest, &header), Answer { cc: 1, rc: 0x108, rrc: 5 });
}

/// An image that uvsim makes from the document of the machine, and from nothing else of it.
fn our_image(folder: &Folder, flags: u64) -> (SeImage, ImageKeys) {
    let document = std::fs::read(folder.path("host-key.crt")).unwrap();
    let recipient = Recipient::read(&document).unwrap().key;
    let keys = ImageKeys::draw(&mut Seed(99).stream(Purpose::Workload));
    let components = vec![
        Component::new(pages()[0].1[0], 0x3000, [pages()[0].2, pages()[1].2].concat()),
        Component::new(pages()[2].1[0], 0x9000, pages()[2].2.to_vec()),
    ];
    let recipe = Recipe {
        recipients: &[recipient],
        flags,
        secret_flags: 1 << 61,
        psw: [0x1_8000_0000, 0x3000],
        components,
        keys: keys.clone(),
    };
    (recipe.make().unwrap(), keys)
}

#[test]
fn a_header_of_uvsim_opens_with_the_client_library() {
    let folder = documents("opens");
    let host_key = private_key(&config().host_keys().host);
    let (image, keys) = our_image(&folder, 0x2000_00e0);
    let area = open(&image.header, &host_key).expect("there is a slot");
    assert_eq!(area[..0x20], keys.communication[..]);
    assert_eq!(area[0x20..0x60], keys.image[..]);
    let number = |at: usize| u64::from_be_bytes(area[at..at + 8].try_into().unwrap());
    assert_eq!([0x60, 0x68, 0x70, 0x78].map(number), [0x1_8000_0000, 0x3000, 1 << 61, 0]);
    assert!(open(&image.header, &private_key(&config().host_keys().backup)).is_none());
    // Its components, as OpenSSL decrypts and digests them.
    let delivered: Vec<PlainPage> = image.pages().map(|page| (page.address, page.tweak, *page.bytes)).collect();
    assert_eq!(*SeHeader::parse(&image.header).unwrap().digests(), digests(&delivered));
    let decrypt =
        |&(address, tweak, ref page): &PlainPage| (address, tweak, xts(Mode::Decrypt, &area[0x20..0x60], tweak, page));
    assert_eq!(delivered.iter().map(decrypt).collect::<Vec<_>>(), pages());
}

#[test]
fn the_client_library_finds_the_same_tags() {
    let (image, _) = our_image(&documents("tags"), 0xe0);
    let header = SeHeader::parse(&image.header).unwrap();
    let mut wanted = header.digests().concat();
    wanted.extend(header.tag());
    let bare = BootHdrTags::from_se_image(&mut Cursor::new(&image.header)).unwrap();
    assert_eq!(bare.as_ref(), wanted);
    // In an image file, by its metadata; and, without these, at the start of a page.
    for at in [0x1_4000, 0x1_3000] {
        let mut file = vec![0; at];
        let metadata = SeImgMetaData::new_v1(at as u64, 0x2_0000);
        if at == 0x1_4000 {
            file[SeImgMetaData::OFFSET as usize..][..28].copy_from_slice(metadata.as_bytes());
        }
        file.extend(&image.header);
        file.resize(0x2_0000, 0);
        assert_eq!(BootHdrTags::from_se_image(&mut Cursor::new(&file)).unwrap(), bare, "{at:#x}");
    }
}

#[test]
fn the_client_library_finds_the_header_in_an_image_file() {
    let document = std::fs::read(documents("file").path("host-key.crt")).unwrap();
    let mut random = Seed(98).stream(Purpose::Workload);
    let plan = ImagePlan {
        recipients: &[Recipient::read(&document).unwrap().key],
        kernel: None,
        ramdisk: None,
        command_line: None,
        placed: vec![Placed { address: 0x2_0000, prefix: None, data: pages()[0].2.to_vec() }],
        stage3a: None,
        stage3b: None,
        flags: 0xe0,
        secret_flags: 0,
        psw: None,
        keys: ImageKeys::draw(&mut random),
        header_only: false,
    };
    let built = plan.build(&mut random).unwrap();
    let header = SeHeader::parse(&built.image.header).unwrap();
    let found = BootHdrTags::from_se_image(&mut Cursor::new(built.to_bytes())).unwrap();
    assert_eq!(found.as_ref(), [&header.digests().concat()[..], &header.tag()].concat());
    let area = open(&built.image.header, &private_key(&config().host_keys().host)).expect("there is a slot");
    let page = built.image.pages().next().unwrap();
    assert_eq!(xts(Mode::Decrypt, &area[0x20..0x60], page.tweak, page.bytes), pages()[0].2);
}
