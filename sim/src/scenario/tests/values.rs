//! The rules about reads, writes, numbers, texts and hex digits.

use super::super::{BufferId, Read, Source, Verb, Write};
use super::{bad, good};

fn read(text: &str) -> Read {
    match good(text).verb {
        Verb::HostRead { read, .. } | Verb::DeviceRead { read, .. } | Verb::GuestRead { read, .. } => read,
        other => panic!("{other:?}"),
    }
}

fn write(text: &str) -> Write {
    match good(text).verb {
        Verb::HostWrite { write, .. } | Verb::DeviceWrite { write, .. } | Verb::GuestWrite { write, .. } => write,
        other => panic!("{other:?}"),
    }
}

#[test]
fn lengths_have_defaults() {
    for actor in ["host", "device", "guest"] {
        assert_eq!(read(&format!("{actor} read alpha:3")).length, Some(4096));
        assert_eq!(read(&format!("{actor} read alpha:3 offset=4095")).length, Some(1));
        assert_eq!(read(&format!("{actor} read alpha:3 text=é")).length, Some(2), "bytes of UTF-8");
        assert_eq!(read(&format!("{actor} read alpha:3 hex=\"00 11\t22\"")).length, Some(3));
        assert_eq!(read(&format!("{actor} read alpha:3 len=5 text=ab")).length, Some(5), "fails when it runs");
        assert_eq!(
            write(&format!("{actor} write alpha:3 offset=0x10 hex=DEADbeef")).data,
            Source::Bytes(vec![0xde, 0xad, 0xbe, 0xef])
        );
    }
    let buffer = read("host read alpha:3 len=8 save=a\nhost read alpha:3 offset=4088 equals=a save=b");
    assert_eq!(
        (buffer.length, buffer.compare, buffer.save),
        (None, Some(Source::Buffer(BufferId(0))), Some(BufferId(1)))
    );
    let from = write("host read alpha:3 len=8 save=a\nguest write alpha:3..5 offset=4088 from=a");
    assert_eq!(from, Write { offset: 4088, data: Source::Buffer(BufferId(0)) });
}

#[test]
fn no_access_crosses_its_page() {
    bad("host read alpha:3 offset=4096", "too large", "offset=4096");
    bad("host read alpha:3 len=4097", "too large", "len=4097");
    bad("host read alpha:3 len=0", "too small", "len=0");
    bad("host read alpha:3 offset=1 len=4096", "cross the end of the page", "len=4096");
    bad("guest read alpha:3 offset=4095 text=ab", "cross the end of the page", "text=ab");
    bad("guest write alpha:3 offset=4095 hex=abcd", "cross the end of the page", "hex=abcd");
    bad("host read alpha:3 save=a\nhost write alpha:3 offset=1 from=a", "4096 bytes from offset 1", "from=a");
    bad(
        "host read alpha:3 len=2 save=a\nhost read alpha:3 offset=4095 equals=a",
        "2 bytes from offset 4095",
        "equals=a",
    );
    // Saved with two lengths: which one it is shows when it runs.
    good("host read alpha:3 save=a\nhost read alpha:3 len=1 save=a\nhost write alpha:3 offset=1 from=a");
    let long = "x".repeat(4097);
    bad(&format!("host write alpha:3 text={long}"), "cross the end of the page", &format!("text={long}"));
}

#[test]
fn one_source_at_most() {
    bad("host write alpha:3", "`host write` lacks one of: text= hex= from=", "host write alpha:3");
    bad("host write alpha:3 text=a hex=ab", "exclude each other", "hex=ab");
    bad("host read alpha:3 text=a hex=ab", "exclude each other", "hex=ab");
    bad("host read alpha:3 text=a text=b", "`text` is given twice", "text=b");
    bad("host write alpha:3 text=a len=1", "no property `len`", "len=1");
}

#[test]
fn a_failed_read_gives_no_bytes() {
    for property in ["save=x", "text=a", "hex=ab"] {
        bad(
            &format!("host read alpha:3 {property} expect=secure-storage-access"),
            "needs bytes, but `secure-storage-access` is expected",
            property,
        )
    }
    good("host read alpha:3 len=16 text=\"0123456789abcdef\" expect=ok");
}

#[test]
fn texts_and_digits() {
    bad("host write alpha:3 text=\"\"", "a text is empty", "text=\"\"");
    bad("host write alpha:3 text=12", "a number where a text belongs", "text=12");
    bad("host write alpha:3 text=#true", "a truth value where a text belongs", "text=#true");
    bad("host write alpha:3 text=#null", "#null where a text belongs", "text=#null");
    bad("host write alpha:3 hex=0012", "a number where a text of hex digits belongs", "hex=0012");
    bad("host write alpha:3 hex=12ab", "`12ab` begins like a number", "12ab");
    bad("host write alpha:3 hex=abc", "an odd number of hex digits: 3", "hex=abc");
    bad("host write alpha:3 hex=xy", "`x` is not a hex digit", "hex=xy");
    bad("host write alpha:3 hex=\"  \"", "no hex digits", "hex=\"  \"");
}

#[test]
fn numbers() {
    assert!(matches!(good("host flip alpha:3 bit=32767").verb, Verb::HostFlip { bit: 32767, .. }));
    assert!(matches!(good("host flip alpha:3 bit=0012").verb, Verb::HostFlip { bit: 12, .. }));
    assert!(matches!(good("host flip alpha:3 bit=0b11").verb, Verb::HostFlip { bit: 3, .. }));
    bad("host flip alpha:3 bit=32768", "32768 is too large", "bit=32768");
    bad("host flip alpha:3 bit=-1", "-1 is too small", "bit=-1");
    bad("host flip alpha:3 bit=1.0", "a fraction where a number belongs", "bit=1.0");
    bad("host flip alpha:3 bit=\"7\"", "a text where a number belongs", "bit=\"7\"");
    bad("host flip alpha:3 bit=(u8)7", "`(u8)` does not belong here", "bit=(u8)7");
    bad("host flip alpha:3", "lacks the property `bit=`", "host flip alpha:3");
    let huge = "9".repeat(100_000);
    bad(&format!("host flip alpha:3 bit={huge}"), "begins like a number", &huge);
}
