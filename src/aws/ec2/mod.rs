//! Machines on Amazon EC2.
//!
//! A machine is one instance, launched by one call that holds everything it needs ([`launch`]): tags by which it is
//! found, user data by which it ends itself and proves who it is ([`user_data`]), and shutdown that means termination.
//! Resources that all machines of an account share are reconciled before ([`shared`]) and stay.
//!
//! * [`abilities`]: what the provider can do beyond the life of a machine.
//! * [`filters`]: the filters of calls that list things.
//! * [`tags`]: the names and tags that tell our resources from everybody else's.
//! * [`clients`]: the clients of the services, one a region, with their limits.
//! * [`images`]: AMIs that were baked here.
//! * [`policy`]: the minimal permissions that each command needs.
//! * [`prices`]: what a machine costs.
//! * [`purge`]: finding and removing all our resources in an account.
//! * [`settings`]: the section `[ec2]` of the settings file.
//! * [`trouble`]: the refusals of the services, in our words.
//! * [`doctor`]: checks that can be made before a machine is requested.
//! * [`preflight`]: checks of profile, region and network, before anything else.
//! * [`address`]: from where machines may be reached.
//! * [`base_image`]: the image that an instance boots from.
//! * [`hardware`]: the instance types and volume sizes of a request.
//! * [`platform`]: what differs between operating systems.
//! * [`instances`]: describing, awaiting and terminating instances.
//! * [`release`]: removing the resource of a journal row.
//! * [`survey`]: all live machines, whoever made them.
//! * [`settle`]: the work over the first proved connection.
//! * [`notice`]: the notice that a spot instance is taken back.
//! * [`propagation`]: repeating calls on things that AWS does not know everywhere yet.
//!
//! Deliberately absent: any state in the account beyond tags, an agent on the machine, and renewal through an API. The
//! machine keeps its own lease, and its driver extends it over a connection.

mod abilities;
pub mod address;
mod attempts;
mod base_image;
pub mod clients;
pub mod doctor;
mod filters;
mod hardware;
pub mod images;
mod instances;
mod launch;
mod notice;
mod observe;
mod platform;
pub mod policy;
pub mod preflight;
pub mod prices;
mod propagation;
mod provision;
pub mod purge;
mod release;
mod rows;
pub mod settings;
mod settle;
mod shared;
mod survey;
pub mod tags;
pub mod trouble;
mod user_data;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base_image::BaseImage;
use clients::Clients;
use guest::FirstBoot;
use hardware::{bakes, gib, root_gib, types};
use ipnet::IpNet;
use jiff::Timestamp;
use launch::Launch;
use model::base::clock;
use model::base::id::MachineId;
use model::event::{ImageEvent, MachineEvent, Teller};
use model::fault::Fault;
use model::key_pair::KeyMaker;
use model::machine::{ActualHardware, Address, HostKey, Machine, Platform, ProviderKind};
use model::provider::{Abilities, Confirm, LeaseKeeper, MachineRequest, Provider};
use model::resource::{Fate, ObservedResource, PlannedResource, Resource, ResourceKind};
use platform::facts;
use prices::{PriceQuery, Prices};
use rows::{INSTANCE, INTERFACE, MachineRows, ROOT_VOLUME, SPOT_REQUEST, WORK_VOLUME};
use shared::SharedResources;
use tags::MachineTags;

pub use settings::SETTINGS;

/// The configuration of the provider.
#[derive(Clone)]
pub struct Ec2Config {
    /// The clients of AWS.
    pub clients: Arc<Clients>,
    /// The region where machines are made.
    pub region: String,
    /// The person who runs the tool: `user@host`.
    pub owner: String,
    /// The id of the state directory.
    pub state_id: String,
    /// The private key for logging in.
    pub identity: PathBuf,
    /// The public half of `identity`, one line in OpenSSH form.
    pub public_key: String,
    /// Makes host keys.
    pub host_keys: KeyMaker,
    /// The address ranges from which machines may be reached; empty for the caller's own public address.
    pub ingress: Vec<IpNet>,
    /// The URL that answers with the caller's public address; [`settings::ADDRESS_URL`] unless set otherwise.
    pub address_url: String,
    /// The people whose images machines boot from, besides the owner's.
    pub trust: images::Trust,
    /// The file that keeps prices between runs.
    pub cache: PathBuf,
}

/// The knowledge of this process about one of its own launches.
#[derive(Debug, Clone, Default)]
struct KnownLaunch {
    /// Whether an instance may exist.
    doubt: bool,
    /// When its launch was last called.
    called: Option<Timestamp>,
    /// The instance's id, once it is known.
    instance: Option<String>,
    /// The total size of its volumes, in GiB.
    volumes_gib: u64,
}

/// Makes machines on EC2.
pub struct Ec2Provider {
    config: Ec2Config,
    clients: Arc<Clients>,
    account: String,
    ranges: Vec<IpNet>,
    prices: Prices,
    /// The reconciled resources by platform, for managed machines (`true`) and for others: machines that one process makes
    /// side by side share one reconciliation.
    shared: tokio::sync::Mutex<HashMap<(Platform, bool), SharedResources>>,
    /// The ranges from which this process has made machines of a platform reachable.
    admitted: tokio::sync::Mutex<HashMap<Platform, Vec<IpNet>>>,
    known: Mutex<HashMap<MachineId, KnownLaunch>>,
}

impl Ec2Provider {
    /// The provider for `config`'s region in the account of the credentials; asks AWS for that account.
    pub async fn open(config: Ec2Config) -> Result<Self, Fault> {
        let clients = Arc::clone(&config.clients);
        let mut ranges = config.ingress.clone();
        ranges.sort();
        ranges.dedup();
        let account = clients.identity().await?.account.clone();
        let (shared, known) = (tokio::sync::Mutex::default(), Mutex::default());
        let prices = Prices::new(Arc::clone(&clients), config.cache.clone());
        Ok(Self { config, clients, account, ranges, prices, shared, admitted: tokio::sync::Mutex::default(), known })
    }

    /// The clients.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// The account's twelve digits.
    pub fn account(&self) -> &str {
        &self.account
    }

    fn ec2(&self) -> aws_sdk_ec2::Client {
        self.clients.ec2(&self.config.region)
    }

    fn place(&self) -> observe::ObservedPlace<'_> {
        observe::ObservedPlace { account: &self.account, region: &self.config.region, state_id: &self.config.state_id }
    }

    fn rows<'a>(&'a self, request: &'a MachineRequest) -> MachineRows<'a> {
        MachineRows { account: &self.account, region: &self.config.region, request }
    }

    fn price_query(&self, platform: Platform, instance_type: &str, spot: bool, volumes_gib: u64) -> PriceQuery {
        let (region, instance_type) = (self.config.region.clone(), instance_type.to_owned());
        PriceQuery { region, platform, instance_type, spot, volumes_gib }
    }

    fn update_launch(&self, machine: &MachineId, change: impl FnOnce(&mut KnownLaunch)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(known.entry(machine.clone()).or_default());
    }

    fn known_launch(&self, machine: &MachineId) -> Option<KnownLaunch> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(machine).cloned()
    }

    async fn image(&self, request: &MachineRequest) -> Result<BaseImage, Fault> {
        let region = &self.config.region;
        match (request.layers.last(), &request.cloud) {
            (Some(fingerprint), _) if !bakes(request) => {
                let (owner, trust) = (self.config.owner.clone(), self.config.trust.clone());
                let reader = images::ImageUser { owner, trust };
                base_image::of_account(&self.clients, region, &reader, &request.image, fingerprint).await
            }
            (_, Some(base)) => base_image::of_distribution(&self.clients, region, base).await,
            (_, None) => Err(Fault::usage(format!("the image `{}` has no base image on EC2", request.image))
                .hint("Choose a distribution whose table in `image.toml` has an `ec2` part.")),
        }
    }

    /// The user data for the machine's first boot, in base64, and the host key that proves the machine. A managed
    /// machine gets no keys, because nobody reaches it by SSH.
    fn first_boot(&self, request: &MachineRequest) -> Result<(String, HostKey), Fault> {
        let pair = if request.hardware.managed { None } else { Some((self.config.host_keys)()?) };
        // The lease counts from now, not from the request: finding images and reconciling the account took time since
        // then.
        let first_lease = facts(request.platform).first_lease;
        let lease = Timestamp::now().checked_add(first_lease).unwrap_or(request.expires_at);
        let user_data = user_data::encode(
            request.platform,
            &FirstBoot {
                machine: &request.id,
                user: &request.user,
                keys: pair.as_ref().map(|pair| (self.config.public_key.as_str(), pair.private.as_str())),
                lease,
                expires_at: request.expires_at,
                idle: request.idle,
            },
        )?;
        let host_key = pair.map_or(HostKey::None, |pair| HostKey::Exact { public: pair.public.trim_end().to_owned() });
        Ok((user_data, host_key))
    }

    /// Launches the instance; returns its id and how it was launched.
    async fn launch(
        &self,
        request: &MachineRequest,
        user_data: &str,
        teller: &Teller,
    ) -> Result<LaunchedInstance, Fault> {
        let reconciled = self.shared.lock().await.get(&(request.platform, request.hardware.managed)).cloned();
        let Some(shared) = reconciled else {
            return Err(Fault::infrastructure("the account was not made ready before the launch"));
        };
        let types = types(request);
        let ec2 = self.ec2();
        let (image, with_disk) = futures_util::future::try_join(self.image(request), async {
            match request.volume {
                Some(_) => instances::with_disk(&ec2, &types).await,
                None => Ok(Vec::new()),
            }
        })
        .await?;
        if let Some(made) = image.made.filter(|_| bakes(request)) {
            let age = clock::since(made, request.now);
            teller.tell(ImageEvent::StartsFrom { id: image.id.clone(), age });
        }
        let tags = MachineTags {
            machine: &request.id,
            run: &request.run,
            owner: &request.owner,
            expires_at: request.expires_at,
            state_id: &self.config.state_id,
        }
        .tags();
        let launch = Launch {
            ec2: &ec2,
            machine: &request.id,
            image: &image,
            shared: &shared,
            types: &types,
            with_disk: &with_disk,
            spot: request.hardware.spot,
            root_gib: root_gib(request),
            work_gib: request.volume.map(gib),
            user_data,
            tags: &tags,
            teller,
            doubt: &|doubt| {
                self.update_launch(&request.id, |known| {
                    known.doubt = doubt;
                    known.called = doubt.then(Timestamp::now).or(known.called);
                });
            },
        };
        let (instance, attempt) = launch.run().await?;
        self.update_launch(&request.id, |known| known.volumes_gib = launch.volumes_gib(&attempt));
        if request.hardware.spot && !attempt.spot {
            teller.machine(&request.id, MachineEvent::NoSpareCapacity);
        }
        if attempt.instance_type != *types.first().unwrap_or(&attempt.instance_type) {
            let instance_type = attempt.instance_type.clone();
            teller.machine(&request.id, MachineEvent::TypeChosen { instance_type });
        }
        let id = instance.instance_id.ok_or_else(|| Fault::infrastructure("the launched instance has no id"))?;
        let hardware = ActualHardware { instance_type: attempt.instance_type, spot: attempt.spot };
        Ok(LaunchedInstance {
            id,
            spot_request: instance.spot_instance_request_id,
            root_device: image.root_device,
            hardware,
        })
    }

    /// Confirms to the journal the parts that came with the instance, as far as EC2 lists them already.
    fn confirm_parts(
        &self,
        instance: &aws_sdk_ec2::types::Instance,
        launched: &LaunchedInstance,
        request: &MachineRequest,
        confirm: Confirm<'_>,
    ) -> Result<(), Fault> {
        let parts = observe::parts(instance);
        let root = parts.volumes.iter().find(|(device, _)| *device == launched.root_device);
        let work = parts.volumes.iter().find(|(device, _)| *device != launched.root_device);
        if let Some((_, id)) = root {
            self.rows(request).confirm(ROOT_VOLUME, id, confirm)?;
        }
        if let Some((_, id)) = work.filter(|_| request.volume.is_some()) {
            self.rows(request).confirm(WORK_VOLUME, id, confirm)?;
        }
        match parts.interfaces.first() {
            Some(id) => self.rows(request).confirm(INTERFACE, id, confirm),
            None => Ok(()),
        }
    }
}

/// An instance that was launched.
struct LaunchedInstance {
    id: String,
    spot_request: Option<String>,
    root_device: String,
    hardware: ActualHardware,
}

#[async_trait]
impl Provider for Ec2Provider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Ec2
    }

    fn abilities(&self) -> Abilities<'_> {
        Abilities {
            pricing: Some(self),
            sharing: Some(self),
            hardware: Some(self),
            volumes: None,
            memory: None,
            boot: Some(self),
            notices: Some(self),
            survey: Some(self),
            ending: Some(self),
            naming: Some(self),
            horizon: Some(self),
        }
    }

    fn lease_keeper(&self) -> LeaseKeeper<'_> {
        LeaseKeeper::Machine(self)
    }

    fn plan(&self, request: &MachineRequest) -> Vec<PlannedResource> {
        self.rows(request).all()
    }

    async fn create(&self, request: &MachineRequest, confirm: Confirm<'_>, teller: &Teller) -> Result<Machine, Fault> {
        // With this entry, a release knows that there is nothing to wait for until the launch is called.
        self.update_launch(&request.id, |_| {});
        let (user_data, host_key) = self.first_boot(request)?;
        let launched = self.launch(request, &user_data, teller).await?;
        self.update_launch(&request.id, |known| known.instance = Some(launched.id.clone()));
        self.rows(request).confirm(INSTANCE, &launched.id, confirm)?;
        if let Some(id) = &launched.spot_request {
            self.rows(request).confirm(SPOT_REQUEST, id, confirm)?;
        }
        let managed = request.hardware.managed;
        let (instance, host) = instances::until_address(&self.ec2(), &launched.id, managed).await?;
        self.confirm_parts(&instance, &launched, request, confirm)?;
        Ok(Machine {
            id: request.id.clone(),
            provider: ProviderKind::Ec2,
            platform: request.platform,
            run: request.run.clone(),
            owner: request.owner.clone(),
            image: request.image.clone(),
            address: match host {
                Some(host) if !managed => Address::Tcp { host, port: 22 },
                _ => Address::Ssm { instance: launched.id, region: self.config.region.clone() },
            },
            user: request.user.clone(),
            identity: self.config.identity.clone(),
            host_key,
            volume: request.volume.and(facts(request.platform).volume).map(str::to_owned),
            hardware: Some(launched.hardware),
            created_at: request.now,
            expires_at: request.expires_at,
            name: None,
            kept: false,
            idle: request.idle,
        })
    }

    fn boot_limit(&self, platform: Platform) -> Duration {
        facts(platform).boot_limit
    }

    fn release_limit(&self, kind: ResourceKind) -> Duration {
        release::limit(kind)
    }

    async fn release(&self, resource: &Resource) -> Result<Fate, Fault> {
        let launch = match self.known_launch(&resource.machine) {
            // This process makes the machine and knows that no instance was launched.
            Some(known) if !known.doubt && known.instance.is_none() => None,
            known => Some(known.and_then(|known| known.called).unwrap_or(resource.planned_at)),
        };
        release::release(&self.clients, &self.account, resource, launch).await
    }

    async fn observe(&self) -> Result<Vec<ObservedResource>, Fault> {
        self.place().observe(&self.ec2(), &self.config.owner, Timestamp::now()).await
    }

    async fn console(&self, machine: &MachineId) -> Option<String> {
        let ec2 = self.ec2();
        let id = match self.known_launch(machine).and_then(|known| known.instance) {
            Some(id) => id,
            None => {
                let found = instances::find(&ec2, filters::match_tag(tags::MACHINE, machine.as_str())).await.ok()?;
                found.into_iter().next()?.instance_id?
            }
        };
        instances::console(&ec2, &id).await
    }
}

#[cfg(test)]
mod tests;
