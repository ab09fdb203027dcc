//! What users may ask, and what they see.

use uvsim_model::uvc::{Command, Response};

use super::*;

fn titles(query: &str) -> Vec<String> {
    match lookup(query) {
        Ok(entries) => entries.into_iter().map(|entry| entry.title).collect(),
        Err(unknown) => vec![unknown.to_string()],
    }
}

/// Every entry that some query reaches: names, numbers, ids, and commands with all their codes.
fn everything() -> Vec<Entry> {
    let mut queries: Vec<String> = names::all().map(|(name, _)| name.to_owned()).collect();
    queries.extend(rules::all().map(rules::Rule::id));
    queries.extend((0..=0x200u16).map(|number| format!("{number:#x}")));
    for facts in commands::all() {
        let answers = facts.checks.iter().map(|check| check.codes().trim_end_matches('°').to_owned());
        queries.extend(answers.map(|codes| format!("{} {codes}", facts.command.name())));
        queries.push(format!("{} 0x2", facts.command.name()));
    }
    queries.push(String::new());
    queries.iter().filter_map(|query| lookup(query).ok()).flatten().collect()
}

#[test]
fn every_command_is_found_by_name_header_name_and_code() {
    for &command in Command::ALL {
        let title = titles(command.name());
        assert_eq!(title.len(), 1, "{title:?}");
        assert!(title[0].starts_with(command.name()), "{title:?}");
        assert_eq!(titles(&command.name().to_uppercase().replace('-', "_")), title);
        assert_eq!(titles(&format!("command {:#06x}", command.code())), title);
        assert!(titles(&format!("{:#06x}", command.code())).contains(&title[0]));
    }
}

#[test]
fn every_code_of_the_tables_resolves_alone_and_with_its_command() {
    for facts in commands::all() {
        for check in facts.checks {
            let name = facts.command.name();
            let rrc = check.rrc.map_or_else(String::new, |rrc| format!(", rrc {rrc:#x}"));
            let wanted = format!("{name}, rc {:#06x}{rrc}", check.rc);
            let codes = check.codes();
            assert_eq!(titles(&format!("{name} {}", codes.trim_end_matches('°'))), [wanted], "{name}");
            let bare = lookup(&format!("{:#x}", check.rc)).unwrap_or_default();
            let when = commands::sentence(check.when);
            let mut blocks = bare.iter().flat_map(|entry| &entry.sections).flat_map(|section| &section.blocks);
            let listed = blocks.any(|block| matches!(block, Block::List(list) if list.iter().any(|row| row.1 == when)));
            assert!(listed, "{name} {codes}");
        }
    }
    for code in codes::GENERAL {
        assert_eq!(titles(&format!("rc {:#x}", code.rc)), [format!("rc {:#06x}", code.rc)]);
    }
}

/// The tables here explain, the refusal matrix of the model decides: both must know the same answers.
#[test]
fn every_command_explains_exactly_the_codes_of_the_refusal_matrix() {
    use std::collections::BTreeSet;
    for facts in commands::all().filter(|facts| facts.command.is_built()) {
        let own = facts.command.own_checks().iter();
        let decided: BTreeSet<(u16, u16)> =
            own.filter_map(uvsim_model::uvc::Check::codes).filter(|&codes| codes != (Response::EXECUTED, 0)).collect();
        let explained: BTreeSet<_> = facts.checks.iter().map(|check| (check.rc, check.rrc.unwrap_or(0))).collect();
        assert_eq!(explained, decided, "{}", facts.command.name());
        let matrix = facts.command.checks();
        for code in codes::GENERAL.iter().filter(|code| code.refusal) {
            let listed = matrix.iter().any(|check| check.codes() == Some((code.rc, 0)));
            assert_eq!(facts.gives_general(code.rc), listed, "{} {:#x}", facts.command.name(), code.rc);
        }
    }
}

#[test]
fn every_rule_of_the_refusal_matrix_resolves() {
    for check in Command::ALL.iter().flat_map(|command| command.checks()) {
        for id in check.rules.split_whitespace().filter(|id| !id.starts_with('C')) {
            assert!(rules::find(id).is_some(), "{}: {id}", check.id);
        }
    }
}

#[test]
fn every_outcome_of_the_scenario_language_resolves() {
    let mut named = outcomes::NAMES.to_vec();
    let mut taken: Vec<&str> = crate::scenario::Outcome::ALL.iter().map(|outcome| outcome.name()).collect();
    named.sort_unstable();
    taken.sort_unstable();
    assert_eq!(named, taken, "what `expect=` takes");
    for outcome in outcomes::NAMES {
        assert!(lookup(outcome).is_ok(), "{outcome}");
        assert!(lookup(&format!("expect={outcome}")).is_ok(), "{outcome}");
    }
    assert_eq!(titles("refused rc=0x106 rrc=0"), ["rc 0x0106, rrc 0x0"]);
    assert_eq!(titles("intercept code=108"), titles("108"));
}

#[test]
fn every_interruption_and_interception_resolves_by_number_and_name() {
    for code in (0x01..=0x06).chain(0x10..=0x12).chain(0x38..=0x3f) {
        let found = titles(&format!("pgm {code:#x}"));
        assert!(found.len() == 1 && found[0].starts_with(&format!("{code:#04x} ")), "{found:?}");
        assert!(titles(&format!("{code:#x}")).contains(&found[0]), "{code:#x}");
    }
    for code in [32, 96, 100, 104, 108, 112] {
        let found = titles(&format!("intercept {code}"));
        assert!(found.len() == 1 && found[0].starts_with(&format!("{code} ")), "{found:?}");
        assert!(titles(&code.to_string()).contains(&found[0]), "{code}");
    }
    assert_eq!(titles("3d"), ["0x3d secure-storage-access"]);
    assert_eq!(titles("3D"), titles("program interruption 0x3d"));
    assert_eq!(titles("validity"), titles("intercept 32"));
}

#[test]
fn every_rule_resolves() {
    for rule in rules::all() {
        assert_eq!(titles(&rule.id()), [rule.id()]);
        assert_eq!(titles(&format!("rule {}", rule.id().to_lowercase())), [rule.id()]);
    }
    assert_eq!(titles("I 5"), ["I-05"]);
}

#[test]
fn numbers_are_read_as_users_mean_them() {
    assert_eq!(titles("266"), ["rc 0x010a"], "decimal");
    assert_eq!(titles("0x10a"), ["rc 0x010a"]);
    assert_eq!(titles("10a"), ["rc 0x010a"]);
    assert_eq!(titles("106"), ["rc 0x0106"], "as a decimal number it means nothing");
    assert_eq!(titles("rc 262"), ["rc 0x0106"]);
    assert_eq!(titles("0x0200"), ["conv-to-sec-stor (import), command 0x0200"]);
    assert_eq!(titles("0x101").len(), 2, "a command and a response code");
    assert_eq!(titles("cc 2"), ["cc 2 busy"]);
    assert_eq!(titles("0x102/0x1b"), ["rc 0x0102, rrc 0x1b"]);
    assert_eq!(titles("rrc 0x1b"), ["rrc 0x1b"]);
    assert_eq!(titles("0x8000"), ["rc 0x8000"]);
    assert_eq!(titles("create 0x8108"), ["create-sec-conf, rc 0x8108"], "any rc may carry the flag");
    assert_eq!(titles("create 0x810f"), ["create-sec-conf, rc 0x810f"]);
    let entry = lookup("108").unwrap_or_default().remove(0);
    assert!(render(&entry, 100).contains("0x108 would be: rc 0x0108"), "the other reading is named");
}

#[test]
fn a_command_may_carry_codes_in_many_spellings() {
    for query in [
        "import 0x106",
        "import: rc 0x106, rrc 0x0 (T26)",
        "CONV_TO_SEC_STOR 262",
        "import 106",
        "conv to sec stor cc 1 rc 0x0106",
    ] {
        assert_eq!(titles(query), ["conv-to-sec-stor, rc 0x0106"], "{query}");
    }
    for query in ["verify-img 0x102/0x1b", "verify 0x102 0x1b", "verify-img rc=0x102 rrc=0x1b", "verify-img 258/27"] {
        assert_eq!(titles(query), ["verify-img, rc 0x0102, rrc 0x1b"], "{query}");
    }
    assert_eq!(titles("verify-img 0x102").len(), 4, "one for each reason");
    assert_eq!(titles("import 0x20"), ["conv-to-sec-stor, rc 0x0020"]);
    assert_eq!(titles("import 0x104"), ["conv-to-sec-stor, rc 0x0104"], "two checks, one code");
    assert_eq!(titles("dump 0x101").len(), 3, "an alias of several commands");
}

#[test]
fn unknown_queries_get_a_reason_and_suggestions() {
    let unknown = |query: &str| lookup(query).expect_err(query);
    assert_eq!(unknown("imprt").suggestions.first().map(String::as_str), Some("import"));
    assert_eq!(unknown("secure-storage-acess").suggestions[0], "secure-storage-access");
    assert_eq!(unknown("imprt 0x106").suggestions, ["import 0x106"]);
    assert!(unknown("import 0x1ff").suggestions.contains(&"conv-to-sec-stor 0x0106".to_owned()));
    assert!(unknown("export 0x20").reason.contains("does not give this code"), "it takes no handle");
    assert!(unknown("T82").reason.contains("T1 to T81"));
    assert!(unknown("i-46").reason.contains("I-01 to I-45"));
    assert!(unknown("0xffff1").reason.contains("no command"));
    assert_eq!(unknown("Nothing At All").query, "Nothing At All");
    for query in [
        "ok qq",
        "rc",
        "cc",
        "cc 9",
        "pgm",
        "rrc 0x1b 3",
        "import zz",
        "0x",
        "-",
        "§ é",
        "d-",
        "refused rc",
        "intercept code",
    ] {
        for suggestion in lookup(query).err().map(|unknown| unknown.suggestions).unwrap_or_default() {
            assert!(lookup(&suggestion).is_ok(), "{query}: {suggestion}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_query_is_too_strange(query in "(import|cc|rc|rrc|pgm|0x|T|I-|[0-9a-f]{1,5}|[ /:=_-]|\\PC){0,8}") {
        for suggestion in lookup(&query).err().map(|unknown| unknown.suggestions).unwrap_or_default() {
            proptest::prop_assert!(lookup(&suggestion).is_ok(), "{} suggests {}", query, suggestion);
        }
    }
}

#[test]
fn pages_keep_their_width_at_any_width() {
    for entry in everything() {
        for width in [0, 40, 80, 100] {
            let page = render(&entry, width);
            for line in page.lines() {
                let one_word = line.split_whitespace().count() == 1;
                assert!(line.chars().count() <= width.max(40) || one_word, "{width}: {line}");
                assert_eq!(line, line.trim_end(), "{}", entry.title);
            }
        }
    }
}

#[test]
fn entries_say_what_they_promise() {
    for entry in everything() {
        let has = |heading| entry.section(heading).is_some();
        assert!(has(Heading::Meaning), "{}", entry.title);
        assert!(has(Heading::Source) || entry.kind == Kind::Index || entry.title == "0x03 execute", "{}", entry.title);
        let coded = matches!(entry.kind, Kind::ProgramInterruption | Kind::Interception | Kind::ConditionCode);
        assert!(!coded || (has(Heading::RaisedBy) && has(Heading::Answer)), "{}", entry.title);
        for (number, section) in entry.sections.iter().enumerate() {
            assert!(entry.sections[..number].iter().all(|other| other.heading != section.heading), "{}", entry.title);
            assert!(!lines(section, 80).is_empty(), "{}", entry.title);
        }
    }
}

#[test]
fn whole_pages() {
    let page = |query: &str, width| {
        let entries = lookup(query).unwrap_or_default();
        entries.iter().map(|entry| render(entry, width)).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!("import_0x106_at_40", page("import 0x106", 40));
    insta::assert_snapshot!("import_0x106_at_100", page("import 0x106", 100));
    insta::assert_snapshot!("import_at_100", page("import", 100));
    insta::assert_snapshot!("t26_at_100", page("T26", 100));
    insta::assert_snapshot!("bare_0x10a_at_80", page("0x10a", 80));
}

#[test]
fn a_command_is_called_installed_exactly_if_the_newest_machine_has_it() {
    use uvsim_model::config::{Generation, MachineConfig};
    use uvsim_model::uvc::{Command, Issuer};
    let machine = uvsim_model::Machine::new(MachineConfig { generation: Generation::Z17, ..MachineConfig::default() });
    let machine = machine.unwrap();
    let installed = crate::kernel::Kernel::boot(&machine, Vec::new()).unwrap().installed(0).unwrap();
    for &command in Command::ALL.iter().filter(|command| command.row().issuer != Issuer::Guest) {
        let entry = &lookup(command.name()).unwrap()[0];
        let text = render(entry, 1000);
        assert_eq!(text.contains("not built into this version"), !installed.contains(command), "{}", command.name());
    }
}
