//! Machines that keep their own lease, whose host key is replaced over the first connection, in an account that has to be
//! provisioned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use connection::dummy::Reply;
use connection::dummy::provider::DummyProvider;
use flow::lease::{Lease, LeaseEnd};
use flow::release::{ReleaseScope, release};
use jiff::Timestamp;
use model::base::id::MachineId;
use model::connection::{Connection, ConnectionError, Connector};
use model::event::Teller;
use model::exit::Exit;
use model::fault::Fault;
use model::journal::{MachineJournal, ResourceJournal};
use model::machine::{HostKey, Machine, Platform, ProviderKind};
use model::provider::ability::{Boot, RenewOnMachine, Sharing};
use model::provider::{Abilities, Confirm, LeaseKeeper, Ledger, MachineRequest, Provider};
use model::resource::{Fate, ObservedResource, PlannedResource, Resource, ResourceKind, ResourceState};
use model::task::Command;

use super::{GRACE, Theatre, with_machine};

/// A provider whose account lacks a key pair at first.
struct Cloud {
    inner: DummyProvider,
    /// Whether the key pair can be made.
    allowed: AtomicBool,
}

fn key_pair(machine: &MachineId) -> PlannedResource {
    PlannedResource { machine: machine.clone(), kind: ResourceKind::KeyPair, name: "account/region/key".into() }
}

#[async_trait]
impl Provider for Cloud {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Dummy
    }

    fn abilities(&self) -> Abilities<'_> {
        Abilities { sharing: Some(self), boot: Some(self), ..Abilities::default() }
    }

    fn lease_keeper(&self) -> LeaseKeeper<'_> {
        LeaseKeeper::Machine(self)
    }

    fn plan(&self, request: &MachineRequest) -> Vec<PlannedResource> {
        self.inner.plan(request)
    }

    async fn create(&self, request: &MachineRequest, confirm: Confirm<'_>, teller: &Teller) -> Result<Machine, Fault> {
        self.inner.create(request, confirm, teller).await
    }

    fn boot_limit(&self, _: Platform) -> Duration {
        Duration::from_secs(300)
    }

    fn release_limit(&self, _: ResourceKind) -> Duration {
        Duration::from_secs(300)
    }

    async fn release(&self, resource: &Resource) -> Result<Fate, Fault> {
        match resource.kind {
            ResourceKind::KeyPair if self.allowed.load(Ordering::SeqCst) => Ok(Fate::Kept("key-1".into())),
            ResourceKind::KeyPair => Ok(Fate::Gone),
            _ => self.inner.release(resource).await,
        }
    }

    async fn observe(&self) -> Result<Vec<ObservedResource>, Fault> {
        self.inner.observe().await
    }

    async fn console(&self, machine: &MachineId) -> Option<String> {
        self.inner.console(machine).await
    }
}

#[async_trait]
impl Sharing for Cloud {
    async fn provision(&self, request: &MachineRequest, ledger: &dyn Ledger, _: &Teller) -> Result<(), Fault> {
        let id = ledger.plan(&key_pair(&request.id))?;
        if !self.allowed.load(Ordering::SeqCst) {
            return Err(Fault::outside("not allowed to import a key pair"));
        }
        ledger.mark_kept(&id, "key-1")
    }

    async fn let_in(&self, _: &Machine, _: &dyn Ledger, _: &Teller) -> Result<(), Fault> {
        Ok(())
    }
}

#[async_trait]
impl Boot for Cloud {
    async fn settle(&self, machine: &Machine, connection: &dyn Connection) -> Result<Machine, Fault> {
        let mut process = connection.start(&Command::new("new-host-key")).await?;
        while process.next().await.is_some() {}
        match process.exit() {
            Exit::Code(0) => {}
            exit => return Err(Fault::infrastructure(format!("the host key was not replaced: {exit}"))),
        }
        Ok(Machine { host_key: HostKey::Exact { public: "ssh-ed25519 new".into() }, ..machine.clone() })
    }

    async fn wait_until_ended(&self, machine: &Machine) -> Fault {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Fault::infrastructure(format!("{} has ended: spare capacity was taken away", machine.id))
    }
}

impl RenewOnMachine for Cloud {
    fn lease_command(&self, _: &Machine, _: Timestamp) -> Result<Command, Fault> {
        Ok(Command::new("renew-lease"))
    }
}

/// A theatre of the cloud; the machine answers both commands unless told otherwise.
fn theatre(allowed: bool) -> Theatre {
    let mut theatre = Theatre::new();
    let cloud = Cloud { inner: theatre.dummy.clone(), allowed: AtomicBool::new(allowed) };
    theatre.site.provider = Arc::new(cloud);
    theatre
}

fn obedient(theatre: &Theatre) {
    theatre.remote.reply_to("new-host-key", Reply::ok());
    theatre.remote.reply_to("renew-lease", Reply::ok());
}

fn renewals(theatre: &Theatre) -> usize {
    theatre.remote.calls().iter().filter(|call| *call == "start renew-lease").count()
}

#[tokio::test(start_paused = true)]
async fn the_machine_is_remembered_with_the_key_that_it_made_itself() {
    let theatre = theatre(true);
    obedient(&theatre);
    let ended = with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |machine, _| {
        assert_eq!(machine.host_key, HostKey::Exact { public: "ssh-ed25519 new".into() });
        assert_eq!(theatre.journal.machines().unwrap(), std::slice::from_ref(machine));
        Ok(())
    })
    .await;
    ended.result.unwrap();
    assert_eq!(theatre.remote.calls().iter().filter(|call| *call == "start new-host-key").count(), 1);
    let fixture = theatre.rows().into_iter().find(|row| row.kind == ResourceKind::KeyPair).unwrap();
    assert_eq!((fixture.state, fixture.locator.as_deref()), (ResourceState::Kept, Some("key-1")));
    assert!(!theatre.released().contains(&"key_pair".to_owned()), "what all machines share is not released with one");
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_key_is_not_replaced_is_not_worked_on() {
    let theatre = theatre(true);
    theatre.remote.reply_to("new-host-key", Reply::exit(Exit::Code(1)));
    let ended: LeaseEnd<()> =
        with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |_, _| panic!("the work began"))
            .await;
    assert!(ended.result.unwrap_err().message.contains("the host key was not replaced"));
    assert_eq!(ended.left, []);
    assert_eq!(theatre.dummy.observe().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_on_the_machine_over_a_connection_that_is_made_again() {
    let theatre = theatre(true);
    obedient(&theatre);
    let ended = with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |_, _| {
        tokio::time::sleep(GRACE * 2).await;
        let before = renewals(&theatre);
        assert!((7..=8).contains(&before), "{before}");
        let lost = || ConnectionError::Lost { address: "x".into(), reason: "Wi-Fi".into() };
        theatre.remote.fail(connection::dummy::Call::Start, lost());
        tokio::time::sleep(GRACE).await;
        Ok(renewals(&theatre) - before)
    })
    .await;
    assert!(ended.result.unwrap() >= 3, "the heartbeat goes on after a lost connection");
    assert_eq!(theatre.events.count("warning cannot renew the lease"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_left_is_told_to_live_until_its_expiry() {
    let theatre = theatre(true);
    obedient(&theatre);
    let mut lease = Lease::acquire(&theatre.run, &theatre.site, &theatre.request()).await.unwrap();
    lease.connect("hg").await.unwrap().close().await;
    let machine = lease.leave().await.unwrap();
    assert!(machine.kept);
    assert_eq!(renewals(&theatre), 1);
    tokio::time::sleep(GRACE * 3).await;
    assert_eq!(renewals(&theatre), 1, "no heartbeat goes on");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_ends_while_it_boots_is_not_waited_for() {
    struct Silent;
    #[async_trait]
    impl Connector for Silent {
        async fn connect(
            &self,
            _: &Machine,
            _: &str,
            limit: Duration,
            _: bool,
        ) -> Result<Box<dyn Connection>, ConnectionError> {
            tokio::time::sleep(limit).await;
            Err(ConnectionError::TimedOut { address: "x".into(), what: "an answer".into() })
        }
    }
    let mut theatre = theatre(true);
    theatre.site.connector = Arc::new(Silent);
    let began = tokio::time::Instant::now();
    let ended: LeaseEnd<()> =
        with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |_, _| Ok(())).await;
    assert!(ended.result.unwrap_err().message.contains("spare capacity was taken away"));
    assert_eq!(began.elapsed(), Duration::from_secs(20));
    assert_eq!(ended.left, []);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_cannot_be_provisioned_gets_no_machine_and_no_open_row() {
    let theatre = theatre(false);
    let ended: LeaseEnd<()> =
        with_machine(&theatre.run, &theatre.site, &theatre.request(), None, async |_, _| Ok(())).await;
    assert!(ended.result.unwrap_err().message.contains("not allowed"));
    assert!(!theatre.dummy.story().iter().any(|line| line.starts_with("create")));
    assert!(theatre.rows().iter().all(|row| !row.is_open()), "{:?}", theatre.rows());
}

#[tokio::test(start_paused = true)]
async fn a_row_of_what_is_shared_is_closed_as_kept_where_it_is_there() {
    let theatre = theatre(true);
    let run = &theatre.run.id;
    let planned = [key_pair(&MachineId::random())];
    theatre.journal.plan(run, ProviderKind::Dummy, &planned, theatre.run.now()).unwrap();
    let provider = theatre.site.provider.as_ref();
    let rows = theatre.rows();
    let stays =
        release(provider, theatre.journal.as_ref(), rows, ReleaseScope::All, &|| theatre.run.now()).await.unwrap();
    assert_eq!(stays, []);
    let row = theatre.rows().remove(0);
    assert_eq!((row.state, row.locator.as_deref()), (ResourceState::Kept, Some("key-1")));
}
