//! `automation audit --forget`: closes the rows of what is out of reach for good.

use flow::audit::Finding;
use flow::audit::forget::{ForgetRefusal, forget, refusal};
use flow::audit::remaining::{Remaining, find_remaining};
use model::base::text;
use model::fault::Fault;

use crate::command::audit::{exit_code, show};
use crate::compose::Context;

/// Gives up what `ids` name, each a machine or a finding; all or none. `dry_run` only reports what would be given up.
pub(crate) async fn run(context: &Context, ids: &[String], dry_run: bool, json: bool) -> Result<i32, Fault> {
    let estate = context.estate();
    let mut found = find_remaining(&estate, None, false).await?;
    let mut meant: Vec<Finding> = Vec::new();
    for id in ids {
        for finding in find_named(&found, id)? {
            refuse(context, &found, finding)?;
            if !meant.contains(finding) {
                meant.push(finding.clone());
            }
        }
    }
    let fate = if dry_run { "would be forgotten" } else { "forgotten" };
    if !dry_run {
        forget(&estate, &meant)?;
        found = find_remaining(&estate, None, false).await?;
    }
    let done: Vec<(Finding, String)> = meant.into_iter().map(|finding| (finding, fate.to_owned())).collect();
    show(context, &found.findings, &found.unasked, &done, json)?;
    Ok(exit_code(&found.findings))
}

/// The findings that `id` names.
fn find_named<'a>(remaining: &'a Remaining, id: &str) -> Result<Vec<&'a Finding>, Fault> {
    let all = || remaining.findings.iter();
    let found: Vec<&Finding> = all().filter(|finding| finding.id == id || finding.machine.as_str() == id).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let fault = Fault::usage(format!("nothing remains of `{id}`"));
    let known = all().flat_map(|finding| [finding.id.as_str(), finding.machine.as_str()]);
    Err(fault.hint(match text::nearest(id, known) {
        Some(near) => format!("Did you mean `{near}`?"),
        None => "`automation audit --json` lists what remains, with the ids of machines and of findings.".to_owned(),
    }))
}

/// Refuses a finding that can really be removed, or may still be wanted.
fn refuse(context: &Context, remaining: &Remaining, finding: &Finding) -> Result<(), Fault> {
    let what = format!("{} `{}`", finding.kind.name(), finding.name);
    let id = &finding.machine;
    match refusal(remaining, finding) {
        None => Ok(()),
        Some(ForgetRefusal::InUse) => {
            let run = finding.run.as_ref().map(ToString::to_string).unwrap_or_default();
            Err(Fault::usage(format!("{what} is in use by the living run {run}")))
        }
        Some(ForgetRefusal::Kept) => {
            let down = context.to_type(&format!("machine down {id}"));
            Err(Fault::usage(format!("{what} was kept on purpose, and its expiry is ahead"))
                .hint(format!("`{down}` ends it; after its expiry it can be forgotten.")))
        }
        Some(ForgetRefusal::Seen) => Err(Fault::usage(format!("{what} is there"))
            .hint(format!("`{}` removes it; only what is out of reach is forgotten.", context.to_type("audit --fix")))),
    }
}
