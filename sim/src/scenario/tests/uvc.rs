//! The rules about raw calls.

use uvsim_model::address::PageIndex;
use uvsim_model::uvc::Command;

use super::super::decode::RESERVED;
use super::super::{BufferId, FieldValue, GuestId, UvcCall, Verb};
use super::{bad, good};

fn call(text: &str) -> UvcCall {
    match good(text).verb {
        Verb::HostUvc { call } | Verb::GuestUvc { call, .. } => call,
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_field_is_named_like_a_property() {
    for command in Command::ALL {
        for field in command.row().fields {
            assert!(!RESERVED.contains(&field.name), "{} of {}", field.name, command.name());
        }
    }
}

#[test]
fn fields_take_numbers_and_annotated_names() {
    let import =
        call("host uvc conv-to-sec-stor gaddr=(page)alpha:3 guest-handle=(handle)beta expect=refused rc=0x101");
    assert_eq!((import.code, import.command, import.length), (0x200, Some(Command::ConvToSecStor), 0x28));
    let values: Vec<_> = import.fields.iter().map(|(field, value)| (field.name, *value)).collect();
    assert_eq!(
        values,
        [("gaddr", FieldValue::Page(GuestId(0), PageIndex(3))), ("guest-handle", FieldValue::Handle(GuestId(1)))]
    );
    let state = call("host uvc cpu-set-state cpu-handle=(cpu)beta:1 state=255");
    assert_eq!(state.fields[0].1, FieldValue::Cpu(GuestId(1), 1));
    assert_eq!(state.fields[1].1, FieldValue::Number(255));
    assert_eq!(
        call("host uvc destr-sec-stor paddr=(frame)alpha:255").fields[0].1,
        FieldValue::Frame(GuestId(0), PageIndex(255))
    );
    assert_eq!(
        call("host uvc 0x0200 gaddr=0xffffffffffffffff").fields[0].1,
        FieldValue::Number(u64::MAX),
        "known by its number"
    );
    assert_eq!(call("host uvc qui").length, 0x120);
    assert!(matches!(
        good("guest uvc beta set-shared-access paddr=(page)beta:9 cpu=1").verb,
        Verb::GuestUvc { guest: GuestId(1), .. }
    ));
}

#[test]
fn the_instruction_can_be_spoiled() {
    let spoilt = call(
        "host uvc qui len=0xa0 bytes=\"0102\" save=b problem-state=#true immediate=0x42 skew=4095 cpu=1 expect=privileged-operation",
    );
    assert_eq!((spoilt.length, spoilt.bytes.as_slice(), spoilt.save), (0xa0, &[1, 2][..], Some(BufferId(0))));
    assert_eq!((spoilt.problem_state, spoilt.immediate, spoilt.skew), (true, 0x42, 4095));
    let unknown = call("host uvc 0x4242 len=8 bytes=ff expect=refused rc=2");
    assert_eq!((unknown.code, unknown.command, unknown.length), (0x4242, None, 8));
    assert_eq!(call("host uvc 0xffff").length, 8);
    bad("host uvc qui len=0x10000", "too large", "len=0x10000");
    bad("host uvc qui immediate=256", "too large", "immediate=256");
    bad("host uvc qui skew=4096", "too large", "skew=4096");
    bad("host uvc qui problem-state=1", "a number where #true or #false belongs", "problem-state=1");
    let long = "00".repeat(505);
    bad(&format!("guest uvc alpha qui bytes=a{long}a"), "506 bytes do not fit", &format!("bytes=a{long}a"));
}

#[test]
fn wrong_calls() {
    bad("host uvc", "`host uvc` lacks a command", "");
    bad("host uvc conv-to-sec-sotr gaddr=3", "no command `conv-to-sec-sotr`", "conv-to-sec-sotr");
    bad("host uvc 0x10000", "too large", "0x10000");
    bad("host uvc 0x4242 gaddr=3", "no property `gaddr`", "gaddr=3");
    bad("host uvc destr-sec-stor gaddr=3", "no property `gaddr`", "gaddr=3");
    bad("host uvc cpu-set-state state=256", "256 is too large", "state=256");
    bad("host uvc create-sec-cpu num=0x10000", "too large", "num=0x10000");
    bad("host uvc cpu-set-state state=(handle)alpha", "field `state` has 1 bytes", "state=(handle)alpha");
    bad("host uvc destroy-sec-conf handle=alpha", "`alpha` is not a number", "handle=alpha");
    bad("host uvc destroy-sec-conf handle=(handel)alpha", "unknown annotation `(handel)`", "handle=(handel)alpha");
    bad("host uvc destroy-sec-conf handle=(handle)gamma", "no guest `gamma`", "handle=(handle)gamma");
    bad("host uvc destroy-sec-conf handle=(handle)3", "a number where a guest or page belongs", "handle=(handle)3");
    bad("host uvc destroy-sec-cpu handle=(cpu)beta:2", "`beta:2` is not a vCPU", "handle=(cpu)beta:2");
    bad("host uvc destroy-sec-cpu handle=(cpu)beta", "`beta` is not a vCPU", "handle=(cpu)beta");
    bad("host uvc destr-sec-stor paddr=(frame)alpha:256", "page 256 is outside", "paddr=(frame)alpha:256");
    bad("host uvc destr-sec-stor paddr=(page)alpha:2..3", "a range where one page belongs", "paddr=(page)alpha:2..3");
    bad("host uvc destr-sec-stor paddr=1 paddr=2", "given twice", "paddr=2");
    bad("guest uvc alpha:3 qui", "a page where a guest belongs", "alpha:3");
}
