//! `uvsim check-domain`, and what `uvsim run --domain` prints instead of running.

use super::{Format, colour_of, width};
use anstream::AutoStream;
use std::io::Write;
use std::path::{Path, PathBuf};
use uvsim::domain::{self, Domain, Severity, human, json};
use uvsim::run::{self, Report, Status, Verdict};

/// Checks domain definitions, each on its own; the status is that of the worst.
pub(super) fn check(paths: &[PathBuf], format: Format) -> Status {
    let mut out = std::io::BufWriter::new(AutoStream::auto(std::io::stdout()));
    let mut errors = anstream::stderr();
    let (colour_out, colour_errors) = (colour_of(&std::io::stdout()), colour_of(&std::io::stderr()));
    let mut status = Status::Pass;
    let (mut domains, mut unusable) = (0, 0);
    for (number, path) in paths.iter().enumerate() {
        let result = match Domain::read(path) {
            Ok(domain) => {
                domains += 1;
                let findings = domain::check(&domain);
                match format {
                    Format::Human => {
                        if number > 0 {
                            let _ = writeln!(out);
                        }
                        human::findings(&mut out, &domain, &findings, colour_out, width());
                    }
                    Format::Json => json::findings(&mut out, &domain, &findings),
                }
                let wrong = findings.iter().any(|finding| finding.severity == Severity::Error);
                if wrong { Status::Fail } else { Status::Pass }
            }
            Err(error) => {
                unusable += 1;
                match format {
                    Format::Human => {
                        // What has been told so far comes first.
                        let _ = out.flush();
                        human::unusable(&mut errors, &error, colour_errors, width());
                    }
                    Format::Json => json::unusable(&mut out, &error),
                }
                Status::Unusable
            }
        };
        status = status.worse(result);
    }
    if format == Format::Json {
        json::verdict(&mut out, status.code(), domains, unusable);
    }
    let _ = out.flush();
    status
}

/// Prints the scenario that `run --domain` would run.
pub(super) fn print_scenario(path: &Path, report: &mut dyn Report) -> Status {
    match run::usable_domain(path) {
        Ok(domain) => {
            let mut out = anstream::stdout();
            let _ = out.write_all(domain::scenario(&domain, path).as_bytes());
            Status::Pass
        }
        Err(errors) => {
            report.unusable(&errors);
            let verdict = Verdict { status: Status::Unusable, unusable: 1, ..Verdict::default() };
            report.verdict(&verdict);
            verdict.status
        }
    }
}
