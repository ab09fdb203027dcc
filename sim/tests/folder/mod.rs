//! The built program, run in a folder of its own.

#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]

use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder of its own, gone when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("uvsim-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap()
    }

    /// The program in this folder.
    pub fn uvsim(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uvsim"));
        command.args(arguments).current_dir(&self.0);
        // What a developer has set must not matter.
        for name in ["CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "FORCE_COLOR", "COLUMNS"] {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Told {
        Told::of(self.uvsim(arguments).output().unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug)]
pub struct Told {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Told {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let told = Self { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        assert!(!told.err.contains("panicked") && !told.out.contains("panicked"), "{told:?}");
        assert!(!told.err.contains('\u{1b}') && !told.out.contains('\u{1b}'), "escape codes in a pipe: {told:?}");
        told
    }

    #[track_caller]
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn complains(self, about: &[&str]) -> Self {
        for about in about {
            assert!(self.err.contains(about), "`{about}` is not in\n{}", self.err);
        }
        self
    }

    #[track_caller]
    pub fn says(self, what: &[&str]) -> Self {
        for what in what {
            assert!(self.out.contains(what), "`{what}` is not in\n{}", self.out);
        }
        self
    }
}
