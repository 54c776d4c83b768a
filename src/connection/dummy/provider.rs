//! Machines and images in memory, for tests and dry runs; every call can be made to fail.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use model::base::id::MachineId;
use model::connection::Connection;
use model::event::{Awaited, ImageEvent, Teller};
use model::fault::Fault;
use model::image::{Fingerprint, ImagePlan, ImageRecord, LayerPlan, LayerRecord, SnapshotOrder};
use model::machine::{Address, HostKey, Machine, Platform, ProviderKind};
use model::price::Quote;
use model::provider::ability::{Notice, Notices, Pricing, Renew};
use model::provider::{
    Abilities, Confirm, ImageStore, LeaseKeeper, Ledger, MachineRequest, MadeLayer, Provider, TakenSnapshot,
};
use model::resource::{Fate, ObservedResource, PlannedResource, Resource, ResourceKind};

/// A call that a dummy can be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderCall {
    /// [`Provider::create`], after it has made the resources up to and including this kind.
    CreateAfter(ResourceKind),
    /// [`Provider::create`], before it makes anything.
    Create,
    /// [`Renew::renew`].
    Renew,
    /// [`Provider::release`] of this kind.
    Release(ResourceKind),
    /// [`Provider::observe`].
    Observe,
    /// [`ImageStore::make_base`], after it has made its sandbox.
    MakeBase,
    /// [`ImageStore::commit`].
    Commit,
    /// [`ImageStore::take_snapshot`], after it has begun a copy.
    TakeSnapshot,
}

#[derive(Default)]
struct ProviderState {
    present: BTreeMap<(MachineId, &'static str), ObservedResource>,
    leases: HashMap<MachineId, Timestamp>,
    orders: Vec<(ProviderCall, String)>,
    refused_releases: HashMap<ResourceKind, String>,
    story: Vec<String>,
    layers: BTreeMap<Fingerprint, LayerRecord>,
    images: Vec<ImageRecord>,
    locks: HashMap<Fingerprint, Arc<tokio::sync::Mutex<()>>>,
    price: Option<Quote>,
    seconds: Option<u64>,
    /// Notices for the next machines, each with how long after the first connection it is given; and those of machines.
    ordered_notices: VecDeque<(Duration, Notice)>,
    notices: HashMap<MachineId, (Duration, Notice)>,
}

/// A provider and an image store in memory. Clones share their state.
#[derive(Clone, Default)]
pub struct DummyProvider {
    inner: Arc<Mutex<ProviderState>>,
}

impl DummyProvider {
    /// A dummy that has nothing and fails at nothing.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, ProviderState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the next such call fail with `message`.
    pub fn fail(&self, call: ProviderCall, message: &str) {
        self.inner().orders.push((call, message.to_owned()));
    }

    /// Makes the records of layers say that baking took `seconds`.
    pub fn set_bake_seconds(&self, seconds: u64) {
        self.inner().seconds = Some(seconds);
    }

    /// Makes the release of every resource of `kind` fail for this reason.
    pub fn refuse_release(&self, kind: ResourceKind, reason: &str) {
        self.inner().refused_releases.insert(kind, reason.to_owned());
    }

    /// The calls in order: `create ID`, `renew ID`, `release KIND ID`, `base NAME`, `commit NAME`.
    pub fn story(&self) -> Vec<String> {
        self.inner().story.clone()
    }

    /// The time until which a machine lives.
    pub fn lease(&self, machine: &MachineId) -> Option<Timestamp> {
        self.inner().leases.get(machine).copied()
    }

    /// Ends a machine from outside, as its guard does when the lease is over: all its resources are gone.
    pub fn end(&self, machine: &MachineId) {
        let mut inner = self.inner();
        inner.present.retain(|(id, _), _| id != machine);
        inner.leases.remove(machine);
    }

    /// Gives notice that the next machine is taken back, so long after work on it began; several are given to one machine after another.
    pub fn take_back(&self, after: Duration, notice: Notice) {
        self.inner().ordered_notices.push_back((after, notice));
    }

    /// Sets the price of every machine.
    pub fn charge(&self, price: Quote) {
        self.inner().price = Some(price);
    }

    /// Fails where [`DummyProvider::fail`] asked for that, once.
    fn fail_if_requested(&self, call: ProviderCall) -> Result<(), Fault> {
        let mut inner = self.inner();
        match inner.orders.iter().position(|(ordered, _)| *ordered == call) {
            Some(index) => Err(Fault::infrastructure(inner.orders.remove(index).1)),
            None => Ok(()),
        }
    }

    fn tell(&self, line: String) {
        self.inner().story.push(line);
    }

    /// Makes the planned resources one by one.
    fn make(&self, planned: &[PlannedResource], confirm: Confirm<'_>) -> Result<(), Fault> {
        for plan in planned {
            let locator = format!("dummy {}", plan.name);
            let observed = ObservedResource {
                kind: plan.kind,
                machine: plan.machine.clone(),
                name: plan.name.clone(),
                locator: locator.clone(),
                expires_at: None,
                lease: None,
                elsewhere: false,
            };
            self.inner().present.insert((plan.machine.clone(), plan.kind.name()), observed);
            confirm(plan.kind, &plan.name, &locator)?;
            self.fail_if_requested(ProviderCall::CreateAfter(plan.kind))?;
        }
        Ok(())
    }
}

fn name_all(machine: &MachineId, kinds: &[ResourceKind]) -> Vec<PlannedResource> {
    let plan = |kind: &ResourceKind| {
        let name = format!("{machine}/{}", kind.name());
        PlannedResource { machine: machine.clone(), kind: *kind, name }
    };
    kinds.iter().map(plan).collect()
}

#[async_trait]
impl Provider for DummyProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Dummy
    }

    fn abilities(&self) -> Abilities<'_> {
        Abilities { pricing: Some(self), notices: Some(self), ..Abilities::default() }
    }

    fn lease_keeper(&self) -> LeaseKeeper<'_> {
        LeaseKeeper::Provider(self)
    }

    fn plan(&self, request: &MachineRequest) -> Vec<PlannedResource> {
        use ResourceKind::{LoopDevice, Mount, Namespace, Process, Rootfs};
        let mut kinds = vec![Rootfs, Process, Namespace, Mount];
        if request.volume.is_some() {
            kinds.insert(1, LoopDevice);
        }
        name_all(&request.id, &kinds)
    }

    async fn create(&self, request: &MachineRequest, confirm: Confirm<'_>, _: &Teller) -> Result<Machine, Fault> {
        self.tell(format!("create {}", request.id));
        self.fail_if_requested(ProviderCall::Create)?;
        self.make(&self.plan(request), confirm)?;
        let lease = (request.now + request.grace).min(request.expires_at);
        let mut inner = self.inner();
        inner.leases.insert(request.id.clone(), lease);
        if let Some(notice) = inner.ordered_notices.pop_front() {
            inner.notices.insert(request.id.clone(), notice);
        }
        drop(inner);
        Ok(Machine {
            id: request.id.clone(),
            provider: ProviderKind::Dummy,
            platform: request.platform,
            run: request.run.clone(),
            owner: request.owner.clone(),
            image: request.image.clone(),
            address: Address::Tcp { host: request.id.to_string(), port: 22 },
            user: request.user.clone(),
            identity: "dummy-identity".into(),
            host_key: HostKey::Exact { public: "ssh-ed25519 dummy".to_owned() },
            volume: request.volume.map(|_| "/dev/dummy".to_owned()),
            hardware: None,
            created_at: request.now,
            expires_at: request.expires_at,
            name: None,
            kept: false,
            idle: request.idle,
        })
    }

    fn boot_limit(&self, _: Platform) -> Duration {
        Duration::from_secs(60)
    }

    fn release_limit(&self, _: ResourceKind) -> Duration {
        Duration::from_secs(60)
    }

    async fn release(&self, resource: &Resource) -> Result<Fate, Fault> {
        self.tell(format!("release {} {}", resource.kind.name(), resource.machine));
        self.fail_if_requested(ProviderCall::Release(resource.kind))?;
        let mut inner = self.inner();
        if let Some(reason) = inner.refused_releases.get(&resource.kind) {
            return Ok(Fate::Remains(reason.clone()));
        }
        inner.present.remove(&(resource.machine.clone(), resource.kind.name()));
        if resource.kind == ResourceKind::Process {
            inner.leases.remove(&resource.machine);
        }
        Ok(Fate::Gone)
    }

    async fn observe(&self) -> Result<Vec<ObservedResource>, Fault> {
        self.fail_if_requested(ProviderCall::Observe)?;
        Ok(self.inner().present.values().cloned().collect())
    }

    async fn console(&self, machine: &MachineId) -> Option<String> {
        Some(format!("dummy console of {machine}"))
    }
}

#[async_trait]
impl Pricing for DummyProvider {
    async fn quote(&self, _: &MachineRequest, _: &Teller) -> Option<Quote> {
        self.inner().price.clone()
    }

    async fn price(&self, _: &Machine, _: &Teller) -> Option<Quote> {
        self.inner().price.clone()
    }
}

#[async_trait]
impl Notices for DummyProvider {
    fn may_give(&self, machine: &Machine) -> bool {
        self.inner().notices.contains_key(&machine.id)
    }

    async fn wait_for_notice(&self, machine: &Machine, _: &dyn Connection) -> Result<Option<Notice>, Fault> {
        let Some((after, notice)) = self.inner().notices.get(&machine.id).cloned() else { return Ok(None) };
        tokio::time::sleep(after).await;
        Ok(Some(notice))
    }
}

#[async_trait]
impl Renew for DummyProvider {
    async fn renew(&self, machine: &Machine, until: Timestamp) -> Result<(), Fault> {
        self.tell(format!("renew {}", machine.id));
        self.fail_if_requested(ProviderCall::Renew)?;
        match self.inner().leases.get_mut(&machine.id) {
            Some(lease) => *lease = until.min(machine.expires_at),
            None => return Err(Fault::infrastructure(format!("machine `{}` has ended", machine.id))),
        }
        Ok(())
    }
}

#[async_trait]
impl ImageStore for DummyProvider {
    fn keeps_whole(&self) -> bool {
        false
    }

    /// Nothing is known to fail: memory has room.
    fn prepare(&self, _: &[LayerPlan]) -> Result<(), Fault> {
        Ok(())
    }

    async fn count_present(&self, plan: &ImagePlan) -> Result<usize, Fault> {
        let inner = self.inner();
        Ok(plan.layers.iter().take_while(|layer| inner.layers.contains_key(&layer.fingerprint)).count())
    }

    async fn lock(&self, layer: &Fingerprint, teller: &Teller) -> Result<Box<dyn Send + Sync>, Fault> {
        let lock = self.inner().locks.entry(layer.clone()).or_default().clone();
        let held = match lock.clone().try_lock_owned() {
            Ok(held) => held,
            Err(_) => {
                teller.tell(ImageEvent::WaitingForProcess { awaited: Awaited::Layer(layer.clone()) });
                lock.lock_owned().await
            }
        };
        Ok(Box::new(held))
    }

    fn plan_base(&self, machine: &MachineId) -> Vec<PlannedResource> {
        name_all(machine, &[ResourceKind::Rootfs, ResourceKind::Process])
    }

    async fn make_base(
        &self,
        layer: &LayerPlan,
        machine: &MachineId,
        _: Duration,
        confirm: Confirm<'_>,
        _: &Teller,
    ) -> Result<(), Fault> {
        self.tell(format!("base {}", layer.name));
        self.make(&self.plan_base(machine), confirm)?;
        self.fail_if_requested(ProviderCall::MakeBase)?;
        self.inner().present.remove(&(machine.clone(), ResourceKind::Process.name()));
        Ok(())
    }

    async fn commit(&self, made: &MadeLayer<'_>, _: &dyn Ledger, _: &Teller) -> Result<LayerRecord, Fault> {
        let MadeLayer { layer, machine, took, .. } = *made;
        self.tell(format!("commit {}", layer.name));
        self.fail_if_requested(ProviderCall::Commit)?;
        let mut inner = self.inner();
        let has = |kind: ResourceKind| inner.present.contains_key(&(machine.clone(), kind.name()));
        if has(ResourceKind::Process) || !has(ResourceKind::Rootfs) {
            return Err(Fault::infrastructure(format!("machine `{machine}` still runs, or its files are gone")));
        }
        let record = LayerRecord {
            name: layer.name.clone(),
            fingerprint: layer.fingerprint.clone(),
            created_at: Timestamp::UNIX_EPOCH,
            seconds: inner.seconds.unwrap_or(took.as_secs()),
            bytes: 4096,
        };
        inner.layers.insert(layer.fingerprint.clone(), record.clone());
        Ok(record)
    }

    async fn expected_seconds(&self, plan: &ImagePlan) -> BTreeMap<String, u64> {
        plan.expected_seconds(self.inner().images.clone())
    }

    async fn finish(&self, plan: &ImagePlan, now: Timestamp) -> Result<ImageRecord, Fault> {
        let mut inner = self.inner();
        let layers: Vec<LayerRecord> =
            plan.layers.iter().filter_map(|layer| inner.layers.get(&layer.fingerprint).cloned()).collect();
        if layers.len() != plan.layers.len() {
            return Err(Fault::infrastructure(format!("image `{}` lacks layers", plan.name)));
        }
        let record = ImageRecord {
            name: plan.name.clone(),
            distro: plan.distro.clone(),
            fingerprint: plan.fingerprint(),
            layers,
            created_at: now,
            owner: None,
            locator: None,
            snapshot: None,
        };
        inner.images.retain(|image| image.fingerprint != record.fingerprint);
        inner.images.insert(0, record.clone());
        Ok(record)
    }

    async fn vet_snapshot(&self, machine: &Machine) -> Result<(), Fault> {
        match self.lease(&machine.id) {
            Some(_) => Ok(()),
            None => Err(Fault::infrastructure(format!("machine `{}` has ended", machine.id))),
        }
    }

    fn plan_snapshot(&self, taken: &MachineId) -> Vec<PlannedResource> {
        name_all(taken, &[ResourceKind::Rootfs])
    }

    async fn take_snapshot(
        &self,
        order: &SnapshotOrder<'_>,
        taken: &TakenSnapshot<'_>,
        teller: &Teller,
    ) -> Result<ImageRecord, Fault> {
        self.tell(format!("snapshot {}", order.machine.id));
        self.make(&self.plan_snapshot(taken.id), taken.confirm)?;
        self.fail_if_requested(ProviderCall::TakeSnapshot)?;
        let layer = LayerRecord {
            name: "snapshot".to_owned(),
            fingerprint: Fingerprint::random(),
            created_at: teller.now(),
            seconds: 0,
            bytes: 4096,
        };
        let record = ImageRecord {
            name: order.name.to_string(),
            distro: order.distro.to_owned(),
            fingerprint: layer.fingerprint.clone(),
            layers: vec![layer.clone()],
            created_at: teller.now(),
            owner: None,
            locator: None,
            snapshot: Some(order.of()),
        };
        let mut inner = self.inner();
        inner.layers.insert(layer.fingerprint.clone(), layer);
        inner.images.insert(0, record.clone());
        Ok(record)
    }

    async fn record(&self, fingerprint: &Fingerprint) -> Result<Option<ImageRecord>, Fault> {
        Ok(self.list().await?.into_iter().find(|record| record.fingerprint == *fingerprint))
    }

    async fn list(&self) -> Result<Vec<ImageRecord>, Fault> {
        Ok(self.inner().images.clone())
    }

    async fn layers(&self) -> Result<Vec<LayerRecord>, Fault> {
        Ok(self.inner().layers.values().cloned().collect())
    }

    /// Nobody: a machine boots from layers, so that the users of an image are known by its layers.
    async fn users(&self, _: &[ImageRecord]) -> Result<BTreeMap<Fingerprint, String>, Fault> {
        Ok(BTreeMap::new())
    }

    async fn remove_image(&self, fingerprint: &Fingerprint, _: bool) -> Result<(), Fault> {
        self.inner().images.retain(|image| &image.fingerprint != fingerprint);
        Ok(())
    }

    async fn remove_layer(&self, fingerprint: &Fingerprint, dry_run: bool) -> Result<(), Fault> {
        if !dry_run {
            self.inner().layers.remove(fingerprint);
        }
        Ok(())
    }

    async fn sweep(&self, _: bool) -> Result<usize, Fault> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::base::id::{ResourceId, RunId};
    use model::filesystem::Filesystem;
    use model::machine::{Caps, Hardware, Network};
    use model::resource::ResourceState;

    fn request() -> MachineRequest {
        let now = Timestamp::UNIX_EPOCH;
        MachineRequest {
            platform: Platform::Linux,
            id: MachineId::random(),
            run: RunId::new(now),
            owner: "ann@example".into(),
            image: "test".into(),
            layers: vec![],
            cloud: None,
            snapshot: false,
            hardware: Hardware::default(),
            user: "hg".into(),
            network: Network::Loopback,
            caps: Caps::default(),
            volume: Some(1),
            filesystem: Filesystem::Ext4,
            now,
            expires_at: now + Duration::from_secs(100),
            grace: Duration::from_secs(60),
            max_cost: None,
            idle: None,
        }
    }

    fn row(plan: &PlannedResource) -> Resource {
        Resource {
            id: ResourceId::random(),
            run: RunId::new(Timestamp::UNIX_EPOCH),
            machine: plan.machine.clone(),
            provider: ProviderKind::Dummy,
            kind: plan.kind,
            name: plan.name.clone(),
            locator: None,
            state: ResourceState::Planned,
            planned_at: Timestamp::UNIX_EPOCH,
            gone_at: None,
            note: None,
        }
    }

    #[tokio::test]
    async fn a_failure_on_order_leaves_what_was_made_before() {
        let dummy = DummyProvider::new();
        let request = request();
        dummy.fail(ProviderCall::CreateAfter(ResourceKind::Process), "no power");
        let error = dummy.create(&request, &|_, _, _| Ok(()), &Teller::silent()).await.unwrap_err();
        assert_eq!(error.message, "no power");
        assert_eq!(dummy.observe().await.unwrap().len(), 3);
        dummy.refuse_release(ResourceKind::Rootfs, "busy");
        for plan in dummy.plan(&request).iter().rev() {
            let fate = dummy.release(&row(plan)).await.unwrap();
            assert_eq!(fate == Fate::Gone, plan.kind != ResourceKind::Rootfs);
        }
        assert_eq!(dummy.observe().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_lease_never_goes_beyond_the_expiry() {
        let dummy = DummyProvider::new();
        let request = request();
        let machine = dummy.create(&request, &|_, _, _| Ok(()), &Teller::silent()).await.unwrap();
        dummy.renew(&machine, request.now + Duration::from_secs(500)).await.unwrap();
        assert_eq!(dummy.lease(&machine.id), Some(request.expires_at));
        dummy.end(&machine.id);
        assert!(dummy.renew(&machine, request.now).await.is_err());
    }
}
