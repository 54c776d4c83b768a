//! A state directory of a bench, with a run that is under way and machines that were not made by it.

use std::path::Path;

use automation::compose::Context;
use automation::globals::Globals;
use model::base::id::RunId;
use model::run::{RunRecord, RunState};

/// Opens it, making it where it is not there.
pub(crate) fn open(state: &Path, provider: Option<&str>) -> Context {
    let globals = Globals {
        state_path: Some(state.to_owned()),
        provider: provider.map(str::to_owned),
        host: Vec::new(),
        platform: model::machine::Platform::default(),
        identity: None,
        images: None,
        grace: None,
        raw: false,
        color: automation::globals::ColorArg::Auto,
        quiet: false,
        verbose: false,
        events: None,
        ec2: Default::default(),
    };
    Context::open(&globals, vec!["bench".to_owned()]).unwrap()
}

/// A run of the present process.
pub(crate) fn record(context: &Context, run: &RunId) -> RunRecord {
    RunRecord {
        id: run.clone(),
        command: "bench".to_owned(),
        arguments: Vec::new(),
        owner: context.owner.clone(),
        driver: state::process::current().unwrap(),
        state: RunState::Running,
        started_at: context.now(),
        ended_at: None,
        exit_code: None,
        summary: None,
    }
}
