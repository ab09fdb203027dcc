//! Installs the C library: shared and static library, header, pkg-config file.
//!
//! `cargo run --release -p uvsim-capi --bin uvsim-install-c -- --prefix DIR`. Cargo has built the library before this
//! runs, and left it beside this program.

use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

/// Installs libuvsim, uvsim.h and uvsim.pc, so that `pkg-config --cflags --libs uvsim` finds them.
#[derive(Debug, Parser)]
#[command(version, name = "uvsim-install-c")]
struct Arguments {
    /// Where: files go to DIR/lib, DIR/lib/pkgconfig and DIR/include.
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
    /// Name of the directory for libraries below the prefix, where it is not `lib`.
    #[arg(long, value_name = "NAME", default_value = "lib")]
    libdir: PathBuf,
    /// Put everything below this directory, as if it were the root: for makers of packages.
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// Say nothing.
    #[arg(long, short)]
    quiet: bool,
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const HEADER: &str = include_str!("../../include/uvsim.h");
/// As cargo names the libraries of this crate.
const BUILT: &str = "libuvsim_capi";
/// What `cargo rustc -p uvsim-capi --lib --crate-type staticlib -- --print native-static-libs` says, the C library
/// left out: every linker adds that. The `ci` script of this crate links with these and nothing else.
const NATIVE_LIBRARIES: &str = "-lgcc_s -lutil -lrt -lpthread -lm -ldl";

fn main() -> ExitCode {
    match install(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn install(arguments: &Arguments) -> Result<(), Error> {
    let prefix = std::path::absolute(&arguments.prefix).map_err(|error| Error::at("find", &arguments.prefix, error))?;
    let root = Root { destdir: arguments.destdir.clone(), quiet: arguments.quiet };
    let library = prefix.join(&arguments.libdir);
    let shared = format!("libuvsim.so.{VERSION}");

    root.copy(&built("so")?, &library.join(&shared))?;
    root.link(&shared, &library.join(soname(VERSION)))?;
    root.link(&soname(VERSION), &library.join("libuvsim.so"))?;
    root.copy(&built("a")?, &library.join("libuvsim.a"))?;
    root.write(HEADER, &prefix.join("include/uvsim.h"))?;
    root.write(&package(&prefix, &arguments.libdir), &library.join("pkgconfig/uvsim.pc"))?;

    let packages = library.join("pkgconfig");
    root.say(&format!(
        "uvsim {VERSION} is there. Where pkg-config does not look in {0}:\n  export PKG_CONFIG_PATH={0}",
        packages.display()
    ));
    Ok(())
}

/// The library that cargo has built with this program. As a dependency it lies in `deps`; a copy one level higher
/// comes from `cargo build` only, and may be older.
fn built(extension: &str) -> Result<PathBuf, Error> {
    let program = env::current_exe().map_err(|error| Error::at("find", Path::new("this program"), error))?;
    let here = program.parent().unwrap_or(Path::new("."));
    let name = format!("{BUILT}.{extension}");
    let places = [here.join("deps").join(&name), here.join(&name)];
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| Error::NotBuilt(places[0].clone()))
}

/// The name that programs remember, as `build.rs` gives it to the library.
fn soname(version: &str) -> String {
    format!("libuvsim.so.{}", version.split('.').next().unwrap_or(version))
}

/// The pkg-config file.
fn package(prefix: &Path, libdir: &Path) -> String {
    format!(
        "prefix={}\n\
         libdir=${{prefix}}/{}\n\
         includedir=${{prefix}}/include\n\
         \n\
         Name: uvsim\n\
         Description: A behavioural simulator of the IBM Z Ultravisor\n\
         Version: {VERSION}\n\
         Libs: -L${{libdir}} -luvsim\n\
         Libs.private: {NATIVE_LIBRARIES}\n\
         Cflags: -I${{includedir}}\n",
        prefix.display(),
        libdir.display(),
    )
}

/// Where files go, and who hears of it.
struct Root {
    destdir: Option<PathBuf>,
    quiet: bool,
}

impl Root {
    fn say(&self, what: &str) {
        if !self.quiet {
            println!("{what}");
        }
    }

    /// The place of a file, with a directory around it.
    fn place(&self, file: &Path) -> Result<PathBuf, Error> {
        let place = match &self.destdir {
            Some(root) => root.join(file.strip_prefix("/").unwrap_or(file)),
            None => file.to_owned(),
        };
        if let Some(directory) = place.parent() {
            fs::create_dir_all(directory).map_err(|error| Error::at("create", directory, error))?;
        }
        Ok(place)
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.replace(to, |at| fs::copy(from, at).map(drop))?;
        self.say(&format!("{} (from {})", to.display(), from.display()));
        Ok(())
    }

    fn write(&self, text: &str, to: &Path) -> Result<(), Error> {
        self.replace(to, |at| fs::write(at, text))?;
        self.say(&to.display().to_string());
        Ok(())
    }

    fn link(&self, target: &str, name: &Path) -> Result<(), Error> {
        self.replace(name, |at| std::os::unix::fs::symlink(target, at))?;
        self.say(&format!("{} -> {target}", name.display()));
        Ok(())
    }

    /// Makes a file under another name and moves it over the old one: programs that run with an older library
    /// keep it.
    fn replace(&self, file: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
        let place = self.place(file)?;
        let mut draft = place.clone().into_os_string();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        if draft.symlink_metadata().is_ok() {
            fs::remove_file(&draft).map_err(|error| Error::at("remove", &draft, error))?;
        }
        make(&draft).map_err(|error| Error::at("write", &place, error))?;
        fs::rename(&draft, &place).map_err(|error| Error::at("write", &place, error))
    }
}

/// Why nothing, or not everything, is installed.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The system refused.
    #[error("cannot {action} {}: {error}{}", .path.display(), advice(.error))]
    System { action: &'static str, path: PathBuf, error: io::Error },
    /// The library is not where cargo leaves it.
    #[error(
        "{} is not there: run this program where cargo has built it, \
         as in `cargo run --release -p uvsim-capi --bin uvsim-install-c -- --prefix DIR`",
        .0.display()
    )]
    NotBuilt(PathBuf),
}

impl Error {
    fn at(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::System { action, path: path.to_owned(), error }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; choose a --prefix that you may write to",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => "; a file is where a directory must be",
        io::ErrorKind::StorageFull => "; about 40 MB are needed",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_remember_the_major_version() {
        assert_eq!(soname("0.1.7"), "libuvsim.so.0");
        assert_eq!(soname("12.2.3"), "libuvsim.so.12");
    }

    #[test]
    fn packages_are_below_the_prefix() {
        let text = package(Path::new("/opt/uvsim"), Path::new("lib64"));
        assert!(text.starts_with("prefix=/opt/uvsim\nlibdir=${prefix}/lib64\n"), "{text}");
        assert!(text.contains(&format!("\nVersion: {VERSION}\n")), "{text}");
    }

    #[test]
    fn files_are_replaced_whole_and_below_the_given_root() {
        let root = env::temp_dir().join(format!("uvsim-install-c-{}", std::process::id()));
        let destination = Root { destdir: Some(root.clone()), quiet: true };
        destination.write("old", Path::new("/usr/lib/a")).unwrap();
        let file = root.join("usr/lib/a");
        let kept = fs::File::open(&file).unwrap();
        destination.write("newer", Path::new("/usr/lib/a")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "newer");
        assert_eq!(io::read_to_string(kept).unwrap(), "old");
        destination.link("a", Path::new("/usr/lib/b")).unwrap();
        destination.link("a", Path::new("/usr/lib/b")).unwrap();
        assert_eq!(fs::read_to_string(root.join("usr/lib/b")).unwrap(), "newer");
        assert_eq!(fs::read_dir(root.join("usr/lib")).unwrap().count(), 2);
        let error = destination.write("", Path::new("/usr/lib/a/c")).unwrap_err().to_string();
        assert!(error.contains("usr/lib/a") && error.contains("a file is where a directory must be"), "{error}");
        fs::remove_dir_all(root).unwrap();
    }
}
