//! The refusal matrix as users and the book see it.

use std::path::Path;
use std::process::{Command, Output};
use uvsim_model::uvc::Reply;

fn uvsim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_uvsim")).args(arguments).output().unwrap()
}

#[test]
fn the_page_of_the_book_is_what_the_program_makes() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/tables/refusals.md");
    let made = String::from_utf8(uvsim(&["refusals", "--format", "markdown"]).stdout).unwrap();
    assert_eq!(made, uvsim::refusals::markdown());
    let committed = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(committed == made, "renew it: uvsim refusals --format markdown > docs/src/tables/refusals.md");
}

#[test]
fn every_link_of_the_page_has_a_target() {
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/tables");
    for command in uvsim::refusals::built() {
        for rule in command.checks().iter().flat_map(|check| check.rules.split_whitespace()) {
            let page = match &rule[..1] {
                "T" => "transitions.md",
                "I" => "invariants.md",
                "Q" => "choices.md",
                "C" => "cases.md",
                _ => "decisions.md",
            };
            let text = std::fs::read_to_string(tables.join(page)).unwrap();
            assert!(text.contains(&format!("<a id=\"{}\"></a>", rule.to_lowercase())), "{rule}");
        }
    }
}

#[test]
fn one_command_by_any_of_its_names() {
    let by = |name| String::from_utf8(uvsim(&["refusals", name]).stdout).unwrap();
    let list = by("import");
    assert!(list.starts_with("conv-to-sec-stor, command 0x0200, issued by host\n"), "{list}");
    assert_eq!(by("CONV_TO_SEC_STOR"), list);
    let place = |id: &str| list.find(id).unwrap_or_else(|| panic!("{id} in {list}"));
    assert!(place("length:") < place("handle:") && place("handle:") < place("range:"));
    assert!(place("range:") < place("unmapped:") && place("unmapped:") < place("integrity:"));
    assert!(by("dump-cpu").trim_end().ends_with('t'), "only up to 0x0002");
    let unknown = uvsim(&["refusals", "imprt"]);
    assert_eq!((unknown.status.code(), unknown.stdout.len()), (Some(2), 0));
}

#[test]
fn json_has_one_object_a_line_with_all_checks() {
    let out = String::from_utf8(uvsim(&["refusals", "--format", "json"]).stdout).unwrap();
    let objects: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (object, command) in objects.iter().zip(uvsim::refusals::built()) {
        assert_eq!(object["command"], command.name());
        let checks = object["checks"].as_array().unwrap();
        assert_eq!(checks.len(), command.checks().len());
        for (listed, check) in checks.iter().zip(command.checks()) {
            assert_eq!(listed["id"], check.id);
            if let Reply::Refused { rc, rrc } = check.answer {
                assert_eq!((&listed["answer"]["rc"], &listed["answer"]["rrc"]), (&rc.into(), &rrc.into()));
            }
        }
    }
    assert_eq!(objects.len(), uvsim::refusals::built().count());
}
