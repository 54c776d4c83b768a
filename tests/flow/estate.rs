//! What is looked at, removed and given up at several sites at once, with no run and no command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connection::dummy::provider::ProviderCall;
use connection::dummy::{DummyConnector, Reply};
use connection::host::HostProvider;
use flow::audit::fix::{choose, fix};
use flow::audit::forget::{ForgetRefusal, forget, refusal};
use flow::audit::remaining::{Remaining, find_remaining};
use flow::down::{self, Ended};
use flow::fleet::members;
use flow::lease::Lease;
use flow::look::Estate;
use flow::purge::close_rows;
use flow::site::{Images, Site, Sites};
use model::base::id::{MachineId, RunId};
use model::connection::Connector;
use model::exit::Exit;
use model::fault::{Fault, FaultKind};
use model::journal::{MachineJournal, ResourceJournal, RunJournal};
use model::machine::{Machine, Platform, ProviderKind};
use model::purge::{Account, PurgeItem, PurgeOutcome, RemovalRefusal as Refused};
use model::resource::{Fate, PlannedResource, Resource, ResourceKind, ResourceState};
use model::run::{RunRecord, RunState};
use model::task::{Command, StepCommand};
use model::work::Work;

use super::{GRACE, Theatre};

/// Machines in memory, and those of somebody else's; no other provider can be asked.
struct Two<'a>(&'a Theatre);

#[async_trait]
impl Sites for Two<'_> {
    fn chosen_provider(&self) -> Result<ProviderKind, Fault> {
        Ok(ProviderKind::Dummy)
    }

    fn watched_providers(&self) -> Vec<ProviderKind> {
        vec![ProviderKind::Dummy, ProviderKind::Local]
    }

    async fn site(&self, kind: ProviderKind) -> Result<Site, Fault> {
        let connector = self.connector(kind).await?;
        match kind {
            ProviderKind::Dummy => Ok(self.0.site.clone()),
            ProviderKind::Host => {
                let provider = Arc::new(HostProvider::new(Vec::new()));
                Ok(Site { provider, connector, images: self.images(kind), grace: GRACE })
            }
            _ => Err(Fault::outside("no credentials")),
        }
    }

    async fn connector(&self, _: ProviderKind) -> Result<Arc<dyn Connector>, Fault> {
        Ok(Arc::new(DummyConnector::new(self.0.remote.clone())))
    }

    fn images(&self, _: ProviderKind) -> Images {
        self.0.site.images.clone()
    }

    async fn account(&self, _: ProviderKind) -> Result<Arc<dyn Account>, Fault> {
        Err(Fault::usage("there is no account"))
    }
}

fn estate<'a>(theatre: &'a Theatre, sites: &'a dyn Sites) -> Estate<'a> {
    Estate {
        sites,
        journal: theatre.journal.as_ref(),
        teller: theatre.run.teller.clone(),
        owner: "bob@example".into(),
        alive: |_| false,
    }
}

/// A machine in memory and files on a machine of somebody else's, both of a run whose driver died.
async fn left_by_a_dead_driver(theatre: &Theatre) -> Machine {
    let lease = Lease::acquire(&theatre.run, &theatre.site, &theatre.request()).await.unwrap();
    lease.give_up().await;
    let machine = support::machine::of(ProviderKind::Host, theatre.run.id.clone(), theatre.run.now());
    let row = plan(theatre, ProviderKind::Host, &machine.id, ResourceKind::RemoteFiles, "hg@example.org");
    theatre.journal.mark_present(&row.id, "hg@example.org").unwrap();
    theatre.journal.store_machine(&machine).unwrap();
    machine
}

fn plan(theatre: &Theatre, of: ProviderKind, machine: &MachineId, kind: ResourceKind, name: &str) -> Resource {
    let planned = PlannedResource { machine: machine.clone(), kind, name: name.to_owned() };
    theatre.journal.plan(&theatre.run.id, of, &[planned], theatre.run.now()).unwrap();
    theatre.rows().into_iter().find(|row| row.name == name).unwrap()
}

fn clean(_: &RunId, _: Platform, folder: &str) -> Result<StepCommand, Fault> {
    let command = Command::new("clean").arg(folder);
    Ok(StepCommand { work: Work::RunningOnMany { machines: 1 }, command, limit: Duration::from_secs(1) })
}

fn standing(remaining: &Remaining) -> BTreeSet<String> {
    remaining.findings.iter().map(|finding| format!("{:?} {:?}", finding.kind, finding.standing)).collect()
}

fn record(theatre: &Theatre) -> RunRecord {
    theatre.journal.run(&theatre.run.id).unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_fix_removes_what_is_left_at_two_sites_and_ends_the_record_of_the_dead() {
    let theatre = Theatre::new();
    left_by_a_dead_driver(&theatre).await;
    theatre.remote.answer(|command| (command.program == "clean").then(Reply::ok));
    let sites = Two(&theatre);
    let estate = estate(&theatre, &sites);
    let found = find_remaining(&estate, None, false).await.unwrap();
    assert!(standing(&found).contains("RemoteFiles Orphaned") && standing(&found).contains("Process Orphaned"));
    assert_eq!(
        theatre.events.count("warning "),
        1,
        "the site that cannot be asked is told of: {:?}",
        theatre.events.lines()
    );

    let nothing = choose(&found, &["hg-nothing".to_owned()]).unwrap_err();
    assert_eq!(nothing.kind, FaultKind::Usage);
    let going = choose(&found, &[]).unwrap();
    assert!(going[0].kind.is_machine(), "processes first");
    let fates = fix(&estate, &found, &going, None, &clean).await.unwrap();
    assert!(fates.len() == found.findings.len() && fates.iter().all(|fate| *fate == Fate::Gone), "{fates:?}");
    theatre.assert_clean().await;
    let record = record(&theatre);
    assert_eq!((record.state, record.exit_code), (RunState::Ended, Some(4)));
    assert_eq!(record.summary.as_deref(), Some("its driver died"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_removed_keeps_nothing_else_and_its_run_stays_open() {
    let theatre = Theatre::new();
    left_by_a_dead_driver(&theatre).await;
    theatre.remote.answer(|command| (command.program == "clean").then(|| Reply::exit(Exit::Code(1))));
    let sites = Two(&theatre);
    let estate = estate(&theatre, &sites);
    let found = find_remaining(&estate, None, false).await.unwrap();
    let going = choose(&found, &[]).unwrap();
    let fates = fix(&estate, &found, &going, None, &clean).await.unwrap();
    let stays: Vec<&Fate> = fates.iter().filter(|fate| **fate != Fate::Gone).collect();
    assert!(matches!(stays[..], [Fate::Remains(why)] if why.contains("log in and remove")), "{fates:?}");
    assert_eq!(theatre.open(), [ResourceKind::RemoteFiles]);
    assert_eq!(record(&theatre).state, RunState::Running);
}

#[tokio::test(start_paused = true)]
async fn only_what_was_not_seen_is_forgotten() {
    let theatre = Theatre::new();
    let machine = left_by_a_dead_driver(&theatre).await;
    let sites = Two(&theatre);
    let estate = estate(&theatre, &sites);
    let found = find_remaining(&estate, None, false).await.unwrap();
    let (files, rest): (Vec<_>, Vec<_>) = found.findings.iter().partition(|it| it.machine == machine.id);
    assert!(rest.iter().all(|finding| refusal(&found, finding) == Some(ForgetRefusal::Seen)));
    assert_eq!(refusal(&found, files[0]), None);
    forget(&estate, &[files[0].clone()]).unwrap();
    let row = theatre.rows().into_iter().find(|row| row.machine == machine.id).unwrap();
    assert_eq!(row.state, ResourceState::Forgotten);
    assert!(row.note.unwrap().starts_with("forgotten by bob@example at "));
    assert!(theatre.journal.machines().unwrap().iter().all(|known| known.id != machine.id));
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_site_that_cannot_be_looked_at_are_no_nothing() {
    let theatre = Theatre::new();
    let sites = Two(&theatre);
    let estate = estate(&theatre, &sites);
    assert!(estate.look().await.unwrap().open.is_empty(), "nobody has rows there");
    plan(&theatre, ProviderKind::Ec2, &MachineId::random(), ResourceKind::Instance, "1/west/hg-1");
    assert_eq!(estate.look().await.err().unwrap().message, "no credentials");
    assert!(estate.look_where_possible().await.is_ok());
    theatre.dummy.fail(ProviderCall::Observe, "no answer");
    assert_eq!(estate.look_where_possible().await.err().unwrap().message, "no answer", "it was asked for");
}

#[tokio::test]
async fn machines_of_several_providers_are_reached_together_and_those_of_one_the_same_way() {
    let theatre = Theatre::new();
    let sites = Two(&theatre);
    let of = |kind| support::machine::of(kind, theatre.run.id.clone(), theatre.run.now());
    let machines = [ProviderKind::Host, ProviderKind::Dummy, ProviderKind::Host].map(of);
    let members = members(&sites, &machines).await.unwrap();
    assert!(members.iter().zip(&machines).all(|(member, machine)| member.machine == *machine));
    assert!(Arc::ptr_eq(&members[0].connector, &members[2].connector));
    assert!(!Arc::ptr_eq(&members[0].connector, &members[1].connector));
}

/// An account whose rows are called by its place.
struct West;

#[async_trait]
impl Account for West {
    fn place(&self) -> &str {
        "west"
    }

    fn kinds(&self) -> Vec<ResourceKind> {
        Vec::new()
    }

    async fn row_name(&self, item: &PurgeItem) -> Result<Option<String>, Fault> {
        Ok(item.name.as_ref().map(|name| format!("1/west/{name}")))
    }

    async fn find(&self, _: ResourceKind) -> Result<Vec<PurgeItem>, Fault> {
        Ok(Vec::new())
    }

    async fn users(
        &self,
        _: ResourceKind,
        _: &[String],
        _: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        Ok(BTreeMap::new())
    }

    fn batch(&self, _: ResourceKind) -> usize {
        1
    }

    async fn remove(&self, _: ResourceKind, _: &[String]) -> Vec<Refused> {
        Vec::new()
    }

    async fn remaining(&self, _: ResourceKind, _: &[String]) -> Result<Vec<(String, String)>, Fault> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn an_emptying_closes_the_rows_of_what_was_seen_gone_and_no_others() {
    let theatre = Theatre::new();
    let (kind, gone, stays) = (ResourceKind::Instance, MachineId::random(), MachineId::random());
    plan(&theatre, ProviderKind::Ec2, &gone, kind, "1/west/gone");
    plan(&theatre, ProviderKind::Ec2, &stays, kind, "1/west/stays");
    plan(&theatre, ProviderKind::Host, &stays, kind, "1/west/gone of another provider");
    let outcome = |name: &str, fate| {
        let (id, name, owner) = (format!("i-{name}"), Some(name.to_owned()), None);
        let item = PurgeItem { id, kind, name, owner, why: String::new(), created_at: None, state: String::new() };
        PurgeOutcome { item, fate }
    };
    let outcomes = [outcome("gone", Fate::Gone), outcome("stays", Fate::Remains("denied".into()))];
    let sites = Two(&theatre);
    close_rows(&estate(&theatre, &sites), ProviderKind::Ec2, &West, &outcomes).await.unwrap();
    let open: Vec<String> = theatre.rows().into_iter().filter(Resource::is_open).map(|row| row.name).collect();
    assert_eq!(open, ["1/west/stays", "1/west/gone of another provider"]);
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_to_end_go_with_all_they_have_and_one_that_stays_keeps_no_other() {
    let theatre = Theatre::new();
    let mut machines = Vec::new();
    for _ in 0..2 {
        let lease = Lease::acquire(&theatre.run, &theatre.site, &theatre.request()).await.unwrap();
        machines.push(lease.machine.clone());
        lease.give_up().await;
    }
    let sites = Two(&theatre);
    let estate = estate(&theatre, &sites);
    assert_eq!(down::used(&estate, &machines).unwrap(), None);
    let alive = Estate { alive: |_| true, ..estate.clone() };
    let used = Some((&machines[0], theatre.run.id.clone()));
    assert_eq!(down::used(&alive, &machines).unwrap(), used, "its driver lives");
    let left = RunRecord { state: RunState::Detached, ..record(&theatre) };
    theatre.journal.update_run(&left).unwrap();
    assert_eq!(down::used(&estate, &machines).unwrap(), used, "its tests were left to it");
    theatre.journal.update_run(&RunRecord { state: RunState::Running, ..left }).unwrap();
    assert!(down::rows(&estate, &machines[0]).unwrap().len() > 2);

    // The first machine's files cannot be removed at once.
    theatre.dummy.fail(ProviderCall::Release(ResourceKind::Rootfs), "busy");
    let mut fates = Vec::new();
    down::down(&estate, &machines, &|| false, &mut |it, ended| fates.push((it.id.clone(), ended))).await.unwrap();
    let Ended::Stays(stays) = &fates[0].1 else { panic!("{fates:?}") };
    assert_eq!((stays.len(), stays[0].kind), (1, ResourceKind::Rootfs));
    assert_eq!(stays[0].note.as_deref(), Some("busy"));
    assert!(fates[1].0 == machines[1].id && matches!(fates[1].1, Ended::Gone), "{fates:?}");
    assert_eq!(theatre.journal.machines().unwrap(), machines[..1], "what has something left is not forgotten");

    let mut fates = Vec::new();
    down::down(&estate, &machines[..1], &|| false, &mut |_, ended| fates.push(ended)).await.unwrap();
    assert!(matches!(fates[..], [Ended::Gone]), "{fates:?}");
    theatre.assert_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_end_cannot_be_written_down_has_ended_where_nothing_is_there() {
    let theatre = Theatre::new();
    let lease = Lease::acquire(&theatre.run, &theatre.site, &theatre.request()).await.unwrap();
    let machine = lease.machine.clone();
    lease.give_up().await;
    theatre.dummy.end(&machine.id);
    let sites = Two(&theatre);
    let estate = estate(&theatre, &sites);
    let journal = rusqlite::Connection::open(theatre.dir.path().join("state/journal.db")).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON resources BEGIN SELECT RAISE(ABORT, 'no room'); END";
    journal.execute_batch(refuse).unwrap();
    let machines = [machine];
    let mut fates = Vec::new();
    down::down(&estate, &machines, &|| false, &mut |_, ended| fates.push(ended)).await.unwrap();
    let [Ended::Failed(fault)] = &fates[..] else { panic!("{fates:?}") };
    assert!(fault.line().contains("no room"), "a journal that fails for another reason is a fault: {fault:?}");
    let mut fates = Vec::new();
    down::down(&estate, &machines, &|| true, &mut |_, ended| fates.push(ended)).await.unwrap();
    assert!(matches!(fates[..], [Ended::Unwritten]), "{fates:?}");
}
