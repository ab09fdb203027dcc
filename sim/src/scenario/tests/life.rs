//! The verbs of the life cycle: every rule, once kept and once broken.

use super::super::{CpuReset, CpuState, FieldValue, GuestId, ImagePart, MpState, PV_COMMANDS, PvCommand, Unpack, Verb};
use super::{bad, good};
use uvsim_model::address::PageIndex;

const ALPHA: GuestId = GuestId(0);
const BETA: GuestId = GuestId(1);

fn pv(statement: &str) -> PvCommand {
    match good(statement).verb {
        Verb::HostPv { command, .. } => command,
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands_of_kvm() {
    for command in PV_COMMANDS {
        pv(&format!("host pv {command} alpha"));
    }
    assert_eq!(pv("host pv set-sec-parms alpha len=9000"), PvCommand::SetSecParms { length: Some(9000) });
    assert_eq!(pv("host pv unpack alpha"), PvCommand::Unpack(Unpack::default()));
    let part = |part| PvCommand::Unpack(Unpack { part, ..Unpack::default() });
    assert_eq!(pv("host pv unpack alpha page=3"), part(ImagePart::Page(3)));
    assert_eq!(pv("host pv unpack alpha component=1"), part(ImagePart::Component(1)));
    let PvCommand::Unpack(unpack) = pv("host pv unpack alpha component=0 addr=8 size=9 tweak=10") else { panic!() };
    assert_eq!((unpack.address, unpack.size, unpack.tweak), (Some(8), Some(9), Some(10)));
    let performed = PvCommand::AsyncCleanupPerform { pages: Some(4), signal: true };
    assert_eq!(pv("host pv async-cleanup-perform alpha pages=4 signal=#true"), performed);
    bad("host pv enabled alpha", "not a command of KVM", "enabled");
    bad("host pv enable alpha:1", "a page where a guest belongs", "alpha:1");
    bad("host pv enable gamma", "no guest `gamma`", "gamma");
    bad("host pv enable alpha len=1", "len", "len=1");
    bad("host pv set-sec-parms alpha len=4294967296", "too large", "len=4294967296");
    bad("host pv unpack alpha page=1 component=2", "exclude each other", "page=1");
    bad("host pv unpack alpha page=1 size=2", "said of one component", "size=2");
    bad("host pv async-cleanup-perform alpha signal=#true", "not said when", "signal=#true");
}

#[test]
fn images_and_headers() {
    let Verb::HostLoadImage { part, block, .. } = good("host load-image beta page=3 block=0x8000").verb else {
        panic!()
    };
    assert_eq!((part, block), (ImagePart::Page(3), Some((0x8000, 0x9000))));
    let Verb::HostLoadImage { block, .. } = good("host load-image beta block=1 header=2").verb else { panic!() };
    assert_eq!(block, Some((1, 2)));
    bad("host load-image beta header=2", "goes with an IPL parameter block", "header=2");
    assert!(matches!(good("host flip-header beta bit=65535").verb, Verb::HostFlipHeader { guest: BETA, bit: 65535 }));
    bad("host flip-header beta bit=65536", "too large", "bit=65536");
    assert!(matches!(good("host write-header beta offset=8 hex=\"00\"").verb, Verb::HostWriteHeader { offset: 8, .. }));
    bad("host write-header beta", "lacks one of", "host write-header beta");
}

#[test]
fn vcpus_have_names() {
    assert!(matches!(good("host create-cpu alpha:9").verb, Verb::HostCreateCpu { guest: ALPHA, vcpu: 9 }));
    let reset = good("host cpu-reset alpha kind=clear").verb;
    assert!(matches!(reset, Verb::HostCpuReset { vcpu: 0, kind: CpuReset::Clear, .. }));
    let state = good("host cpu-state beta:1 state=load").verb;
    assert!(matches!(state, Verb::HostCpuState { guest: BETA, vcpu: 1, state: MpState::Load }));
    bad("host create-cpu alpha:257", "not a vCPU", "alpha:257");
    bad("host cpu-state alpha:x state=load", "not a vCPU", "alpha:x");
    bad("host cpu-state alpha", "state", "host cpu-state alpha");
    bad("host cpu-reset alpha kind=soft", "not a kind of reset", "kind=soft");
    // A handle has a name from the line on that creates the CPU.
    let created = "host create-cpu alpha:2\nhost uvc cpu-reset handle=(cpu)alpha:2";
    assert!(matches!(good(created).verb, Verb::HostUvc { .. }));
    bad("host uvc cpu-reset handle=(cpu)alpha:2\nhost create-cpu alpha:2", "not a vCPU", "handle=(cpu)alpha:2");
}

#[test]
fn annotations_of_images() {
    let fields = |text: &str| match good(text).verb {
        Verb::HostUvc { call } => call.fields.into_iter().map(|(_, value)| value).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        fields("host uvc set-sec-conf-params sec-header-origin=(header)beta sec-header-len=(header-length)beta"),
        [FieldValue::Header(BETA), FieldValue::HeaderLength(BETA)]
    );
    assert_eq!(
        fields("host uvc unpack-img tweak-prefix=(tweak-prefix)alpha:3 tweak-offset=(tweak-offset)alpha:3"),
        [FieldValue::TweakPrefix(ALPHA, PageIndex(3)), FieldValue::TweakOffset(ALPHA, PageIndex(3))]
    );
    let short = "host uvc set-sec-conf-params sec-header-len=(header)beta";
    bad(short, "has 4 bytes, too few", "sec-header-len=(header)beta");
    bad("host uvc create-sec-cpu num=(header-length)beta", "has 2 bytes, too few", "num=(header-length)beta");
}

#[test]
fn guests_ask_their_hypervisor() {
    let Verb::GuestDiagnose { diagnose, .. } = good("guest diagnose alpha 0x308 addr=1 r1=2 subcode=3 r4=5").verb
    else {
        panic!()
    };
    assert_eq!((diagnose.function, diagnose.registers, diagnose.register), (0x308, [1, 2, 3, 0, 5], None));
    assert!(good("guest diagnose alpha 0x308 register=1").checks());
    bad("guest diagnose alpha 0x308 subcode=1 r2=1", "exclude each other", "r2=1");
    bad("guest diagnose alpha 0x10000", "too large", "0x10000");
    let prefix = good("guest set-prefix alpha 0x8000").verb;
    assert!(matches!(prefix, Verb::GuestSetPrefix { guest: ALPHA, prefix: 0x8000 }));
}

#[test]
fn checks_check_something() {
    let Verb::CheckCpu { vcpu, check, .. } = good("check cpu beta:1 state=check-stop psw-mask=1 r15=2").verb else {
        panic!()
    };
    assert_eq!(
        (vcpu, check.state, check.psw, check.general[15]),
        (1, Some(CpuState::CheckStop), [Some(1), None], Some(2))
    );
    bad("check cpu beta", "checks nothing", "check cpu beta");
    bad("check leaks beta", "checks nothing", "check leaks beta");
    bad("check cpu beta state=loaded", "not a state of a CPU", "state=loaded");
    assert!(matches!(good("check leaks beta cpus=0").verb, Verb::CheckLeaks { guest: BETA, .. }));
    bad("check leaks beta frames=x", "a text where a number belongs", "frames=x");
}
