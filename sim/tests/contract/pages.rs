//! Reads, writes, ranges, buffers and checks.

use super::{document, events, fail, pass};
use uvsim::run::Options;

#[test]
fn reads_and_writes() {
    pass(&[
        ("the length of a read is that of what is compared", "guest read alpha:3 text=\"attack\""),
        ("an offset", "guest read alpha:3 offset=7 text=\"at dawn\""),
        (
            "else the read goes to the end of the page",
            "host read alpha:9 offset=4090 save=tail
             host read alpha:9 len=6 save=six
             check equal tail six",
        ),
        (
            "a write stores, and only there",
            "host write alpha:9 offset=2 hex=\"01 02\"
             host read alpha:9 hex=\"0000 0102 00\"",
        ),
        (
            "bit 0 is the leftmost of byte 0, 32767 the last",
            "host flip alpha:9 bit=0
             host read alpha:9 hex=\"80\"
             host flip alpha:9 bit=32767
             host read alpha:9 offset=4095 hex=\"01\"
             host flip alpha:9 bit=0
             host read alpha:9 hex=\"00\"",
        ),
        (
            "the host cannot touch a secure frame, and nothing changes",
            "host read alpha:3 expect=secure-storage-access
             host write alpha:3 text=\"x\" expect=secure-storage-access
             host flip alpha:3 bit=5 expect=secure-storage-access
             guest read alpha:3 text=\"attack at dawn\"",
        ),
        (
            "a device is refused by the channel",
            "device read alpha:3 len=4 expect=io-refused
             device write alpha:3 hex=\"00\" expect=io-refused
             device write alpha:9 text=\"disk\"
             device read alpha:9 text=\"disk\"
             guest read alpha:3 text=\"attack at dawn\"",
        ),
        (
            "a device and a host share what the guest shares",
            "guest share alpha:5
             device write alpha:5 text=\"in\"
             host read alpha:5 text=\"in\"
             guest read alpha:5 text=\"in\"",
        ),
        (
            "cpu= is the CPU that acts",
            "host write alpha:9 text=\"x\" cpu=1
             host read alpha:9 text=\"x\" cpu=0
             host export alpha:3 cpu=1
             host read alpha:3 cpu=1 len=4
             guest read beta:3 cpu=1 len=1 expect=intercept code=32",
        ),
    ]);
}

#[test]
fn comparisons_that_fail() {
    fail(&[
        ("another content", "guest read alpha:3 text=\"attack at dusk\"", "differs from byte 11 on"),
        ("another length", "host read alpha:9 len=3 hex=\"00000000\"", "length"),
        ("the rule of a guest read", "guest read alpha:3 text=\"Attack\"", "(I-14)"),
        ("the rule of a host read", "host read alpha:9 text=\"a\"", "(T1)"),
        (
            "another outcome",
            "host read alpha:3 expect=refused",
            "expected refused, got secure-storage-access (program interruption 0x3d)",
        ),
        (
            "another rc",
            "host import alpha:9 expect=refused rc=0x106",
            "expected refused rc=0x106, got refused rc=0x10a rrc=0x0",
        ),
        ("an rc has a meaning", "host import alpha:9", "the host maps no frame there"),
        ("ok where a refusal is expected", "host import alpha:3 expect=refused", "expected refused, got ok rc=0x1"),
        (
            "another interception",
            "guest read alpha:3 cpu=7 expect=intercept code=112",
            "got intercept code=32 (validity)",
        ),
    ]);
}

#[test]
fn ranges() {
    pass(&[
        (
            "a range is worked on page by page",
            "guest write alpha:10..12 text=\"many\"
             host export alpha:10..12
             check page alpha:10..12 state=exported counter=1 frame=non-secure
             guest read alpha:10..12 text=\"many\"
             check page alpha:10..12 state=resident counter=1
             check page alpha:13 state=absent frame=none",
        ),
        (
            "to= takes a range as long",
            "host write alpha:10 text=\"a\"
             host write alpha:11 text=\"b\"
             host copy alpha:10..11 to=beta:20..21
             host read beta:20 text=\"a\"
             host read beta:21 text=\"b\"
             host remap alpha:30..31 to=beta:20..21
             host read alpha:31 text=\"b\"",
        ),
        (
            "beyond the guest, where the outcome is asked for (D71)",
            "guest read alpha:256 len=1 expect=addressing
             guest write alpha:256..300 text=\"x\" expect=addressing
             guest share alpha:256 expect=refused rc=0x101
             guest unshare alpha:4503599627370495 expect=refused rc=0x101
             host import alpha:256 expect=refused rc=0x103
             host unpin alpha:256 expect=refused rc=0x103",
        ),
    ]);
    fail(&[(
        "each page must meet the expectation",
        "guest write alpha:10..12 text=\"same\"
         guest write alpha:11 text=\"other\"
         guest read alpha:10..12 text=\"same\"",
        "alpha:11: the content differs",
    )]);
}

#[test]
fn statements_are_counted() {
    let counted = |statements: &str| {
        let (_, events) = events(&document("", statements), Options::default());
        events.iter().filter(|event| event["event"] == "statement").count()
    };
    // `check invariants` is one more.
    assert_eq!(counted("guest write alpha:10..19 text=\"x\""), 2, "a range once");
    assert_eq!(counted("repeat 3 { guest write alpha:10 text=\"x\"; repeat 2 { host export alpha:10; }; }"), 10);
    assert_eq!(counted("repeat 18446744073709551615 { repeat 18446744073709551615 {}; }"), 1, "nothing takes no time");
}

#[test]
fn buffers_and_checks() {
    pass(&[
        (
            "a buffer outlives its step",
            "guest read alpha:3 len=14 save=plain
             check invariants
             } ; step \"another\" {
             host export alpha:3
             host read alpha:3 len=14 save=cipher
             check differ plain cipher
             guest read alpha:3 equals=plain
             guest write alpha:10 from=plain
             guest read alpha:10 len=14 save=again
             check equal plain again",
        ),
        (
            "a name may be saved again",
            "host read alpha:9 len=2 save=b
             check zero b
             host write alpha:9 hex=\"0100\"
             host read alpha:9 len=2 save=b
             host write alpha:10 from=b
             host read alpha:10 hex=\"0100\"",
        ),
        (
            "what a page is",
            "check page alpha:3 state=resident counter=0 frame=secure
             check page alpha:10 state=absent counter=0 frame=none
             host read alpha:10 len=1
             check page alpha:10 state=absent frame=non-secure
             host export alpha:3
             check page alpha:3 state=exported counter=1 frame=non-secure
             guest share alpha:5
             check page alpha:5 state=shared frame=non-secure
             host pin alpha:5
             check page alpha:5 state=pinned
             check page gamma:5 state=absent counter=0 frame=none",
        ),
        (
            "shared also without a frame",
            "guest share alpha:5
             host unmap alpha:5
             check page alpha:5 frame=none
             host export alpha:3
             check page alpha:5 counter=0",
        ),
    ]);
    fail(&[
        (
            "differ compares the shorter length",
            "guest read alpha:3 len=14 save=a\nguest read alpha:3 len=4 save=b\ncheck differ a b",
            "the first 4 bytes are equal",
        ),
        (
            "equal wants equal lengths",
            "guest read alpha:3 len=14 save=a\nguest read alpha:3 len=4 save=b\ncheck equal a b",
            "length",
        ),
        ("zero", "guest read alpha:3 len=14 save=a\ncheck zero a", "byte 0 of 14 is 0x61, not zero"),
        ("state", "check page alpha:3 state=exported", "found    resident"),
        ("counter", "check page alpha:3 counter=1", "expected 1"),
        ("frame", "check page alpha:3 frame=none", "found    secure"),
        ("each page of a range", "check page alpha:2..3 state=absent", "alpha:3: the page is not as expected"),
    ]);
}
