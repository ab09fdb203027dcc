//! Reading scenarios and data files.

use std::fs;
use std::path::{Path, PathBuf};

use uvsim_model::config::MachineConfig;

use super::super::{FileError, LoadData, Scenario, ScenarioErrors};

/// A folder of its own for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("uvsim-scenario-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("inner")).unwrap();
        Self(path)
    }

    fn read(&self, text: impl AsRef<[u8]>) -> Result<Scenario, ScenarioErrors> {
        let path = self.0.join("inner/s.kdl");
        fs::write(&path, text).unwrap();
        Scenario::read(&path)
    }

    fn load(&self, file: &str) -> Result<Scenario, ScenarioErrors> {
        self.read(format!(
            "scenario s\nguest a memory=\"1MiB\" {{ load 0x1000 file=\"{file}\"; }}\nstep t {{ check invariants; }}"
        ))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn message(result: Result<Scenario, ScenarioErrors>) -> String {
    let errors = result.expect_err("it is broken");
    assert_eq!(errors.errors().len(), 1);
    errors.errors()[0].message.clone()
}

#[test]
fn data_files_are_relative_to_the_scenario() {
    let folder = Folder::new("data");
    fs::write(folder.0.join("poem.txt"), "o").unwrap();
    let scenario = folder.load("../poem.txt").unwrap();
    assert_eq!(scenario.guests[0].loads[0].data, LoadData::Bytes(b"o".to_vec()));
}

#[test]
fn data_files_that_cannot_be_loaded() {
    let folder = Folder::new("bad-data");
    fs::write(folder.0.join("empty"), "").unwrap();
    fs::write(folder.0.join("large"), vec![0; (1 << 20) - 0x1000 + 1]).unwrap();
    fs::write(folder.0.join("fits"), vec![0; (1 << 20) - 0x1000]).unwrap();
    assert!(folder.load("../fits").is_ok());
    assert!(message(folder.load("../none")).contains("there is no such file"));
    assert!(message(folder.load("..")).contains("it is a directory"));
    assert!(message(folder.load("../empty")).contains("is empty"));
    assert!(message(folder.load("../large")).contains("longer than the 1044480 bytes"));
    assert!(message(folder.load("/dev/zero")).contains("not a regular file"));
    let errors = folder.load("../none").unwrap_err();
    let place = errors.errors()[0].place.unwrap();
    assert_eq!((place.line, place.column, place.span.len()), (2, 37, "file=\"../none\"".len()));
}

#[test]
fn host_keys_of_the_machine() {
    let folder = Folder::new("host-keys");
    let keys = MachineConfig { seed: 77, ..MachineConfig::default() }.host_keys();
    fs::write(folder.0.join("host.pem"), keys.host.to_pem().as_bytes()).unwrap();
    fs::write(folder.0.join("inner/backup.pem"), keys.backup.to_pem().as_bytes()).unwrap();
    let machine =
        |children: &str| folder.read(format!("scenario s\nmachine {{ {children}; }}\nstep t {{ check invariants; }}"));
    let scenario = machine("host-key \"../host.pem\"; backup-host-key backup.pem").unwrap();
    assert_eq!(scenario.machine.host_key.as_ref(), Some(&keys.host));
    assert_eq!(scenario.machine.host_keys(), keys);
    let scenario = machine("backup-host-key backup.pem").unwrap();
    assert_eq!((scenario.machine.host_key, scenario.machine.backup_host_key), (None, Some(keys.backup)));
    assert!(message(machine("host-key \"../host.pem\"; host-key \"../host.pem\"")).contains("given twice"));
}

#[test]
fn files_that_are_no_host_keys() {
    let folder = Folder::new("no-host-keys");
    let write = |name: &str, content: &[u8]| fs::write(folder.0.join("inner").join(name), content).unwrap();
    let machine = |child: &str, file: &str| {
        folder.read(format!("scenario s\nmachine {{ {child} \"{file}\"; }}\nstep t {{ check invariants; }}"))
    };
    write("empty", b"");
    write("bytes", &[0xff; 100]);
    write("long", &[b' '; (64 << 10) + 1]);
    // What `openssl ecparam -genkey` writes: the right key in another form.
    write("sec1", b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n");
    for child in ["host-key", "backup-host-key"] {
        for (file, why) in [("empty", "is empty"), ("bytes", "neither"), ("sec1", "openssl pkcs8 -topk8 -nocrypt")] {
            let errors = machine(child, file).unwrap_err();
            let error = &errors.errors()[0];
            assert_eq!(errors.errors().len(), 1);
            assert!(error.message.contains("is no private host key: "), "{}", error.message);
            assert!(error.message.contains(why), "{}", error.message);
            assert!(error.help.as_ref().unwrap().contains("uvsim host-key"));
            assert_eq!(error.place.unwrap().line, 2);
        }
        assert!(message(machine(child, "none")).contains("the key `none` cannot be read: there is no such file"));
        assert!(message(machine(child, "long")).contains("longer than the 65536 bytes"));
    }
}

#[test]
fn scenarios_that_cannot_be_read() {
    let folder = Folder::new("unreadable");
    assert!(message(Scenario::read(&folder.0)).contains("it is a directory"));
    assert!(message(Scenario::read(&folder.0.join("none.kdl"))).contains("no such file"));
    let text = message(folder.read(b"scenario s\n\xc3\xa9\xff".as_slice()));
    assert_eq!(text, "the file is not UTF-8: byte 0xff at line 2, column 2");
    let large = folder.0.join("large.kdl");
    fs::File::create(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    assert!(message(Scenario::read(&large)).contains("longer than the 67108864 bytes"));
}

#[test]
fn a_text_without_a_file_names_no_files() {
    let text = "scenario s\nguest a memory=\"1MiB\" { load 0 file=x; }\nstep t { check invariants; }";
    assert!(message(super::parse(text)).contains("not available here"));
    let path = Path::new("s.kdl");
    let scenario = Scenario::parse_with(path, text, &mut |file: &Path, limit: u64| {
        assert_eq!((file.to_str(), limit), (Some("x"), 1 << 20));
        Ok(vec![1])
    });
    assert!(scenario.is_ok());
    let refused = Scenario::parse_with(path, text, &mut |_: &Path, _: u64| Err(FileError::Missing));
    assert!(message(refused).contains("no such file"));
    // What the function returns is not trusted.
    let long = Scenario::parse_with(path, text, &mut |_: &Path, limit: u64| Ok(vec![1; limit as usize + 1]));
    assert!(message(long).contains("do not fit"));
}
