//! `automation machine list`.

use std::collections::BTreeSet;

use flow::down;
use flow::status::standing;
use jiff::Timestamp;
use model::base::id::MachineId;
use model::base::text;
use model::fault::Fault;
use model::journal::ResourceFilter;
use model::machine::{Machine, ProviderKind, Sighting};
use model::resource::ObservedResource;
use serde::Serialize;

use crate::command::error::exit;
use crate::compose::Context;
use crate::ui::table;

/// The options of `machine list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A line of the list.
#[derive(Serialize)]
#[serde(untagged)]
enum MachineRow<'a> {
    /// A machine that the journal holds.
    Own {
        #[serde(flatten)]
        machine: &'a Machine,
        /// How it stands, as `status` says it; `ended` where it was not seen, `unknown` where that cannot be known.
        status: &'static str,
        /// Whether it was seen; none where it could not be looked for, because it is in another region or account, or somebody
        /// else's.
        live: Option<bool>,
        /// Whole seconds since it was made.
        age_seconds: i64,
        /// US dollars so far, where they are known.
        cost: Option<f64>,
    },
    /// A machine that was made elsewhere.
    Other {
        #[serde(flatten)]
        sighting: &'a Sighting,
        provider: ProviderKind,
        live: bool,
        age_seconds: Option<i64>,
    },
}

/// Lists.
pub(crate) async fn run(context: &Context, args: &Args) -> Result<i32, Fault> {
    let estate = context.estate();
    let machines = Machine::each_once(context.journal.machines()?);
    let looks = estate.look_where_possible().await?;
    let open = context.journal.resources(&ResourceFilter { open: true, ..ResourceFilter::default() })?;
    let unmet: BTreeSet<&MachineId> =
        open.iter().filter(|row| row.kind.is_machine() && !looks.covers(row)).map(|row| &row.machine).collect();
    estate.end_expired(&looks).await?;
    let survey = estate.survey(&looks).await?;
    let now = context.now();
    let unused = down::unused(&estate)?;
    let row = |machine| {
        let live = live(machine, &looks.observed, &unmet);
        let status = match live {
            Some(false) => "ended",
            None if !machine.provider.machines_stay() => "unknown",
            _ => standing(machine, !unused.contains(machine), now),
        };
        own(machine, (status, live), &survey, now)
    };
    let mut shown: Vec<MachineRow<'_>> = machines.iter().map(row).collect();
    let known = |sighting: &Sighting| machines.iter().any(|machine| machine.id.as_str() == sighting.id);
    shown.extend(survey.iter().filter(|(_, sighting)| !known(sighting)).map(|(provider, sighting)| {
        MachineRow::Other {
            sighting,
            provider: *provider,
            live: true,
            age_seconds: sighting.created_at.map(|at| now.as_second() - at.as_second()),
        }
    }));
    // The journal has the order in which machines were handed over, which differs where several are made at once.
    shown.sort_by_key(|row| std::cmp::Reverse(row.created_at()));
    if args.json {
        context.screen.json(&shown);
        return Ok(exit::OK);
    }
    let rows: Vec<Vec<String>> = shown.iter().map(|row| row.cells(now)).collect();
    let header = ["ID", "NAME", "PROVIDER", "IMAGE", "OWNER", "STATUS", "AGE", "REMOVED", "COST", "RUN"];
    context.screen.data(&table::render(&header, 0, &rows));
    Ok(exit::OK)
}

/// Whether the machine was seen; none where it was not seen and could not have been, because it may exist all the same: nobody looks for
/// machines of somebody else's.
fn live(machine: &Machine, observed: &[ObservedResource], unmet: &BTreeSet<&MachineId>) -> Option<bool> {
    let seen = observed.iter().any(|seen| seen.kind.is_machine() && seen.machine == machine.id);
    let could_be = !unmet.contains(&machine.id) && !machine.provider.machines_stay();
    (seen || could_be).then_some(seen)
}

fn own<'a>(
    machine: &'a Machine,
    (status, live): (&'static str, Option<bool>),
    survey: &[(ProviderKind, Sighting)],
    now: Timestamp,
) -> MachineRow<'a> {
    let sighting = survey.iter().map(|(_, sighting)| sighting).find(|sighting| sighting.id == machine.id.as_str());
    MachineRow::Own {
        machine,
        status,
        live,
        age_seconds: now.as_second() - machine.created_at.as_second(),
        cost: sighting.and_then(|sighting| sighting.cost),
    }
}

impl MachineRow<'_> {
    fn created_at(&self) -> Option<Timestamp> {
        match self {
            Self::Own { machine, .. } => Some(machine.created_at),
            Self::Other { sighting, .. } => sighting.created_at,
        }
    }

    fn cells(&self, now: Timestamp) -> Vec<String> {
        let ago = |at: Timestamp| text::ago(at, now);
        let until = |at: Timestamp| text::until(at, now);
        let money = |cost: Option<f64>| cost.map(|cost| format!("${cost:.2}")).unwrap_or_default();
        match self {
            Self::Own { machine, status, cost, .. } => vec![
                machine.id.to_string(),
                machine.name.as_ref().map(ToString::to_string).unwrap_or_default(),
                machine.provider.name().to_owned(),
                machine.image.clone(),
                machine.owner.clone(),
                (*status).to_owned(),
                ago(machine.created_at),
                machine.ends(now),
                money(*cost),
                machine.run.to_string(),
            ],
            Self::Other { sighting, provider, .. } => vec![
                sighting.id.clone(),
                String::new(),
                provider.name().to_owned(),
                sighting.image.clone(),
                sighting.owner.clone().unwrap_or_default(),
                sighting.state.clone(),
                sighting.created_at.map(ago).unwrap_or_default(),
                sighting.expires_at.map(until).unwrap_or_default(),
                money(sighting.cost),
                sighting.run.as_ref().map(ToString::to_string).unwrap_or_default(),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::machine::{Address, HostKey, Platform};
    use model::resource::ResourceKind;

    #[test]
    fn a_machine_that_could_not_be_looked_for_is_not_called_ended() {
        let machine = Machine {
            id: MachineId::random(),
            provider: ProviderKind::Ec2,
            platform: Platform::Linux,
            run: model::base::id::RunId::new(Timestamp::UNIX_EPOCH),
            owner: "me@here".into(),
            image: "x".into(),
            address: Address::Tcp { host: "192.0.2.1".into(), port: 22 },
            user: "hg".into(),
            identity: "/k".into(),
            host_key: HostKey::Exact { public: "ssh-ed25519 AAAA".into() },
            volume: None,
            hardware: None,
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
            name: None,
            kept: true,
            idle: None,
        };
        let seen = ObservedResource {
            kind: ResourceKind::Instance,
            machine: machine.id.clone(),
            name: "x".into(),
            locator: "i-1".into(),
            expires_at: None,
            lease: None,
            elsewhere: false,
        };
        let (here, elsewhere) = (BTreeSet::new(), BTreeSet::from([&machine.id]));
        assert_eq!(live(&machine, std::slice::from_ref(&seen), &here), Some(true));
        assert_eq!(live(&machine, &[], &here), Some(false));
        assert_eq!(live(&machine, &[], &elsewhere), None);
        assert_eq!(live(&machine, &[seen], &elsewhere), Some(true));
        let host = Machine { provider: ProviderKind::Host, ..machine.clone() };
        assert_eq!(live(&host, &[], &here), None, "somebody else's is not looked for");
    }
}
