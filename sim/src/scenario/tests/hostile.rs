//! Texts that are no scenarios, large ones among them: always an answer, soon, never a panic.

use std::time::{Duration, Instant};

use kdl::KdlDocument;
use proptest::prelude::*;

use super::super::syntax;
use super::super::{MAX_ERRORS, Scenario};
use super::{LESSON, parse, with};

/// The parse ends soon, with at most [`MAX_ERRORS`] errors.
#[track_caller]
fn answers(text: &str) -> Result<Scenario, super::ScenarioErrors> {
    let start = Instant::now();
    let result = parse(text);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}: {:.40}", start.elapsed(), text);
    if let Err(errors) = &result {
        assert!((1..=MAX_ERRORS).contains(&errors.errors().len()));
        let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor());
        let mut rendered = String::new();
        handler.render_report(&mut rendered, errors).unwrap();
        assert!(rendered.len() < 200_000, "a report of {} bytes", rendered.len());
    }
    result
}

#[test]
fn megabytes_of_one_thing() {
    for piece in [
        "{",
        "}",
        "a{",
        "/*",
        "/*a*",
        "a /-{",
        "/-a{",
        "/-",
        "(",
        ")",
        "a)",
        "=",
        "a=",
        "\"",
        "\"\"\"\n",
        "#",
        "#\"",
        "\\",
        "\\q",
        "\"\\q {",
        "true ",
        "1a ",
        "a ",
        "a\n",
        ";",
        "a;",
        "{}",
        "a{}",
        "\u{0}",
        "é",
        "a=1 ",
        "a 1 2 \"x\" ",
        "// c\n",
        "[",
        "(a)",
        "a\"b\"",
    ] {
        assert!(answers(&piece.repeat((1 << 19) / piece.len())).is_err(), "{piece}");
    }
}

#[test]
fn megabytes_inside_a_step() {
    for piece in [
        "host ",
        "host export alpha:3\n",
        "host export alpha:99999\n",
        "repeat 2 {",
        "host x=1 ",
        "/-",
        "host read alpha:3 save=",
        "\"\\q",
    ] {
        let _ = answers(&with(&piece.repeat((1 << 18) / piece.len())));
    }
    let saves: String = (0..2000).map(|n| format!("host read alpha:3 save=b{n}\ncheck zero c{n}\n")).collect();
    assert_eq!(answers(&with(&saves)).unwrap_err().unreported(), 2000 - MAX_ERRORS);
}

#[test]
fn nesting_ends_somewhere() {
    let nested =
        |levels: usize| with(&format!("{}host export alpha:3;{}", "repeat 2 {".repeat(levels), "};".repeat(levels)));
    assert!(answers(&nested(31)).is_ok());
    assert!(answers(&nested(32)).unwrap_err().errors()[0].message.contains("nested too deeply"));
    let hidden = |levels: usize| with(&format!("check invariants {} {}", "/-{ a ".repeat(levels), "}".repeat(levels)));
    assert!(answers(&hidden(31)).is_ok(), "the parser would take hours");
    assert!(answers(&hidden(32)).unwrap_err().errors()[0].message.contains("nested too deeply"));
    let comment = |levels: usize| with(&format!("{} * / {}", "/*".repeat(levels), "*/".repeat(levels)));
    assert!(answers(&comment(100_000)).is_ok());
}

#[test]
fn a_long_line_is_not_quoted() {
    let long = with(&format!("host write alpha:3 text={}", "x".repeat(100_000)));
    let errors = answers(&long).unwrap_err();
    assert!(errors.errors()[0].message.contains("cross the end of the page"));
}

#[test]
fn syntax_of_kdl() {
    for text in [
        "a /- b\n",
        "a/b",
        "a {",
        "}",
        "a=1",
        "=",
        "a b= ",
        "a \"x",
        "a \"\\q\"",
        "a \"\\u{110000}\"",
        "a \"\"\"x\"\"\"",
        "a #\"x",
        "a #yes",
        "a [b]",
        "(a",
        "()a",
        "a b {} c",
        "a {} {}",
        "1 a",
        "a;;b",
        "a \"b\"c",
        "a\\b",
        "a b=(t)",
        "/- }",
        "a #\"\"\"#",
        "a \"\"\"\n  x\n   \"\"\"",
    ] {
        let ours = syntax::document(text, 20);
        assert_eq!(ours.is_ok(), KdlDocument::parse_v2(text).is_ok(), "{text}");
    }
    for text in [
        "\u{feff}a",
        "a /-b c",
        "a /-b=1 c=2",
        "a /-{ x } { y }",
        "a { y } /-{ x }",
        "/-a { b }\nc",
        "a \\\n b",
        "a \\ // c\n b",
        "a \\ /* c */ \n b",
        "a /* x\ny */ b",
        "a b /* c */",
        "a b // c",
        "a #\"x\"y\"#",
        "a ##\"x\"#\"##",
        "a \"\\u{41}\\s\\\n  b\"",
        "a \"\"\"\n  x\n\n    y\n  \"\"\"",
        "a #\"\"\"\n  \\x\n  \"\"\"#",
        "(t)a (t)b c=(t)d",
        "a /-c=(t)d /-(t)e (t)f /-g=1 h",
        "\"a\" \"b\"=\"c\"",
        "a 1 -1.5e3 0x1f #inf #-inf #nan #null",
        "a;b;c",
        "a{b;c}",
        "a { b }; c",
        "a b =\t1",
        "a\r\nb",
        "a \"x\"{}",
        "(t) a",
    ] {
        assert!(KdlDocument::parse_v2(text).is_ok(), "{text}");
        assert!(syntax::document(text, 20).is_ok(), "{text}: {:?}", syntax::document(text, 20));
    }
    // The parser alone stumbles over these (6.7.1).
    for text in ["/-a;b", "b {\n/-a;\n}", "/-a { b; }; c { /-d; /-e; }"] {
        let document = syntax::document(text, 20).unwrap();
        assert_eq!(document.nodes().len(), 1, "{text}");
        assert!(document.nodes()[0].iter_children().next().is_none(), "{text}");
    }
}

/// Pieces of the language and of KDL, to be put together at random.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "scenario s",
        "\nstep t {",
        "}",
        "{",
        "\n",
        ";",
        " ",
        "host read alpha:3",
        " len=4",
        " save=x",
        " expect=refused",
        " rc=1",
        "guest alpha memory=\"1MiB\"",
        "load 0 text=x",
        "machine",
        "seed",
        "\"",
        "\\",
        "#\"",
        "\"#",
        "#true",
        "/-",
        "//",
        "/*",
        "*/",
        "(handle)alpha",
        "=",
        "0x",
        "1.5",
        "-1",
        "check page",
        "alpha:0..3",
        "repeat 2",
        "workload",
        "host uvc 0x200",
        "\"\"\"\n",
        "\"\"\"",
        "é",
        "\t",
        " \\\n",
        "a",
        "=b",
        "(t)",
        "-",
        "1",
    ];
    prop_oneof![20 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = answers(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_pieces(pieces in prop::collection::vec(piece(), 0..40)) {
        let _ = answers(&pieces.concat());
    }

    #[test]
    fn mutated_lessons(cuts in prop::collection::vec((0..LESSON.len(), 0_usize..12, piece()), 1..5)) {
        let mut text = LESSON.to_owned();
        for (at, length, piece) in cuts {
            let at = at.min(text.len());
            text.replace_range(at..(at + length).min(text.len()), "");
            text.insert_str(at, &piece);
            if !text.is_ascii() { break; }
        }
        let _ = answers(&text);
    }

    /// What the scan lets through is KDL 2 for the parser, too.
    #[test]
    fn the_scan_is_no_laxer_than_the_parser(pieces in prop::collection::vec(piece(), 0..12)) {
        let text = pieces.concat();
        if let Ok(cleaned) = syntax::scan(&text, 20) {
            prop_assert_eq!(cleaned.len(), text.len());
            let scanned = KdlDocument::parse_v2(&cleaned);
            prop_assert!(scanned.is_ok(), "{}: {:?}", text, scanned);
            if let (Ok(mut scanned), Ok(mut plain)) = (scanned, KdlDocument::parse_v2(&text)) {
                plain.clear_format_recursive();
                scanned.clear_format_recursive();
                prop_assert_eq!(plain.to_string(), scanned.to_string());
            }
        }
    }
}
