//! `uvsim host-info`

use super::{Format, complain, width};
use clap::{Args, ValueEnum};
use owo_colors::OwoColorize;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;
use uvsim::host_info::{self, HostInfo, Role};
use uvsim::run::Status;
use uvsim_model::config::{Generation, MachineConfig};
use uvsim_model::uvc::Command;

#[derive(Args)]
pub(super) struct Options {
    /// The machine generation
    #[arg(long, value_enum, default_value_t = Name::Z16)]
    generation: Name,
    /// The seed of the machine, from which its host keys come
    #[arg(long, value_name = "N", default_value_t = MachineConfig::default().seed)]
    seed: u64,
    /// Take a call away from the machine; may be repeated
    #[arg(long, value_name = "COMMAND", num_args = 1.., value_parser = command)]
    without: Vec<Command>,
    /// Show what a protected guest of the host sees
    #[arg(long)]
    guest: bool,
    /// Write the files into this folder, which must be empty or absent
    #[arg(long, value_name = "DIR")]
    sysfs: Option<PathBuf>,
    /// How to report
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Z15,
    Z16,
    Z17,
}

/// Shows what a host, or a guest of it, has under `/sys/firmware/uv`.
pub(super) fn show(options: &Options) -> Status {
    let (generation, name) = match options.generation {
        Name::Z15 => (Generation::Z15, "z15"),
        Name::Z16 => (Generation::Z16, "z16"),
        Name::Z17 => (Generation::Z17, "z17"),
    };
    let role = if options.guest { Role::Guest } else { Role::Host };
    let config =
        MachineConfig { generation, seed: options.seed, without: options.without.clone(), ..MachineConfig::default() };
    let info = match host_info::query(config, role) {
        Ok(info) => info,
        Err(error) => {
            complain(&error.to_string());
            return Status::Unusable;
        }
    };
    if let Some(folder) = &options.sysfs
        && let Err(error) = info.write_to(folder)
    {
        complain(&error.to_string());
        return Status::Unusable;
    }
    match options.format {
        Format::Human => human(&info, name),
        Format::Json => json(&info, name, options.seed),
    }
    Status::Pass
}

fn human(info: &HostInfo, generation: &str) {
    let mut out = anstream::stdout();
    let (who, facilities): (&str, Vec<String>) = (
        match info.role {
            Role::Host => "a host",
            Role::Guest => "a protected guest of a host",
        },
        info.facilities.iter().map(|(number, name)| format!("{number} ({name})")).collect(),
    );
    let _ = writeln!(out, "{}", format!("/sys/firmware/uv of {who}, {generation}").bold());
    let _ = writeln!(out, "facilities: {}\n", facilities.join(", "));
    let column = info.attributes.iter().map(|attribute| attribute.path.len()).max().unwrap_or(0) + 2;
    let values = column + 18;
    for attribute in &info.attributes {
        for (number, text) in attribute.lines().enumerate() {
            let path = if number == 0 { attribute.path } else { "" };
            let meaning = if number == 0 { attribute.meaning } else { "" };
            let line = format!("{path:column$}{text}");
            if meaning.is_empty() || line.len().max(values) + meaning.len() > width() {
                let _ = writeln!(out, "{line}");
            } else {
                let _ = writeln!(out, "{line:values$}{}", meaning.dimmed());
            }
        }
    }
}

fn json(info: &HostInfo, generation: &str, seed: u64) {
    let facilities: Vec<u16> = info.facilities.iter().map(|(number, _)| *number).collect();
    let attributes: Map<String, Value> =
        info.attributes.iter().map(|attribute| (attribute.path.to_owned(), attribute.text.trim_end().into())).collect();
    let object = json!({
        "event": "host_info",
        "role": info.role.name(),
        "generation": generation,
        "seed": seed,
        "facilities": facilities,
        "attributes": attributes,
    });
    let _ = writeln!(anstream::stdout(), "{object}");
}

/// A command by its short name.
fn command(name: &str) -> Result<Command, String> {
    Command::from_name(name).ok_or_else(|| {
        let distance = |known: &Command| strsim::damerau_levenshtein(name, known.name());
        let near = Command::ALL.iter().min_by_key(|known| distance(known)).filter(|known| distance(known) < 4);
        let near = near.map(|known| format!("; did you mean `{}`?", known.name())).unwrap_or_default();
        format!("no such call{near}")
    })
}
