//! Lanes: which there may be, and what they may name.

use super::super::Node;
use super::{bad, parse, rejects, with};

#[test]
fn a_lane_acts_by_its_own_cpu() {
    let text = with(
        "parallel { lane { host export alpha:3; guest read beta:2 cpu=1; }
                    lane { repeat 2 { host export alpha:4; host import alpha:4 cpu=1; }; }; }",
    );
    let Node::Parallel(parallel) = &parse(&text).unwrap().steps[0].nodes[0] else { panic!() };
    let cpu = |node: &Node| match node {
        Node::Statement(statement) => statement.cpu,
        other => panic!("{other:?}"),
    };
    assert_eq!(parallel.lanes[0].nodes.iter().map(cpu).collect::<Vec<_>>(), [0, 1]);
    let Node::Repeat(repeat) = &parallel.lanes[1].nodes[0] else { panic!() };
    assert_eq!(repeat.nodes.iter().map(cpu).collect::<Vec<_>>(), [1, 1]);
    bad("parallel { lane { host export alpha:3 cpu=1; }; }", "this lane is that of host CPU 0", "cpu=1");
    bad("parallel { lane { host export alpha:3 cpu=2; }; }", "the machine has no CPU 2", "cpu=2");
    // Behind the lanes all is as before.
    let text = with("parallel { lane { host export alpha:3; }; lane { host export alpha:4; }; }; host export alpha:5");
    assert_eq!(cpu(&parse(&text).unwrap().steps[0].nodes[1]), 0);
}

#[test]
fn there_are_as_many_lanes_as_cpus_and_none_is_empty() {
    bad("parallel", "`parallel` has no lanes", "parallel");
    bad("parallel { }", "`parallel` has no lanes", "parallel");
    bad("parallel { lane { }; }", "an empty lane", "lane");
    bad("parallel { lane; }", "`lane` has no statements", "lane");
    bad("parallel { host export alpha:3; }", "`host` belongs into a lane", "host");
    bad("lane { host export alpha:3; }", "`lane` does not belong here", "lane");
    bad("parallel 2 { lane { host export alpha:3; }; }", "does not take the argument `2`", "2");
    bad("parallel { lane 0 { host export alpha:3; }; }", "does not take the argument `0`", "0");
    let lanes = |count: usize| {
        format!(
            "scenario s\nmachine {{ cpus 3; }}\nguest a memory=\"1MiB\"\nstep s {{ parallel {{ {} }}; }}",
            "lane { check invariants; };".repeat(count)
        )
    };
    assert!(parse(&lanes(3)).is_ok());
    rejects(&lanes(4), "the machine has no CPU 3 for this lane", "lane");
    rejects(&lanes(70), "the machine has no CPU 3 for this lane", "lane");
}

#[test]
fn lanes_are_not_nested_and_stand_in_steps() {
    bad("parallel { lane { parallel { lane { check invariants; }; }; }; }", "`parallel` inside a lane", "parallel");
    bad(
        "parallel { lane { repeat 2 { parallel { lane { check invariants; }; }; }; }; }",
        "`parallel` inside a lane",
        "parallel",
    );
    assert!(parse(&with("repeat 2 { parallel { lane { host export alpha:3; }; }; }")).is_ok());
    let text =
        "scenario s\nguest a memory=\"1MiB\"\nparallel { lane { check invariants; }; }\nstep s { check invariants; }";
    rejects(text, "`parallel` belongs inside a step", "parallel");
}

#[test]
fn no_lane_names_what_another_one_saves() {
    let lanes = |first: &str, second: &str| {
        format!("guest read alpha:3 len=4 save=old\nparallel {{ lane {{ {first}; }}; lane {{ {second}; }}; }}")
    };
    let save = "guest read alpha:3 len=4 save=old";
    assert!(parse(&with(&lanes("host write alpha:5 from=old", "host write alpha:6 from=old"))).is_ok());
    assert!(parse(&with(&lanes("guest read alpha:3 len=4 save=mine; check zero mine", "check zero old"))).is_ok());
    let behind = lanes("guest read alpha:3 len=4 save=mine", "check zero old") + "\ncheck zero mine";
    assert!(parse(&with(&behind)).is_ok());
    let message = "another lane saves `old`";
    bad(&lanes("host write alpha:5 from=old", save), message, "from=old");
    bad(&lanes(save, "repeat 2 { guest read alpha:3 equals=old; }"), message, "equals=old");
    bad(&lanes(save, "check zero old"), message, "old");
    bad(&lanes("host read alpha:9 len=4 save=new", "check zero new"), "another lane saves `new`", "new");
}

#[test]
fn of_two_lanes_that_save_the_same_the_second_is_wrong() {
    let text = with("parallel { lane { host read alpha:8 save=x; }; lane { host read alpha:9 save=x; }; }");
    let errors = parse(&text).unwrap_err();
    let [error] = errors.errors() else { panic!("{:?}", errors.errors()) };
    assert_eq!(error.message, "another lane saves `x`");
    assert_eq!(error.place.unwrap().span.offset(), text.rfind("save=x").unwrap());
}

#[test]
fn no_lane_stores_where_another_reads_back() {
    const WORKLOAD: &str = "workload guest=alpha accesses=9 working-set=4 frames=2 first=8";
    let lanes = |first: &str, second: &str| format!("parallel {{ lane {{ {first}; }}; lane {{ {second}; }}; }}");
    let message = "another lane reads these pages back";
    for (store, span) in [
        ("guest write alpha:11 text=x", "guest write alpha:11 text=x"),
        ("repeat 2 { guest write alpha:0..8 text=x; }", "guest write alpha:0..8 text=x"),
        ("workload guest=alpha accesses=9 working-set=1 frames=1 first=11", ""),
    ] {
        let found = if span.is_empty() { store } else { span };
        bad(&lanes(WORKLOAD, store), message, found);
        assert!(parse(&with(&lanes(&format!("{WORKLOAD}; {store}"), "check invariants"))).is_ok(), "in one lane");
    }
    bad(&lanes("guest write alpha:8 text=x", WORKLOAD), message, "guest write alpha:8 text=x");
    // Blocks of calls lie in page 1.
    let low = WORKLOAD.replace("first=8", "first=1");
    bad(&lanes("guest share alpha:40", &low), message, "guest share alpha:40");
    bad(&lanes(&low, "guest unshare alpha:40"), message, "guest unshare alpha:40");
    for harmless in [
        "guest write alpha:12 text=x",
        "guest write alpha:7 text=x",
        "guest write beta:8 text=x",
        "guest share alpha:8",
        "guest read alpha:8 len=1",
        "host page-out alpha:8",
        "workload guest=alpha accesses=9 working-set=4 frames=2 first=12",
    ] {
        assert!(parse(&with(&lanes(WORKLOAD, harmless))).is_ok(), "{harmless}");
    }
}
