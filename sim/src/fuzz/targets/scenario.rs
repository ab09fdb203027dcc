//! Any text as a scenario. Where it names data files, there are some.

use super::{Fault, ensure, prepared, running};
use crate::run::Options;
use crate::scenario::{FileError, MAX_ERRORS, Scenario, ScenarioErrors};
use miette::{GraphicalReportHandler, GraphicalTheme};
use std::path::Path;

const NAME: &str = "fuzz.kdl";
/// A domain definition that a guest can be set up by.
const DOMAIN: &[u8] = b"<domain type='kvm'><name>g</name><memory unit='MiB'>2</memory><vcpu>1</vcpu>\
    <os><type arch='s390x'>hvm</type></os><cpu mode='host-model'/><devices><disk type='file'>\
    <target dev='vda' bus='virtio'/></disk></devices><launchSecurity type='s390-pv'/></domain>";
const TRACE: &[u8] = b"I  04001000,4\n L 1ffeffe7e,8\n S 04222000,8\n M 04223ffc,8\n";

pub(super) fn run(data: &[u8]) -> Result<(), Fault> {
    let Ok(text) = std::str::from_utf8(data) else { return Ok(()) };
    match Scenario::parse_with(Path::new(NAME), text, &mut file) {
        Err(errors) => refused(&errors, text),
        Ok(mut scenario) if running::is_small(&scenario) => {
            prepared::prepare(&mut scenario);
            let options = Options { go_on: true, verify: true, ..Options::default() };
            running::twice(&scenario, options)?;
            running::told(&scenario, Options::default())
        }
        Ok(_) => Ok(()),
    }
}

/// The catalogue is the corpus; these only show where files come in.
pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    const TAIL: &str = "step t { host page-out a:0; check invariants; }\n";
    let text = |guest: &str, more: &str| format!("scenario s\n{guest}\nstep u {{ {more}check invariants; }}\n{TAIL}");
    [
        ("plain", text("guest a memory=\"1MiB\"", "")),
        ("domain", text("guest a domain=\"d.xml\"", "")),
        ("file", text("guest a memory=\"1MiB\" { load 0x3000 file=\"f\"; }", "guest verify a 0x3000 file=f; ")),
        ("replay", text("guest a memory=\"1MiB\"", "replay guest=a file=t.uvtrace frames=1; ")),
        ("key", text("machine { host-key \"k.pem\"; }\nguest a memory=\"1MiB\"", "")),
        ("image", text("guest a memory=\"1MiB\" { image \"i.img\"; }", "")),
    ]
    .map(|(name, text)| (name.to_owned(), text.into_bytes()))
    .into()
}

/// By the ending of its name: the fuzzer finds these sooner than contents of its own.
fn file(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let content = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xml") => DOMAIN,
        Some("uvtrace" | "gz") => TRACE,
        Some("missing") => return Err(FileError::Missing),
        _ => b"some content of a file, with a few words to look for",
    };
    if content.len() as u64 > limit { Err(FileError::TooLong { limit }) } else { Ok(content.to_vec()) }
}

/// Mistakes are told, and not too many of them.
fn refused(errors: &ScenarioErrors, text: &str) -> Result<(), Fault> {
    let count = errors.errors().len();
    ensure((1..=MAX_ERRORS).contains(&count), || format!("{count} errors are told"))?;
    let mut told = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    handler.render_report(&mut told, errors).map_err(|error| Fault::in_text(error.to_string(), text))?;
    for error in errors.errors() {
        let inside = error.place.is_none_or(|place| {
            let span = place.span;
            span.offset() + span.len() <= text.len() && text.is_char_boundary(span.offset())
        });
        ensure(inside, || format!("`{}` is outside of the text", error.message))?;
        ensure(!error.message.is_empty(), || "an error without words".to_owned())?;
    }
    Ok(())
}
