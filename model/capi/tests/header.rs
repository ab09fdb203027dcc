//! The header that is checked in is the one that the sources make. `UVSIM_RENEW=1` writes it anew.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_header_is_that_of_the_sources() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(home.join("cbindgen.toml")).expect("the configuration is sound");
    let made =
        cbindgen::Builder::new().with_config(config).with_crate(home).generate().expect("the sources can be read");
    let mut text = Vec::new();
    made.write(&mut text);
    let text = String::from_utf8(text).expect("sources are UTF-8");
    let path = home.join("include/uvsim.h");
    if std::env::var_os("UVSIM_RENEW").is_some() {
        std::fs::write(&path, &text).expect("the header can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{} is not what the sources make; renew it with UVSIM_RENEW=1", path.display());
}

#[test]
fn the_header_is_c_and_cpp() {
    let compilers = [
        ("cc", &["-std=c99", "-xc"][..]),
        ("cc", &["-std=c11", "-xc"]),
        ("c++", &["-std=c++11", "-xc++"]),
        ("c++", &["-std=c++20", "-xc++"]),
    ];
    for (compiler, language) in compilers {
        let child = Command::new(compiler)
            .args(language)
            .args(["-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", "-I"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
            .arg("-")
            .stdin(Stdio::piped())
            .spawn();
        // Where there is no compiler, nobody can use the header either.
        let Ok(mut child) = child else { continue };
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(b"#include <uvsim.h>\nint main(void) { return uvsim_version_number() == 0; }\n").unwrap();
        drop(input);
        assert!(child.wait().unwrap().success(), "{compiler} {language:?}");
    }
}
