//! A machine that somebody else made: we never create, stop or purge it. Only files on it are ours.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::base::id::MachineId;
use model::event::Teller;
use model::fault::Fault;
use model::machine::{Machine, Platform, ProviderKind};
use model::provider::ability::Horizon;
use model::provider::{Abilities, Confirm, LeaseKeeper, MachineRequest, Provider};
use model::resource::{Fate, ObservedResource, PlannedResource, Resource, ResourceKind, ResourceState};

/// The provider of machines that somebody else made; of none, where only rows of earlier runs are looked at.
pub struct HostProvider {
    machines: Vec<Machine>,
    /// Which of them each request gets: one after another, so that requests side by side share none as long as there are enough.
    given: Mutex<BTreeMap<MachineId, usize>>,
}

impl HostProvider {
    /// A provider of these machines.
    pub fn new(machines: Vec<Machine>) -> Self {
        Self { machines, given: Mutex::default() }
    }

    /// The machine for a request, always the same one.
    fn machine_for(&self, request: &MachineRequest) -> Option<&Machine> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let next = given.len();
        let number = *given.entry(request.id.clone()).or_insert(next);
        self.machines.get(number.checked_rem(self.machines.len())?)
    }
}

/// The user and the address of a machine.
fn login(machine: &Machine) -> String {
    format!("{}@{}", machine.user, machine.address)
}

/// The name of the files of a request's run on the machine.
fn files(machine: Option<&Machine>, request: &MachineRequest) -> String {
    let platform = machine.map(|machine| machine.platform).unwrap_or_default();
    format!("{}:{}", machine.map(login).unwrap_or_default(), guest::of(platform).run_folder(&request.run))
}

#[async_trait]
impl Provider for HostProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Host
    }

    fn abilities(&self) -> Abilities<'_> {
        Abilities { horizon: Some(self), ..Abilities::default() }
    }

    fn lease_keeper(&self) -> LeaseKeeper<'_> {
        LeaseKeeper::Nobody
    }

    fn plan(&self, request: &MachineRequest) -> Vec<PlannedResource> {
        let name = files(self.machine_for(request), request);
        vec![PlannedResource { machine: request.id.clone(), kind: ResourceKind::RemoteFiles, name }]
    }

    async fn create(&self, request: &MachineRequest, confirm: Confirm<'_>, _: &Teller) -> Result<Machine, Fault> {
        if request.volume.is_some() {
            return Err(Fault::usage("a machine that somebody else made is given no second volume")
                .hint("Choose `--filesystem default` or `--filesystem tmpfs`."));
        }
        let Some(machine) = self.machine_for(request) else {
            return Err(Fault::usage("provider `host` needs a machine").hint("Name it with `--host USER@HOST[:PORT]`."));
        };
        confirm(ResourceKind::RemoteFiles, &files(Some(machine), request), &login(machine))?;
        let (id, run, owner) = (request.id.clone(), request.run.clone(), request.owner.clone());
        let expires_at = request.expires_at.min(machine.expires_at);
        Ok(Machine { id, run, owner, created_at: request.now, expires_at, ..machine.clone() })
    }

    /// The machine is up already, or it is not; the time is for a slow network.
    fn boot_limit(&self, _: Platform) -> Duration {
        Duration::from_secs(60)
    }

    fn release_limit(&self, _: ResourceKind) -> Duration {
        Duration::from_secs(60)
    }

    async fn release(&self, resource: &Resource) -> Result<Fate, Fault> {
        if resource.state == ResourceState::Planned {
            return Ok(Fate::Gone); // The row is confirmed before the first connection, so that no file was written yet.
        }
        // `flow::lease` removes the files over the connection and closes the row. Here there is no connection any more.
        let reason = resource.note.clone();
        Ok(Fate::Remains(reason.unwrap_or_else(|| "the run ended before it removed them".to_owned())))
    }

    async fn observe(&self) -> Result<Vec<ObservedResource>, Fault> {
        Ok(Vec::new())
    }

    async fn console(&self, _: &MachineId) -> Option<String> {
        None
    }
}

impl Horizon for HostProvider {
    /// Files on somebody else's machine cannot be seen without a connection.
    fn can_see(&self, _: &Resource) -> bool {
        false
    }

    /// The machine is reached by its address, from any computer.
    fn is_here(&self, _: &Resource) -> bool {
        true
    }
}
