//! The live machines of a region, whoever made them, and their cost so far: for people.

use std::collections::HashMap;

use aws_sdk_ec2::types::{Instance, InstanceLifecycleType, InstanceStateName, Volume};
use jiff::{SignedDuration, Timestamp};
use model::base::clock;
use model::base::id::{MachineId, RunId};
use model::event::Teller;
use model::fault::Fault;
use model::machine::Sighting;

use crate::ec2::clients::Clients;
use crate::ec2::filters;
use crate::ec2::instances::BATCH;
use crate::ec2::platform;
use crate::ec2::prices::{PriceQuery, Prices};
use crate::ec2::purge::{self, volumes};
use crate::ec2::tags;
use crate::ec2::{instances, observe};

/// The machines of every owner in `region`, with their cost until `now` if the price is known.
pub(crate) async fn survey(
    ec2: &aws_sdk_ec2::Client,
    prices: &Prices,
    region: &str,
    now: Timestamp,
) -> Result<Vec<Sighting>, Fault> {
    let (found, volumes) = futures_util::future::try_join(
        instances::find(ec2, filters::match_tag_key(tags::OWNER)),
        volumes::list(ec2, filters::match_tag_key(tags::MACHINE)),
    )
    .await?;
    let sizes = sizes(&volumes);
    let mut sightings = Vec::new();
    for instance in &found {
        let mut sighting = sighting(instance);
        let wanted = price_query(instance, region, sizes.get(&sighting.id).copied().unwrap_or_default());
        // A missing price must not spoil the list; the price of a type is looked up once and then remembered.
        if let Some(quote) = prices.quote(&wanted, now, &Teller::silent()).await {
            let age = sighting.created_at.map(|at| clock::since(at, now));
            sighting.cost = age.map(|age| quote.cost(age));
        }
        sightings.push(sighting);
    }
    Ok(sightings)
}

/// How long after its expiry a machine may take to end by itself.
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// The same by this computer's clock: AWS refuses the calls of a computer whose clock is wrong by more.
const LATE_BY_OWN_CLOCK: SignedDuration = SignedDuration::from_mins(15);

/// Terminates the expired machines of every owner in `region`; returns each with the reason if that was refused.
pub(crate) async fn end_expired(clients: &Clients, region: &str) -> Result<Vec<(Sighting, Option<String>)>, Fault> {
    let expired = find_expired(&clients.ec2(region), clients.now()).await?;
    let ids: Vec<String> = expired.iter().map(|sighting| sighting.locator.clone()).collect();
    let mut refused = HashMap::new();
    for ids in ids.chunks(BATCH) {
        let refusals = purge::instances::terminate(&clients.ec2_deletes(region), ids).await;
        refused.extend(refusals.into_iter().map(|refusal| (refusal.id, refusal.reason)));
    }
    let with_refusal = |sighting: Sighting| {
        let why = refused.remove(&sighting.locator);
        (sighting, why)
    };
    Ok(expired.into_iter().map(with_refusal).collect())
}

/// The live machines of every owner whose expiry has passed at `now`, which is the time by the clock of AWS if that is
/// known. An instance that lacks one of the tags of our machines does not count.
async fn find_expired(ec2: &aws_sdk_ec2::Client, now: Option<Timestamp>) -> Result<Vec<Sighting>, Fault> {
    let due = now.map_or_else(|| Timestamp::now() - LATE_BY_OWN_CLOCK, |now| now - LATE);
    let ours = filters::match_tag_key(tags::EXPIRES);
    let found = instances::find(ec2, ours).await?;
    Ok(found.iter().filter(|instance| is_due(instance, due)).map(sighting).collect())
}

fn is_due(instance: &Instance, due: Timestamp) -> bool {
    let has = |key| tags::value(instance.tags(), key).is_some();
    let marked = has(tags::OWNER) && has(tags::RUN) && has(tags::STATE);
    let of_machine = tags::value(instance.tags(), tags::MACHINE).is_some_and(|id| id.parse::<MachineId>().is_ok());
    let live = instances::state(instance) != InstanceStateName::ShuttingDown;
    let over = observe::expiry(instance.tags()).is_some_and(|expires| expires <= due);
    marked && of_machine && live && over
}

/// The total size of each machine's volumes, in GiB.
fn sizes(volumes: &[Volume]) -> HashMap<String, u64> {
    let mut sizes = HashMap::new();
    for volume in volumes {
        if let Some(machine) = tags::value(volume.tags(), tags::MACHINE) {
            *sizes.entry(machine.to_owned()).or_default() += u64::try_from(volume.size().unwrap_or(0)).unwrap_or(0);
        }
    }
    sizes
}

fn price_query(instance: &Instance, region: &str, volumes_gib: u64) -> PriceQuery {
    PriceQuery {
        region: region.to_owned(),
        platform: platform::of_instance(instance),
        instance_type: instance.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        spot: instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
        volumes_gib,
    }
}

fn sighting(instance: &Instance) -> Sighting {
    let tag = |key| tags::value(instance.tags(), key).map(str::to_owned);
    let locator = instance.instance_id().unwrap_or_default().to_owned();
    let time = |at: &aws_smithy_types::DateTime| Timestamp::from_second(at.secs()).ok();
    Sighting {
        id: tag(tags::MACHINE).or_else(|| tag(tags::NAME)).unwrap_or_else(|| locator.clone()),
        image: instance.image_id().unwrap_or_default().to_owned(),
        hardware: instance.instance_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        owner: tags::owner(instance.tags()).map(str::to_owned),
        run: tag(tags::RUN).and_then(|text| text.parse::<RunId>().ok()),
        state: instances::state(instance).as_str().to_owned(),
        created_at: instance.launch_time().and_then(time),
        expires_at: tag(tags::EXPIRES).and_then(|text| text.parse().ok()),
        cost: None,
        locator,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::Tag;

    use super::*;

    #[test]
    fn a_machine_is_shown_as_its_tags_say() {
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let instance = Instance::builder()
            .instance_id("i-1")
            .tags(tag(tags::MACHINE, "hg-0123456789"))
            .tags(tag(tags::OWNER, "ann@home"))
            .tags(tag(tags::EXPIRES, "2026-11-20T10:00:00Z"))
            .launch_time(aws_smithy_types::DateTime::from_secs(60))
            .build();
        let seen = sighting(&instance);
        assert_eq!((seen.id.as_str(), seen.owner.as_deref()), ("hg-0123456789", Some("ann@home")));
        assert_eq!(seen.created_at.map(Timestamp::as_second), Some(60));
        assert!(seen.expires_at.is_some() && seen.run.is_none());
        assert_eq!(sighting(&Instance::builder().instance_id("i-2").build()).id, "i-2");
    }

    #[test]
    fn only_a_whole_machine_of_ours_is_ended_for_its_age() {
        let due: Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let whole = [
            (tags::MACHINE, "hg-0123456789"),
            (tags::OWNER, "ann@home"),
            (tags::RUN, "r"),
            (tags::STATE, "s"),
            (tags::EXPIRES, "2026-11-20T10:00:00Z"),
        ];
        let instance = |marks: &[(&str, &str)]| {
            let tags = marks.iter().map(|(key, value)| Tag::builder().key(*key).value(*value).build()).collect();
            Instance::builder().instance_id("i-1").set_tags(Some(tags)).build()
        };
        assert!(is_due(&instance(&whole), due));
        assert!(!is_due(&instance(&whole), due - SignedDuration::from_secs(1)), "its time is ahead");
        for at in 0..whole.len() {
            let mut lacking = whole.to_vec();
            let (key, _) = lacking.remove(at);
            assert!(!is_due(&instance(&lacking), due), "without `{key}`");
        }
    }

    #[test]
    fn the_sizes_of_a_machines_volumes_add_up() {
        let volume = |machine: &str, size| {
            let tag = Tag::builder().key(tags::MACHINE).value(machine).build();
            Volume::builder().size(size).tags(tag).build()
        };
        let sizes = sizes(&[volume("hg-a", 12), volume("hg-a", 8), volume("hg-b", 10), Volume::builder().build()]);
        assert_eq!((sizes["hg-a"], sizes["hg-b"], sizes.len()), (20, 10, 2));
    }
}
