//! Everything particular to one code base. It knows no provider and no protocol: it says what to run, and flows run it.

pub mod command;
mod credentials;
pub mod declared;
pub mod demo;
mod facts;
pub mod file;
pub mod history;
pub mod image;
pub mod mercurial;
pub mod mutes;
mod program;
mod reports;
pub mod signing;
pub mod source;
pub mod starter;
mod turn;
pub mod watcher;
mod work_folder;

use model::fault::Fault;
use model::preparation::SshProgram;
use model::runner::{Runner, RunnerRecord};

pub use turn::PATIENCE;

use crate::declared::DeclaredTests;
use crate::mercurial::{LinuxTests, WindowsTests};

/// The runner whose tests were begun, from what was kept with them; `ssh` is how programs on this computer reach the
/// machine. If nothing was kept, the tests were begun by a build that knew only Mercurial's.
pub fn runner(record: Option<&RunnerRecord>, ssh: SshProgram) -> Result<Box<dyn Runner>, Fault> {
    match record {
        None => Ok(Box::new(LinuxTests::for_following(ssh))),
        Some(RunnerRecord { name, settings }) if name == mercurial::NAME => {
            Ok(Box::new(LinuxTests::from_settings(settings, ssh)?))
        }
        Some(RunnerRecord { name, settings }) if name == mercurial::WINDOWS_NAME => {
            Ok(Box::new(WindowsTests::from_settings(settings, ssh)?))
        }
        Some(RunnerRecord { name, settings }) if name == declared::NAME => {
            Ok(Box::new(DeclaredTests::from_settings(settings)?))
        }
        Some(RunnerRecord { name, .. }) => Err(Fault::outside(format!("this build knows no test runner `{name}`"))
            .hint("Follow the run with the build of this tool that began it.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mercurial::{WindowsArch, WindowsPython};
    use model::filesystem::Filesystem;

    #[test]
    fn a_runner_is_made_again_from_what_was_kept_of_it() {
        let ssh = || SshProgram { program: "/bin/automation".into(), args: vec![] };
        let tests = LinuxTests {
            tests: vec!["test-a.t".into()],
            flags: vec!["-j4".into()],
            filesystem: Filesystem::Tmpfs,
            python_version: "3.13".into(),
            ..LinuxTests::for_following(ssh())
        };
        let record: RunnerRecord =
            serde_json::from_slice(&serde_json::to_vec(&RunnerRecord::of(&tests)).unwrap()).unwrap();
        let again = runner(Some(&record), ssh()).unwrap();
        assert_eq!((again.name(), again.settings()), ("mercurial", tests.settings()));
        assert_eq!(again.run("/f", None, None), tests.run("/f", None, None));
        assert_eq!(runner(None, ssh()).unwrap().name(), "mercurial", "of builds that knew no other");
        let python = WindowsPython { version: "3.9".into(), arch: WindowsArch::X64 };
        let settings = serde_json::json!({ "tests": ["test-a.py"], "flags": ["-j4"], "python": python });
        let kept = RunnerRecord { name: "mercurial-windows".into(), settings: settings.clone() };
        let again = runner(Some(&kept), ssh()).unwrap();
        assert_eq!((again.name(), again.settings()), ("mercurial-windows", settings));
        let command = again.run("C:/f", None, None).command;
        let words = ["--run", "1", "C:/hgdev/python39-x64/python.exe", "--", "-j4", "test-a.py"];
        assert_eq!(command.args[5..], words);
        let unknown = RunnerRecord { name: "pytest".into(), ..record.clone() };
        let fault = runner(Some(&unknown), ssh()).err().unwrap();
        assert_eq!(fault.message, "this build knows no test runner `pytest`");
        let damaged = RunnerRecord { settings: serde_json::Value::Null, ..record };
        assert!(runner(Some(&damaged), ssh()).is_err());
    }

    #[test]
    fn a_declared_runner_is_made_again_from_what_was_kept_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tests.toml");
        let text = "preset = 'ctest'\nname = 'unit'\ntest-timeout = '90s'\nenv = { A = 'b' }\nflags = ['-j2']\n";
        std::fs::write(&path, text).unwrap();
        let (declaration, _) = declared::load(&path).unwrap();
        let tests =
            DeclaredTests { declaration, tests: vec!["a.b".into()], source: None, patience: PATIENCE, again: false };
        let record = serde_json::to_vec(&RunnerRecord::of(&tests)).unwrap();
        let record: RunnerRecord = serde_json::from_slice(&record).unwrap();
        let ssh = SshProgram { program: "/bin/automation".into(), args: vec![] };
        let again = runner(Some(&record), ssh).unwrap();
        assert_eq!((again.name(), again.settings()), ("declared", tests.settings()));
        let command = again.run("/f", None, None).command;
        assert_eq!(command, tests.run("/f", None, None).command);
        assert_eq!(command.args[1..], ["run", "", "all", "report", "text", "-j2"]);
        assert_eq!(command.stdin.as_deref(), Some(&br"^(a\.b)$"[..]));
        assert_eq!(command.env[1], ("AUTOMATION_TEST_TIMEOUT".to_owned(), "90".to_owned()));
        let part = ["x".into(), "y".into()];
        let command = again.run("/f", None, Some(model::runner::Part { number: 3, tests: &part, jobs: 2 })).command;
        assert_eq!((command.args[3].as_str(), command.stdin.as_deref()), ("3", Some(&b"^(x|y)$"[..])));
        assert_eq!(again.report_file(Some(3)), "/var/tmp/automation-work/results/3/report");
        assert_eq!(again.report_file(None), "/var/tmp/automation-work/results/report");
    }
}
