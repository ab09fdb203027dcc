//! `workload` and `guest verify`.

use super::{document, events, pass};
use serde_json::Value;
use uvsim::run::{Options, Status};

fn counters(workload: &str) -> Value {
    let (status, events) = events(&document("", workload), Options::default());
    assert_eq!(status, Status::Pass, "{events:?}");
    events.into_iter().find(|event| event["event"] == "workload").unwrap()
}

fn number(event: &Value, key: &str) -> u64 {
    event[key].as_u64().unwrap()
}

#[test]
fn what_is_counted() {
    for pattern in ["uniform", "zipf", "sequential", "scan"] {
        let event = counters(&format!(
            "workload guest=alpha accesses=3000 working-set=40 frames=10 first=20 writes=0.5 pattern={pattern}"
        ));
        assert_eq!(event["guest"], "alpha");
        assert_eq!(number(&event, "accesses"), 3000);
        assert_eq!(number(&event, "reads") + number(&event, "writes"), 3000);
        assert!((1300..1700).contains(&number(&event, "writes")), "{event}");
        assert_eq!(number(&event, "mismatches"), 0);
        let (ins, outs) = (number(&event, "page_ins"), number(&event, "page_outs"));
        assert!(ins >= 40 && ins == outs + 10, "{pattern}: what came in and did not go out is resident: {event}");
        assert!(number(&event, "faults") >= ins, "{event}");
    }
}

#[test]
fn limits_of_a_workload() {
    let event = counters("workload guest=alpha accesses=1000 working-set=40 frames=40 first=20 pattern=sequential");
    assert_eq!((number(&event, "page_ins"), number(&event, "page_outs")), (40, 0), "all fit");
    assert_eq!(number(&counters("workload guest=alpha accesses=100 working-set=4 frames=4 writes=0"), "writes"), 0);
    assert_eq!(number(&counters("workload guest=alpha accesses=100 working-set=4 frames=4 writes=1"), "reads"), 0);
    let event = counters("workload guest=alpha accesses=120 working-set=40 frames=1 pattern=sequential first=20");
    assert_eq!((number(&event, "page_ins"), number(&event, "page_outs")), (120, 119), "each access misses");
    assert_eq!(number(&counters("workload guest=alpha accesses=1 working-set=1 frames=9 first=3"), "page_ins"), 0);
}

#[test]
fn a_workload_repeats() {
    let same = "workload guest=alpha accesses=500 working-set=40 frames=5 first=20 seed=9";
    assert_eq!(counters(same), counters(same));
    assert_ne!(counters(same), counters(&same.replace("seed=9", "seed=8")));
    let by_machine = "workload guest=alpha accesses=500 working-set=40 frames=5 first=20";
    let (_, one) = events(&document("seed 1", by_machine), Options::default());
    let (_, two) = events(&document("seed 2", by_machine), Options::default());
    assert_ne!(one[2], two[2]);
}

#[test]
fn a_workload_leaves_the_frames_and_the_policy_as_it_should() {
    pass(&[
        (
            "what was resident before counts as well",
            "guest write alpha:20..39 text=\"mine\"
             workload guest=alpha accesses=1 working-set=20 frames=5 first=20 writes=0 pattern=sequential
             guest read alpha:20..39 text=\"mine\"",
        ),
        (
            "faults are answered as under linux",
            "host faults stop
             workload guest=alpha accesses=50 working-set=20 frames=5 first=20
             host export alpha:3
             guest read alpha:3 len=1 expect=non-secure-storage-access",
        ),
    ]);
}

#[test]
fn a_workload_that_cannot_go_on_fails() {
    for (why, statements) in [
        (
            "a tampered page",
            "guest write alpha:20 text=\"x\"\nhost export alpha:20\nhost flip alpha:20 bit=9\nworkload guest=alpha accesses=9 working-set=1 frames=1 first=20",
        ),
        ("no such guest", "workload guest=gamma accesses=9 working-set=1 frames=1 first=20"),
    ] {
        let (status, events) = events(&document("", statements), Options::default());
        assert_eq!(status, Status::Fail, "{why}: {events:?}");
        assert!(events.iter().any(|event| event["event"] == "workload"), "{why}: the counters come all the same");
    }
}

#[test]
fn a_guest_reads_back() {
    pass(&[
        ("from a load", "guest verify alpha 0x3000 text=\"attack at dawn\""),
        (
            "over pages, with few frames",
            "guest write alpha:20 offset=4092 text=\"abcd\"\nguest write alpha:21 text=\"efgh\"\nguest verify alpha 0x14ffc text=\"abcdefgh\" frames=1\ncheck page alpha:20 state=exported\ncheck page alpha:21 state=resident",
        ),
    ]);
    super::fail(&[(
        "what differs is told",
        "guest verify alpha 0x3000 text=\"attack at dusk\"",
        "alpha:3: the content differs from byte 11 on (I-14)",
    )]);
}
