//! Replays: a guest touches pages as a recorded program did.

use super::Runner;
use super::workload::{Exercise, POLICY};
use crate::paging::Resident;
use crate::pressure::{Extent, LARGEST, Origin, Recorded, Task};
use crate::scenario::Replay;
use uvsim_model::seed::{Purpose, Seed};

impl<'s> Runner<'s, '_, '_> {
    /// A replay from its first access.
    pub(super) fn begin_replay(&mut self, replay: &'s Replay) -> Exercise<'s> {
        let trace = &replay.trace;
        let pages = trace.pages.len() as u64;
        debug_assert!(pages <= LARGEST, "a page trace has fewer");
        let stream = Seed(self.kernel.machine().config().seed).item(Purpose::Workload, self.workloads, POLICY);
        self.workloads += 1;
        let resident = Resident::new(replay.policy, trace.pages.len(), replay.frames, stream);
        let resident = resident.with_window(replay.window);
        let extent = Extent {
            guest: replay.guest.0,
            first: replay.first,
            pages,
            frames: replay.frames,
            goal: trace.touches.len() as u64,
        };
        let task = Task::new(extent, resident, Origin::Recorded(Recorded::new(&trace.touches)));
        Exercise { event: "replay", place: replay.place, text: &replay.text, task }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::Json;
    use super::super::{Options, Status, run_scenario};
    use crate::paging::PolicyKind;
    use crate::scenario::{Scenario, ScenarioErrors};
    use serde_json::Value;
    use std::fmt::Write;
    use std::path::Path;
    use uvsim_model::seed::{Purpose, Seed};

    fn scenario(trace: &str, properties: &str) -> Result<Scenario, ScenarioErrors> {
        let text = format!(
            "scenario s\nguest a memory=\"1MiB\"\nstep s {{\n replay guest=a file=t first=9 {properties}\n check invariants\n}}"
        );
        let mut files = |_: &Path, _: u64| Ok(trace.as_bytes().to_vec());
        Scenario::parse_with(Path::new("s.kdl"), &text, &mut files)
    }

    fn counters(trace: &str, properties: &str) -> Value {
        let mut out = Vec::new();
        let scenario = scenario(trace, properties).unwrap_or_else(|errors| panic!("{:?}", errors.errors()));
        let (status, _) = run_scenario(&scenario, Options::default(), &mut Json::new(&mut out));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(status, Status::Pass, "{text}");
        let mut events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.find(|event| event["event"] == "replay").unwrap()
    }

    /// Accesses all over 12 pages, some across their ends.
    fn trace() -> String {
        let mut stream = Seed(3).substream(Purpose::Workload, 9);
        let mut trace = String::new();
        for _ in 0..600 {
            let random = stream.next_u64();
            let kind = ["I ", " L", " S", " M"][(random >> 60 & 3) as usize];
            let page = ((random & 0xff) * (random >> 8 & 0xff) * 12) >> 16;
            writeln!(
                trace,
                "{kind} {:x},{}",
                0x7000_0000 + page * 4096 + (random >> 20) % 4096,
                1 + (random >> 40) % 32
            )
            .unwrap();
        }
        trace
    }

    /// The pages of the trace, loads, stores: told from the text alone.
    fn pages(trace: &str) -> (Vec<u64>, u64, u64) {
        let (mut pages, mut loads, mut stores) = (Vec::new(), 0, 0);
        for line in trace.lines() {
            let (address, size) = line[3..].split_once(',').unwrap();
            let address = u64::from_str_radix(address, 16).unwrap();
            let last = address + size.parse::<u64>().unwrap() - 1;
            let passes = if line.starts_with(" M") { 2 } else { 1 };
            let count = (last >> 12) - (address >> 12) + 1;
            loads += if line.starts_with(" S") { 0 } else { count };
            stores += if line.starts_with(" S") || passes == 2 { count } else { 0 };
            for _ in 0..passes {
                pages.extend(address >> 12..=last >> 12);
            }
        }
        (pages, loads, stores)
    }

    #[test]
    fn counters_are_those_of_a_simulation_by_hand() {
        let trace = trace();
        let (pages, loads, stores) = pages(&trace);
        for (frames, policy) in [(1, "lru"), (4, "lru"), (4, "fifo"), (9, "lru"), (20, "clock")] {
            let mut resident: Vec<u64> = Vec::new();
            let (mut ins, mut outs) = (0, 0);
            for page in &pages {
                let there = resident.iter().position(|one| one == page);
                match there {
                    Some(at) if policy == "lru" => drop(resident.remove(at)),
                    Some(_) => continue,
                    None => {
                        ins += 1;
                        if resident.len() == frames {
                            resident.remove(0);
                            outs += 1;
                        }
                    }
                }
                resident.push(*page);
            }
            let found = counters(&trace, &format!("frames={frames} policy={policy}"));
            let number = |key: &str| found[key].as_u64().unwrap();
            assert_eq!((number("page_ins"), number("page_outs")), (ins, outs), "{policy}, {frames} frames");
            assert_eq!((number("accesses"), number("reads")), (pages.len() as u64, loads));
            assert_eq!((number("writes"), number("mismatches")), (stores, 0));
            let ratio = found["miss_ratio"].as_f64().unwrap();
            assert!((ratio - ins as f64 / pages.len() as f64).abs() < 1e-6);
        }
    }

    #[test]
    fn a_lane_replays_what_a_step_does() {
        let trace = trace();
        let replay = "replay guest=a file=t first=9 frames=4";
        let events = |body: &str, seed| -> Vec<Value> {
            let text = format!("scenario s\nguest a memory=\"1MiB\"\nguest b memory=\"1MiB\"\nstep s {{\n{body}\n}}");
            let mut files = |_: &Path, _: u64| Ok(trace.as_bytes().to_vec());
            let scenario = Scenario::parse_with(Path::new("s.kdl"), &text, &mut files).unwrap();
            let mut out = Vec::new();
            let options = Options { seed: Some(seed), ..Options::default() };
            let (status, _) = run_scenario(&scenario, options, &mut Json::new(&mut out));
            let text = String::from_utf8(out).unwrap();
            assert_eq!(status, Status::Pass, "{text}");
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let of = |events: &[Value]| events.iter().find(|event| event["event"] == "replay").unwrap().clone();
        let alone = of(&events(replay, 1));
        for seed in 0..4 {
            let others = "lane { repeat 2 { host export b:0; guest read b:0 len=4; }; }";
            let events = events(&format!("parallel {{\n lane {{ {replay}; }}; {others}; }}"), seed);
            let mut lane = of(&events);
            assert_eq!(lane["lane"], 0);
            lane["line"] = alone["line"].clone();
            lane.as_object_mut().unwrap().remove("lane");
            assert_eq!(lane, alone, "seed {seed}");
        }
    }

    #[test]
    fn every_policy_replays() {
        for policy in PolicyKind::ALL {
            let found = counters(&trace(), &format!("frames=5 policy={}", policy.name()));
            assert_eq!(found["mismatches"], 0);
            assert_eq!(found.get("working_set_max").is_some(), policy == PolicyKind::WorkingSet);
        }
        let small = counters(&trace(), "frames=5 policy=working-set window=1");
        assert_eq!(small["working_set_max"], 1);
        assert_eq!(counters(&trace(), "frames=5 limit=3")["accesses"].as_u64().map(|count| count < 8), Some(true));
    }

    #[test]
    fn what_a_replay_needs() {
        let error = |trace: &str, properties: &str| {
            let errors = scenario(trace, properties).unwrap_err();
            errors.errors()[0].to_string()
        };
        let wide: String = (0..300).map(|page| format!(" L {:x},1\n", page * 4096)).collect();
        assert!(error(&wide, "frames=4").contains("touches 300 pages, the guest has 247 from page 9 on"));
        assert!(scenario(&wide, "frames=4 limit=247").is_ok());
        assert!(error(" L 1,1\nx\n", "frames=4").contains("line 2"));
        assert!(error("", "frames=4").contains("holds no memory access"));
        assert!(error(" L 1,1\n", "frames=0").contains("0 is too small"));
        assert!(error(" L 1,1\n", "frames=1 policy=opt").contains("`opt` is not a policy"));
        assert!(error(" L 1,1\n", "frames=1 window=9").contains("only one policy has a window"));
        assert!(error(" L 1,1\n", "").contains("lacks the property `frames=`"));
    }
}
