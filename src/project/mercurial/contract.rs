//! The machine contract of `docs/remote-machine.md`, whose clauses are those of machines for Mercurial's tests.

use model::check::Check;
use model::contract::Contract;
use model::fault::Fault;
use model::runner::Part;
use model::task::Stepped;
use model::work::Work;
use serde::Deserialize;

use crate::mercurial::runner::{HOLD, SHORT, script};

const CHECK: Part =
    Part { name: "check-contract.sh", text: include_str!("../../../remote/mercurial/check-contract.sh") };

/// The contract of machines for Mercurial's tests.
#[derive(Debug, Clone, Copy)]
pub struct MachineContract;

impl Contract for MachineContract {
    fn parts(&self) -> Vec<Part> {
        // The check runs the other script to learn who holds the machine.
        vec![CHECK, HOLD]
    }

    fn check(&self, folder: &str) -> Stepped {
        Stepped { work: Work::CheckingContract, command: script(folder, CHECK.name), limit: SHORT }
    }

    fn read(&self, printed: &[u8]) -> Result<Vec<Check>, Fault> {
        #[derive(Deserialize)]
        struct Clause {
            clause: String,
            ok: bool,
            found: String,
            remedy: String,
        }
        let mut checks = Vec::new();
        for line in printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let clause: Clause = serde_json::from_slice(line).map_err(|error| {
                Fault::infrastructure(format!("cannot read `{}`", String::from_utf8_lossy(line))).because(error)
            })?;
            checks.push(Check {
                // A machine without these runs tests on `--filesystem default`; any other file system is tried when it
                // is asked for.
                required: !clause.clause.starts_with("mkfs ") && !clause.clause.starts_with("mount "),
                name: clause.clause,
                ok: clause.ok,
                found: clause.found,
                remedy: Some(clause.remedy).filter(|remedy| !remedy.is_empty()),
            });
        }
        Ok(checks)
    }
}
