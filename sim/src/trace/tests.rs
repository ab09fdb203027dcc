//! Formats, one against the other, and what is wrong with bad ones.

use super::*;
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Write;

const TEXT: &str = "==7== Lackey\n\nI  0401ab70,3\n S 1fff000728,8\n L 0401afff,2\r\n M ffffffffffffffff,1\n--7-- x\n";

fn read(bytes: &[u8]) -> Result<Vec<Access>, TraceError> {
    Trace::from_bytes(bytes.to_vec())?.accesses()?.collect()
}

fn text(accesses: &[Access]) -> Vec<u8> {
    let mut text = Vec::new();
    for Access { address, size, kind } in accesses {
        let kind = ["I ", " L", " S", " M"][*kind as usize];
        writeln!(text, "{kind} {address:08x},{size}").unwrap();
    }
    text
}

fn compact(accesses: &[Access]) -> Vec<u8> {
    let mut writer = binary::Writer::new(Vec::new(), false).unwrap();
    accesses.iter().for_each(|access| writer.write(access).unwrap());
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

fn any_access() -> impl Strategy<Value = Access> {
    let address = prop_oneof![any::<u64>(), 0x40_0000_u64..0x41_0000, Just(u64::MAX), Just(0)];
    (address, 1..=MAX_SIZE, 0..4_usize).prop_map(|(address, size, kind)| {
        let room = u16::try_from(u64::MAX - address).unwrap_or(u16::MAX).saturating_add(1).max(1);
        Access { address, size: size.min(room), kind: Kind::ALL[kind] }
    })
}

proptest! {
    #[test]
    fn every_form_gives_the_same(accesses in prop::collection::vec(any_access(), 1..200)) {
        for plain in [text(&accesses), compact(&accesses)] {
            let two_pieces = [gzip(&plain[..plain.len() / 2]), gzip(&plain[plain.len() / 2..])].concat();
            for bytes in [gzip(&plain), zstd(&plain), two_pieces, plain] {
                prop_assert_eq!(read(&bytes), Ok(accesses.clone()));
            }
        }
    }

    #[test]
    fn garbage_is_an_error_and_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), head in 0..5_usize) {
        let heads: [&[u8]; 5] = [b"", b"\x89UVTRACE\x01\x00", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b" L 12,"];
        bytes.splice(..0, heads[head].iter().copied());
        let _ = read(&bytes);
    }

    #[test]
    fn damage_is_an_error_and_no_panic(
        accesses in prop::collection::vec(any_access(), 1..60),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let plain = text(&accesses);
        for mut bytes in [compact(&accesses), gzip(&plain), zstd(&plain), zstd(&compact(&accesses)), plain] {
            for (place, byte) in &hits {
                let length = bytes.len();
                bytes[place.index(length)] = *byte;
            }
            let _ = read(&bytes);
        }
    }

    #[test]
    fn a_compact_trace_that_is_cut_off_says_so(accesses in prop::collection::vec(any_access(), 1..20), cut in 0.0..1.0) {
        let whole = compact(&accesses);
        let length = 1 + (cut * (whole.len() - 1) as f64) as usize;
        let cut = read(&whole[..length]);
        prop_assert_eq!(cut, Err(TraceError::Cut { offset: length as u64 }));
    }

    #[test]
    fn pages_are_those_of_the_bytes(accesses in prop::collection::vec(any_access(), 1..60)) {
        let trace = page_trace(&Trace::from_bytes(text(&accesses)).unwrap()).unwrap();
        let mut expected = Vec::new();
        for access in &accesses {
            let last = access.address + (u64::from(access.size) - 1);
            let mut places = vec![access.address];
            places.extend((access.address >> 12 != last >> 12).then_some(last & !0xfff));
            let passes: &[bool] = match access.kind {
                Kind::Fetch | Kind::Load => &[false],
                Kind::Store => &[true],
                Kind::Modify => &[false, true],
            };
            for &store in passes {
                expected.extend(places.iter().map(|&at| (at >> 12, (at % 4096 / 8) as usize, store)));
            }
        }
        let found: Vec<_> = trace.touches.iter().map(|t| (trace.pages[t.slot()], t.word(), t.is_store())).collect();
        prop_assert_eq!(found, expected);
        let mut seen = 0;
        for touch in &trace.touches {
            prop_assert!(touch.slot() <= seen, "numbered by first appearance");
            seen = seen.max(touch.slot() + 1);
        }
        prop_assert_eq!(seen, trace.pages.len());
    }
}

#[test]
fn lines_of_lackey() {
    let accesses = read(TEXT.as_bytes()).unwrap();
    let of = |address, size, kind| Access { address, size, kind };
    let expected = [
        of(0x0401_ab70, 3, Kind::Fetch),
        of(0x001f_ff00_0728, 8, Kind::Store),
        of(0x0401_afff, 2, Kind::Load),
        of(u64::MAX, 1, Kind::Modify),
    ];
    assert_eq!(accesses, expected);
    let trace = Trace::from_bytes(TEXT.as_bytes().to_vec()).unwrap();
    assert_eq!(trace.clone().limited(2).accesses().unwrap().count(), 2);
    assert_eq!(trace.clone().data_only().limited(2).accesses().unwrap().count(), 2);
    let pages = page_trace(&trace).unwrap();
    assert_eq!(pages.pages, [0x401a, 0x01ff_f000, 0x401b, 0x000f_ffff_ffff_ffff]);
    assert_eq!(pages.touches.len(), 6, "one crosses into another page, one loads and stores");
}

#[test]
fn what_is_wrong_with_a_text() {
    for (line, what) in [
        (" L 12", "no comma"),
        (" L ,8", "no address"),
        (" L 11112222333344445,8", "no address"),
        (" L 12,", "no decimal size"),
        (" L 12,8 ", "no decimal size"),
        (" L 12,0", "not 1 to 4096"),
        (" L 12,4097", "not 1 to 4096"),
        (" L ffffffffffffffff,2", "beyond the last"),
        (" X 12,8", "not a line of lackey"),
        ("hello", "not a line of lackey"),
    ] {
        let error = read(format!(" L 1,1\n{line}\n").as_bytes()).unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, TraceError::Line { line: 2, .. }) && told.contains(what), "{told}");
        assert!(told.contains(line.trim_end()), "{told}");
    }
    assert!(matches!(read(b" L 1,1\n L 12,8"), Err(TraceError::CutLine { line: 2, .. })));
    let long = [b" L 1,1\n".as_slice(), &[b' '; 1 << 20]].concat();
    assert!(matches!(read(&long), Err(TraceError::Line { line: 2, .. })), "no line grows without bound");
}

#[test]
fn what_is_no_trace() {
    assert_eq!(read(b""), Err(TraceError::Empty));
    assert_eq!(read(b"==1== only words\n"), Err(TraceError::Empty));
    assert_eq!(read(&gzip(b"")), Err(TraceError::Empty));
    assert!(matches!(read(b"PK\x03\x04"), Err(TraceError::Unknown { .. })));
    assert!(read(b"hello\n").unwrap_err().to_string().contains("`hello`"));
    assert!(matches!(read(b"\x89UVTRACX\x01\x00"), Err(TraceError::Unknown { .. })));
    assert!(matches!(read(b"\x89UVTRACE\x02\x00"), Err(TraceError::Record { offset: 8, .. })));
    assert!(matches!(read(b"\x89UVTRACE\x01\x80"), Err(TraceError::Record { offset: 9, .. })));
    assert!(matches!(Trace::open(Path::new("/dev/zero")), Err(TraceError::Unreadable(_))));
    assert!(matches!(Trace::open(Path::new("/no/such")), Err(TraceError::Unreadable(_))));
}

#[test]
fn what_is_wrong_with_a_compact_trace() {
    let with = |records: &[u8]| read(&[b"\x89UVTRACE\x01\x00".as_slice(), records].concat());
    let one = |records: &[u8]| with(records).unwrap_err().to_string();
    assert_eq!(with(&[0x05, 0x20, 0, 1]).unwrap(), [Access { address: 16, size: 1, kind: Kind::Load }]);
    assert!(one(&[0x05, 0x20, 0, 2]).contains("counts 2 accesses, there are 1"));
    assert!(one(&[0x05, 0x20, 0, 1, 0]).contains("byte 0xe: something follows"));
    assert!(one(&[0x02]).contains("nothing is accessed"));
    assert!(one(&[0xfd, 0x81, 0x20, 0, 0, 1]).contains("4097 bytes"));
    assert!(one(&[0x05, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).contains("64 bits"));
    assert!(one(&[0x09, 0x01, 0, 1]).contains("beyond the last address"));
    assert_eq!(with(&[0, 0]), Err(TraceError::Empty));
}

#[test]
fn compressed_data_that_are_cut_off_or_lie() {
    let plain = text(&vec![Access { address: 0x1234, size: 8, kind: Kind::Load }; 5000]);
    for (format, bytes) in [("gzip", gzip(&plain)), ("zstd", zstd(&plain))] {
        for length in [5, bytes.len() / 2, bytes.len() - 1] {
            let told = read(&bytes[..length]).unwrap_err().to_string();
            assert!(told.contains(format) && told.contains("damaged or cut off"), "{format} {length}: {told}");
        }
    }
    // A bomb of comments ends where patience does.
    let bomb = gzip(&b"==1== ==========================================================\n".repeat(1 << 19));
    assert!(matches!(read(&bomb), Err(TraceError::Silent { .. })));
}

#[test]
fn files_are_converted_and_never_overwritten_by_themselves() {
    let folder = std::env::temp_dir().join(format!("uvsim-trace-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (input, output) = (folder.join("in"), folder.join("out.uvtrace"));
    std::fs::write(&input, TEXT).unwrap();
    let trace = Trace::open(&input).unwrap();
    for plan in [Plan::default(), Plan { gzip: true, ..Plan::default() }] {
        let done = convert(&trace, &output, plan).unwrap();
        assert_eq!((done.read, done.written, done.bytes), (4, 4, std::fs::metadata(&output).unwrap().len()));
        let back: Result<Vec<_>, _> = Trace::open(&output).unwrap().accesses().unwrap().collect();
        assert_eq!(back, read(TEXT.as_bytes()));
    }
    convert(&trace, &output, Plan { pages_only: true, gzip: false }).unwrap();
    let pages = page_trace(&Trace::open(&output).unwrap()).unwrap();
    assert_eq!(pages.pages, page_trace(&trace).unwrap().pages);
    assert!(matches!(convert(&trace, &input, Plan::default()), Err(TraceError::Same(_))));
    assert!(matches!(convert(&trace, &folder, Plan::default()), Err(TraceError::Unwritable { .. })));
    let nowhere = folder.join("no/such/folder");
    assert!(matches!(convert(&trace, &nowhere, Plan::default()), Err(TraceError::Unwritable { .. })));
    // What cannot be read to its end leaves nothing behind.
    std::fs::write(&input, " L 1,1\nx\n").unwrap();
    std::fs::remove_file(&output).unwrap();
    assert!(convert(&Trace::open(&input).unwrap(), &output, Plan::default()).is_err());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_summary_counts() {
    let summary = summary(&Trace::from_bytes(TEXT.as_bytes().to_vec()).unwrap()).unwrap();
    assert_eq!((summary.accesses, summary.bytes, summary.total()), ([1, 1, 1, 1], 14, 4));
    assert_eq!((summary.pages, summary.stored_pages, summary.page_accesses), (4, 2, 5));
    assert_eq!(summary.span, Some((0x0401_ab70, u64::MAX)));
}
