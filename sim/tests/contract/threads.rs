//! Lanes on threads: nothing is lost, whoever comes first, and what is told about it.

use super::*;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const THREADS: Options = Options { seed: None, deadline: None, threads: true, verify: false, go_on: false };

fn threaded(machine: &str, statements: &str) -> (Status, Vec<Value>) {
    events(&document(machine, statements), THREADS)
}

fn of<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

/// So often, for what depends on the order of threads.
const OFTEN: u32 = 5;

#[test]
fn the_catalogue_holds_on_threads() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
    let names = ["unshare_and_pin", "reclaim_and_io", "workloads"];
    for name in names {
        let path = folder.join(format!("good_parallel_{name}.kdl"));
        let scenario = Scenario::read(&path).unwrap();
        for round in 0..OFTEN {
            let mut out = Vec::new();
            let (status, _) = run::run_scenario(&scenario, THREADS, &mut Json::new(&mut out));
            assert_eq!(status, Status::Pass, "{name}, round {round}: {}", String::from_utf8_lossy(&out));
        }
    }
}

#[test]
fn two_guests_under_pressure_lose_nothing() {
    let statements = "parallel {
        lane { workload guest=alpha accesses=9000 working-set=24 frames=6 first=20 writes=0.5; }
        lane { repeat 3 { workload guest=beta accesses=3000 working-set=24 frames=6 first=20 policy=clock; }; }
    }
    workload guest=alpha accesses=500 working-set=24 frames=6 first=20";
    for _ in 0..OFTEN {
        let (status, events) = threaded("", statements);
        assert_eq!(status, Status::Pass, "{events:?}");
        let workloads = of(&events, "workload");
        assert_eq!(workloads.len(), 5);
        for workload in &workloads {
            assert_eq!(workload["mismatches"], 0);
            assert!(workload["page_outs"].as_u64() > Some(100), "{workload}");
        }
        // Each page of alpha, and each of beta once, although three workloads have stored there.
        let [contents] = of(&events, "contents")[..] else { panic!("{events:?}") };
        assert_eq!(contents["pages"], 48);
        assert_eq!(contents["lane"], Value::Null);
    }
}

#[test]
fn a_lane_pages_what_another_one_works_on() {
    for (action, accesses) in [
        ("host page-out alpha:20..31; host page-in alpha:20..31", 6000),
        ("host export alpha:20..31; host import alpha:20..31", 6000),
        ("host make-accessible alpha:20..31; guest share alpha:20..25 cpu=0; guest unshare alpha:20..25", 4000),
    ] {
        let statements = format!(
            "parallel {{
                lane {{ workload guest=alpha accesses={accesses} working-set=12 frames=5 first=20; }}
                lane {{ repeat 60 {{ {action}; }}; }}
            }}"
        );
        for _ in 0..OFTEN {
            let (status, events) = threaded("", &statements);
            assert_eq!(status, Status::Pass, "{action}: {events:?}");
            let [workload] = of(&events, "workload")[..] else { panic!() };
            assert_eq!((&workload["accesses"], &workload["mismatches"]), (&accesses.into(), &0.into()));
        }
    }
}

#[test]
fn lanes_of_one_guest_take_turns_on_a_vcpu() {
    let statements = "host uvc cpu-set-state cpu-handle=(cpu)beta:1 state=1
    parallel {
        lane { repeat 50 { guest write beta:20..23 text=\"lane 0\"; guest read beta:20 len=6; }; }
        lane { repeat 50 { guest write beta:24..27 text=\"lane 1\" cpu=1; host page-out beta:20..27; }; }
        lane { workload guest=beta accesses=5000 working-set=8 frames=3 first=40; }
        lane { repeat 50 { guest write beta:28 text=\"lane 3\"; guest read beta:24 len=6; }; }
    }
    guest read beta:20..23 text=\"lane 0\"
    guest read beta:24..27 text=\"lane 1\"
    guest read beta:28 text=\"lane 3\"";
    for _ in 0..OFTEN {
        let (status, events) = threaded("cpus 4", statements);
        assert_eq!(status, Status::Pass, "{events:?}");
        assert_eq!(of(&events, "contents")[0]["pages"], 4 + 4 + 8 + 1);
    }
}

#[test]
fn configurations_come_and_go_beside_a_workload() {
    let statements = "parallel {
        lane { workload guest=alpha accesses=20000 working-set=24 frames=6 first=20; }
        lane { repeat 6 { host start gamma; guest write gamma:9 text=\"x\"; host teardown gamma; }; }
        lane { repeat 6 { host pv disable beta; host create beta; host start beta; }; }
    }";
    for _ in 0..OFTEN {
        let (status, events) = threaded("cpus 3", statements);
        assert_eq!(status, Status::Pass, "{events:?}");
        // What is written into gamma is gone with it.
        assert_eq!(of(&events, "contents")[0]["pages"], 24);
    }
}

#[test]
fn outcomes_are_not_compared_but_told() {
    let (status, events) = threaded(
        "",
        "parallel { lane { host read alpha:3 len=4; check invariants; }; lane { guest read beta:3 text=\"something else\"; }; }",
    );
    assert_eq!(status, Status::Pass, "{events:?}");
    let lanes: Vec<&Value> = events.iter().filter(|event| event["lane"].is_u64()).collect();
    let read = lanes.iter().find(|event| event["text"] == "host read alpha:3 len=4").unwrap();
    assert_eq!((&read["compared"], &read["passed"]), (&false.into(), &true.into()));
    assert_eq!(read["got"]["outcome"], "secure-storage-access");
    assert_eq!(lanes.len(), 3);
    assert_eq!(of(&events, "parallel")[0]["threads"], true);
    // Behind the lanes everything is compared again.
    assert_eq!(of(&events, "statement").last().unwrap()["compared"], Value::Null);
    assert_eq!(threaded("", "parallel { lane { check invariants; }; }\nhost read alpha:3 len=4").0, Status::Fail);
}

#[test]
fn what_lanes_leave_behind_goes_on() {
    let (status, events) = threaded(
        "",
        "host read alpha:9 len=4 save=old
         parallel { lane { guest read alpha:3 len=6 save=mine; host faults stop; }; lane { guest write beta:9 text=\"x\"; }; }
         host write alpha:10 from=mine
         host read alpha:10 text=\"attack\"
         check zero old
         host export alpha:3
         guest read alpha:3 len=1 expect=non-secure-storage-access",
    );
    assert_eq!(status, Status::Pass, "{events:?}");
}

#[test]
fn lanes_in_loops_start_again() {
    let (status, events) = threaded(
        "",
        "repeat 20 { parallel { lane { workload guest=alpha accesses=300 working-set=8 frames=2 first=20; }; lane { host page-out beta:3; host page-in beta:3; }; }; }",
    );
    assert_eq!(status, Status::Pass, "{events:?}");
    assert_eq!(of(&events, "contents").len(), 20);
}

#[test]
fn what_one_thread_must_do_alone() {
    for (statement, why) in [
        ("host reset-machine", "all other CPUs would have to stop"),
        ("repeat 2 { guest disk-read delta disk=d sector=0 count=1; }", "devices do not run on threads"),
        ("host start delta", "the guest has devices"),
    ] {
        let text = document("", &format!("parallel {{ lane {{ {statement}; }}; }}"));
        let text = text.replace("step", "guest delta memory=\"1MiB\" state=none { disk d size=\"512B\"; }\nstep");
        let (status, events) = events(&text, THREADS);
        assert_eq!(status, Status::Unusable, "{events:?}");
        let [error] = of(&events, "error")[..] else { panic!("{events:?}") };
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
}

#[test]
fn a_time_limit_ends_all_lanes() {
    let text = document(
        "",
        "parallel { lane { repeat 100000000 { host export alpha:3; }; }; lane { workload guest=beta accesses=100000000000 working-set=8 frames=2; }; }",
    );
    let start = Instant::now();
    let deadline = Some(start + Duration::from_millis(300));
    let scenario = parse(&text);
    let (status, _) = run::run_scenario(&scenario, Options { deadline, ..THREADS }, &mut Json::new(std::io::sink()));
    assert_eq!(status, Status::TimeOut);
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_run_tells_that_its_order_was_not_decided() {
    let folder = std::env::temp_dir().join(format!("uvsim-threads-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let verdict = |name: &str, statements: &str, options: Options| {
        let path = folder.join(name);
        std::fs::write(&path, document("", statements)).unwrap();
        let (mut json, mut human) = (Vec::new(), Vec::new());
        run::run(std::slice::from_ref(&path), options, &mut Json::new(&mut json));
        run::run(&[path], options, &mut Human::new(&mut human, false, 100));
        let text = String::from_utf8(json).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        (last["threads"].clone(), String::from_utf8(human).unwrap())
    };
    let lanes = "repeat 2 { parallel { lane { host export alpha:3; }; }; }";
    let (threads, told) = verdict("lanes.kdl", lanes, THREADS);
    assert_eq!(threads, true);
    assert!(told.contains("on threads: in any order") && told.contains("not decided by the seed"), "{told}");
    let (threads, told) = verdict("none.kdl", "host export alpha:3", THREADS);
    assert_eq!(threads, false);
    assert!(told.contains("There are no lanes: --threads has changed nothing."), "{told}");
    let (threads, told) = verdict("turns.kdl", lanes, Options::default());
    assert_eq!(threads, Value::Null);
    assert!(!told.contains("threads"), "{told}");
    std::fs::remove_dir_all(&folder).unwrap();
}
