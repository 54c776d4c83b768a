//! A machine for as long as a piece of work takes, and not a moment longer; or, where its task goes on by itself, until its
//! expiry.

mod budget;
mod notice;
mod parting;
mod renewal;
mod stopping;
mod told;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use model::base::clock;
use model::base::id::{MachineId, ResourceId};
use model::connection::Connection;
use model::event::{MachineEvent, RunEvent, TroubleEvent};
use model::fault::{Fault, FaultKind, Leftovers};
use model::journal::{ResourceFilter, ResourceJournal};
use model::machine::{Machine, ProviderKind};
use model::output::{OutputLimits, run_command};
use model::price::Quote;
use model::provider::{LeaseKeeper, MachineRequest};
use model::resource::{PlannedResource, Resource, ResourceKind};
use model::task::StepCommand;

use crate::lease::budget::afford;
use crate::lease::renewal::{Renewal, interval, spawn_heartbeat};
use crate::lease::stopping::{run_until_given_up, until_answered};
use crate::lease::told::{booting, explained, letting_go};
use crate::naming;
use crate::release::{self, ReleaseScope};
use crate::run::{Run, saturating_add};
use crate::shell;
use crate::site::Site;
use crate::task::durable::Durable;

pub use budget::foresee;
pub use parting::part_with_the_rest;
pub use stopping::until_stopped;

/// How long connecting once more to a machine that is up may take.
const RECONNECT_LIMIT: Duration = Duration::from_secs(30);

/// How long closing a connection to a machine may take: one that is about to end needs no long goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long before a machine ends by itself it is given up: what it said last goes with it.
const LAST_LOOK: SignedDuration = SignedDuration::from_secs(15);

/// How long a machine is waited for that may take `boot` to answer, and that ends by itself in `left`.
fn answer_limit(boot: Duration, left: SignedDuration) -> Duration {
    let left = Duration::try_from(left.saturating_sub(LAST_LOOK)).unwrap_or_default();
    // By another clock than the machine's: a short try is never too many.
    boot.min(left.max(RECONNECT_LIMIT))
}

/// A live machine whose end is postponed for as long as this value lives.
pub struct Lease {
    run: Run,
    site: Site,
    /// The machine.
    pub machine: Machine,
    /// Renews the lease; none before a machine that keeps its own lease was reached.
    heartbeat: Option<tokio::task::JoinHandle<()>>,
    settled: bool,
    /// Its price, if it costs something and the price is known.
    price: Option<Quote>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.abort();
        }
    }
}

/// The result of a piece of work, and what is to become of its machine.
pub enum Completion<T> {
    /// The work is done, and the machine is released.
    Release(T),
    /// The work is done, and the machine is kept for so long, to be looked at.
    Keep(T, Duration),
    /// The work goes on by itself on the machine, which lives until its expiry.
    Detach(T),
}

/// The end of a piece of work and of the machine that it was done on.
pub struct LeaseEnd<T> {
    /// The result of the work.
    pub result: Result<T, Fault>,
    /// The resources that could not be released; normally none.
    pub left: Vec<Resource>,
    /// The cost of the machine, in the currency of its price, if it is known.
    pub cost: Option<f64>,
    /// The machine, if the work goes on there; `kept` unless its lease could not be extended, which was then reported.
    pub detached: Option<Machine>,
}

/// Writes `planned` down for a provider of `kind`; gives the function that confirms their rows.
pub fn write_down(
    run: &Run,
    kind: ProviderKind,
    planned: &[PlannedResource],
) -> Result<impl Fn(ResourceKind, &str, &str) -> Result<(), Fault> + Send + Sync + use<>, Fault> {
    let ids = run.journal.plan(&run.id, kind, planned, run.now())?;
    let rows: Vec<(PlannedResource, ResourceId)> = planned.iter().cloned().zip(ids).collect();
    let journal: Arc<dyn ResourceJournal> = run.journal.clone();
    Ok(move |kind: ResourceKind, name: &str, locator: &str| {
        match rows.iter().find(|(planned, _)| planned.kind == kind && planned.name == name) {
            Some((_, row)) => journal.mark_present(row, locator),
            None => Err(Fault::infrastructure(format!("a {} `{name}` was made that was never planned", kind.name()))),
        }
    })
}

impl Lease {
    /// Plans, records and makes a machine. On an error nothing is left but what the error names.
    pub async fn acquire(run: &Run, site: &Site, request: &MachineRequest) -> Result<Self, Fault> {
        let teller = &run.teller;
        let quote = until_stopped(run, async { Ok(site.quote(request, teller).await) }).await?;
        afford(run, site, request, quote.as_ref())?;
        if let Some(sharing) = site.provider.abilities().sharing {
            let ledger = run.ledger(site.provider.kind());
            let provisioned = until_stopped(run, sharing.provision(request, &ledger, teller)).await;
            if let Err(fault) = provisioned {
                return Err(undo(run, site, &request.id, fault).await);
            }
        }
        let confirm = write_down(run, site.provider.kind(), &site.provider.plan(request))?;
        let made = until_answered(run, site.provider.create(request, &confirm, teller)).await;
        let stored = made.and_then(|machine| run.journal.store_machine(&machine).map(|()| machine));
        match stored {
            Ok(machine) => {
                let on_machine = matches!(site.provider.lease_keeper(), LeaseKeeper::Machine(_));
                let heartbeat = (!on_machine).then(|| spawn_heartbeat(run, site, &machine, interval(site)));
                let price = match quote {
                    Some(_) => site.price(&machine, teller).await,
                    None => None,
                };
                Ok(Self { heartbeat, run: run.clone(), site: site.clone(), machine, settled: false, price })
            }
            Err(fault) => Err(undo(run, site, &request.id, fault).await),
        }
    }

    /// Takes over a machine on which another driver began a task. Its lease is renewed at once, for that driver may be
    /// dead; a machine that was left to live until its expiry needs no renewal.
    pub async fn adopt(run: &Run, site: &Site, machine: Machine) -> Self {
        let heartbeat = (!machine.kept).then(|| spawn_heartbeat(run, site, &machine, Duration::ZERO));
        let price = site.price(&machine, &run.teller).await;
        // The first driver had settled it before anything was begun.
        Self { heartbeat, run: run.clone(), site: site.clone(), machine, settled: true, price }
    }

    /// Stops renewing, and waits for a renewal that is under way, so that none comes after this.
    async fn stop_renewing(&mut self) {
        if let Some(heartbeat) = self.heartbeat.take() {
            heartbeat.abort();
            drop(heartbeat.await);
        }
    }

    /// Stops renewing; the machine's rows are for the caller to release.
    pub async fn give_up(mut self) {
        self.stop_renewing().await;
        self.report_cost();
    }

    /// The cost of the machine so far, in the currency of its price.
    pub fn cost(&self) -> Option<f64> {
        Some(self.price.as_ref()?.cost(self.age()))
    }

    fn age(&self) -> Duration {
        clock::since(self.machine.created_at, self.run.now())
    }

    fn report_cost(&self) {
        if let Some(quote) = self.price.clone() {
            self.run.teller.machine(&self.machine.id, MachineEvent::Cost { quote, age: self.age() });
        }
    }

    /// Opens a connection as `user`; waits while the machine boots. The first connection settles what only it can.
    pub async fn connect(&mut self, user: &str) -> Result<Box<dyn Connection>, Fault> {
        let left = self.machine.expires_at.duration_since(self.run.now());
        let limit = answer_limit(self.site.provider.boot_limit(self.machine.platform), left);
        let connecting = async {
            tokio::select! {
                biased;
                connected = self.site.connector.connect(&self.machine, user, limit, true) => connected.map_err(Fault::from),
                fault = self.site.until_ended(&self.machine) => Err(fault),
            }
        };
        let error = match until_stopped(&self.run, connecting).await {
            Ok(connection) => {
                self.settle(connection.as_ref()).await?;
                return Ok(connection);
            }
            Err(error) => error,
        };
        match self.site.provider.console(&self.machine.id).await {
            Some(console) if error.kind != FaultKind::Interrupted && !console.trim().is_empty() => {
                let hint = error.hint.as_ref().map(|hint| format!("{hint}\n")).unwrap_or_default();
                Err(error.hint(format!("{hint}The machine's own last words:\n{console}")))
            }
            _ => Err(error),
        }
    }

    async fn settle(&mut self, connection: &dyn Connection) -> Result<(), Fault> {
        if self.settled {
            return Ok(());
        }
        if let Some(boot) = self.site.provider.abilities().boot {
            let machine = until_stopped(&self.run, boot.settle(&self.machine, connection)).await?;
            if machine != self.machine {
                self.run.journal.store_machine(&machine)?;
                self.machine = machine;
            }
        }
        self.settled = true;
        if self.heartbeat.is_none() {
            // It renews at once: the lease of the launch is only as long as a boot may take.
            self.heartbeat = Some(spawn_heartbeat(&self.run, &self.site, &self.machine, Duration::ZERO));
        }
        Ok(())
    }

    /// Ends the machine and leaves its files; gives the resources that did not end.
    pub async fn stop(mut self) -> Result<Vec<Resource>, Fault> {
        self.stop_renewing().await;
        self.report_cost();
        release_machine(&self.run, &self.site, &self.machine.id, ReleaseScope::Running).await
    }

    /// Ends the machine, removes all that belongs to it and checks that it is gone; gives the resources that remain, or none where
    /// another process is to see to the rest ([`crate::parting::Parting`]).
    pub async fn release(mut self) -> Result<Option<Vec<Resource>>, Fault> {
        self.stop_renewing().await;
        self.report_cost();
        parting::part(&self.run, &self.site, &self.machine.id).await
    }

    /// Lets the machine, on which a task goes on, live until its expiry. A machine whose lease cannot be extended is
    /// left with the lease that it has, and a warning: a driver that follows the task before that is over renews it.
    async fn detach(mut self) -> Machine {
        self.stop_renewing().await;
        if self.machine.kept {
            return self.machine.clone();
        }
        let machine = Machine { kept: true, ..self.machine.clone() };
        let renewed = match Renewal::default().renew(&self.site, &machine, machine.expires_at).await {
            Ok(()) => self.run.journal.store_machine(&machine),
            Err(fault) => Err(fault),
        };
        let Err(fault) = renewed else { return machine };
        let (within, failure) = (self.site.grace, (&fault).into());
        self.run.teller.machine(&machine.id, MachineEvent::NotLeft { within, failure });
        self.machine.clone()
    }

    /// Lets the machine live on without this driver until its expiry, with a name for people. A machine that cannot be left is released.
    pub async fn leave(mut self) -> Result<Machine, Fault> {
        self.stop_renewing().await;
        let machine = Machine { kept: true, ..self.machine.clone() };
        let left = match Renewal::default().renew(&self.site, &machine, machine.expires_at).await {
            Ok(()) => naming::name(self.run.journal.as_ref(), &machine, machine.name.as_ref(), self.run.now()),
            Err(fault) => Err(fault),
        };
        match left {
            Ok(machine) => Ok(machine),
            Err(fault) => Err(undo(&self.run, &self.site, &machine.id, fault).await),
        }
    }
}

/// Releases all of a machine after `fault`; gives the fault back with the resources that remain.
pub async fn undo(run: &Run, site: &Site, machine: &MachineId, fault: Fault) -> Fault {
    // Our files get onto a machine only over a connection, and there never was one.
    close_files(run, machine, None);
    let released = match release_machine(run, site, machine, ReleaseScope::All).await {
        Ok(left) if left.is_empty() => run.journal.forget_machine(machine).map(|()| left),
        released => released,
    };
    match released {
        Ok(left) if left.is_empty() => fault,
        Ok(left) => fault.with_leftovers(name_left(&left)),
        Err(second) => fault.with_leftovers(Leftovers::Unknown(second.line())),
    }
}

/// The names of `left`, for a fault.
pub fn name_left(left: &[Resource]) -> Leftovers {
    Leftovers::Named(left.iter().map(|row| format!("{} {}", row.kind.name(), row.name)).collect())
}

/// Releases the open rows of one machine.
pub async fn release_machine(
    run: &Run,
    site: &Site,
    machine: &MachineId,
    part: ReleaseScope,
) -> Result<Vec<Resource>, Fault> {
    let filter = ResourceFilter { machine: Some(machine.clone()), open: true, ..ResourceFilter::default() };
    let rows = run.journal.resources(&filter)?;
    release::release(site.provider.as_ref(), run.journal.as_ref(), rows, part, &|| run.now()).await
}

/// Makes a machine, does `work` on it, and releases it on success, error, deadline and interruption alike, or leaves it to a
/// task that goes on. `folder` is ours on the machine, for what runs there.
///
/// `work` ends soon after the run is asked to stop, with what it knows; it is given up when it does not. The work's own
/// result and what could not be released are reported side by side: neither hides the other.
pub async fn with_machine<T>(
    run: &Run,
    site: &Site,
    request: &MachineRequest,
    folder: &str,
    clean: Option<&StepCommand>,
    work: impl AsyncFnOnce(&Machine, &Durable) -> Result<Completion<T>, Fault>,
) -> LeaseEnd<T> {
    let run = &run.on(&request.id);
    let step = run.teller.begin(booting(site, request));
    let mut lease = match Lease::acquire(run, site, request).await {
        Ok(lease) => lease,
        Err(fault) => {
            return LeaseEnd { result: Err(fault), left: open_rows(run, &request.id), cost: None, detached: None };
        }
    };
    // A machine that was not made for this request has a user of its own.
    let user = lease.machine.user.clone();
    let connected = match lease.connect(&user).await {
        Ok(connection) if site.provider.kind().machines_stay() => {
            until_stopped(run, shell::check_shell(run, connection, &lease.machine)).await
        }
        connected => connected,
    };
    match connected {
        Ok(connection) => {
            step.finish();
            let durable = Durable::new(run, site, &lease.machine, Some(connection), folder);
            work_on_machine(run, lease, &durable, clean, work).await
        }
        Err(fault) => {
            drop(step);
            // Our files get onto a machine only over a connection that carries commands, and there never was one.
            close_files(run, &request.id, None);
            let cost = lease.cost();
            let left = release_lease(run, lease).await;
            LeaseEnd { result: Err(fault), left, cost, detached: None }
        }
    }
}

/// Goes on with `work` on a machine that another driver made and left, and ends as [`with_machine`] does.
pub async fn attach<T>(
    run: &Run,
    site: &Site,
    machine: Machine,
    folder: &str,
    clean: Option<&StepCommand>,
    work: impl AsyncFnOnce(&Machine, &Durable) -> Result<Completion<T>, Fault>,
) -> LeaseEnd<T> {
    let run = &run.on(&machine.id);
    let lease = Lease::adopt(run, site, machine).await;
    let durable = Durable::new(run, site, &lease.machine, None, folder);
    work_on_machine(run, lease, &durable, clean, work).await
}

async fn work_on_machine<T>(
    run: &Run,
    lease: Lease,
    durable: &Durable,
    clean: Option<&StepCommand>,
    work: impl AsyncFnOnce(&Machine, &Durable) -> Result<Completion<T>, Fault>,
) -> LeaseEnd<T> {
    let watched = async {
        tokio::select! {
            biased;
            done = work(&lease.machine, durable) => done,
            // Watching never ends; the work decides what a notice means to it.
            never = notice::watch(run, durable) => match never {},
        }
    };
    let result = run_until_given_up(run, watched).await;
    let cost = lease.cost();
    let result = match result {
        Ok(Completion::Detach(value)) => {
            let machine = lease.detach().await;
            let _ = tokio::time::timeout(GOODBYE, durable.close()).await;
            return LeaseEnd { result: Ok(value), left: Vec::new(), cost, detached: Some(machine) };
        }
        Ok(Completion::Keep(value, span)) => {
            let _ = tokio::time::timeout(GOODBYE, durable.close()).await;
            return keep(run, lease, value, span).await;
        }
        Ok(Completion::Release(value)) => Ok(value),
        Err(fault) => Err(explained(&lease.machine, fault, run.now())),
    };
    if let Some(clean) = clean.filter(|_| durable.site().provider.kind().machines_stay()) {
        clean_host(run, durable, clean).await;
    }
    let _ = tokio::time::timeout(GOODBYE, durable.close()).await;
    let left = release_lease(run, lease).await;
    LeaseEnd { result, left, cost, detached: None }
}

/// Keeps a machine whose work is done. One that cannot be kept is released, which is told: the result of the work counts.
async fn keep<T>(run: &Run, mut lease: Lease, value: T, span: Duration) -> LeaseEnd<T> {
    let (id, cost) = (lease.machine.id.clone(), lease.cost());
    lease.machine.expires_at = saturating_add(run.now(), span);
    let left = match lease.leave().await {
        Ok(_) => Vec::new(),
        Err(fault) => {
            run.tell(RunEvent::Failed { failure: (&fault).into() });
            open_rows(run, &id)
        }
    };
    LeaseEnd { result: Ok(value), left, cost, detached: None }
}

/// Releases a machine; gives the resources that remain, without those that another process sees to.
async fn release_lease(run: &Run, lease: Lease) -> Vec<Resource> {
    let id = lease.machine.id.clone();
    let step = run.teller.begin(letting_go(&lease.machine));
    match lease.release().await {
        Ok(Some(left)) => {
            if left.is_empty() {
                step.finish();
            }
            left
        }
        Ok(None) => Vec::new(),
        Err(fault) => {
            run.teller.machine(&id, MachineEvent::NotReleased { failure: (&fault).into() });
            open_rows(run, &id)
        }
    }
}

/// Removes our files from a machine that stays, over a new connection if the first was lost, and closes their row. This
/// is not done as a task: the supervisor of tasks is among the files that are removed.
async fn clean_host(run: &Run, durable: &Durable, clean: &StepCommand) {
    let (step, machine) = (run.teller.begin(clean.work.clone()), durable.machine());
    let mut why = match tokio::time::timeout(RECONNECT_LIMIT, durable.direct()).await {
        Ok(Ok(connection)) => remove_files(connection.as_ref(), clean).await,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the machine does not answer".to_owned()),
    };
    if why.is_some()
        && let Ok(second) = durable.site().connector.connect(machine, &machine.user, RECONNECT_LIMIT, true).await
    {
        why = remove_files(second.as_ref(), clean).await;
    }
    close_files(run, &machine.id, why.as_deref());
    if why.is_none() {
        step.finish();
    }
}

/// Removes our files from a machine; gives the reason if they are still there.
pub async fn remove_files(connection: &dyn Connection, clean: &StepCommand) -> Option<String> {
    let limits = OutputLimits { bytes: 1 << 16, time: clean.limit };
    match run_command(connection, &clean.command, limits).await {
        Ok(done) if done.exit.is_success() => None,
        Ok(done) => Some(done.ending()),
        Err(error) => Some(Fault::from(error).line()),
    }
}

/// Closes the rows of our files on a machine that stays, or notes why they are still there.
fn close_files(run: &Run, machine: &MachineId, why: Option<&str>) {
    let rows = open_rows(run, machine);
    for row in rows.iter().filter(|row| row.kind == ResourceKind::RemoteFiles) {
        let written = match why {
            None => run.journal.mark_gone(&row.id, run.now()),
            Some(why) => run.journal.note(&row.id, why),
        };
        if let Err(fault) = written {
            run.tell(TroubleEvent::from(&fault));
        }
    }
}

/// The open rows of a machine. If the journal cannot be read, that is reported and there are none.
fn open_rows(run: &Run, machine: &MachineId) -> Vec<Resource> {
    let filter = ResourceFilter { machine: Some(machine.clone()), open: true, ..ResourceFilter::default() };
    run.journal.resources(&filter).unwrap_or_else(|fault| {
        run.teller.machine(machine, MachineEvent::LeftUnknown { failure: (&fault).into() });
        Vec::new()
    })
}
