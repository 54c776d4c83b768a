//! The machine that a command means: by its id, the beginning of it, its name, or `latest`; without a word the one that is there alone.

use flow::down;
use jiff::Timestamp;
use model::base::name::MachineName;
use model::base::text;
use model::fault::Fault;
use model::machine::Machine;

use crate::compose::Context;

/// The word for the machine that was made last.
const LATEST: &str = "latest";

/// The machine that `text` names, or the one that is there alone where there is no `text`.
pub(super) fn choose(context: &Context, text: Option<&str>) -> Result<Machine, Fault> {
    match text {
        Some(text) => find(context, text),
        None => only(context),
    }
}

/// The stored machine that `text` names: an id, a name, the beginning of an id, or `latest`, the one that was made last.
pub(crate) fn find(context: &Context, text: &str) -> Result<Machine, Fault> {
    pick(&context.journal.machines()?, text, context.now())
}

/// The stored machine whose whole id or name this is.
pub(super) fn find_whole(context: &Context, text: &str) -> Result<Option<Machine>, Fault> {
    let machines = context.journal.machines()?;
    let found = by_id(&machines, text).or_else(|| by_name(&machines, text, context.now()));
    Ok(found.cloned())
}

/// The one of `machines` that `text` names at `now`.
fn pick(machines: &[Machine], text: &str, now: Timestamp) -> Result<Machine, Fault> {
    // What a run knows of a machine that stays is found by its whole id alone.
    let all = machines;
    let machines = &Machine::each_once(all.to_vec());
    let latest = || machines.iter().max_by_key(|machine| machine.created_at).filter(|_| text == LATEST);
    if let Some(found) = latest().or_else(|| by_id(all, text)).or_else(|| by_name(machines, text, now)) {
        return Ok(found.clone());
    }
    let mut matching = machines.iter().filter(|machine| !text.is_empty() && machine.id.as_str().starts_with(text));
    match (matching.next(), matching.next()) {
        (Some(machine), None) => Ok(machine.clone()),
        (Some(_), Some(_)) => Err(Fault::usage(format!("`{text}` names more than one machine"))),
        _ => Err(unknown(machines, text)),
    }
}

fn by_id<'a>(machines: &'a [Machine], text: &str) -> Option<&'a Machine> {
    machines.iter().find(|machine| machine.id.as_str() == text)
}

/// The machine of this name; where one that has expired had it too, the one that lives at `now`.
fn by_name<'a>(machines: &'a [Machine], text: &str, now: Timestamp) -> Option<&'a Machine> {
    let called = machines.iter().filter(|machine| machine.name.as_ref().is_some_and(|name| name.as_str() == text));
    called.max_by_key(|machine| (machine.expires_at > now, machine.created_at))
}

/// The fault of a word that names none of `machines`.
fn unknown(machines: &[Machine], text: &str) -> Fault {
    let known = if machines.is_empty() { "none".to_owned() } else { list(machines) };
    let fault = Fault::usage(format!("no machine `{text}` (there are: {known})"));
    let names = machines.iter().filter_map(|machine| machine.name.as_ref()).map(MachineName::as_str);
    match text::nearest(text, machines.iter().map(|machine| machine.id.as_str()).chain(names)) {
        Some(near) => fault.hint(format!("Did you mean `{near}`?")),
        None if text.starts_with("20") => {
            fault.hint("That is the id of a run, not of a machine; `automation machine list` shows those there are.")
        }
        None => fault.hint("`automation machine list` shows those there are, `automation machine up` makes one."),
    }
}

/// The machine that is there alone: kept, and of no living run.
fn only(context: &Context) -> Result<Machine, Fault> {
    let mut free = down::unused(&context.estate())?;
    let now = context.now();
    free.retain(|machine| machine.kept && machine.expires_at > now);
    match free.as_slice() {
        [machine] => Ok(machine.clone()),
        [] => Err(Fault::usage("no machine is named, and none is kept here")
            .hint("`automation machine up` makes one; one that a living run is using must be named.")),
        several => Err(Fault::usage(format!("no machine is named, and several are there: {}", list(several)))
            .hint("Name one of them, or `latest`, which is the newest.")),
    }
}

/// The machines in one line.
fn list(machines: &[Machine]) -> String {
    machines.iter().map(Machine::words).collect::<Vec<_>>().join(", ")
}
