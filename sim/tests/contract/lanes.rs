//! Lanes: whose turn it is, what runs where, and what a run tells about it.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// Two lanes with two statements each.
const TWO_BY_TWO: &str = "parallel {
    lane { guest write alpha:8 text=\"a\"; guest write alpha:8 text=\"b\"; }
    lane { guest write beta:8 text=\"c\"; guest write beta:8 text=\"d\"; }
}";

fn seeded(seed: u64) -> Options {
    Options { seed: Some(seed), ..Options::default() }
}

/// The lanes of the statements, in the order in which they ran.
fn order(statements: &str, seed: u64) -> String {
    let (status, events) = events(&document("", statements), seeded(seed));
    assert_eq!(status, Status::Pass);
    let lanes = events.iter().filter(|event| event["event"] == "statement").filter_map(|event| event["lane"].as_u64());
    lanes.map(|lane| lane.to_string()).collect()
}

#[test]
fn the_seed_chooses_among_all_orders() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..96 {
        *seen.entry(order(TWO_BY_TWO, seed)).or_default() += 1;
    }
    let orders: BTreeSet<&str> = seen.keys().map(String::as_str).collect();
    assert_eq!(orders, BTreeSet::from(["0011", "0101", "0110", "1001", "1010", "1100"]));
    // Each lane has the first turn about as often.
    let first: u32 = seen.iter().filter(|(order, _)| order.starts_with('0')).map(|(_, count)| count).sum();
    assert!((32..64).contains(&first), "{seen:?}");
}

#[test]
fn one_seed_one_order() {
    for seed in [1, 2, 77] {
        let run = || {
            let mut out = Vec::new();
            run::run_scenario(&parse(&document("", TWO_BY_TWO)), seeded(seed), &mut Json::new(&mut out));
            out
        };
        assert_eq!(run(), run());
    }
}

#[test]
fn every_pass_of_a_loop_has_an_order_of_its_own() {
    let orders = order(&format!("repeat 8 {{ {TWO_BY_TWO} }}"), 1);
    let orders: BTreeSet<&str> = (0..8).map(|pass| &orders[pass * 4..][..4]).collect();
    assert!(orders.len() > 1, "{orders:?}");
}

#[test]
fn statements_of_a_lane_keep_their_order_and_loops_their_count() {
    let text = document(
        "",
        "parallel {
            lane { host write alpha:9 text=\"0\"; repeat 3 { host write alpha:9 text=\"1\"; repeat 2 { host write alpha:9 text=\"2\"; }; }; host write alpha:9 text=\"3\"; }
            lane { repeat 4 { repeat 5 { }; }; host write alpha:9 text=\"x\"; workload guest=beta accesses=50 working-set=4 frames=2; }
        }",
    );
    for seed in 0..8 {
        let (status, events) = events(&text, seeded(seed));
        assert_eq!(status, Status::Pass);
        let own = |lane: u64| events.iter().filter(move |event| event["lane"] == lane);
        let texts: Vec<&str> = own(0).filter_map(|event| event["text"].as_str()).collect();
        let digits: String = texts.iter().filter_map(|text| text.chars().rev().nth(1)).collect();
        assert_eq!(digits, "01221221223");
        assert_eq!(own(1).map(|event| event["event"].as_str().unwrap()).collect::<Vec<_>>(), ["statement", "workload"]);
    }
}

#[test]
fn reports_name_the_lane() {
    let text = document("", &format!("{TWO_BY_TWO}\nguest read alpha:8 text=\"b\""));
    let (_, events) = events(&text, Options::default());
    let of = |event: &str| events.iter().filter(|found| found["event"] == event).cloned().collect::<Vec<_>>();
    let [parallel] = &of("parallel")[..] else { panic!() };
    assert_eq!((&parallel["lanes"], &parallel["line"], &parallel["lane"]), (&2.into(), &9.into(), &Value::Null));
    let lanes: Vec<&Value> =
        events.iter().filter(|event| !event["text"].is_null()).map(|event| &event["lane"]).collect();
    assert_eq!(lanes.len(), 6);
    assert!(lanes[..4].iter().all(|lane| lane.is_u64()) && lanes[4..].iter().all(|lane| lane.is_null()));
    let told = told(&parse(&text));
    for line in ["    parallel, 2 lanes\n", "      ✓ lane 0: guest write alpha:8", "      ✓ lane 1: guest write beta:8"]
    {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert!(told.contains("\n    ✓ guest read alpha:8"), "{told}");
}

#[test]
fn loops_in_lanes_are_told_once() {
    let text =
        "parallel { lane { repeat 5 { host write alpha:9 text=\"x\"; }; }; lane { host write alpha:10 text=\"y\"; }; }";
    let told = told(&parse(&document("", text)));
    assert_eq!(told.matches("host write alpha:9").count(), 1, "{told}");
}

#[test]
fn the_first_failure_ends_the_file() {
    for seed in 0..8 {
        let text = document("", "parallel { lane { host read alpha:3; }; lane { repeat 1000 { check zero z; }; }; }");
        let text = text.replace("parallel", "host read alpha:20 save=z\nparallel");
        let (status, events) = events(&text, seeded(seed));
        assert_eq!(status, Status::Fail);
        let [failure] = &events.iter().filter(|event| event["event"] == "failure").collect::<Vec<_>>()[..] else {
            panic!()
        };
        assert_eq!(failure["lane"], 0);
        assert!(events.iter().filter(|event| event["lane"] == 1).count() < 1000);
    }
}

#[test]
fn lanes_in_one_machine() {
    pass(&[
        (
            "a guest's vCPUs act while the host takes pages away",
            "guest write beta:8..11 text=\"kept\"
            parallel {
                lane { repeat 4 { guest read beta:8..11 len=4 text=\"kept\"; }; }
                lane { repeat 4 { host page-out beta:8..11; host page-in beta:8..11; }; }
            }",
        ),
        (
            "any vCPU can be served by any lane",
            "host uvc cpu-set-state cpu-handle=(cpu)beta:1 state=1
            parallel {
                lane { guest write beta:8 cpu=1 text=\"1\"; }
                lane { guest write beta:9 cpu=0 text=\"0\"; }
            }
            guest read beta:8..8 cpu=0 text=\"1\"
            guest read beta:9..9 cpu=1 text=\"0\"",
        ),
        (
            "a configuration comes and goes beside another",
            "parallel {
                lane { host create gamma; host start gamma; host teardown gamma; }
                lane { repeat 10 { host export alpha:3; guest read alpha:3 text=\"attack at dawn\"; }; }
            }",
        ),
    ]);
}

#[test]
fn a_workload_takes_turns_within() {
    let text = document(
        "",
        "parallel {
            lane { workload guest=alpha accesses=10000 working-set=8 frames=3 first=20; }
            lane { repeat 5 { host page-out beta:3; host page-in beta:3; }; }
        }",
    );
    let mut orders = BTreeSet::new();
    for seed in 0..6 {
        let (status, events) = events(&text, seeded(seed));
        assert_eq!(status, Status::Pass);
        let workloads: Vec<&Value> = events.iter().filter(|event| event["event"] == "workload").collect();
        let [workload] = &workloads[..] else { panic!("reported once") };
        assert_eq!((&workload["lane"], &workload["accesses"]), (&0.into(), &10000.into()));
        // Forty turns against ten: the short lane is through first, whatever the seed.
        let before = events.iter().take_while(|event| event["event"] != "workload");
        assert_eq!(before.filter(|event| event["lane"] == 1).count(), 10, "seed {seed}");
        orders.insert(workload["page_ins"].as_u64());
    }
    assert!(orders.len() > 1, "{orders:?}");
}

#[test]
fn one_seed_one_order_of_slices() {
    let text = document(
        "",
        "parallel {
            lane { workload guest=alpha accesses=3000 working-set=8 frames=3 first=20; }
            lane { workload guest=beta accesses=3000 working-set=8 frames=3 first=20; }
            lane { repeat 9 { host page-out alpha:20..27 expect=ok; }; }
        }",
    )
    .replace("machine {  }", "machine { cpus 3 }");
    let run = |seed| {
        let mut out = Vec::new();
        run::run_scenario(&parse(&text), seeded(seed), &mut Json::new(&mut out));
        String::from_utf8(out).unwrap()
    };
    // Whether pages are there to be paged out is up to the order: such files fail, but always alike.
    let runs: BTreeSet<String> = (0..4).map(&run).collect();
    assert!(runs.len() > 1);
    assert!((0..4).all(|seed| runs.contains(&run(seed))));
}

#[test]
fn a_host_pages_the_guest_of_a_workload() {
    for seed in 0..6 {
        let text = document(
            "",
            "guest write beta:20 text=\"first\"
            parallel {
                lane { workload guest=beta accesses=4000 working-set=12 frames=5 first=20; }
                lane { repeat 12 { host page-out beta:3; host page-in beta:3; guest read beta:3 text=\"beta's own\"; guest share beta:3; guest unshare beta:3; }; }
            }
            workload guest=beta accesses=500 working-set=12 frames=5 first=20",
        );
        let (status, events) = events(&text, seeded(seed));
        assert_eq!(status, Status::Pass, "{events:?}");
    }
}
