//! The job descriptions of the book: their very commands, run here, give what one run of the whole sweep gives.

#![cfg(unix)]

mod folder;

use folder::{Folder, Told};
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

const SHARDS: u32 = 8;

fn of_book(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/cluster").join(name);
    fs::read_to_string(path).unwrap()
}

/// A folder with a trace where the jobs look for them.
fn prepared(name: &str) -> Folder {
    let folder = Folder::new(name);
    fs::create_dir(folder.0.join("traces")).unwrap();
    let text = (0_u64..400).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, " {} {:x},8", if n % 5 == 0 { 'S' } else { 'L' }, n * n * 7 % 23 * 4096);
        text
    });
    folder.file("lackey", text);
    folder.run(&["trace", "convert", "lackey", "traces/one.uvtrace.gz"]).exits(0);
    folder
}

/// A shell that finds the program as `uvsim`, in the folder.
fn shell(folder: &Folder, shell: &str, options: &str, script: &str, variables: &[(&str, String)]) -> Told {
    let program = Path::new(env!("CARGO_BIN_EXE_uvsim")).parent().unwrap().to_owned();
    let before = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([program].into_iter().chain(env::split_paths(&before))).unwrap();
    let mut command = Command::new(shell);
    command.args([options, script]).current_dir(&folder.0).env("PATH", path).envs(variables.iter().cloned());
    Told::of(command.output().unwrap())
}

/// Merges what shards have left, and compares it with the undivided sweep.
fn equals_the_whole(folder: &Folder) {
    for shard in 1..=SHARDS {
        let journal = folder.0.join(format!("results/shard-{shard}-of-{SHARDS}.cells.jsonl"));
        assert!(journal.is_file(), "shard {shard} has run");
    }
    folder.run(&["sweep", "merge", "results", "--out=merged"]).exits(0).says(&["30 found done"]);
    let whole =
        ["sweep", "--policy=lru,clock,fifo,random,working-set", "--frames=5%,10%,25%,50%,75%,100%", "--out=whole"];
    folder.run(&[&whole[..], &["--trace=traces/one.uvtrace.gz"]].concat()).exits(0).says(&["30 cells run"]);
    for name in ["results.csv", "results.json", "miss-ratio-one.uvtrace.gz-z16.svg", "cost-one.uvtrace.gz-z16.svg"] {
        assert_eq!(folder.bytes(&format!("merged/{name}")), folder.bytes(&format!("whole/{name}")), "{name}");
    }
}

#[test]
fn the_slurm_array() {
    let folder = prepared("cluster-slurm");
    let script = of_book("sweep.sbatch");
    for line in [format!("#SBATCH --array=1-{SHARDS}"), format!("shards={SHARDS}")] {
        assert!(script.lines().any(|one| one == line), "{line}");
    }
    let task = |number: u32| {
        let variables = [("SLURM_ARRAY_TASK_ID", number.to_string()), ("SLURM_CPUS_PER_TASK", "1".to_owned())];
        shell(&folder, "bash", "-c", &script, &variables).exits(0)
    };
    (1..=SHARDS).for_each(|number| _ = task(number));
    // A task that is sent again.
    let journal = "results/shard-3-of-8.cells.jsonl";
    let whole = folder.bytes(journal);
    folder.file(journal, &whole[..whole.len() / 2]);
    task(3);
    assert_eq!(folder.bytes(journal).len(), whole.len());
    equals_the_whole(&folder);
}

#[test]
fn the_kubernetes_job() {
    let folder = prepared("cluster-kubernetes");
    let manifest = of_book("sweep-job.yaml");
    let completions = format!("  completions: {SHARDS}");
    assert!(manifest.lines().any(|line| line == completions), "{completions}");
    // The block of the argument: what is deeper than its mark.
    let mut lines = manifest.lines().skip_while(|line| line.trim() != "- |");
    let depth = lines.next().map(|mark| mark.len() - mark.trim_start().len()).unwrap();
    let block = lines.take_while(|line| line.len() - line.trim_start().len() > depth);
    let script: String = block.map(|line| format!("{}\n", line.trim())).collect();
    let script = script.replace("/data/", "");
    assert!(script.starts_with("exec uvsim sweep"), "{script}");
    for index in 0..SHARDS {
        shell(&folder, "sh", "-euc", &script, &[("JOB_COMPLETION_INDEX", index.to_string())]).exits(0);
    }
    equals_the_whole(&folder);
}
