//! `automation audit --forget`: ending the matter of what is out of reach for good.

use crate::base::text;
use crate::command::audit::{Remaining, close_dead_runs, forget_machines, look, show};
use crate::command::context::Context;
use crate::command::error::exit;
use crate::flow::audit::{Finding, Standing};
use crate::model::fault::Fault;

/// Gives up what `ids` name, each a machine or a finding; all or none. `dry_run` only says what that would be.
pub async fn run(context: &Context, ids: &[String], dry_run: bool, json: bool) -> Result<i32, Fault> {
    let mut remaining = look(context, None, false).await?;
    let mut meant: Vec<Finding> = Vec::new();
    for id in ids {
        for finding in named(&remaining, id)? {
            refuse(context, &remaining, finding)?;
            if !meant.contains(finding) {
                meant.push(finding.clone());
            }
        }
    }
    let fate = if dry_run { "would be forgotten" } else { "forgotten" };
    if !dry_run {
        for finding in &meant {
            forget(context, finding)?;
        }
        forget_machines(context, meant.iter().map(|finding| &finding.machine))?;
        for run in meant.iter().filter_map(|finding| finding.run.as_ref()) {
            close_dead_runs(context, Some(run))?;
        }
        remaining = look(context, None, false).await?;
    }
    let done: Vec<(Finding, String)> = meant.into_iter().map(|finding| (finding, fate.to_owned())).collect();
    show(context, &remaining.findings, &done, json);
    Ok(if remaining.findings.is_empty() { exit::OK } else { exit::LEFT_BEHIND })
}

/// The findings that `id` means.
fn named<'a>(remaining: &'a Remaining, id: &str) -> Result<Vec<&'a Finding>, Fault> {
    let all = || remaining.findings.iter();
    let found: Vec<&Finding> = all().filter(|finding| finding.id == id || finding.machine.as_str() == id).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let fault = Fault::usage(format!("of `{id}` nothing remains"));
    let known = all().flat_map(|finding| [finding.id.as_str(), finding.machine.as_str()]);
    Err(fault.hint(match text::nearest(id, known) {
        Some(near) => format!("Did you mean `{near}`?"),
        None => "`automation audit --json` lists what remains, with the ids of machines and of findings.".to_owned(),
    }))
}

/// Refuses what can be removed in earnest, or may still be wanted.
fn refuse(context: &Context, remaining: &Remaining, finding: &Finding) -> Result<(), Fault> {
    let what = format!("{} `{}`", finding.kind.name(), finding.name);
    let seen = |finding: &Finding| {
        let same = |seen: &&crate::model::resource::Observed| seen.kind == finding.kind && seen.name == finding.name;
        remaining.observed.iter().any(|seen| same(&seen))
    };
    let id = &finding.machine;
    match finding.standing {
        Standing::InUse => {
            let run = finding.run.as_ref().map(ToString::to_string).unwrap_or_default();
            Err(Fault::usage(format!("{what} is in use by the living run {run}")))
        }
        Standing::Kept => {
            let down = context.to_type(&format!("machine down {id}"));
            Err(Fault::usage(format!("{what} was kept on purpose, and its expiry is ahead"))
                .hint(format!("`{down}` ends it; after its expiry it can be forgotten.")))
        }
        _ if seen(finding) => Err(Fault::usage(format!("{what} is there"))
            .hint(format!("`{}` removes it; only what is out of reach is forgotten.", context.to_type("audit --fix")))),
        _ => Ok(()),
    }
}

fn forget(context: &Context, finding: &Finding) -> Result<(), Fault> {
    let Some(row) = super::row_of(context, finding)? else { return Ok(()) };
    let last = row.note.as_ref().map(|note| format!("; before that: {note}")).unwrap_or_default();
    let note = format!("forgotten by {} at {:.0}, not seen gone{last}", context.owner, context.now());
    context.journal.forgotten(&row.id, &note)
}
