//! Collecting old images: images that match no definition any more, layers that no image uses, and builds whose image was
//! removed.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::base::text;
use model::build::{BuildStore, KeptBuild};
use model::fault::{Fault, FaultKind};
use model::image::{Fingerprint, ImageRecord, LayerRecord};
use model::provider::ImageStore;
use model::retention::OLDER_THAN;

/// The rule by which images are collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whether every image goes.
    pub all: bool,
    /// How many of the newest images of each name stay.
    pub keep: usize,
    /// Only images of this person, where images have owners at all; none for those of anybody.
    pub owner: Option<String>,
    /// Which set-ups of a person's own stay; none stays where this is none.
    pub set_ups: Option<SetUps>,
}

/// What is set up upon an image is in no definition; it is made anew for a use later on. So it stays for as long as runs do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetUps {
    /// The name of their layers.
    pub layer: &'static str,
    /// The time.
    pub now: Timestamp,
}

impl SetUps {
    /// Whether an image is one of them, upon layers that stay, and younger than [`OLDER_THAN`].
    fn keep(&self, record: &ImageRecord, standing: &BTreeSet<Fingerprint>) -> bool {
        let Some((top, below)) = record.layers.split_last() else { return false };
        let is_set_up = top.name == self.layer && below.iter().all(|layer| standing.contains(&layer.fingerprint));
        is_set_up && text::between(record.created_at, self.now) < OLDER_THAN
    }
}

/// The images and layers to collect.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Images to remove, newest first.
    images: Vec<ImageRecord>,
    /// Layers to remove that no image uses any more.
    layers: Vec<LayerRecord>,
    /// How many images were passed over because they are other people's.
    others: usize,
}

/// Decides what the rule removes, without I/O. `current` are the layers of every image that today's definitions give,
/// unfinished images included: a bake that is under way, or that failed, goes on from them.
fn plan(records: &[ImageRecord], layers: &[LayerRecord], current: &BTreeSet<Fingerprint>, rule: &Rule) -> Plan {
    let is_others = |record: &&ImageRecord| is_of_others(record, rule.owner.as_deref());
    let (others, mut mine): (Vec<&ImageRecord>, Vec<&ImageRecord>) = records.iter().partition(is_others);
    mine.sort_by_key(|record| std::cmp::Reverse(record.created_at));
    let of_snapshots = records.iter().filter(|record| record.snapshot.is_some()).flat_map(|record| &record.layers);
    let standing: BTreeSet<Fingerprint> =
        of_snapshots.map(|layer| &layer.fingerprint).chain(current).cloned().collect();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut keep, mut images) = (others.clone(), Vec::new());
    for record in mine {
        let newer = seen.entry(&record.name).or_default();
        // What a person made of a machine cannot be made again.
        let is_wanted = record.snapshot.is_some() || current.contains(&record.fingerprint);
        let is_fresh = || rule.set_ups.as_ref().is_some_and(|set_ups| set_ups.keep(record, &standing));
        let is_kept = !rule.all && (*newer < rule.keep || is_wanted || is_fresh());
        *newer += 1;
        if is_kept { keep.push(record) } else { images.push(record.clone()) }
    }
    let mut used: BTreeSet<&Fingerprint> = keep.iter().flat_map(|r| r.layers.iter().map(|l| &l.fingerprint)).collect();
    if !rule.all {
        used.extend(current);
    }
    let layers = layers.iter().filter(|layer| !used.contains(&layer.fingerprint)).cloned().collect();
    Plan { images, layers, others: others.len() }
}

/// Whether an image is other people's, where only those of `me` are meant; images of this computer have no owner.
pub(super) fn is_of_others(record: &ImageRecord, me: Option<&str>) -> bool {
    match (me, &record.locator) {
        // An image of an account that names no owner is not ours to collect either.
        (Some(me), Some(_)) => record.owner.as_deref() != Some(me),
        _ => false,
    }
}

/// The kind of a collected thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An image's record.
    Image,
    /// A layer.
    Layer,
    /// A build of what was tested.
    Build,
}

/// The fate of a collected thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It was removed, or would be.
    Goes,
    /// A machine uses it.
    InUse(String),
    /// It could not be removed, for this reason.
    Stays(String),
}

/// One thing that the rule selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The thing's kind.
    pub what: What,
    /// Its fingerprint, or its key.
    pub id: Fingerprint,
    /// Its name.
    pub name: String,
    /// Its size, where that is known.
    pub bytes: Option<u64>,
    /// The thing's fate.
    pub fate: Fate,
}

/// The result of a collection.
#[derive(Debug, Default)]
pub struct Collection {
    /// All that the rule selects: images, layers, builds.
    pub collected: Vec<Collected>,
    /// How many removed layers have no record.
    pub swept: usize,
    /// How many images were passed over because they are other people's.
    pub others: usize,
    /// The first fault that left files behind; it did not stop the removal of the rest.
    pub left: Option<Fault>,
}

/// Removes what the rule selects, or with `dry_run` only lists it. `current` are the layers of every image that today's definitions give.
pub async fn collect(
    store: &dyn ImageStore,
    builds: &dyn BuildStore,
    current: &BTreeSet<Fingerprint>,
    rule: &Rule,
    dry_run: bool,
) -> Result<Collection, Fault> {
    let (records, mut layers) = (store.list().await?, store.layers().await?);
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.created_at));
    let Plan { images, layers, others } = plan(&records, &layers, current, rule);
    // Calls that can fail as a whole come before the first removal.
    let users = if images.is_empty() { BTreeMap::new() } else { store.users(&images).await? };
    let kept = builds.list()?;
    let mut done = Collection { others, ..Collection::default() };
    match store.sweep(dry_run).await {
        Ok(swept) => done.swept = swept,
        Err(fault) if fault.kind == FaultKind::LeftBehind => done.left = Some(fault),
        Err(fault) => return Err(fault),
    }
    let mut gone = Vec::new();
    for image in images {
        let id = image.fingerprint.clone();
        let collected = match users.get(&id) {
            Some(machine) => image_with(image, Fate::InUse(machine.clone())),
            None => remove_image(store, image, rule.owner.is_none(), dry_run).await,
        };
        if collected.fate == Fate::Goes {
            gone.push(id);
        }
        done.collected.push(collected);
    }
    remove_layers(store, layers, dry_run, &mut done).await;
    // Builds of what was tested go with the image that they were made on: nothing else can use them.
    let going = kept.into_iter().filter(|build| rule.all || build.is_of(&gone)).collect();
    remove_builds(builds, going, dry_run, &mut done);
    Ok(done)
}

/// An image with its fate.
fn image_with(image: ImageRecord, fate: Fate) -> Collected {
    Collected { what: What::Image, id: image.fingerprint, name: image.name, bytes: None, fate }
}

/// Removes an image's record, or with `dry_run` says that it would go.
pub(super) async fn remove_image(
    store: &dyn ImageStore,
    image: ImageRecord,
    of_any_owner: bool,
    dry_run: bool,
) -> Collected {
    let fate = match dry_run {
        true => Fate::Goes,
        false => fate(&store.remove_image(&image.fingerprint, of_any_owner).await),
    };
    image_with(image, fate)
}

/// Removes layers, or with `dry_run` only finds out whether it would.
pub(super) async fn remove_layers(
    store: &dyn ImageStore,
    layers: Vec<LayerRecord>,
    dry_run: bool,
    done: &mut Collection,
) {
    for LayerRecord { fingerprint: id, name, bytes, .. } in layers {
        let removed = store.remove_layer(&id, dry_run).await;
        let fate = fate(&removed);
        done.collected.push(Collected { what: What::Layer, id, name, bytes: Some(bytes), fate });
        if let Err(fault) = removed
            && fault.kind == FaultKind::LeftBehind
        {
            done.left.get_or_insert(fault);
        }
    }
}

/// Removes builds, or with `dry_run` says that they would go.
pub(super) fn remove_builds(builds: &dyn BuildStore, going: Vec<KeptBuild>, dry_run: bool, done: &mut Collection) {
    for build in going {
        let fate = if dry_run { Fate::Goes } else { fate(&builds.remove(&build.key)) };
        let (name, id) = (build.key.clone(), Fingerprint(build.key));
        done.collected.push(Collected { what: What::Build, id, name, bytes: Some(build.bytes), fate });
    }
}

fn fate(removed: &Result<(), Fault>) -> Fate {
    match removed {
        Ok(()) => Fate::Goes,
        Err(fault) => Fate::Stays(fault.line()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::image::Snapshot;

    const LOCAL: Rule = Rule { all: false, keep: 0, owner: None, set_ups: None };

    fn layer(digit: char) -> LayerRecord {
        let made: jiff::Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
        let fingerprint = Fingerprint(digit.to_string().repeat(64));
        LayerRecord { name: format!("step-{digit}"), fingerprint, created_at: made, seconds: 1, bytes: 10 }
    }

    fn image(layers: &[char]) -> ImageRecord {
        let layers: Vec<_> = layers.iter().map(|d| layer(*d)).collect();
        ImageRecord {
            name: "i".into(),
            distro: "d".into(),
            fingerprint: layers.last().unwrap().fingerprint.clone(),
            created_at: layers[0].created_at,
            layers,
            owner: None,
            locator: None,
            snapshot: None,
        }
    }

    /// An image of an account, made on a day of November.
    fn kept(name: &str, digit: char, owner: Option<&str>, day: u8) -> ImageRecord {
        ImageRecord {
            name: name.into(),
            created_at: format!("2026-11-{day:02}T00:00:00Z").parse().unwrap(),
            owner: owner.map(str::to_owned),
            locator: Some(format!("ami-{digit}")),
            ..image(&[digit])
        }
    }

    fn ids(plan: &Plan) -> Vec<&str> {
        plan.images.iter().filter_map(|image| image.locator.as_deref()).collect()
    }

    #[test]
    fn a_layer_stays_while_an_image_that_stays_uses_it() {
        let (old, new) = (image(&['a', 'b']), image(&['a', 'c']));
        let layers = [layer('a'), layer('b'), layer('c'), layer('d')];
        let current = BTreeSet::from([layer('a').fingerprint, new.fingerprint.clone()]);
        let planned = plan(&[old.clone(), new], &layers, &current, &LOCAL);
        assert_eq!(planned.images, [old]);
        assert_eq!(planned.layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["step-b", "step-d"]);
        let planned = plan(&[], &layers, &current, &LOCAL);
        let counts = (planned.images.len(), planned.layers.len());
        assert_eq!(counts, (0, 2), "layers of an image that is not finished stay");
        let planned = plan(&[image(&['a', 'c'])], &layers, &current, &Rule { all: true, ..LOCAL });
        assert_eq!((planned.images.len(), planned.layers.len()), (1, 4));
    }

    #[test]
    fn a_set_up_upon_todays_image_stays_while_it_is_fresh() {
        let (set_up, of_old) = (image(&['a', 'b']), image(&['c', 'b']));
        let layers = [layer('a'), layer('b'), layer('c')];
        let current = BTreeSet::from([layer('a').fingerprint]);
        let rule = |layer, days: i64| {
            let now = set_up.created_at + jiff::SignedDuration::from_hours(24 * days);
            Rule { set_ups: Some(SetUps { layer, now }), ..LOCAL }
        };
        let gone = |records: &[ImageRecord], rule: &Rule| plan(records, &layers, &current, rule).images.len();
        let records = [set_up.clone(), of_old.clone()];
        let planned = plan(&records, &layers, &current, &rule("step-b", 89));
        assert_eq!(planned.images, [of_old], "what it was set up upon is not of today");
        assert_eq!(planned.layers.iter().map(|layer| layer.name.as_str()).collect::<Vec<_>>(), ["step-c"]);
        assert_eq!(gone(&records, &rule("step-b", 90)), 2);
        assert_eq!(gone(&records, &rule("setup", 1)), 2, "a step of a definition is no set-up");
        assert_eq!(gone(&records, &Rule { all: true, ..rule("step-b", 1) }), 2);
        let snapshot = Snapshot {
            machine: model::base::id::MachineId::random(),
            image: "i".into(),
            platform: model::machine::Platform::Linux,
            user: "hg".into(),
            values: BTreeMap::new(),
        };
        let snapshot = ImageRecord { name: "s".into(), snapshot: Some(snapshot), ..image(&['c']) };
        assert_eq!(gone(&[image(&['c', 'b']), snapshot], &rule("step-b", 1)), 0, "a person's own state stays");
    }

    #[test]
    fn of_each_name_the_newest_stay_and_todays_always() {
        let ann = Some("ann@host");
        let records = [
            kept("x", 'a', ann, 1),
            kept("x", 'b', ann, 4),
            kept("x", 'c', ann, 3),
            kept("x", 'd', ann, 2),
            kept("y", 'e', ann, 1),
        ];
        let rule = Rule { keep: 2, owner: Some("ann@host".into()), ..LOCAL };
        assert_eq!(ids(&plan(&records, &[], &BTreeSet::new(), &rule)), ["ami-d", "ami-a"]);
        let current = BTreeSet::from([layer('a').fingerprint]);
        assert_eq!(ids(&plan(&records, &[], &current, &rule)), ["ami-d"], "today's is not the newest");
        assert_eq!(ids(&plan(&records, &[], &current, &Rule { keep: 0, ..rule.clone() })).len(), 4);
        assert_eq!(ids(&plan(&records, &[], &current, &Rule { all: true, ..rule })).len(), 5);
    }

    #[test]
    fn what_other_people_made_is_counted_and_stays() {
        let records =
            [kept("x", 'a', Some("ann@host"), 1), kept("x", 'b', Some("bob@host"), 2), kept("x", 'c', None, 3)];
        let mine = Rule { all: true, owner: Some("ann@host".into()), ..LOCAL };
        let planned = plan(&records, &[], &BTreeSet::new(), &mine);
        assert_eq!((ids(&planned), planned.others), (vec!["ami-a"], 2));
        let planned = plan(&records, &[], &BTreeSet::new(), &Rule { owner: None, ..mine });
        assert_eq!((planned.images.len(), planned.others), (3, 0));
    }
}
