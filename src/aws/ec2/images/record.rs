//! Reading AMIs and their snapshots as our records: pure.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_ec2::types::{Image, ImageState, Snapshot as EbsSnapshot, SnapshotState, Tag};
use jiff::Timestamp;
use model::image::{Fingerprint, ImageRecord, LayerRecord, Snapshot};
use model::machine::Platform;

use crate::ec2::tags;

/// The name of the only layer that an image of an account has.
const WHOLE: &str = "image";

/// How old a snapshot must be before it can count as an orphan: a younger one may belong to an image that the listing
/// does not show yet.
const SETTLED: Duration = Duration::from_secs(600);

/// The name of the AMI for a plan's name and fingerprint. Names are unique in an account and region, and several images of one
/// plan stand side by side, so the fingerprint is a part of it.
pub(crate) fn ami_name(plan: &str, fingerprint: &Fingerprint) -> String {
    format!("{}{plan}-{}", tags::PREFIX, fingerprint.short())
}

/// The record of an AMI that this program baked; `None` for any other.
pub(crate) fn record(image: &Image) -> Option<ImageRecord> {
    let value = |key| tags::value(image.tags(), key);
    let fingerprint = Fingerprint(value(tags::FINGERPRINT)?.to_owned());
    let named = value(tags::NAME).or(image.name()).unwrap_or_default();
    let created_at = image.creation_date().and_then(|date| date.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    Some(ImageRecord {
        name: named.strip_prefix(tags::PREFIX).unwrap_or(named).to_owned(),
        distro: value(tags::DISTRO).unwrap_or_default().to_owned(),
        layers: vec![LayerRecord {
            name: WHOLE.to_owned(),
            fingerprint: fingerprint.clone(),
            created_at,
            seconds: value(tags::SECONDS).and_then(|seconds| seconds.parse().ok()).unwrap_or_default(),
            bytes: bytes(image),
        }],
        fingerprint,
        created_at,
        owner: tags::owner(image.tags()).map(str::to_owned),
        locator: image.image_id().map(str::to_owned),
        snapshot: snapshot_of(image),
    })
}

/// The tags that say what an image is the state of. Values of parameters with blanks are left out: they are text, and shape no machine.
pub(crate) fn tags_of(snapshot: &Snapshot) -> Vec<Tag> {
    let plain = snapshot.values.iter().filter(|(_, value)| !value.contains(char::is_whitespace));
    let values: Vec<String> = plain.map(|(name, value)| format!("{name}={value}")).collect();
    vec![
        tags::tag(tags::SNAPSHOT_OF, snapshot.machine.as_str()),
        tags::tag(tags::SNAPSHOT_IMAGE, &snapshot.image),
        tags::tag(tags::SNAPSHOT_LOGIN, &format!("{} {}", snapshot.platform.name(), snapshot.user)),
        tags::tag(tags::SNAPSHOT_VALUES, &values.join(" ")),
    ]
}

/// Whether the image is the state of a machine.
pub(crate) fn is_of_state(image: &Image) -> bool {
    tags::value(image.tags(), tags::SNAPSHOT_OF).is_some()
}

/// What an image is the state of, where its tags say so.
fn snapshot_of(image: &Image) -> Option<Snapshot> {
    let value = |key| tags::value(image.tags(), key).unwrap_or_default();
    let machine = tags::value(image.tags(), tags::SNAPSHOT_OF)?.parse().ok()?;
    let (platform, user) = value(tags::SNAPSHOT_LOGIN).split_once(' ')?;
    let values = value(tags::SNAPSHOT_VALUES).split(' ').filter_map(|pair| pair.split_once('='));
    Some(Snapshot {
        machine,
        image: value(tags::SNAPSHOT_IMAGE).to_owned(),
        platform: Platform::named(platform)?,
        user: user.to_owned(),
        values: values.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    })
}

/// The total size of the image's volumes, which is the most that can be billed for its snapshots.
fn bytes(image: &Image) -> u64 {
    let sizes = image.block_device_mappings().iter().filter_map(|mapping| mapping.ebs()?.volume_size());
    sizes.map(|gib| u64::try_from(gib).unwrap_or_default() << 30).sum()
}

/// The snapshots that an AMI is made of.
pub(crate) fn snapshots(image: &Image) -> Vec<String> {
    let mappings = image.block_device_mappings().iter();
    mappings.filter_map(|mapping| mapping.ebs()?.snapshot_id()).map(str::to_owned).collect()
}

/// The state of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageStatus {
    /// Machines can boot from it.
    Available,
    /// It is being made.
    Pending,
    /// It will never be available, for this reason.
    Failed(String),
    /// It does not exist.
    Gone,
}

/// The state of an image, by the service's answer.
pub(crate) fn status(image: &Image) -> ImageStatus {
    match image.state() {
        Some(ImageState::Available) => ImageStatus::Available,
        Some(ImageState::Deregistered) => ImageStatus::Gone,
        Some(state @ (ImageState::Failed | ImageState::Error | ImageState::Invalid | ImageState::Disabled)) => {
            let reason = image.state_reason().and_then(|reason| reason.message());
            ImageStatus::Failed(reason.map_or_else(|| format!("its state is `{}`", state.as_str()), str::to_owned))
        }
        _ => ImageStatus::Pending,
    }
}

/// The snapshots of `owner` that an image left behind: complete, tagged as parts of our images, and not used by an
/// image that exists or is being made.
pub(crate) fn orphans(snapshots: &[EbsSnapshot], images: &[Image], owner: &str, now: Timestamp) -> Vec<String> {
    let used: BTreeSet<String> = images.iter().flat_map(self::snapshots).collect();
    // An image that is being made does not name its snapshots yet.
    let pending: BTreeSet<&str> = images
        .iter()
        .filter(|image| status(image) == ImageStatus::Pending)
        .filter_map(|image| tags::value(image.tags(), tags::FINGERPRINT))
        .collect();
    let settled = |snapshot: &EbsSnapshot| {
        let started = snapshot.start_time().and_then(|at| Timestamp::from_second(at.secs()).ok());
        started.is_some_and(|started| now.duration_since(started).unsigned_abs() >= SETTLED && started < now)
    };
    snapshots
        .iter()
        .filter(|snapshot| snapshot.state() != Some(&SnapshotState::Pending) && settled(snapshot))
        .filter(|snapshot| tags::owner(snapshot.tags()) == Some(owner))
        .filter(|snapshot| tags::value(snapshot.tags(), tags::FINGERPRINT).is_some_and(|of| !pending.contains(of)))
        .filter_map(EbsSnapshot::snapshot_id)
        .filter(|id| !used.contains(*id))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{BlockDeviceMapping, EbsBlockDevice};
    use aws_smithy_types::DateTime;

    use super::*;

    const OWNER: &str = "ann@host";

    fn image(state: ImageState, fingerprint: &str, snapshot: Option<&str>) -> Image {
        let ebs = EbsBlockDevice::builder().volume_size(10).set_snapshot_id(snapshot.map(str::to_owned)).build();
        Image::builder()
            .image_id("ami-1")
            .name("hg-linux-dev-debian12-0123")
            .state(state)
            .creation_date("2026-11-20T10:00:00.000Z")
            .tags(tags::tag(tags::NAME, "hg-linux-dev-debian12"))
            .tags(tags::tag(tags::FINGERPRINT, fingerprint))
            .tags(tags::tag(tags::DISTRO, "debian12"))
            .tags(tags::tag(tags::OWNER, OWNER))
            .tags(tags::tag(tags::SECONDS, "90"))
            .block_device_mappings(BlockDeviceMapping::builder().ebs(ebs).build())
            .build()
    }

    fn snapshot(id: &str, fingerprint: &str, owner: &str, age: i64) -> EbsSnapshot {
        EbsSnapshot::builder()
            .snapshot_id(id)
            .state(SnapshotState::Completed)
            .start_time(DateTime::from_secs(now().as_second() - age))
            .tags(tags::tag(tags::FINGERPRINT, fingerprint))
            .tags(tags::tag(tags::OWNER, owner))
            .build()
    }

    fn now() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_image_of_ours_tells_its_name_size_and_owner() {
        let record = record(&image(ImageState::Available, "ab", Some("snap-1"))).unwrap();
        assert_eq!((record.name.as_str(), record.distro.as_str()), ("linux-dev-debian12", "debian12"));
        assert_eq!((record.owner.as_deref(), record.locator.as_deref()), (Some(OWNER), Some("ami-1")));
        assert_eq!((record.layers[0].bytes, record.layers[0].seconds), (10 << 30, 90));
        assert_eq!(record.created_at.to_string(), "2026-11-20T10:00:00Z");
        assert!(super::record(&Image::builder().name("hg-else").build()).is_none(), "without a fingerprint");
    }

    #[test]
    fn the_name_of_an_ami_fits_and_tells_images_of_one_plan_apart() {
        let name = ami_name("linux-dev-ubuntu24.04-pypy3", &Fingerprint("a".repeat(64)));
        assert_eq!(name, "hg-linux-dev-ubuntu24.04-pypy3-aaaaaaaaaaaa");
        assert!(name.len() <= 128, "the longest name of an AMI");
    }

    #[test]
    fn a_state_that_nobody_knows_yet_is_waited_for() {
        assert_eq!(status(&image(ImageState::from("new"), "ab", None)), ImageStatus::Pending);
        assert_eq!(status(&image(ImageState::Deregistered, "ab", None)), ImageStatus::Gone);
        assert!(matches!(status(&image(ImageState::Failed, "ab", None)), ImageStatus::Failed(_)));
    }

    #[test]
    fn an_orphan_is_ours_whole_old_enough_and_of_no_image() {
        let images = [image(ImageState::Available, "aa", Some("snap-used")), image(ImageState::Pending, "bb", None)];
        let snapshots = [
            snapshot("snap-used", "aa", OWNER, 7200),
            snapshot("snap-left", "aa", OWNER, 7200),
            snapshot("snap-pending", "bb", OWNER, 7200),
            snapshot("snap-young", "cc", OWNER, 60),
            snapshot("snap-bob", "cc", "bob@host", 7200),
            EbsSnapshot::builder().snapshot_id("snap-strange").start_time(DateTime::from_secs(1)).build(),
        ];
        assert_eq!(orphans(&snapshots, &images, OWNER, now()), ["snap-left"]);
    }
}
