//! Files: what is made can be read, and what cannot be read says why.

use crate::support::{boots, image, kernel, key, plan, random, target};
use proptest::prelude::*;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};
use uvsim::image::{
    BuildError, Component, FileError, Found, ImageInfo, IpibFault, Placed, SeImageFile, USUAL_PSW_MASK, verify,
};
use uvsim_model::crypto::{SeHeader, plain_flag, secret_flag};

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn file() -> Vec<u8> {
    plan(&[key(0).public().clone()]).build(&mut random(1)).unwrap().to_bytes()
}

#[test]
fn everything_lies_where_image_tools_put_it() {
    let bytes = file();
    assert_eq!(bytes[..8], [0x00, 0x08, 0x00, 0x01, 0x80, 0x01, 0x10, 0x00]);
    assert_eq!(&bytes[0xc000..0xc008], b"SeImgLnx");
    assert_eq!((u64_at(&bytes, 0xc008), bytes[0xc013]), (0x1_4000, 1));
    assert_eq!(&bytes[0x1_4000..0x1_4008], b"IBMSecEx");
    // Kernel 0x13 pages, RAM disk 2, command line 1, stage3b 1.
    let ipib = 0x1_5000 + 0x17 * 0x1000;
    assert_eq!(u64_at(&bytes, 0xc014), ipib);
    assert_eq!(bytes.len() as u64, ipib + 0x88 + 4 * 24);
    let read = SeImageFile::parse(&bytes).unwrap();
    assert_eq!((read.found, read.header_offset, read.length), (Found::Metadata, 0x1_4000, bytes.len() as u64));
    let (at, listed) = read.ipib.as_ref().unwrap();
    assert_eq!((*at, listed.header_address, listed.header_size), (ipib, 0x1_4000, 0x280));
    let places: Vec<_> = listed.components.iter().map(|one| (one.prefix >> 48, one.address, one.length)).collect();
    let wanted = [(40, 0x1_5000, 0x1_3000), (50, 0x2_8000, 0x2000), (60, 0x2_a000, 0x1000), (70, 0x2_b000, 0x1000)];
    assert_eq!(places, wanted);
    assert_eq!(read.image, image(), "equal plans and random numbers make equal images");
    // The last 24 bytes of stage3a: offsets from their own place.
    let arguments = 0x1_1018;
    assert_eq!(u64_at(&bytes, arguments) + arguments as u64, 0x1_4000);
    assert_eq!(u64_at(&bytes, arguments + 8), 0x280);
    assert_eq!(u64_at(&bytes, arguments + 16) + arguments as u64, ipib);
}

#[test]
fn all_ways_to_write_a_file_agree() {
    let keys = [key(0).public().clone()];
    let mut plan = plan(&keys);
    plan.placed.push(Placed { address: 0x80_0000, prefix: None, data: vec![1] });
    let built = plan.build(&mut random(1)).unwrap();
    let (mut whole, mut sparse) = (Vec::new(), Cursor::new(Vec::new()));
    built.write(&mut whole).unwrap();
    built.write_sparse(&mut sparse).unwrap();
    assert!(whole == built.to_bytes() && *sparse.get_ref() == whole && whole.len() as u64 == built.length());
}

#[test]
fn stage3b_is_told_where_everything_is() {
    let image = image();
    let secrets = SeHeader::parse(&image.header).unwrap();
    let secrets = secrets.decrypt(&secrets.protection_key(&key(0)).unwrap()).unwrap();
    assert_eq!(secrets.psw(), [USUAL_PSW_MASK, 0x2_b000]);
    let plain = |component: &Component| {
        let mut data = component.data.clone();
        for (number, page) in data.as_chunks_mut().0.iter_mut().enumerate() {
            secrets.image_cipher().decrypt(page, [component.prefix, number as u64 * 0x1000]);
        }
        data
    };
    let stage3b = plain(&image.components[3]);
    let length = stage3b.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    // The PSW address 0x10000 ends the arguments with two zero bytes.
    let arguments = length + 2 - 64;
    let words: Vec<u64> = (0..8).map(|word| u64_at(&stage3b, arguments + word * 8)).collect();
    assert_eq!(words, [0x1_5000, 0x1_2345, 0x2_a000, 15, 0x2_8000, 5000, USUAL_PSW_MASK, 0x1_0000]);
    let first = plain(&image.components[0]);
    assert_eq!(first[..0x1_2345], kernel());
    assert!(first[0x1_2345..].iter().all(|&byte| byte == 0), "padding");
    assert_eq!(plain(&image.components[2])[..15], *b"root=/dev/vda1\0");
}

#[test]
fn what_is_made_boots() {
    let booted = boots(&image(), &target(0));
    assert_eq!((booted.pages, booted.psw.mask, booted.psw.address), (0x17, USUAL_PSW_MASK, 0x2_b000));
    assert_eq!(booted.opened_with, key(0).hash());
    // Several machines, plain components, a component far away.
    let keys = [key(1).public().clone(), key(2).public().clone()];
    let mut plan = plan(&keys);
    plan.flags |= plain_flag::PLAIN_COMPONENTS;
    plan.placed.push(Placed { address: 0x40_0000, prefix: None, data: vec![1; 0x1001] });
    let file = SeImageFile::parse(&plan.build(&mut random(2)).unwrap().to_bytes()).unwrap();
    assert_eq!(file.ipib.as_ref().unwrap().1.check(), Ok(()));
    assert_eq!(boots(&file.image, &target(2)).pages, 0x19);
    assert_eq!(ImageInfo::new(&file).unwrap().digests_match(), Some(true));
}

#[test]
fn a_real_loader_is_taken_as_it_is() {
    let keys = [key(0).public().clone()];
    let mut longer = plan(&keys);
    longer.stage3a = Some(vec![3; 0x5001]);
    longer.stage3b = Some(vec![4; 65]);
    let bytes = longer.build(&mut random(1)).unwrap().to_bytes();
    let read = SeImageFile::parse(&bytes).unwrap();
    assert_eq!(read.header_offset, 0x1_6000, "behind a long stage3a");
    assert!(bytes[0x1_0000..0x1_4fe9].iter().all(|&byte| byte == 3));
    assert_eq!(read.image.components.last().unwrap().data.len(), 0x1000);
    for (name, stage3a, stage3b) in [("stage3a", 24, 65), ("stage3b", 25, 64)] {
        let mut short = plan(&keys);
        (short.stage3a, short.stage3b) = (Some(vec![0; stage3a]), Some(vec![0; stage3b]));
        let error = short.build(&mut random(1)).unwrap_err();
        assert!(matches!(error, BuildError::Stage(stage) if stage.name == name), "{error}");
    }
}

#[test]
fn plans_that_cannot_be() {
    let keys = [key(0).public().clone()];
    let build = |change: &dyn Fn(&mut uvsim::image::ImagePlan<'_>)| {
        let mut plan = plan(&keys);
        change(&mut plan);
        plan.build(&mut random(1)).map(drop).unwrap_err()
    };
    let placed = |address, length: usize| Placed { address, prefix: None, data: vec![0; length] };
    assert!(matches!(build(&|plan| plan.recipients = &[]), BuildError::Recipients(_)));
    assert_eq!(build(&|plan| plan.kernel = None), BuildError::NoKernel("RAM disk"));
    let bare = |plan: &mut uvsim::image::ImagePlan<'_>| {
        (plan.kernel, plan.ramdisk, plan.command_line) = (None, None, None);
    };
    assert_eq!(build(&bare), BuildError::NoComponent);
    assert_eq!(build(&|plan| plan.placed.push(placed(0x801, 1))), BuildError::Unaligned(0x801));
    for (address, length) in [(0, 1), (0xb000, 0x1001), (0x1_1000, 1), (0x1_4000, 1), (0x1_5000, 1), (0x1000, 0x1_5000)]
    {
        let error = build(&|plan| plan.placed.push(placed(address, length)));
        assert!(matches!(error, BuildError::Overlap { .. }), "{address:#x}: {error}");
    }
    let error = build(&|plan| plan.placed.push(placed(u64::MAX - 0xfff, 1)));
    assert!(matches!(error, BuildError::TooLong { end: u64::MAX, .. }), "{error}");
    let low = Placed { prefix: Some(1), ..placed(0x100_0000, 1) };
    assert!(matches!(build(&|plan| plan.placed.push(low.clone())), BuildError::PrefixOrder { prefix: 1, .. }));
    let many = |plan: &mut uvsim::image::ImagePlan<'_>| {
        plan.placed = (0..162).map(|page| placed(0x100_0000 + page * 0x1000, 1)).collect();
    };
    assert_eq!(build(&many), BuildError::Components(166));
    assert_eq!(build(&|plan| plan.keys.image.fill(1)), BuildError::ImageKey);
    let both = secret_flag::EXTENSION_REQUIRED | secret_flag::KEY_UPDATE;
    assert_eq!(build(&|plan| plan.secret_flags = both), BuildError::SecretFlags);
}

#[test]
fn files_that_are_none() {
    let parse = |bytes: &[u8]| SeImageFile::parse(bytes).unwrap_err();
    assert!(matches!(parse(&[]), FileError::Empty));
    assert!(matches!(parse(&[0; 0x2_0000]), FileError::NoHeader { length: 0x2_0000 }));
    let good = file();
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        parse(&bytes)
    };
    assert!(matches!(with(0xc010, &2u32.to_be_bytes()), FileError::MetadataVersion(2)));
    assert!(matches!(with(0xc008, &u64::MAX.to_be_bytes()), FileError::Truncated { offset: u64::MAX, .. }));
    let behind = IpibFault::Truncated { needed: 0x88, available: 0 };
    let error = with(0xc014, &u64::MAX.to_be_bytes());
    assert!(matches!(error, FileError::Ipib { offset: u64::MAX, fault } if fault == behind), "{error}");
    let ipib = u64_at(&good, 0xc014) as usize;
    let length = ipib + 0x88 + 16;
    let error = with(length, &(1u64 << 31).to_be_bytes());
    assert!(matches!(error, FileError::TooLarge { total: 0x8000_4000 }), "{error}");
    assert!(matches!(with(length, &u64::MAX.to_be_bytes()), FileError::TooLarge { total: u64::MAX }));
    let error = with(length - 8, &0x100_0000u64.to_be_bytes());
    assert_eq!(
        error.to_string(),
        "component 0 takes 0x13000 bytes from 0x1000000 on, the file ends at 0x2c0e8: it is cut off"
    );
}

/// An old image has no metadata; its header is found by search, its IPIB on the last page.
#[test]
fn old_images_are_searched() {
    let mut bytes = file();
    bytes[0xc000] = 0;
    let read = SeImageFile::parse(&bytes).unwrap();
    assert_eq!((read.found, read.header_offset), (Found::Search, 0x1_4000));
    assert_eq!(read.image, image());
    bytes.truncate(0x2_0000);
    let cut = SeImageFile::parse(&bytes).unwrap();
    assert_eq!((cut.ipib, cut.image.components.len(), cut.image.header), (None, 0, image().header));
    // The last page that is looked at is the 0x15th.
    let header = &image().header;
    for (page, found) in [(0x14, true), (0x15, false)] {
        let mut bytes = vec![0; 0x1_7000];
        bytes[page << 12..][..header.len()].copy_from_slice(header);
        assert_eq!(SeImageFile::parse(&bytes).is_ok(), found, "{page:#x}");
    }
    // Behind a bare header nothing counts.
    let mut bare = header.clone();
    bare.extend([7; 100]);
    let bare = SeImageFile::parse(&bare).unwrap();
    assert_eq!((bare.found, &bare.image.header), (Found::Bare, header));
}

#[test]
fn a_sparse_file_is_read_in_pieces() {
    let path = std::env::temp_dir().join(format!("uvsim-image-sparse-{}", std::process::id()));
    let start = Instant::now();
    let file = std::fs::File::create_new(&path).unwrap();
    let good = self::file();
    let read = (|| {
        file.set_len(2 << 30)?;
        let mut file = std::fs::File::options().read(true).write(true).open(&path)?;
        let empty = SeImageFile::read(&mut file);
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&good)?;
        Ok::<_, std::io::Error>((empty, SeImageFile::read(&mut file)))
    })();
    let _ = std::fs::remove_file(&path);
    let (empty, image) = read.unwrap();
    assert!(matches!(empty, Err(FileError::NoHeader { length: 0x8000_0000 })));
    assert_eq!(image.unwrap().image, self::image());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

/// A medium that fails.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("broken"))
    }
}

impl Seek for Broken {
    fn seek(&mut self, _: SeekFrom) -> std::io::Result<u64> {
        Ok(100)
    }
}

#[test]
fn a_medium_that_fails_is_an_error() {
    assert!(matches!(SeImageFile::read(&mut Broken), Err(FileError::Io(_))));
}

/// Everything that can be done with bytes of unknown origin, short of booting them.
fn exercise(bytes: &[u8]) {
    let Ok(file) = SeImageFile::parse(bytes) else { return };
    if let Some((_, ipib)) = &file.ipib {
        let _ = ipib.check();
    }
    if let Ok(mut info) = ImageInfo::new(&file) {
        let _ = info.open(&key(0));
        assert!(info.to_json(true).is_object());
        assert!(!info.sections(false).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_files_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        // Changes are aimed at the parts that are read as structures.
        let mut bytes = file();
        let ipib = u64_at(&bytes, 0xc014) as usize;
        let places: Vec<usize> = (0xc000..0xc01c).chain(0x1_4000..0x1_4280).chain(ipib..bytes.len()).collect();
        for (place, value) in changes {
            bytes[*place.get(&places)] = value;
        }
        exercise(&bytes);
    }

    #[test]
    fn prefixes_of_files_never_panic(length in any::<prop::sample::Index>()) {
        let bytes = file();
        let cut = &bytes[..length.index(bytes.len())];
        prop_assert!(SeImageFile::parse(cut).is_err(), "the IPIB is at the end");
        exercise(&image().header[..length.index(0x280)]);
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..0x300), magic in any::<bool>()) {
        if magic && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(b"IBMSecEx");
        }
        exercise(&bytes);
        let mut far = vec![0; 0xc000];
        far.extend(b"SeImgLnx");
        far.extend(&bytes);
        exercise(&far);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn damaged_images_never_panic_a_machine(at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut damaged = image();
        let header = at.index(damaged.header.len());
        damaged.header[header] ^= 1 << bit;
        let verdict = verify::boot(&damaged, &target(0));
        prop_assert!(matches!(verdict, Ok(verify::Verdict::Refused(_))), "{:x?}", verdict);
    }
}
