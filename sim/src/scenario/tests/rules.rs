//! The rules about nodes, guests, loads, statements and expectations.

use uvsim_model::config::{ChangeDetection, CipherProfile, Generation};
use uvsim_model::uvc::Command;

use super::super::{
    BufferId, FaultPolicy, FrameSecurity, GuestId, GuestState, Injection, LoadData, Node, Outcome, Pattern,
    RecordState, Source, Verb,
};
use super::{LESSON, bad, good, parse, rejects, with};

#[test]
fn the_lesson_is_resolved() {
    let scenario = parse(LESSON).unwrap();
    assert_eq!(scenario.name, "A page survives a trip through untrusted storage");
    assert_eq!(scenario.source.as_deref(), Some("US11206128"));
    assert!(scenario.about.unwrap().starts_with("Export"));
    assert_eq!((scenario.machine.seed, scenario.machine.cpus, scenario.machine.storage), (7, 2, 4 << 30));
    assert_eq!(scenario.buffers, ["plain", "cipher"]);
    let [alpha, beta] = &scenario.guests[..] else { panic!() };
    assert_eq!((alpha.name.as_str(), alpha.pages(), alpha.vcpus, alpha.state), ("alpha", 256, 1, GuestState::Running));
    assert_eq!((beta.vcpus, beta.state), (2, GuestState::Created));
    assert_eq!(alpha.loads[0].data, LoadData::Bytes(b"attack at dawn".to_vec()));
    assert_eq!((alpha.loads[1].address, &alpha.loads[1].data), (0x4000, &LoadData::Random(4096)));
    let nodes = &scenario.steps[1].nodes;
    assert_eq!(nodes.len(), 10);
    let Node::Repeat(repeat) = &nodes[4] else { panic!() };
    assert_eq!((repeat.count, repeat.nodes.len(), repeat.place.line), (2, 1, 20));
    let Node::Statement(flip) = &nodes[5] else { panic!() };
    assert_eq!((flip.text.as_str(), flip.place.line, flip.place.column), ("host flip alpha:3 bit=77", 21, 5));
    let Node::Statement(import) = &nodes[6] else { panic!() };
    assert_eq!((import.expectation.outcome, import.expectation.rc), (Outcome::Refused, Some(0x106)));
    assert!(import.checks() && !flip.checks());
    let Node::Statement(read) = &nodes[9] else { panic!() };
    let Verb::GuestRead { read: operands, .. } = &read.verb else { panic!() };
    assert_eq!((operands.length, &operands.compare), (Some(14), &Some(Source::Bytes(b"attack at dawn".to_vec()))));
    assert!(read.checks());
}

#[test]
fn nodes_stand_in_order_and_once() {
    rejects("", "no `scenario` node", "");
    rejects(
        "guest a memory=\"1MiB\"\nscenario s\nstep t { check invariants; }",
        "`scenario` must stand before `guest`",
        "scenario",
    );
    rejects(
        "scenario s\nstep t { check page a:0 counter=0; }\nguest a memory=\"1MiB\"",
        "`guest` must stand before `step`",
        "guest",
    );
    rejects(
        "scenario s\nguest a memory=\"1MiB\"\nmachine\nstep t { check invariants; }",
        "`machine` must stand before `guest`",
        "machine",
    );
    rejects("scenario s\nscenario t\nstep t { check invariants; }", "a second `scenario`", "scenario");
    rejects("scenario s\nmachine\nmachine\nstep t { check invariants; }", "a second `machine`", "machine");
    rejects("scenario s\nstp t { check invariants; }", "unknown node `stp`", "stp");
    rejects("scenario s\nrepeat 2 { check invariants; }", "`repeat` belongs inside a step", "repeat");
    rejects("scenario s\nstep t { step u { check invariants; }; }", "`step` does not belong inside a step", "step");
    rejects("scenario s version=2\nstep t { check invariants; }", "version 2", "version=2");
    rejects("scenario s { about a; about b; }\nstep t { check invariants; }", "`about` is given twice", "about");
    rejects("scenario s { abuot a; }\nstep t { check invariants; }", "`abuot` is not known here", "abuot");
    rejects("scenario\nstep t { check invariants; }", "`scenario` lacks a name", "");
    rejects("scenario s\nstep \"\" { check invariants; }", "a title is empty", "\"\"");
    rejects("scenario s\nstep t { check invariants; }\nstep u", "`step` has no statements", "step u");
    assert!(parse("scenario s\nstep t { }\nstep u { check invariants; }").is_ok());
}

#[test]
fn a_file_must_check_something() {
    let plain = |statement: &str| format!("scenario s\nguest a memory=\"1MiB\"\nstep t {{ {statement}; }}");
    rejects(&plain("host export a:3"), "nothing is checked", "scenario");
    rejects("scenario s", "nothing is checked", "scenario");
    rejects(&plain("host read a:3 save=x"), "nothing is checked", "scenario");
    for checking in [
        "host export a:3 expect=ok",
        "guest read a:3 text=x",
        "check page a:3 counter=0",
        "check invariants",
        "repeat 2 { host export a:3 expect=ok; }",
        "workload guest=a accesses=1 working-set=1 frames=1",
        "host write a:3 text=x; host read a:3 save=b; check zero b",
    ] {
        assert!(parse(&plain(checking)).is_ok(), "{checking}");
    }
}

#[test]
fn machine_settings() {
    let machine = |settings: &str| format!("scenario s\nmachine {{ {settings}; }}\nstep t {{ check invariants; }}");
    let scenario = parse(&machine(
        "storage \"8GiB\"; cpus 64; seed 0xffffffffffffffff; generation z17; cipher xts; change-detection always; \
        feature misc=#false; strict-tweaks #true; without destr-sec-stor; without \"conv-to-sec-stor\"",
    ))
    .unwrap();
    let machine_config = scenario.machine;
    assert_eq!((machine_config.storage, machine_config.cpus, machine_config.seed), (8 << 30, 64, u64::MAX));
    assert_eq!((machine_config.generation, machine_config.cipher), (Generation::Z17, CipherProfile::Xts));
    assert_eq!((machine_config.change_detection, machine_config.feature_misc), (ChangeDetection::Always, Some(false)));
    assert!(machine_config.strict_tweaks && machine_config.host_key.is_none());
    assert_eq!(machine_config.without, [Command::DestrSecStor, Command::ConvToSecStor]);
    rejects(&machine("cpus 0"), "0 is too small", "0");
    rejects(&machine("cpus 65"), "65 is too large", "65");
    rejects(&machine("cpus 1; cpus 2"), "`cpus` is given twice", "cpus");
    rejects(&machine("storage \"1GB\""), "`1GB` is not a size", "\"1GB\"");
    rejects(&machine("storage \"1KiB\""), "no machine has this much storage", "\"1KiB\"");
    rejects(&machine("storage \"17TiB\""), "no machine has this much storage", "\"17TiB\"");
    rejects(&machine("seed 0x10000000000000000"), "too large", "0x10000000000000000");
    rejects(&machine("generation z14"), "`z14` is not a generation", "z14");
    rejects(&machine("cipher gmc"), "`gmc` is not a cipher", "gmc");
    rejects(&machine("change-detection never"), "not a change detection", "never");
    rejects(&machine("feature misc=1"), "a number where #true or #false belongs", "misc=1");
    rejects(&machine("feature"), "lacks the property `misc=`", "feature");
    rejects(&machine("without import"), "no command `import`", "import");
    rejects(&machine("without qui; without qui"), "taken away twice", "qui");
    rejects(&machine("sede 7"), "`sede` is not known here", "sede");
    rejects(&machine("seed 7 8"), "does not take the argument `8`", "8");
    rejects(&machine("seed"), "`seed` lacks a value", "");
    rejects(&machine("strict-tweaks 1"), "a number where #true or #false belongs", "1");
    rejects(&machine("host-key 7"), "a number where the path of a key file belongs", "7");
    rejects(&machine("host-key \"\""), "the path of a key file is empty", "\"\"");
    rejects(&machine("host-key \"a.pem\""), "the key `a.pem` cannot be read: data files are not", "\"a.pem\"");
}

#[test]
fn guests() {
    let guest = |guest: &str| format!("scenario s\n{guest}\nstep t {{ check invariants; }}");
    for name in ["a", "A9_-"] {
        assert!(parse(&guest(&format!("guest {name} memory=\"1MiB\" state=none vcpus=257"))).is_ok());
    }
    rejects(&guest("guest _a memory=\"1MiB\""), "`_a` is not a name for a guest", "_a");
    rejects(&guest("guest a:b memory=\"1MiB\""), "not a name for a guest", "a:b");
    rejects(&guest("guest a.b memory=\"1MiB\""), "not a name for a guest", "a.b");
    rejects(&guest("guest é memory=\"1MiB\""), "not a name for a guest", "é");
    rejects(&guest("guest a memory=\"1MiB\"\nguest a memory=\"1MiB\""), "a second guest named `a`", "a");
    rejects(&guest("guest a"), "`guest` lacks the property `memory=`", "guest a");
    rejects(&guest("guest a memory=1"), "a number where a size belongs", "memory=1");
    rejects(&guest("guest a memory=\"4KiB\""), "no guest has this much memory", "memory=\"4KiB\"");
    rejects(&guest("guest a memory=\"0MiB\""), "no guest has this much memory", "memory=\"0MiB\"");
    rejects(&guest("guest a memory=\"99999999999TiB\""), "more than 64 bits", "memory=\"99999999999TiB\"");
    rejects(&guest("guest a memory=\"1MiB\" memory=\"2MiB\""), "`memory` is given twice", "memory=\"2MiB\"");
    rejects(&guest("guest a memory=\"1MiB\" vcpus=0"), "0 is too small", "vcpus=0");
    rejects(&guest("guest a memory=\"1MiB\" state=on"), "`on` is not a state of a guest", "state=on");
    rejects(&guest("guest a memory=\"1MiB\" vcpu=2"), "no property `vcpu`", "vcpu=2");
    rejects(&guest("guest a b memory=\"1MiB\""), "does not take the argument `b`", "b");
}

#[test]
fn loads_lie_in_the_guest_and_do_not_overlap() {
    let load =
        |loads: &str| format!("scenario s\nguest a memory=\"1MiB\" {{ {loads}; }}\nstep t {{ check invariants; }}");
    assert!(parse(&load("load 0 hex=\"00 ff\"; load 2 text=x; load 0xfffff text=x; load 3 random=\"4KiB\"")).is_ok());
    rejects(&load("load 0x100000 text=x"), "outside of the guest", "0x100000");
    rejects(&load("load 0xfffff text=xy"), "do not fit into the guest", "text=xy");
    rejects(&load("load 1 random=\"1MiB\""), "do not fit into the guest", "random=\"1MiB\"");
    rejects(&load("load 0 text=xyz; load 2 text=x"), "overlaps another", "load 2 text=x");
    rejects(&load("load 2 text=x; load 0 random=9; load 20 text=x"), "overlaps another", "load 0 random=9");
    rejects(&load("load 0 random=100; load 5 text=x; load 100 text=x"), "overlaps another", "load 5 text=x");
    rejects(&load("load 0 text=\"\""), "a text is empty", "text=\"\"");
    rejects(&load("load 0 random=0"), "0 is too small", "random=0");
    rejects(&load("load 0"), "lacks one of: text= hex= file= random=", "load 0");
    rejects(&load("load text=x"), "`load` lacks an address", "");
    rejects(&load("load 0 text=x hex=ab"), "`text=` and `hex=` exclude each other", "hex=ab");
    rejects(&load("lod 0 text=x"), "`lod` is not known here", "lod");
    rejects(&load("load 0 file=x"), "data files are not available here", "file=x");
}

#[test]
fn verbs_without_operands_but_pages() {
    for (verb, expected) in [
        ("export", "HostExport"),
        ("import", "HostImport"),
        ("destroy", "HostDestroy"),
        ("pin", "HostPin"),
        ("unpin", "HostUnpin"),
        ("make-accessible", "HostMakeAccessible"),
        ("page-out", "HostPageOut"),
        ("page-in", "HostPageIn"),
        ("move", "HostMove"),
        ("unmap", "HostUnmap"),
    ] {
        let statement = good(&format!("host {verb} beta:0x10..0o21 cpu=1"));
        assert!(format!("{:?}", statement.verb).starts_with(&format!("{expected} ")), "{:?}", statement.verb);
        assert_eq!(statement.cpu, 1);
        assert!(format!("{:?}", statement.verb).contains("guest: GuestId(1), first: page:0x10, last: page:0x11"));
    }
    for (verb, expected) in [("share", "GuestShare"), ("unshare", "GuestUnshare")] {
        assert!(format!("{:?}", good(&format!("guest {verb} alpha:0012")).verb).starts_with(expected));
    }
    bad("host exprt alpha:3", "`host` has no verb `exprt`", "exprt");
    bad("host", "`host` lacks a verb", "");
    bad("hst export alpha:3", "unknown statement `hst`", "hst");
    bad("host export", "`host export` lacks a page", "");
    bad("host export alpha:3 alpha:4", "does not take the argument `alpha:4`", "alpha:4");
    bad("host export alpha:3 len=4", "`host export` has no property `len`", "len=4");
    bad("host export alpha:3 { }", "takes no block", "host export alpha:3");
    bad("(x)host export alpha:3", "an annotation on a statement", "x");
    bad("host export (page)alpha:3", "`(page)` does not belong here", "(page)alpha:3");
    bad("host 3 alpha:3", "a number where a verb belongs", "3");
    bad("device export alpha:3", "`device` has no verb `export`", "export");
    bad("replay guest=alpha file=t frames=4", "the trace `t` cannot be read", "file=t");
}

#[test]
fn pages() {
    bad("host export alpha", "`alpha` is not a page", "alpha");
    bad("host export alpah:3", "there is no guest `alpah`", "alpah:3");
    bad("host export alpha:x", "`x` is not the number of a page", "alpha:x");
    bad("host export alpha:", "is not the number of a page", "alpha:");
    bad("host export alpha:3..", "is not the number of a page", "alpha:3..");
    bad("host export alpha:5..3", "the range from 5 to 3 is empty", "alpha:5..3");
    bad("host export alpha:256", "page 256 is outside", "alpha:256");
    bad("host export alpha:0..256", "page 256 is outside", "alpha:0..256");
    bad("host export alpha:99999999999999999999", "beyond 64-bit", "alpha:99999999999999999999");
    bad("host export alpha:0x10000000000000", "beyond 64-bit", "alpha:0x10000000000000");
    bad("host export 3", "a number where a page belongs", "3");
    let pages = match good("host export alpha:0..255").verb {
        Verb::HostExport { pages } => pages,
        other => panic!("{other:?}"),
    };
    assert_eq!((pages.len(), pages.iter().last().unwrap().0, pages.guest), (256, 255, GuestId(0)));
}

#[test]
fn pages_outside_the_guest_need_an_expectation() {
    for statement in [
        "guest read alpha:256",
        "guest write alpha:256 text=x",
        "guest share alpha:256",
        "guest unshare alpha:256",
        "host import alpha:256",
        "host unpin alpha:250..256",
    ] {
        good(&format!("{statement} expect=refused"));
        let at = statement.split(' ').nth(2).unwrap();
        bad(statement, "page 256 is outside", at);
    }
    for statement in ["host read alpha:256", "host export alpha:256", "device read alpha:256", "host destroy alpha:256"]
    {
        bad(&format!("{statement} expect=refused"), "page 256 is outside", "alpha:256");
    }
    bad("host copy alpha:3 to=alpha:256 expect=refused", "page 256 is outside", "to=alpha:256");
    bad("check page alpha:256 counter=0", "page 256 is outside", "alpha:256");
}

#[test]
fn remap_copy_move() {
    assert!(
        matches!(good("host remap alpha:3 to=beta:5").verb, Verb::HostRemap { purge: true, to, .. } if to.guest == GuestId(1))
    );
    assert!(matches!(good("host remap alpha:3 to=beta:5 purge=#false").verb, Verb::HostRemap { purge: false, .. }));
    assert!(matches!(good("host copy alpha:0..3 to=beta:5..8").verb, Verb::HostCopy { to, .. } if to.first.0 == 5));
    assert!(matches!(good("host unmap alpha:3 purge=#false").verb, Verb::HostUnmap { purge: false, .. }));
    assert!(matches!(good("host move alpha:3 purge=#true").verb, Verb::HostMove { purge: true, .. }));
    bad("host remap alpha:3", "lacks the property `to=`", "host remap alpha:3");
    bad("host copy alpha:0..3 to=beta:5", "4 pages go to 1", "to=beta:5");
    bad("host copy alpha:3 to=beta:5 purge=#false", "no property `purge`", "purge=#false");
    bad("host unmap alpha:3 purge=false", "`false` cannot be a bare word", "false");
    bad("host unmap alpha:3 purge=\"false\"", "a text where #true or #false belongs", "purge=\"false\"");
}

#[test]
fn life_cycle_and_control() {
    assert!(matches!(good("host create beta").verb, Verb::HostCreate { guest: GuestId(1) }));
    assert!(matches!(good("host start beta").verb, Verb::HostStart { .. }));
    assert!(matches!(good("host stop beta").verb, Verb::HostStop { .. }));
    assert!(matches!(good("host unshare-all beta").verb, Verb::HostUnshareAll { .. }));
    assert!(matches!(good("host teardown beta").verb, Verb::HostTeardown { fast: false, .. }));
    assert!(matches!(good("host teardown beta fast=#true").verb, Verb::HostTeardown { fast: true, .. }));
    assert!(matches!(good("host reset-machine").verb, Verb::HostResetMachine));
    assert!(matches!(good("host faults stop").verb, Verb::HostFaults { policy: FaultPolicy::Stop }));
    bad("host start beta:3", "a page where a guest belongs", "beta:3");
    bad("host start gamma", "there is no guest `gamma`", "gamma");
    bad("host stop beta fast=#true", "no property `fast`", "fast=#true");
    bad("host reset-machine beta", "does not take the argument", "beta");
    bad("host faults lunix", "`lunix` is not a way to answer faults", "lunix");
    bad("host faults linux expect=ok", "no property `expect`", "expect=ok");
}

#[test]
fn injections() {
    let injection = |text: &str| match good(text).verb {
        Verb::HostInject { command, injection } => (command, injection),
        other => panic!("{other:?}"),
    };
    assert_eq!(injection("host inject conv-to-sec-stor busy=3"), (Command::ConvToSecStor, Injection::Busy(3)));
    assert_eq!(injection("host inject 0x0301 partial=1"), (Command::UnpackImg, Injection::Partial(1)));
    assert_eq!(
        injection("host inject create-sec-conf late-failure=#true"),
        (Command::CreateSecConf, Injection::LateFailure)
    );
    bad("host inject conv-to-sec-stor", "lacks one of: busy= partial= late-failure=", "host inject conv-to-sec-stor");
    bad("host inject conv-to-sec-stor busy=0", "0 is too small", "busy=0");
    bad("host inject conv-to-sec-stor busy=1 partial=1", "exclude each other", "partial=1");
    bad("host inject conv-to-sec-stor late-failure=#true", "never fails late", "late-failure=#true");
    bad("host inject create-sec-conf late-failure=#false", "nothing to inject", "late-failure=#false");
    bad("host inject 0x4242 busy=1", "no command 0x4242", "0x4242");
    bad("host inject conv-to-sec busy=1", "no command `conv-to-sec`", "conv-to-sec");
}

#[test]
fn cpus() {
    assert_eq!(good("guest read alpha:3 cpu=7 expect=intercept code=32").cpu, 7, "a vCPU need not exist");
    assert_eq!(good("host start alpha cpu=1").cpu, 1);
    bad("host start alpha cpu=2", "the machine has no CPU 2", "cpu=2");
    bad("device read alpha:3 cpu=0", "no property `cpu`", "cpu=0");
    bad("guest read alpha:3 cpu=65536", "too large", "cpu=65536");
}

#[test]
fn expectations() {
    for &outcome in Outcome::ALL {
        let expectation = good(&format!("host export alpha:3 expect={outcome}")).expectation;
        assert_eq!((expectation.outcome, expectation.explicit), (outcome, true));
    }
    assert!(!good("host export alpha:3").expectation.explicit);
    let codes = good("host export alpha:3 expect=ok rc=0x100 rrc=2").expectation;
    assert_eq!((codes.rc, codes.rrc, codes.code), (Some(0x100), Some(2), None));
    assert_eq!(good("guest share alpha:3 expect=intercept code=108").expectation.code, Some(108));
    bad("host export alpha:3 expect=refussed", "`refussed` is not an outcome", "expect=refussed");
    bad("host export alpha:3 expect=1", "a number where an outcome belongs", "expect=1");
    bad("host export alpha:3 rc=0x106", "`rc=` goes only with", "rc=0x106");
    bad("host export alpha:3 rrc=1", "`rrc=` goes only with", "rrc=1");
    bad("host export alpha:3 code=1", "`code=` goes only with", "code=1");
    bad("host export alpha:3 expect=busy rc=1", "`rc=` goes only with", "rc=1");
    bad("host export alpha:3 expect=refused code=1", "`code=` goes only with", "code=1");
    bad("host export alpha:3 expect=intercept rc=1", "`rc=` goes only with", "rc=1");
    bad("host export alpha:3 expect=refused rc=0x10000", "too large", "rc=0x10000");
    bad("check invariants expect=ok", "no propert", "expect=ok");
}

#[test]
fn buffers_are_saved_before_they_are_used() {
    let both = good("host read alpha:3 save=a\nguest read alpha:3 save=\"b c\"\ncheck differ \"b c\" a");
    assert!(matches!(both.verb, Verb::CheckDiffer { left: BufferId(1), right: BufferId(0) }));
    assert!(matches!(good("host read alpha:3 save=a\ncheck equal a a").verb, Verb::CheckEqual { .. }));
    assert!(matches!(good("host read alpha:3 save=a\ncheck zero a").verb, Verb::CheckZero { .. }));
    bad("check zero a", "nothing before this line saves `a`", "a");
    bad("check zero plan\nhost read alpha:3 save=plan", "nothing before this line saves", "plan");
    bad("host read alpha:3 save=a equals=a", "nothing before this line saves `a`", "equals=a");
    bad("host read alpha:3 save=a\nhost write alpha:3 from=b", "nothing before this line saves `b`", "from=b");
    bad("host read alpha:3 save=1", "a number where a name belongs", "save=1");
    bad("host read alpha:3 save=\"\"", "a name is empty", "save=\"\"");
    bad("host read alpha:3..4 save=a", "2 pages cannot be saved", "save=a");
    bad("check zero", "lacks the name of a saved buffer", "");
    bad("host read alpha:3 save=a\ncheck equal a", "lacks the name of a saved buffer", "");
    bad("host read alpha:3 save=a\ncheck zero a a", "does not take the argument", "a");
    // A repeat's statements are lines like others.
    bad("repeat 2 { check zero a; host read alpha:3 save=a; }", "nothing before this line saves", "a");
}

#[test]
fn repeats() {
    let text = with("repeat 3 { repeat 0xffff { host export alpha:3; }; }");
    let Node::Repeat(outer) = &parse(&text).unwrap().steps[0].nodes[0] else { panic!() };
    assert!(matches!(&outer.nodes[0], Node::Repeat(inner) if inner.count == 0xffff));
    bad("repeat 0 { host export alpha:3; }", "0 is too small", "0");
    bad("repeat { host export alpha:3; }", "`repeat` lacks a number", "");
    bad("repeat 3", "`repeat` has no statements", "repeat 3");
    bad("repeat 1.5 { host export alpha:3; }", "a fraction where a number belongs", "1.5");
    bad("repeat 2 times=3 { }", "has no propert", "times=3");
}

#[test]
fn page_checks() {
    let check = |text: &str| match good(text).verb {
        Verb::CheckPage { check, .. } => check,
        other => panic!("{other:?}"),
    };
    let all = check("check page alpha:0..3 state=exported counter=0xffffffffffffff frame=non-secure");
    assert_eq!(
        (all.state, all.counter, all.frame),
        (Some(RecordState::Exported), Some((1 << 56) - 1), Some(FrameSecurity::NonSecure))
    );
    assert_eq!(check("check page alpha:3 frame=none").frame, Some(FrameSecurity::None));
    for state in ["absent", "resident", "exported", "shared", "pinned", "destroyed"] {
        check(&format!("check page alpha:3 state={state}"));
    }
    bad("check page alpha:3", "`check page` checks nothing", "check page alpha:3");
    bad("check page alpha:3 state=residnt", "`residnt` is not a state of a page", "state=residnt");
    bad("check page alpha:3 counter=0x100000000000000", "too large", "counter=0x100000000000000");
    bad("check page alpha:3 frame=insecure", "not a security of a frame", "frame=insecure");
}

#[test]
fn workloads() {
    let full =
        with("workload guest=alpha accesses=1000 working-set=250 frames=300 first=6 writes=1 pattern=zipf seed=9");
    let Node::Workload(workload) = parse(&full).unwrap().steps[0].nodes[0].clone() else { panic!() };
    assert_eq!((workload.accesses, workload.working_set, workload.frames, workload.first), (1000, 250, 300, 6));
    assert_eq!((workload.writes, workload.pattern, workload.seed), (1.0, Pattern::Zipf, Some(9)));
    let Node::Workload(workload) =
        parse(&with("workload guest=beta accesses=1 working-set=510 frames=1")).unwrap().steps[0].nodes[0].clone()
    else {
        panic!()
    };
    assert_eq!((workload.writes, workload.pattern, workload.seed, workload.first), (0.3, Pattern::Uniform, None, 2));
    assert_eq!(workload.text, "workload guest=beta accesses=1 working-set=510 frames=1");
    let broken = |properties: &str, message: &str, at: &str| bad(&format!("workload {properties}"), message, at);
    broken("guest=alpha accesses=1 working-set=255 frames=1", "are not all in the guest", "working-set=255");
    broken("guest=alpha accesses=1 working-set=1 frames=1 first=256", "are not all in the guest", "first=256");
    broken("guest=alpha accesses=1 working-set=1 frames=0", "0 is too small", "frames=0");
    broken("guest=alpha accesses=0 working-set=1 frames=1", "0 is too small", "accesses=0");
    broken(
        "guest=alpha accesses=1 working-set=1",
        "lacks the property `frames=`",
        "workload guest=alpha accesses=1 working-set=1",
    );
    broken("guest=gamma accesses=1 working-set=1 frames=1", "no guest `gamma`", "guest=gamma");
    broken("guest=alpha accesses=1 working-set=1 frames=1 writes=1.1", "not between 0 and 1", "writes=1.1");
    broken("guest=alpha accesses=1 working-set=1 frames=1 writes=2", "not between 0 and 1", "writes=2");
    broken("guest=alpha accesses=1 working-set=1 frames=1 writes=#nan", "not between 0 and 1", "writes=#nan");
    broken("guest=alpha accesses=1 working-set=1 frames=1 pattern=zip", "`zip` is not a pattern", "pattern=zip");
}
