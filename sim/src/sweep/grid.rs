//! The grid: what there is to do, in an order that does not depend on how it was asked for.

use super::{FrameList, SweepError};
use crate::paging::PolicyKind;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use uvsim_model::config::{ChangeDetection, CipherProfile, Generation, MachineConfig};

/// Version of the file formats.
const VERSION: u64 = 1;

/// The axes of a grid, and what all its machines share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How victims are chosen.
    pub policies: Vec<PolicyKind>,
    /// Limits of the resident set.
    pub frames: FrameList,
    /// Machine generations.
    pub generations: Vec<Generation>,
    /// The page cipher.
    pub cipher: CipherProfile,
    /// When an export counts up.
    pub change_detection: ChangeDetection,
    /// The seed of every machine, and of what policies draw.
    pub seed: u64,
    /// Accesses of the working-set window.
    pub window: u64,
}

/// Everything that decides the results of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    pub(super) policies: Vec<PolicyKind>,
    pub(super) generations: Vec<Generation>,
    pub(super) cipher: CipherProfile,
    pub(super) change_detection: ChangeDetection,
    pub(super) seed: u64,
    pub(super) window: u64,
    /// By rising name.
    pub(super) traces: Vec<TraceEntry>,
}

/// A trace as a grid knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// Name of the file, without its folder.
    pub name: String,
    /// XXH3 of its accesses, page by page.
    pub digest: u64,
    /// How many accesses.
    pub accesses: u64,
    /// How many different pages.
    pub pages: u64,
    /// Different pages in a window, on average over the windows.
    pub working_set: u64,
    /// Limits of the resident set, rising.
    pub frames: Vec<u64>,
}

/// One run: a trace on a fresh machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Number of the trace in the grid.
    pub trace: usize,
    /// The machine generation.
    pub generation: Generation,
    /// Number of the policy in [`PolicyKind::ALL`].
    pub policy: usize,
    /// Most pages resident.
    pub frames: u64,
}

/// Every N-th cell of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1.
    number: u32,
    of: u32,
}

/// What is no shard.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}`: a shard is I/N with I from 1 to N, such as 1/4")]
pub struct NoShard(String);

impl Grid {
    /// The grid of these traces.
    ///
    /// # Errors
    /// Two traces have one name.
    pub fn new(settings: &Settings, mut traces: Vec<TraceEntry>) -> Result<Self, SweepError> {
        traces.sort_by(|one, other| one.name.cmp(&other.name));
        for pair in traces.windows(2) {
            if file_name(&pair[0].name) == file_name(&pair[1].name) {
                return Err(SweepError::SameName(pair[1].name.clone()));
            }
        }
        let policies = PolicyKind::ALL.into_iter().filter(|kind| settings.policies.contains(kind)).collect();
        let generations: BTreeSet<Generation> = settings.generations.iter().copied().collect();
        for trace in &mut traces {
            trace.frames = settings.frames.of(trace.pages);
        }
        Ok(Self {
            policies,
            generations: generations.into_iter().collect(),
            cipher: settings.cipher,
            change_detection: settings.change_detection,
            seed: settings.seed,
            window: settings.window,
            traces,
        })
    }

    /// All cells, in their order.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for (trace, entry) in self.traces.iter().enumerate() {
            for &generation in &self.generations {
                for kind in &self.policies {
                    let policy = PolicyKind::ALL.iter().position(|known| known == kind).unwrap_or_default();
                    cells.extend(entry.frames.iter().map(|&frames| Cell { trace, generation, policy, frames }));
                }
            }
        }
        cells
    }

    /// The name of a cell.
    #[must_use]
    pub fn name_of(&self, cell: &Cell) -> String {
        let trace = self.traces.get(cell.trace).map_or("?", |trace| &trace.name);
        format!("{trace}/{}/{}/{}", name_of_generation(cell.generation), cell.kind().name(), cell.frames)
    }

    pub(super) fn machine(&self, generation: Generation) -> MachineConfig {
        MachineConfig {
            generation,
            seed: self.seed,
            cipher: self.cipher,
            change_detection: self.change_detection,
            cpus: 1,
            ..MachineConfig::default()
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let traces: Vec<Value> = self.traces.iter().map(TraceEntry::to_json).collect();
        json!({
            "version": VERSION,
            "seed": self.seed,
            "cipher": name_in(&CIPHERS, self.cipher),
            "change_detection": name_in(&CHANGE_DETECTIONS, self.change_detection),
            "window": self.window,
            "policies": self.policies.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
            "generations": self.generations.iter().map(|&one| name_of_generation(one)).collect::<Vec<_>>(),
            "traces": traces,
        })
    }

    /// Nothing if this is not the JSON of a grid.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        if value["version"].as_u64() != Some(VERSION) {
            return None;
        }
        let names = |key: &str| value[key].as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
        Some(Self {
            policies: names("policies")?.into_iter().map(PolicyKind::from_name).collect::<Option<_>>()?,
            generations: names("generations")?
                .into_iter()
                .map(|name| named(&GENERATIONS, name))
                .collect::<Option<_>>()?,
            cipher: named(&CIPHERS, value["cipher"].as_str()?)?,
            change_detection: named(&CHANGE_DETECTIONS, value["change_detection"].as_str()?)?,
            seed: value["seed"].as_u64()?,
            window: value["window"].as_u64()?,
            traces: value["traces"].as_array()?.iter().map(TraceEntry::from_json).collect::<Option<_>>()?,
        })
    }

    /// What distinguishes a grid from the one that is wanted.
    pub(super) fn difference(&self, wanted: &Self) -> Option<String> {
        different("", &self.to_json(), &wanted.to_json())
    }
}

impl TraceEntry {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "digest": format!("{:016x}", self.digest),
            "accesses": self.accesses,
            "pages": self.pages,
            "working_set": self.working_set,
            "frames": self.frames,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            digest: u64::from_str_radix(value["digest"].as_str()?, 16).ok()?,
            accesses: value["accesses"].as_u64()?,
            pages: value["pages"].as_u64()?,
            working_set: value["working_set"].as_u64()?,
            frames: value["frames"].as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?,
        })
    }
}

impl Cell {
    pub(super) fn kind(&self) -> PolicyKind {
        PolicyKind::ALL.get(self.policy).copied().unwrap_or_default()
    }
}

impl Shard {
    /// The undivided grid.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    pub(super) fn of(self, cells: &[Cell]) -> Vec<Cell> {
        cells.iter().skip(self.number as usize - 1).step_by(self.of as usize).cloned().collect()
    }

    /// What its files begin with: nothing if it is the whole grid.
    pub(super) fn prefix(self) -> String {
        if self == Self::WHOLE { String::new() } else { format!("shard-{}-of-{}.", self.number, self.of) }
    }
}

impl std::str::FromStr for Shard {
    type Err = NoShard;

    fn from_str(text: &str) -> Result<Self, NoShard> {
        let parts = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err(NoShard(text.into())),
        }
    }
}

impl Display for Shard {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

const GENERATIONS: [(&str, Generation); 3] =
    [("z15", Generation::Z15), ("z16", Generation::Z16), ("z17", Generation::Z17)];
const CIPHERS: [(&str, CipherProfile); 2] = [("gcm", CipherProfile::Gcm), ("xts", CipherProfile::Xts)];
const CHANGE_DETECTIONS: [(&str, ChangeDetection); 2] =
    [("digest", ChangeDetection::Digest), ("always", ChangeDetection::Always)];

pub(super) fn name_of_generation(generation: Generation) -> &'static str {
    name_in(&GENERATIONS, generation)
}

fn name_in<T: Copy + PartialEq>(names: &[(&'static str, T)], wanted: T) -> &'static str {
    names.iter().find(|(_, known)| *known == wanted).map_or("?", |(name, _)| name)
}

fn named<T: Copy>(names: &[(&'static str, T)], wanted: &str) -> Option<T> {
    names.iter().find(|(name, _)| *name == wanted).map(|(_, known)| *known)
}

/// The generation of this name.
#[must_use]
pub fn generation_named(name: &str) -> Option<Generation> {
    named(&GENERATIONS, name)
}

/// A name as part of a file name that any system takes.
pub(super) fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.chars().map(plain).collect()
}

/// Where two documents differ first.
fn different(path: &str, there: &Value, wanted: &Value) -> Option<String> {
    match (there, wanted) {
        (Value::Object(one), Value::Object(other)) => one.iter().find_map(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            different(&path, value, other.get(key).unwrap_or(&Value::Null))
        }),
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() && one.iter().any(Value::is_object) => {
            let pairs = one.iter().zip(other).enumerate();
            pairs.into_iter().find_map(|(number, (one, other))| {
                let path = match one["name"].as_str() {
                    Some(name) => format!("{path} `{name}`"),
                    None => format!("{path} {number}"),
                };
                different(&path, one, other)
            })
        }
        (Value::Array(one), Value::Array(other)) if one.iter().chain(other).any(Value::is_object) => {
            Some(format!("{} {path} there, {} here", one.len(), other.len()))
        }
        _ => (there != wanted).then(|| format!("{path} is {there} there, {wanted} here")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two traces, two policies, two generations: 20 cells.
    pub(in crate::sweep) fn grid() -> Grid {
        let trace = |name: &str, pages| TraceEntry {
            name: name.into(),
            digest: 0x12 + pages,
            accesses: 1000,
            pages,
            working_set: 7,
            frames: Vec::new(),
        };
        Grid::new(&settings(), vec![trace("b.gz", 100), trace("a b", 10)]).unwrap()
    }

    pub(in crate::sweep) fn settings() -> Settings {
        Settings {
            policies: vec![PolicyKind::Fifo, PolicyKind::Lru, PolicyKind::Fifo],
            frames: "8,4,100%".parse().unwrap(),
            generations: vec![Generation::Z17, Generation::Z15],
            cipher: CipherProfile::Gcm,
            change_detection: ChangeDetection::Digest,
            seed: u64::MAX,
            window: 100,
        }
    }

    #[test]
    fn the_order_of_cells_is_theirs() {
        let grid = grid();
        let cells = grid.cells();
        let names: Vec<String> = cells.iter().map(|cell| grid.name_of(cell)).collect();
        assert_eq!(cells.len(), 24);
        assert_eq!(names[..4], ["a b/z15/lru/4", "a b/z15/lru/8", "a b/z15/lru/10", "a b/z15/fifo/4"]);
        assert_eq!((&*names[6], &*names[23]), ("a b/z17/lru/4", "b.gz/z17/fifo/100"));
        assert!(cells.is_sorted());
    }

    #[test]
    fn shards_share_the_cells_out() {
        let cells = grid().cells();
        let shards: Vec<Shard> = ["1/5", "2/5", "3/5", "4/5", "5/5"].map(|text| text.parse().unwrap()).into();
        let mut all: Vec<Cell> = shards.iter().flat_map(|shard| shard.of(&cells)).collect();
        all.sort();
        assert_eq!(all, cells);
        assert_eq!(shards[1].of(&cells)[1], cells[6]);
        assert_eq!((shards[4].prefix(), Shard::WHOLE.prefix()), ("shard-5-of-5.".into(), String::new()));
        for text in ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_grid_survives_its_json_and_differences_are_named() {
        let wanted = grid();
        let same = Grid::from_json(&wanted.to_json()).unwrap();
        assert_eq!((same.difference(&wanted), &same), (None, &wanted));
        let told = |change: &dyn Fn(&mut Grid)| {
            let mut grid = wanted.clone();
            change(&mut grid);
            grid.difference(&wanted).unwrap()
        };
        assert_eq!(told(&|grid| grid.seed = 1), "seed is 1 there, 18446744073709551615 here");
        assert!(told(&|grid| grid.traces[1].digest = 3).starts_with("traces `b.gz`.digest is \"0000000000000003\""));
        assert!(told(&|grid| grid.traces[1].frames = vec![3]).contains("frames is [3] there, [4,8,100] here"));
        assert_eq!(told(&|grid| _ = grid.traces.pop()), "1 traces there, 2 here");
        assert!(told(&|grid| _ = grid.policies.pop()).starts_with("policies is [\"lru\"]"));
        assert_eq!(Grid::from_json(&json!({ "version": 2 })), None);
    }

    #[test]
    fn names_that_make_one_file_name_are_refused() {
        let mut grid = grid();
        grid.traces[1].name = "a_b".into();
        assert!(matches!(Grid::new(&settings(), grid.traces), Err(SweepError::SameName(name)) if name == "a_b"));
    }
}
