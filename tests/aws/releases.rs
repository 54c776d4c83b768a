//! Runs that come to their end before their machines have, whose end another process sees to.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::tool::{Done, Place, Running};

use crate::cli::World;

/// How long an instance is shutting down here: longer than a run waits for it.
const TERMINATING: Duration = Duration::from_secs(6);

impl World {
    /// Runs the tool as a person does, not as a job of some CI.
    fn by_hand(&self, arguments: &[&str]) -> Done {
        self.aws.control.allow_all();
        let mut command = self.place.command(&[&["--provider", "ec2"], arguments].concat());
        command.envs(self.aws.environment()).env_remove("CI");
        Running::start(command).end()
    }

    /// Runs a command on an instance by hand; gives what it said.
    fn run_by_hand(&self, options: &[&str], line: &str) -> Done {
        let source = self.place.path().join("project");
        std::fs::create_dir_all(&source).unwrap();
        let source = source.to_str().unwrap();
        self.by_hand(&[&["run", "--image", "linux-dev", "--source", source], options, &["--shell", line]].concat())
    }

    /// The newest run as the journal has it.
    fn newest(&self) -> Value {
        self.by_hand(&["runs", "list", "--json"]).expect(0).json()[0].clone()
    }

    /// The certificate of a run, for which its machines are waited for.
    fn certificate(&self, run: &str) -> Value {
        self.by_hand(&["audit", "--run", run, "--json"]).expect(0).json()
    }
}

#[test]
fn a_run_ends_before_its_machine_and_another_process_sees_to_that() {
    let Some(world) = World::with_machines(Place::small()) else { return };
    // Before the first machine ends: one that was seen gone must not come back.
    world.aws.control.set(|conditions| conditions.terminating = TERMINATING);
    world.tool(&["bootstrap-linux-dev", "--distros", "debian12"]).expect(0);
    let done = world.run_by_hand(&[], "exit 3").expect(3).tells(&[" is ending; `", "audit --run ", "` confirms it."]);
    assert!(!done.stderr.contains("Nothing is left behind"), "{}", done.stderr);
    let run = world.newest();
    assert_eq!((&run["state"], &run["exit_code"]), (&"releasing".into(), &3.into()), "{run}");
    let id = run["id"].as_str().unwrap();
    let found = world.by_hand(&["audit", "--json"]).expect(0).json();
    let standings: Vec<&Value> = found.as_array().unwrap().iter().map(|finding| &finding["standing"]).collect();
    assert!(!standings.is_empty() && standings.iter().all(|standing| **standing == "releasing"), "{found}");
    world.by_hand(&["runs", "wait", id]).expect(3);
    world.by_hand(&["runs", "cancel", id]).expect(0).tells(&["had ended with exit code 3", "are ending"]);
    // A second process for it, as two commands at once would start, leaves it to the first.
    let second = world.place.command(&["internal-release", id]);
    let certificate = world.certificate(id);
    assert_eq!(
        (&certificate["clean"], &certificate["remaining"]),
        (&true.into(), &serde_json::json!([])),
        "{certificate}"
    );
    Running::start(second).end().expect(0);
    let run = world.newest();
    assert_eq!((&run["state"], &run["exit_code"], &run["alive"]), (&"ended".into(), &3.into(), &false.into()), "{run}");
    let log = std::fs::read_to_string(world.place.state.join("runs").join(id).join("release.log")).unwrap();
    assert!(log.contains("nothing is left of it"), "{log}");
    go_on_where_it_was_killed(&world);
    // Whoever wants to wait does, and so does a job of some CI.
    world.run_by_hand(&["--wait-gone"], "true").expect(0).tells(&["Nothing is left behind", "seen gone"]);
    world.by_hand(&["config", "set", "defaults.wait-gone", "always"]).expect(0);
    world.run_by_hand(&[], "true").expect(0).tells(&["Nothing is left behind", "seen gone"]);
    world.assert_clean();
}

/// The process that sees to the end of a machine is killed: the next command starts it again.
fn go_on_where_it_was_killed(world: &World) {
    let kill = || {
        world.run_by_hand(&["--wait-gone=never"], "true").expect(0).tells(&[" is ending; `"]);
        let run = world.newest();
        let pid = i32::try_from(run["driver"]["pid"].as_i64().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        run["id"].as_str().unwrap().to_owned()
    };
    let id = kill();
    world.by_hand(&["machine", "list"]).expect(0).tells(&["was not seen to its end; that goes on"]);
    assert_eq!(world.certificate(&id)["clean"], true);
    let id = kill();
    world.by_hand(&["audit", "--fix"]).expect(0).tells(&["Nothing remains"]);
    assert_eq!(world.certificate(&id)["clean"], true);
}
