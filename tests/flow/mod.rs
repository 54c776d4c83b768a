//! The flows over the dummies and the real journal: stories that no real machine tells reliably. Time is the test's own.

mod artifacts;
mod audit;
mod audit_command;
mod bake;
mod builds;
mod cloud;
mod collect;
mod cost;
mod durable;
mod estate;
mod fleet;
mod host;
mod lease;
mod order;
mod packages;
mod push;
mod shards;
mod snapshot;
mod sync;
mod testing;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connection::dummy::provider::DummyProvider;
use connection::dummy::{Dummy as Remote, DummyConnector};
use flow::lease::{self as leases, Completion, LeaseEnd};
use flow::order::Order;
use flow::preparation::turns::Turns;
use flow::run::{Run, saturating_add};
use flow::site::{Images, Site};
use flow::task::durable::Durable;
use jiff::Timestamp;
use model::base::id::{MachineId, RunId};
use model::connection::{Connection, ConnectionError, Connector};
use model::event::Teller;
use model::fault::Fault;
use model::filesystem::Filesystem;
use model::journal::{MachineJournal, ResourceFilter, ResourceJournal, RunJournal};
use model::machine::{Machine, Platform, ProviderKind};
use model::provider::{Abilities, Confirm, LeaseKeeper, MachineRequest, Provider};
use model::resource::{Fate, ObservedResource, PlannedResource, Resource, ResourceKind, ResourceState};
use model::run::{Driver, RunRecord, RunState};
use model::task::StepCommand;
use state::dir::StateDir;
use state::journal::SqliteJournal;
use support::events::Events;
use support::supervised::Supervised;
use tokio_util::sync::CancellationToken;

pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// A machine for work after which it goes, whatever that came to.
pub(crate) async fn with_machine<T>(
    run: &Run,
    site: &Site,
    request: &MachineRequest,
    clean: Option<&StepCommand>,
    work: impl AsyncFnOnce(&Machine, &Durable) -> Result<T, Fault>,
) -> LeaseEnd<T> {
    let folder = flow::preparation::folder(run, Platform::Linux);
    leases::with_machine(run, site, request, &folder, clean, async |machine, durable| {
        work(machine, durable).await.map(Completion::Release)
    })
    .await
}

/// A provider that lets a test look before a machine is made, and stop after.
struct Watched {
    inner: Arc<dyn Provider>,
    before: Box<dyn Fn(&MachineRequest) + Send + Sync>,
    /// Cancelled once the machine is made, which is then never handed over.
    stuck: Option<CancellationToken>,
}

#[async_trait]
impl Provider for Watched {
    fn kind(&self) -> ProviderKind {
        self.inner.kind()
    }

    fn abilities(&self) -> Abilities<'_> {
        self.inner.abilities()
    }

    fn lease_keeper(&self) -> LeaseKeeper<'_> {
        self.inner.lease_keeper()
    }

    fn plan(&self, request: &MachineRequest) -> Vec<PlannedResource> {
        self.inner.plan(request)
    }

    async fn create(&self, request: &MachineRequest, confirm: Confirm<'_>, teller: &Teller) -> Result<Machine, Fault> {
        (self.before)(request);
        let made = self.inner.create(request, confirm, teller).await?;
        match &self.stuck {
            None => Ok(made),
            Some(stop) => {
                stop.cancel();
                std::future::pending().await
            }
        }
    }

    fn boot_limit(&self, platform: Platform) -> Duration {
        self.inner.boot_limit(platform)
    }

    fn release_limit(&self, kind: ResourceKind) -> Duration {
        self.inner.release_limit(kind)
    }

    async fn release(&self, resource: &Resource) -> Result<Fate, Fault> {
        self.inner.release(resource).await
    }

    async fn observe(&self) -> Result<Vec<ObservedResource>, Fault> {
        self.inner.observe().await
    }

    async fn console(&self, machine: &MachineId) -> Option<String> {
        self.inner.console(machine).await
    }
}

/// A connector whose machine never answers, and whose user gives up.
struct NeverAnswers(CancellationToken);

#[async_trait]
impl Connector for NeverAnswers {
    async fn connect(
        &self,
        _: &Machine,
        _: &str,
        _: Duration,
        _: bool,
    ) -> Result<Box<dyn Connection>, ConnectionError> {
        self.0.cancel();
        std::future::pending().await
    }
}

/// Writes a new run down.
pub(crate) fn begin(journal: &dyn RunJournal, now: Timestamp) -> RunId {
    let id = RunId::new(now);
    let record = RunRecord {
        id: id.clone(),
        command: "test".into(),
        arguments: vec![],
        owner: "ann@example".into(),
        driver: Driver { pid: 1, started: 1, boot: "b".into() },
        state: RunState::Running,
        started_at: now,
        ended_at: None,
        exit_code: None,
        summary: None,
    };
    journal.store_run(&record).unwrap();
    id
}

/// A run and a site with everything behind them.
pub(crate) struct Theatre {
    pub dummy: DummyProvider,
    pub remote: Remote,
    /// What tasks do on it.
    pub tasks: Supervised,
    pub journal: Arc<SqliteJournal>,
    pub events: Arc<Events>,
    pub run: Run,
    pub site: Site,
    dir: tempfile::TempDir,
}

impl Theatre {
    /// Must be called on a runtime: its clock is the runtime's.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = Arc::new(StateDir::open(&dir.path().join("state")).unwrap().journal().unwrap());
        let (dummy, remote, events) = (DummyProvider::new(), Remote::new(), Arc::new(Events::default()));
        let (start, began) = ("2026-11-20T12:00:00Z".parse::<Timestamp>().unwrap(), tokio::time::Instant::now());
        let site = Site {
            provider: Arc::new(dummy.clone()),
            connector: Arc::new(DummyConnector::new(remote.clone())),
            images: Images::of(Arc::new(dummy.clone())),
            grace: GRACE,
        };
        let run = Run {
            id: begin(journal.as_ref(), start),
            journal: journal.clone(),
            teller: Teller::new(events.clone(), Arc::new(move || saturating_add(start, began.elapsed()))),
            stop: CancellationToken::new(),
            detach: CancellationToken::new(),
            parting: Arc::default(),
            owner: "ann@example".into(),
            turns: Turns::default(),
        };
        let tasks = Supervised::on_machine(&remote);
        Self { dummy, remote, tasks, journal, events, run, site, dir }
    }

    pub(crate) fn request(&self) -> MachineRequest {
        let order =
            Order { filesystem: Filesystem::Ext4, ..Order::new("test", "hg", Duration::from_secs(3600), GRACE) };
        order.request(&self.run, self.run.now())
    }

    /// Calls `before` each time before a machine is made.
    pub(crate) fn watch(&mut self, before: impl Fn(&MachineRequest) + Send + Sync + 'static) {
        let inner = Arc::clone(&self.site.provider);
        self.site.provider = Arc::new(Watched { inner, before: Box::new(before), stuck: None });
    }

    /// The user gives up while a machine is made.
    pub(crate) fn stop_in_create(&mut self) {
        let inner = Arc::clone(&self.site.provider);
        let stuck = Some(self.run.stop.clone());
        self.site.provider = Arc::new(Watched { inner, before: Box::new(|_| ()), stuck });
    }

    /// The user gives up while a machine does not answer.
    pub(crate) fn stop_in_connect(&mut self) {
        self.site.connector = Arc::new(NeverAnswers(self.run.stop.clone()));
    }

    /// A path for a report on this computer.
    pub(crate) fn events_file(&self) -> std::path::PathBuf {
        self.dir.path().join("events.jsonl")
    }

    pub(crate) fn rows(&self) -> Vec<Resource> {
        self.journal.resources(&ResourceFilter::default()).unwrap()
    }

    pub(crate) fn open(&self) -> Vec<ResourceKind> {
        let rows = self.rows().into_iter();
        rows.filter(|row| row.state != ResourceState::Gone).map(|row| row.kind).collect()
    }

    /// What was released, in order.
    pub(crate) fn released(&self) -> Vec<String> {
        let story = self.dummy.story().into_iter();
        story.filter_map(|line| Some(line.strip_prefix("release ")?.split(' ').next()?.to_owned())).collect()
    }

    /// Nothing is there, nothing is open, no machine is remembered.
    pub(crate) async fn assert_clean(&self) {
        assert_eq!(self.dummy.observe().await.unwrap(), []);
        assert_eq!(self.open(), []);
        assert_eq!(self.journal.machines().unwrap(), []);
    }
}
