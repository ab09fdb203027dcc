//! Paging workloads: a guest touches pages in a random or regular order.

use super::pressure::{AHEAD, Extent, LARGEST, Origin, Task, Touch, Touches};
use super::{End, Runner, WorkloadEnd};
use crate::paging::Resident;
use crate::scenario::{GuestId, Pattern, Workload};
use uvsim_model::seed::{Purpose, Seed, SeedStream};

/// The item of a workload's sub-stream that its policy draws from.
pub(super) const POLICY: u16 = 1;

impl<'s> Runner<'s, '_, '_> {
    pub(super) fn run_workload(&mut self, workload: &'s Workload) -> Result<(), End> {
        let mut task = self.begin_workload(workload)?;
        let done = self.advance(&mut task, u64::MAX);
        self.told("workload", &workload.text, &task);
        done.map(|_| ())
    }

    /// A workload from its first access.
    pub(super) fn begin_workload(&mut self, workload: &'s Workload) -> Result<Task<'s>, End> {
        if workload.working_set > LARGEST {
            let message = format!("a working set of {} pages: at most {LARGEST} can be watched", workload.working_set);
            return Err(End::Unusable(message));
        }
        let seed = Seed(workload.seed.unwrap_or(self.kernel.machine().config().seed));
        let number = self.workloads;
        self.workloads += 1;
        let stream = seed.item(Purpose::Workload, number, POLICY);
        let resident = Resident::new(workload.policy, workload.working_set as usize, workload.frames, stream);
        let resident = resident.with_window(workload.window);
        let extent = Extent {
            place: workload.place,
            guest: workload.guest.0,
            first: workload.first,
            pages: workload.working_set,
            frames: workload.frames,
            goal: workload.accesses,
        };
        let drawn = Drawn::new(workload, seed.substream(Purpose::Workload, number));
        Ok(Task::new(extent, resident, Origin::Drawn(Box::new(drawn))))
    }

    /// Reports what a task came to.
    pub(super) fn told(&mut self, event: &'static str, text: &str, task: &Task<'_>) {
        let end = WorkloadEnd {
            event,
            place: task.extent.place,
            text,
            guest: &self.scenario.guest(GuestId(task.extent.guest)).name,
            goal: task.extent.goal,
            counters: task.counters,
            working_set: task.working_set(),
        };
        self.report.workload(self.scenario, &end);
    }
}

/// Touches that are drawn as a workload says.
#[derive(Debug)]
pub(super) struct Drawn {
    /// Those planned, in a ring.
    planned: [Touch; AHEAD],
    /// The next one.
    at: usize,
    picker: Picker,
    stream: SeedStream,
    /// A store happens when 32 random bits are below this.
    stores_below: u64,
}

impl Drawn {
    fn new(workload: &Workload, stream: SeedStream) -> Self {
        let mut drawn = Self {
            planned: [Touch::default(); AHEAD],
            at: 0,
            picker: Picker::new(workload),
            stream,
            stores_below: (workload.writes * 4_294_967_296.0) as u64,
        };
        for at in 0..AHEAD {
            drawn.planned[at] = drawn.plan();
        }
        drawn
    }

    fn plan(&mut self) -> Touch {
        let random = self.stream.next_u64();
        let slot = self.picker.pick(&mut self.stream);
        Touch { slot, word: (random & 0x1ff) as usize, store: random >> 32 < self.stores_below }
    }
}

impl Touches for Drawn {
    fn current(&self) -> Touch {
        self.planned[self.at]
    }

    fn advance(&mut self) -> Touch {
        let later = self.plan();
        self.planned[self.at] = later;
        self.at = (self.at + 1) % AHEAD;
        later
    }
}

/// Chooses the next page.
#[derive(Debug)]
struct Picker {
    pattern: Pattern,
    pages: u64,
    turn: u64,
    /// Zipf's law: sums of 1/rank, scaled to 2^64.
    sums: Vec<u64>,
}

impl Picker {
    fn new(workload: &Workload) -> Self {
        let pages = workload.working_set;
        let mut sums = Vec::new();
        if matches!(workload.pattern, Pattern::Zipf | Pattern::Scan) {
            let total: f64 = (1..=pages).map(|rank| 1.0 / rank as f64).sum();
            let mut sum = 0.0;
            for rank in 1..=pages {
                sum += 1.0 / rank as f64;
                sums.push((sum / total * 18_446_744_073_709_551_615.0) as u64);
            }
        }
        Self { pattern: workload.pattern, pages, turn: 0, sums }
    }

    fn pick(&mut self, stream: &mut SeedStream) -> usize {
        let turn = self.turn;
        self.turn += 1;
        let page = match self.pattern {
            Pattern::Uniform => ((u128::from(stream.next_u64()) * u128::from(self.pages)) >> 64) as u64,
            Pattern::Zipf => self.zipf(stream),
            Pattern::Sequential => turn % self.pages,
            Pattern::Scan if (turn / self.pages).is_multiple_of(2) => turn % self.pages,
            Pattern::Scan => self.zipf(stream),
        };
        page as usize
    }

    fn zipf(&self, stream: &mut SeedStream) -> u64 {
        let random = stream.next_u64();
        (self.sums.partition_point(|&sum| sum < random) as u64).min(self.pages - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::Json;
    use super::super::setup::boot;
    use super::super::{Counters, Options, Status};
    use super::*;
    use crate::scenario::{Node, Scenario};
    use std::path::Path;
    use uvsim_model::Machine;

    const TEXT: &str = "scenario s\nguest a memory=\"1MiB\"\nstep s {
        workload guest=a accesses=50 working-set=1 frames=1 first=9 writes=0
    }";

    /// Drives the workload of the text; `known` is the byte that the guest believes page 9 to be full of.
    fn drive(known: Option<u8>) -> (Result<bool, End>, Counters) {
        let scenario = Scenario::parse(Path::new("s.kdl"), TEXT).unwrap();
        let machine = Machine::new(scenario.machine.clone()).unwrap();
        let Ok(kernel) = boot(&machine, &scenario) else { panic!("no boot") };
        let mut report = Json::new(Vec::new());
        let mut runner = Runner::new(&scenario, kernel, Options::default(), &mut report);
        let Node::Workload(workload) = &scenario.steps[0].nodes[0] else { panic!("no workload") };
        let Ok(mut task) = runner.begin_workload(workload) else { panic!("not begun") };
        if let Some(byte) = known {
            task.pretend(0, byte);
        }
        // In pieces, as lanes do.
        let end = loop {
            match runner.advance(&mut task, 7) {
                Ok(false) => {}
                end => break end,
            }
        };
        (end, task.counters)
    }

    #[test]
    fn a_read_that_gives_something_else_ends_the_workload() {
        let (end, counters) = drive(Some(7));
        let Err(End::Failed(failure, Status::Fail)) = end else { panic!("not noticed") };
        assert_eq!((failure.rule, counters.mismatches, counters.reads, counters.accesses), ("I-14", 1, 1, 1));
        let (end, counters) = drive(Some(0));
        assert!(end.is_ok());
        assert_eq!((counters.mismatches, counters.accesses), (0, 50));
        assert!(drive(None).0.is_ok());
    }

    #[test]
    fn patterns_choose_as_they_are_called() {
        let picks = |pattern: &str| -> Vec<usize> {
            let set = format!("working-set=8 pattern={pattern}");
            let scenario = Scenario::parse(Path::new("s.kdl"), &TEXT.replace("working-set=1", &set)).unwrap();
            let Node::Workload(workload) = &scenario.steps[0].nodes[0] else { panic!("no workload") };
            let mut picker = Picker::new(workload);
            let mut stream = Seed(1).substream(Purpose::Workload, 0);
            (0..8000).map(|_| picker.pick(&mut stream)).collect()
        };
        let count = |picks: &[usize], page| picks.iter().filter(|&&pick| pick == page).count();
        assert_eq!(picks("sequential")[..10], [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]);
        let uniform = picks("uniform");
        assert!((0..8).all(|page| (800..1200).contains(&count(&uniform, page))));
        // Of 1 + 1/2 + ... + 1/8 = 2.718, page 0 has the share 1, page 7 an eighth.
        let zipf = picks("zipf");
        assert!((2700..3200).contains(&count(&zipf, 0)) && (250..500).contains(&count(&zipf, 7)));
        let scan = picks("scan");
        assert_eq!(scan[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(scan[16..24], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_ne!(scan[8..16], [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
