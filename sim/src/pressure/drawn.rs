//! Touches of workloads.

use super::{AHEAD, Touch, Touches};
use crate::scenario::{Pattern, Workload};
use uvsim_model::seed::SeedStream;

/// Touches that are drawn as a workload says.
#[derive(Debug)]
pub(crate) struct Drawn {
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
    pub(crate) fn new(workload: &Workload, stream: SeedStream) -> Self {
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
    use super::*;
    use crate::scenario::{Node, Scenario};
    use std::path::Path;
    use uvsim_model::seed::{Purpose, Seed};

    const TEXT: &str = "scenario s\nguest a memory=\"1MiB\"\nstep s {
        workload guest=a accesses=50 working-set=1 frames=1 first=9 writes=0
    }";

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
