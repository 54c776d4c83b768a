//! What remains, for people: a row for each machine, or one for each of its parts.

use std::collections::BTreeMap;

use flow::audit::{Finding, Standing};
use jiff::Timestamp;
use model::base::id::MachineId;
use model::base::text;
use model::machine::Machine;

use crate::ui::table::render;

/// How a thing stands, in words.
fn words(standing: Standing) -> &'static str {
    match standing {
        Standing::InUse => "in use",
        Standing::Releasing => "releasing",
        Standing::Kept => "kept",
        Standing::Orphaned => "orphaned",
        Standing::Expired => "expired",
        Standing::Unrecorded => "unrecorded",
        Standing::Elsewhere => "elsewhere",
        Standing::Vanished => "vanished",
    }
}

/// How much a standing asks for attention: the part of a machine that asks most speaks for all.
fn weight(standing: Standing) -> u8 {
    match standing {
        Standing::Releasing => 0,
        Standing::InUse => 1,
        Standing::Kept => 2,
        Standing::Vanished => 3,
        Standing::Elsewhere => 4,
        Standing::Expired => 5,
        Standing::Orphaned => 6,
        Standing::Unrecorded => 7,
    }
}

/// The machines that are stored, by their ids.
type ById<'a> = BTreeMap<&'a MachineId, &'a Machine>;

/// Those of `machines` that live, by `findings`.
fn living<'a>(findings: &[Finding], machines: &ById<'a>) -> ById<'a> {
    let lives = |part: &&Finding| part.kind.is_machine() && part.standing != Standing::Vanished;
    let parts = findings.iter().filter(lives);
    parts.filter_map(|part| machines.get_key_value(&part.machine).map(|(id, machine)| (*id, *machine))).collect()
}

/// When something of the machine `id` ends by itself: at its expiry, or before that where the machine is one of those that live and may be idle only
/// for so long.
fn removed(expires_at: Option<Timestamp>, id: &MachineId, living: &ById<'_>, now: Timestamp) -> String {
    let Some(at) = expires_at else { return String::new() };
    living.get(id).map_or_else(|| text::until(at, now), |machine| machine.ends_by(at, now))
}

fn run_of(finding: &Finding) -> String {
    finding.run.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// A row for each machine of which something remains, in the order of `findings`; `machines` are those that are stored.
pub(super) fn by_machine(findings: &[Finding], machines: &[Machine], now: Timestamp) -> String {
    let mut order: Vec<&MachineId> = Vec::new();
    let mut parts: BTreeMap<&MachineId, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        let of_machine = parts.entry(&finding.machine).or_default();
        if of_machine.is_empty() {
            order.push(&finding.machine);
        }
        of_machine.push(finding);
    }
    let machines: ById<'_> = machines.iter().map(|machine| (&machine.id, machine)).collect();
    let living = living(findings, &machines);
    let row = |id: &MachineId| {
        let parts = parts.get(id).map(Vec::as_slice).unwrap_or_default();
        let loudest = parts.iter().max_by_key(|part| weight(part.standing));
        let name = machines.get(id).and_then(|machine| machine.name.as_ref());
        let kinds = text::distinct(parts.iter().map(|part| part.kind.name().to_owned()));
        vec![
            id.to_string(),
            name.map(ToString::to_string).unwrap_or_default(),
            loudest.map(|part| words(part.standing).to_owned()).unwrap_or_default(),
            removed(parts.iter().find_map(|part| part.expires_at), id, &living, now),
            loudest.map(|part| run_of(part)).unwrap_or_default(),
            kinds.join(", "),
        ]
    };
    let rows: Vec<Vec<String>> = order.into_iter().map(row).collect();
    render(&["MACHINE", "NAME", "STATUS", "REMOVED", "RUN", "PARTS"], 0, &rows)
}

/// A row for each thing; `machines` are those that are stored.
pub(super) fn by_part(findings: &[Finding], machines: &[Machine], now: Timestamp) -> String {
    let living = living(findings, &machines.iter().map(|machine| (&machine.id, machine)).collect());
    let row = |finding: &Finding| {
        vec![
            finding.kind.name().to_owned(),
            finding.name.clone(),
            finding.locator.clone().unwrap_or_default(),
            words(finding.standing).to_owned(),
            removed(finding.expires_at, &finding.machine, &living, now),
            run_of(finding),
        ]
    };
    let rows: Vec<Vec<String>> = findings.iter().map(row).collect();
    render(&["KIND", "NAME", "LOCATOR", "STATUS", "REMOVED", "RUN"], 1, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::resource::ResourceKind;

    fn finding(machine: &str, kind: ResourceKind, standing: Standing, ends: Option<i64>) -> Finding {
        Finding {
            id: "1".into(),
            kind,
            name: format!("{machine}/{}", kind.name()),
            locator: Some("x".into()),
            machine: machine.parse().unwrap(),
            run: None,
            standing,
            expires_at: ends.map(|seconds| Timestamp::from_second(seconds).unwrap()),
            note: None,
        }
    }

    #[test]
    fn a_machine_is_one_row_and_its_worst_part_speaks_for_it() {
        let all = [
            finding("hg-1", ResourceKind::Process, Standing::Kept, Some(6000)),
            finding("hg-2", ResourceKind::Process, Standing::Vanished, None),
            finding("hg-1", ResourceKind::Rootfs, Standing::Kept, Some(6000)),
            finding("hg-2", ResourceKind::Rootfs, Standing::Orphaned, None),
        ];
        insta::assert_snapshot!(by_machine(&all, &[], Timestamp::UNIX_EPOCH), @r"
        MACHINE  NAME  STATUS    REMOVED    RUN  PARTS
        hg-1           kept      in 1h 40m       process, rootfs
        hg-2           orphaned                  process, rootfs
        ");
        insta::assert_snapshot!(by_part(&all[..2], &[], Timestamp::UNIX_EPOCH), @r"
        KIND     NAME          LOCATOR  STATUS    REMOVED    RUN
        process  hg-1/process  x        kept      in 1h 40m
        process  hg-2/process  x        vanished
        ");
    }

    #[test]
    fn what_lives_and_may_be_idle_only_for_so_long_says_so() {
        let (now, run) = (Timestamp::UNIX_EPOCH, model::base::id::RunId::new(Timestamp::UNIX_EPOCH));
        let machine = Machine {
            id: "hg-1".parse().unwrap(),
            idle: Some(std::time::Duration::from_secs(600)),
            ..support::machine::of(model::machine::ProviderKind::Local, run, now)
        };
        let told = |standing| {
            let process = finding("hg-1", ResourceKind::Process, standing, Some(6000));
            by_machine(&[process], std::slice::from_ref(&machine), now)
        };
        assert!(told(Standing::Kept).contains("in 1h 40m, or when idle for 10m"), "{}", told(Standing::Kept));
        assert!(!told(Standing::Vanished).contains("idle"), "what has ended is not idle");
    }
}
