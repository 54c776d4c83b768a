//! Removing the resource of a journal row, and checking that it is gone.
//!
//! An instance takes its volumes, interfaces and spot request with it, so for their rows a check is usually enough.
//! Resources that machines share stay ([`Fate::Kept`]). Where the journal has no locator, a resource is found by the
//! tag that it got from the same call that made it.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{
    CancelSpotInstanceRequestState, Filter, NetworkInterfaceStatus, SpotInstanceState, VolumeState,
};
use jiff::Timestamp;
use model::base::deadline::{Deadline, Pace};
use model::base::id::ResourceId;
use model::fault::Fault;
use model::resource::{Fate, Resource, ResourceKind};

use crate::ec2::clients::Clients;
use crate::ec2::filters;
use crate::ec2::instances::{self, Termination};
use crate::ec2::tags::{self, RowName};
use crate::ec2::trouble::{self, Class};
use crate::ec2::{images, purge};

/// How long after the call of its launch a resource may exist without being known to EC2. The longest time observed was
/// three seconds.
pub(crate) const UNKNOWN_LIMIT: Duration = Duration::from_secs(20);

/// How long after its planning a resource that was not found may still turn up: the launch comes after the planning,
/// and is tried again in other zones and while AWS does not know parts of the account everywhere.
pub(crate) const TURN_UP_LIMIT: Duration = Duration::from_secs(180);

/// The pause between two searches for an unknown resource.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(1);

/// How long a part of an instance may take to go after the instance.
const PART_LIMIT: Duration = Duration::from_secs(60);

/// The first and the longest pause between two polls of such a part.
const PART_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How long one resource of the kind may take to go away; more than the sum of the waits in this file.
pub(crate) fn limit(kind: ResourceKind) -> Duration {
    match kind {
        ResourceKind::Instance => instances::END_LIMIT + Duration::from_secs(60),
        ResourceKind::MachineImage | ResourceKind::Snapshot => Duration::from_secs(300),
        _ => Duration::from_secs(90),
    }
}

/// A row that is being released, with the client of its region.
struct JournalRow<'a> {
    ec2: aws_sdk_ec2::Client,
    resource: &'a Resource,
    name: RowName,
    /// Until when a resource that is not found may still turn up.
    turns_up: Deadline,
}

/// Removes `resource`. `launch` is the time of the last call to launch its machine, as far as it is known; `None` if
/// the launch was refused or never begun.
pub(crate) async fn release(
    clients: &Clients,
    account: &str,
    resource: &Resource,
    launch: Option<Timestamp>,
) -> Result<Fate, Fault> {
    let name: RowName = resource
        .name
        .parse()
        .map_err(|error| Fault::infrastructure("cannot read a row of the journal").because(error))?;
    if name.account != account {
        return Ok(Fate::Remains(format!("it is in account {}; these credentials are for {account}", name.account)));
    }
    let region = name.region.clone().unwrap_or_else(|| clients.region().to_owned());
    let ec2 = clients.ec2(&region);
    let rest = launch.map_or(Duration::ZERO, |called| remaining_wait(called, Timestamp::now()));
    let turns_up = Deadline::after(rest, "a new instance to be known");
    let row = JournalRow { ec2, resource, name, turns_up };
    match resource.kind {
        ResourceKind::Instance => row.instance().await,
        ResourceKind::Volume => row.volume().await,
        ResourceKind::NetworkInterface => row.interface().await,
        ResourceKind::SpotRequest => row.spot_request().await,
        ResourceKind::KeyPair => row.key_pair().await,
        ResourceKind::SecurityGroup => row.security_group().await,
        ResourceKind::Role => row.role(clients).await,
        ResourceKind::InstanceProfile => row.profile(clients).await,
        ResourceKind::MachineImage | ResourceKind::Snapshot => images::fate(clients, resource).await,
        kind => Err(Fault::infrastructure(format!("EC2 has no resource of the kind `{}`", kind.name()))),
    }
}

/// Terminates the instances among `resources` whose ids are known, with as few calls as possible in each region,
/// without waiting for their end; gives the rows of those for which EC2 has accepted it. Those of other accounts are skipped; a
/// refusal is reported by [`release`], which tries again.
pub(crate) async fn end_all(clients: &Clients, account: &str, resources: &[Resource]) -> Vec<ResourceId> {
    let mut told = Vec::new();
    for (region, ids) in by_region(clients.region(), account, resources) {
        let ec2 = clients.ec2(&region);
        for batch in ids.chunks(instances::BATCH) {
            let refusals = purge::instances::terminate(&ec2, batch).await;
            let refused = |id: &String| refusals.iter().any(|refusal| refusal.id == *id);
            told.extend(batch.iter().filter(|id| !refused(id)).cloned());
        }
    }
    let is_told = |row: &&Resource| {
        row.kind == ResourceKind::Instance && row.locator.as_ref().is_some_and(|id| told.contains(id))
    };
    resources.iter().filter(is_told).map(|row| row.id.clone()).collect()
}

/// The ids of the instances of `account` among `resources`, by region; `home` is the region of rows that name none.
fn by_region(home: &str, account: &str, resources: &[Resource]) -> BTreeMap<String, Vec<String>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in resources.iter().filter(|resource| resource.kind == ResourceKind::Instance) {
        let Ok(name) = resource.name.parse::<RowName>() else { continue };
        if let Some(id) = resource.locator.as_ref().filter(|_| name.account == account) {
            ids.entry(name.region.unwrap_or_else(|| home.to_owned())).or_default().push(id.clone());
        }
    }
    ids
}

/// How long a resource whose launch was called at `called` may still turn up.
fn remaining_wait(called: Timestamp, now: Timestamp) -> Duration {
    UNKNOWN_LIMIT.saturating_sub(now.duration_since(called).unsigned_abs())
}

/// The state of a part of an instance.
enum PartState {
    /// It does not exist.
    Gone,
    /// Nothing uses it: the things with these ids can be deleted.
    Idle(Vec<String>),
    /// Something still uses it, or it is being deleted.
    Busy(String),
}

impl JournalRow<'_> {
    fn locator(&self) -> Option<&str> {
        self.resource.locator.as_deref()
    }

    /// The filter for the resource: its id, or else the tag of its machine. A filter that matches nothing is not an
    /// error, unlike an unknown id.
    fn filter(&self, id: &str) -> Filter {
        match self.locator() {
            Some(locator) => filters::match_value(id, locator),
            None => filters::match_tag(tags::MACHINE, self.resource.machine.as_str()),
        }
    }

    async fn instance(&self) -> Result<Fate, Fault> {
        loop {
            let ids = match self.locator() {
                Some(id) => vec![id.to_owned()],
                None => self.find_instances().await?,
            };
            if !ids.is_empty() {
                match instances::terminate(&self.ec2, &ids).await? {
                    Termination::Seen => return Ok(Fate::Gone),
                    Termination::Waiting(which) => {
                        return Ok(Fate::Remains(format!("it was told to end, and {which}")));
                    }
                    Termination::Unknown => {}
                }
            }
            if self.turns_up.remaining() < UNKNOWN_PAUSE {
                return Ok(Fate::Gone);
            }
            tokio::time::sleep(UNKNOWN_PAUSE).await;
        }
    }

    async fn find_instances(&self) -> Result<Vec<String>, Fault> {
        let found = instances::find(&self.ec2, self.filter("instance-id")).await?;
        Ok(found.into_iter().filter_map(|instance| instance.instance_id).collect())
    }

    async fn volume(&self) -> Result<Fate, Fault> {
        let look = || async {
            let call = self.ec2.describe_volumes().filters(self.filter("volume-id"));
            let found = call.send().await.map_err(|error| trouble::fault("look for the machine's volumes", error))?;
            let of = |volume: &aws_sdk_ec2::types::Volume| {
                let idle = volume.state() == Some(&VolumeState::Available);
                let state = volume.state().map_or("of unknown state", VolumeState::as_str).to_owned();
                volume.volume_id.clone().map(|id| (id, idle, state))
            };
            Ok(part_state(found.volumes().iter().filter_map(of).collect()))
        };
        let delete = |id: String| async move {
            let deleted = self.ec2.delete_volume().volume_id(&id).send().await.map(drop);
            deleted.or_else(|error| accept_missing(&format!("delete the volume `{id}`"), error))
        };
        until_gone(look, delete).await
    }

    async fn interface(&self) -> Result<Fate, Fault> {
        let look = || async {
            let call = self.ec2.describe_network_interfaces().filters(self.filter("network-interface-id"));
            let found =
                call.send().await.map_err(|error| trouble::fault("look for the machine's interfaces", error))?;
            let of = |interface: &aws_sdk_ec2::types::NetworkInterface| {
                let idle = interface.status() == Some(&NetworkInterfaceStatus::Available);
                let state = interface.status().map_or("of unknown state", NetworkInterfaceStatus::as_str).to_owned();
                interface.network_interface_id.clone().map(|id| (id, idle, state))
            };
            Ok(part_state(found.network_interfaces().iter().filter_map(of).collect()))
        };
        let delete = |id: String| async move {
            let deleted = self.ec2.delete_network_interface().network_interface_id(&id).send().await.map(drop);
            deleted.or_else(|error| accept_missing(&format!("delete the network interface `{id}`"), error))
        };
        until_gone(look, delete).await
    }

    async fn spot_request(&self) -> Result<Fate, Fault> {
        let look = || async {
            let call = self.ec2.describe_spot_instance_requests().filters(self.filter("spot-instance-request-id"));
            let found =
                call.send().await.map_err(|error| trouble::fault("look for the machine's spot request", error))?;
            let of = |request: &aws_sdk_ec2::types::SpotInstanceRequest| match request.state() {
                Some(SpotInstanceState::Cancelled | SpotInstanceState::Closed | SpotInstanceState::Failed) => None,
                _ => request.spot_instance_request_id.clone().map(|id| (id, true, String::new())),
            };
            Ok(part_state(found.spot_instance_requests().iter().filter_map(of).collect()))
        };
        let cancel = |id: String| async move {
            let cancelled = self.ec2.cancel_spot_instance_requests().spot_instance_request_ids(&id).send().await;
            match cancelled {
                Ok(answer) => answer
                    .cancelled_spot_instance_requests()
                    .iter()
                    .all(|request| request.state() != Some(&CancelSpotInstanceRequestState::Open))
                    .then_some(())
                    .ok_or_else(|| Fault::infrastructure(format!("the spot request `{id}` stays open"))),
                Err(error) => accept_missing(&format!("cancel the spot request `{id}`"), error),
            }
        };
        until_gone(look, cancel).await
    }

    fn kept(&self, locator: Option<String>) -> Fate {
        match locator {
            Some(locator) => Fate::Kept(locator),
            None => Fate::Gone,
        }
    }

    async fn key_pair(&self) -> Result<Fate, Fault> {
        let filter = filters::match_value("key-name", &self.name.name);
        let found = self.ec2.describe_key_pairs().filters(filter).send().await;
        let found = found.map_err(|error| trouble::fault("look for our key pair", error))?;
        Ok(self.kept(found.key_pairs().first().and_then(|pair| pair.key_pair_id.clone())))
    }

    async fn security_group(&self) -> Result<Fate, Fault> {
        let filter = filters::match_value("group-name", &self.name.name);
        let found = self.ec2.describe_security_groups().filters(filter).send().await;
        let found = found.map_err(|error| trouble::fault("look for our security group", error))?;
        Ok(self.kept(found.security_groups().first().and_then(|group| group.group_id.clone())))
    }

    async fn role(&self, clients: &Clients) -> Result<Fate, Fault> {
        match clients.iam().get_role().role_name(&self.name.name).send().await {
            Ok(_) => Ok(Fate::Kept(self.name.name.clone())),
            Err(error) if trouble::class(&error) == Class::NotFound => Ok(Fate::Gone),
            Err(error) => Err(trouble::fault("look for our role", error)),
        }
    }

    async fn profile(&self, clients: &Clients) -> Result<Fate, Fault> {
        match clients.iam().get_instance_profile().instance_profile_name(&self.name.name).send().await {
            Ok(_) => Ok(Fate::Kept(self.name.name.clone())),
            Err(error) if trouble::class(&error) == Class::NotFound => Ok(Fate::Gone),
            Err(error) => Err(trouble::fault("look for our instance profile", error)),
        }
    }
}

/// The state of the resources that were found of one kind, each `(id, whether nothing uses it, its state)`.
fn part_state(found: Vec<(String, bool, String)>) -> PartState {
    if found.is_empty() {
        return PartState::Gone;
    }
    let busy: Vec<String> =
        found.iter().filter(|(_, idle, _)| !idle).map(|(id, _, state)| format!("{id} is {state}")).collect();
    match busy.is_empty() {
        true => PartState::Idle(found.into_iter().map(|(id, ..)| id).collect()),
        false => PartState::Busy(busy.join(", ")),
    }
}

/// Accepts a refusal because the resource is missing or still in use: the next poll decides.
fn accept_missing<E, R>(doing: &str, error: aws_sdk_ec2::error::SdkError<E, R>) -> Result<(), Fault>
where
    E: aws_sdk_ec2::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match trouble::class(&error) {
        Class::NotFound | Class::Dependency => Ok(()),
        _ => Err(trouble::fault(doing, error)),
    }
}

/// Deletes the idle resources and waits for the busy ones, until all are gone.
async fn until_gone<L, D>(look: impl Fn() -> L, delete: impl Fn(String) -> D) -> Result<Fate, Fault>
where
    L: Future<Output = Result<PartState, Fault>>,
    D: Future<Output = Result<(), Fault>>,
{
    let deadline = Deadline::after(PART_LIMIT, "a part of the machine to go");
    let mut pace = Pace::new(PART_PAUSES);
    loop {
        let why = match look().await? {
            PartState::Gone => return Ok(Fate::Gone),
            PartState::Idle(ids) => {
                for id in &ids {
                    delete(id.clone()).await?;
                }
                format!("{} is being deleted", ids.join(", "))
            }
            PartState::Busy(why) => why,
        };
        if deadline.remaining() < pace.next() {
            return Ok(Fate::Remains(why));
        }
        pace.pause().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_deleted_only_when_nothing_uses_any_of_it() {
        let found = |idle| ("vol-1".to_owned(), idle, "in-use".to_owned());
        assert!(matches!(part_state(vec![]), PartState::Gone));
        assert!(matches!(part_state(vec![found(true)]), PartState::Idle(ids) if ids == ["vol-1"]));
        assert!(
            matches!(part_state(vec![found(true), found(false)]), PartState::Busy(why) if why == "vol-1 is in-use")
        );
    }

    #[test]
    fn what_ends_at_once_is_of_this_account_and_each_in_its_region() {
        let row = |kind, name: &str, locator: Option<&str>| Resource {
            id: model::base::id::ResourceId::random(),
            run: model::base::id::RunId::new(Timestamp::UNIX_EPOCH),
            machine: model::base::id::MachineId::random(),
            provider: model::machine::ProviderKind::Ec2,
            kind,
            name: name.to_owned(),
            locator: locator.map(str::to_owned),
            state: model::resource::ResourceState::Present,
            planned_at: Timestamp::UNIX_EPOCH,
            gone_at: None,
            note: None,
        };
        let rows = [
            row(ResourceKind::Instance, "111111111111/us-west-2/hg-a", Some("i-1")),
            row(ResourceKind::Instance, "111111111111/us-east-1/hg-b", Some("i-2")),
            row(ResourceKind::Instance, "111111111111/us-west-2/hg-c", Some("i-3")),
            row(ResourceKind::Instance, "222222222222/us-west-2/hg-d", Some("i-4")),
            row(ResourceKind::Instance, "111111111111/us-west-2/hg-e", None),
            row(ResourceKind::Volume, "111111111111/us-west-2/hg-a-root", Some("vol-1")),
        ];
        let wanted = [("us-east-1", vec!["i-2"]), ("us-west-2", vec!["i-1", "i-3"])];
        let wanted = wanted.map(|(region, ids)| (region.to_owned(), ids.into_iter().map(str::to_owned).collect()));
        assert_eq!(by_region("us-west-2", "111111111111", &rows), BTreeMap::from(wanted));
    }

    #[test]
    fn a_launch_turns_up_some_time_after_its_call() {
        let called: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        let after = |seconds| remaining_wait(called, called + jiff::SignedDuration::from_secs(seconds));
        assert_eq!((after(0), after(5), after(60)), (UNKNOWN_LIMIT, Duration::from_secs(15), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_idle_is_deleted_and_looked_after() {
        let exists = std::sync::atomic::AtomicBool::new(true);
        let look = || async {
            let exists = exists.load(std::sync::atomic::Ordering::Relaxed);
            Ok(if exists { PartState::Idle(vec!["vol-1".to_owned()]) } else { PartState::Gone })
        };
        let delete = |_| async {
            exists.store(false, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        };
        assert_eq!(until_gone(look, delete).await.unwrap(), Fate::Gone);
    }
}
